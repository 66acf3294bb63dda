//! S1 to S3: the small records that let another instance serve a session.

use std::time::Duration;

use mcp_event_store_core::{Error, SessionId, SessionRecord, Usage};

use crate::checks::deletion::is_gone;
use crate::context::{Ctx, keeping, limited, unlimited};
use crate::failure::{Outcome, expect_match, same};
use crate::instance::{Instance, within};
use crate::tools::{json, lone, session, stream, text};

async fn load(store: &Instance, id: &SessionId) -> Outcome<Option<SessionRecord>> {
    Ok(within(store.patience, "a record", store.sessions()?.load(id)).await??)
}

async fn put(store: &Instance, id: &SessionId, record: &SessionRecord) -> Outcome {
    let put = store.sessions()?.store(id, record.clone());
    Ok(within(store.patience, "an answer to store", put).await??)
}

async fn touch(store: &Instance, id: &SessionId) -> Outcome<bool> {
    Ok(within(store.patience, "an answer to touch", store.sessions()?.touch(id)).await??)
}

async fn is_absent(store: &Instance, id: &SessionId) -> Outcome {
    same("a record that is not there", &None, &load(store, id).await?)?;
    same("a touch of a record that is not there", &false, &touch(store, id).await?)
}

/// Records that must come back to the byte, under names that must not be mixed up.
fn records() -> Vec<(SessionId, SessionRecord)> {
    [
        ("a", "{}"),
        ("ab", r#"{ "version" : "2025-11-25" ,"n":1.0}"#),
        ("A", "null"),
        ("%", "\"\\u0000 é 日本\""),
        ("a/b", r#"{"b":1,"a":2,"b":3}"#),
        ("日本", "[1e400, -0.0,\n\t123456789012345678901234567890]"),
    ]
    .map(|(name, text)| (session(name), json(text)))
    .into()
}

pub(crate) async fn s1_a_record_round_trips(ctx: &Ctx) -> Outcome {
    let store = ctx.open_with(&limited(|l| l.max_event_bytes = Some(1000))).await?;
    for (id, record) in records() {
        is_absent(&store, &id).await?;
        put(&store, &id, &record).await?;
    }
    for (id, record) in records() {
        for _ in 0..2 {
            same("the record", &Some(&record), &load(&store, &id).await?.as_ref())?;
            same("a touch", &true, &touch(&store, &id).await?)?;
        }
    }
    let id = session("a");
    let other = json(r#"{"another":true}"#);
    put(&store, &id, &other).await?;
    same("the replaced record", &Some(&other), &load(&store, &id).await?.as_ref())?;
    let large = json(format!("\"{}\"", "x".repeat(999)));
    let answer = store.sessions()?.store(&id, large.clone()).await;
    expect_match!(answer, Err(Error::TooLarge { .. }), "a record of 1001 bytes");
    same("the record after a refusal", &Some(&other), &load(&store, &id).await?.as_ref())?;
    let fits = json(format!("\"{}\"", "x".repeat(998)));
    put(&store, &id, &fits).await?;
    same("a record of 1000 bytes", &Some(fits), &load(&store, &id).await?)?;
    // A session's streams make no record, and need none.
    store.append(&stream("streams only", "a"), "first").await?;
    is_absent(&store, &session("streams only")).await
}

pub(crate) async fn s1_a_record_round_trips_through_a_restart(ctx: &Ctx) -> Outcome {
    let store = ctx.open().await?;
    for (id, record) in records() {
        put(&store, &id, &record).await?;
    }
    let store = ctx.reopen(store, &unlimited()).await?;
    for (id, record) in records() {
        same("the record after reopening", &Some(record), &load(&store, &id).await?)?;
    }
    Ok(())
}

pub(crate) async fn s2_a_record_expires_unless_used(ctx: &Ctx) -> Outcome {
    let store = ctx.open_with(&keeping(|r| r.session_ttl = Some(Duration::from_secs(60)))).await?;
    let used = ["loaded", "touched", "stored"].map(session);
    let unused = session("unused");
    let record = json("{}");
    for id in used.iter().chain([&unused]) {
        put(&store, id, &record).await?;
    }
    for _ in 0..4 {
        ctx.pass(40);
        same("the loaded record", &true, &load(&store, &used[0]).await?.is_some())?;
        same("the touched record", &true, &touch(&store, &used[1]).await?)?;
        put(&store, &used[2], &record).await?;
    }
    is_absent(&store, &unused).await?;
    for id in &used {
        same("a record that was used", &Some(&record), &load(&store, id).await?.as_ref())?;
    }
    ctx.pass(62);
    for id in used.iter().chain([&unused]) {
        is_absent(&store, id).await?;
        // Expired is not deleted: the name is free at once.
        put(&store, id, &record).await?;
        same("a new record", &Some(&record), &load(&store, id).await?.as_ref())?;
    }
    Ok(())
}

pub(crate) async fn s2_an_unused_record_is_swept(ctx: &Ctx) -> Outcome {
    let store = ctx.open_with(&keeping(|r| r.session_ttl = Some(Duration::from_secs(60)))).await?;
    for n in 0..10 {
        put(&store, &session(&n.to_string()), &json("{}")).await?;
    }
    ctx.pass(40);
    touch(&store, &session("0")).await?;
    store.sweep().await?;
    same("records in use", &10, &store.usage().await?.sessions)?;
    ctx.pass(25);
    let swept = store.sweep().await?;
    same("forgotten records", &9, &swept.forgotten_sessions)?;
    same("records in use", &1, &store.usage().await?.sessions)?;
    same("a record in use", &true, &load(&store, &session("0")).await?.is_some())
}

/// Deletes on one instance, by the given operation, and looks on all.
async fn deleted_everywhere(ctx: &Ctx, stores: &[Instance], by_events: bool) -> Outcome {
    let name = if by_events { "by delete_session" } else { "by delete" };
    let (id, one, other) = (session(name), stream(name, "a"), stream(name, "b"));
    let (first, last) = (&stores[0], &stores[stores.len() - 1]);
    put(last, &id, &json("{}")).await?;
    let kept = last.fill(&lone(name), 2).await?;
    let all = [last.fill(&one, 3).await?, last.fill(&other, 2).await?].concat();
    let deleted = if by_events {
        first.delete_session(&id).await?
    } else {
        within(first.patience, "a deletion", first.sessions()?.delete(&id)).await??
    };
    let counts = (deleted.streams, deleted.events, deleted.session_record);
    same("streams, events, record", &(2, 5, true), &counts)?;
    for store in stores {
        is_absent(store, &id).await?;
        is_gone(store, &one, &all).await?;
        is_gone(store, &other, &all).await?;
        same("a session-less stream", &2, &store.read(&lone(name)).await?.len())?;
        same("its events", &Some(lone(name)), &store.look_up(&kept[0]).await?)?;
    }
    for seconds in [0, 90] {
        ctx.pass(seconds);
        for store in stores {
            let record = store.sessions()?.store(&id, json("{}")).await;
            expect_match!(record, Err(Error::SessionDeleted), "a record after the deletion");
            for to in [&one, &stream(name, "new")] {
                let late = store.try_append(to, text("late")).await?;
                expect_match!(late, Err(Error::SessionDeleted), "an append after the deletion");
            }
            is_absent(store, &id).await?;
        }
    }
    ctx.pass(15);
    for store in stores {
        is_absent(store, &id).await?;
    }
    for store in stores {
        put(store, &id, &json("{}")).await?;
        store.append(&one, "again").await?;
    }
    first.delete_session(&id).await?;
    first.delete_stream(&lone(name)).await?;
    Ok(())
}

pub(crate) async fn s3_a_record_is_deleted_with_its_events(ctx: &Ctx) -> Outcome {
    deleted_by_both(ctx, 1).await
}

pub(crate) async fn s3_a_record_is_deleted_on_every_instance(ctx: &Ctx) -> Outcome {
    deleted_by_both(ctx, 2).await
}

async fn deleted_by_both(ctx: &Ctx, instances: usize) -> Outcome {
    let settings = keeping(|r| r.tombstone_ttl = Duration::from_secs(100));
    let mut stores = Vec::new();
    for _ in 0..instances {
        stores.push(ctx.open_with(&settings).await?);
    }
    for by_events in [true, false] {
        deleted_everywhere(ctx, &stores, by_events).await?;
    }
    match stores[0].usage_if_told().await? {
        Some(usage) => same("what is left of it", &Usage::default(), &usage),
        None => Ok(()),
    }
}
