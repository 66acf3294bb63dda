//! L1 and the first half of L2: from an event ID to its stream.

use mcp_event_store_core::{EventId, StreamRef};

use crate::context::{Ctx, keeping};
use crate::disguise;
use crate::failure::{Outcome, ensure, same};
use crate::instance::Instance;
use crate::tools::{lone, stream, together};

pub(crate) async fn l1_look_up_names_the_stream_of_every_stored_event(ctx: &Ctx) -> Outcome {
    let store = ctx.open().await?;
    let streams = [stream("s", "a"), stream("s", "b"), stream("t", "a"), lone("a"), lone("s")];
    let mut known = Vec::new();
    for stream in &streams {
        let ids = store.fill(stream, 20).await?;
        known.extend(ids.into_iter().map(|id| (stream, id)));
        known.push((stream, store.complete(stream, "end").await?));
    }
    for (stream, id) in &known {
        same("the stream of a stored event", &Some(*stream), &store.look_up(id).await?.as_ref())?;
        agree(&store, stream, id).await?;
    }
    store.delete_stream(&streams[0]).await?;
    for (stream, id) in &known {
        let expected = Some(*stream).filter(|stream| **stream != streams[0]);
        let found = store.look_up(id).await?;
        same("the stream after a deletion", &expected, &found.as_ref())?;
    }
    Ok(())
}

/// Look-up names the stream if, and only if, replay accepts the ID in that stream's scope.
async fn agree(store: &Instance, stream: &StreamRef, id: &EventId) -> Outcome {
    let found = store.look_up(id).await?;
    let replay = store.try_replay(stream.scope(), id).await?;
    let came = format!("{found:?} from look-up, {replay:?} from replay");
    let right = if replay.is_ok() { found.as_ref() == Some(stream) } else { found.is_none() };
    ensure(right, "the stream where replay accepts the ID, and `None` where it does not", came)
}

pub(crate) async fn l1_look_up_agrees_with_replay_about_removed_events(ctx: &Ctx) -> Outcome {
    let settings = keeping(|r| {
        r.max_events_per_stream = Some(3);
        r.stream_ttl = Some(std::time::Duration::from_secs(60));
        r.tombstone_ttl = std::time::Duration::from_secs(100);
    });
    let store = ctx.open_with(&settings).await?;
    let one = stream("s", "a");
    let ids = store.fill(&one, 8).await?;
    // Trimmed, then expired, then forgotten.
    for (seconds, first_accepted) in [(0, 5), (70, 8), (100, 9)] {
        ctx.pass(seconds);
        for (n, id) in (1..).zip(&ids) {
            agree(&store, &one, id).await?;
            let found = store.look_up(id).await?.is_some();
            let what = format!("whether look-up knows event {n}, {seconds} s later");
            same(what, &(n >= first_accepted), &found)?;
        }
    }
    Ok(())
}

pub(crate) async fn l2_no_string_makes_look_up_fail(ctx: &Ctx) -> Outcome {
    let store = ctx.open().await?;
    let real = store.append(&stream("s", "a"), "only").await?;
    let mut strings: Vec<_> = disguise::malformed().into_iter().collect();
    strings.extend(disguise::altered(real.as_str()));
    strings.push("x".repeat(16 * 1024 * 1024));
    let ask = |text: String| {
        let store = store.clone();
        async move {
            let id = EventId::new(text);
            let found = store.look_up(&id).await?;
            let shown: String = id.as_str().chars().take(80).collect();
            ensure(found.is_none(), format!("`None` for {shown:?}"), format!("{found:?}"))
        }
    };
    // In tasks, so that a panic shows as one.
    for answer in together(strings.into_iter().map(ask)).await? {
        answer?;
    }
    same("the real ID", &Some(stream("s", "a")), &store.look_up(&real).await?)
}
