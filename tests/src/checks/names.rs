//! A8: every valid name works, and no two names are mistaken for each other.

use std::collections::HashMap;

use mcp_event_store_core::{EventId, Scope, StreamRef};

use crate::context::Ctx;
use crate::failure::{Outcome, same};
use crate::tools::{lone, session, stream, texts, together};

/// Names that separators, patterns, collations and normalisation might confuse.
fn names() -> Vec<String> {
    let mut names: Vec<String> = [
        "a",
        "A",
        "ab",
        "a b",
        "a ",
        " a",
        " ",
        "a/",
        "a/b",
        "a//b",
        "/",
        "a:",
        "a:b",
        ":",
        "a_",
        "a_b",
        "_",
        "%",
        "a%",
        "*",
        "a*",
        "?",
        "[a]",
        "[a-z]",
        "{a}",
        "{a",
        "a}",
        "a.b",
        ".",
        "..",
        "../a",
        "\\",
        "a\\",
        "a'b",
        "'",
        "\"",
        "`",
        ";",
        "--",
        "a-b",
        "a,b",
        "a|b",
        "a#b",
        "a&b",
        "0",
        "00",
        "-0",
        "1",
        "1.0",
        "1e0",
        "null",
        "NULL",
        "true",
        "é",
        "e\u{301}",
        "É",
        "ß",
        "ss",
        "ı",
        "i",
        "İ",
        "ﬁ",
        "fi",
        "日本",
        "日本語",
        "🦀",
        "🦀🦀",
        "\u{200b}",
        "a\u{200b}",
        "\u{feff}a",
        "\u{202e}a",
        "\u{fffd}",
        "\u{10ffff}",
        "\u{e000}",
        "Ａ",
        "Ω",
        "Ω",
        "mcp:events",
        "request/1",
        "event-store",
        "$1",
        "${a}",
        "%s",
        "%00",
        "\u{a0}",
    ]
    .map(str::to_owned)
    .into();
    let long = "x".repeat(511);
    names.extend([format!("{long}x"), format!("{long}y"), long, "é".repeat(256)]);
    names
}

/// Every name as a session, as a stream, and as a session-less stream; and the pairs that become
/// one when they are joined by a separator.
fn streams() -> Vec<StreamRef> {
    let mut all = Vec::new();
    for name in names() {
        all.extend([stream(&name, "stream"), stream("session", &name), lone(&name)]);
    }
    for by in ["/", ":", "_", "-", ".", "|", "\\", " ", "%"] {
        all.push(stream("one", &format!("two{by}three")));
        all.push(stream(&format!("one{by}two"), "three"));
        all.push(lone(&format!("one{by}two{by}three")));
    }
    all.push(stream("on", "etwo"));
    all.push(stream("one", "two"));
    all.push(stream("onet", "wo"));
    all.push(stream("stream", "session"));
    all.push(lone("stream"));
    all.push(lone("session"));
    all
}

pub(crate) async fn a8_any_valid_name_works(ctx: &Ctx) -> Outcome {
    let store = ctx.open().await?;
    let append = |(n, stream): (usize, StreamRef)| {
        let store = store.clone();
        async move {
            let id = store.append(&stream, n).await?;
            Ok((stream, n, id))
        }
    };
    let appended = together(streams().into_iter().enumerate().map(append)).await?;
    let appended: Vec<(StreamRef, usize, EventId)> =
        appended.into_iter().collect::<Outcome<_>>()?;
    let mut expected: HashMap<StreamRef, Vec<(usize, EventId)>> = HashMap::new();
    for (stream, n, id) in appended {
        expected.entry(stream).or_default().push((n, id));
    }
    for (stream, mut events) in expected {
        let name = format!("{:?} of {:?}", stream.stream.as_str(), stream.session);
        let came = store.read(&stream).await?;
        let mut numbers: Vec<_> = texts(&came);
        numbers.sort_unstable();
        let mut wanted: Vec<_> = events.iter().map(|(n, _)| n.to_string()).collect();
        wanted.sort_unstable();
        same(format!("the events of {name}"), &wanted, &numbers)?;
        let (_, id) = events.remove(0);
        let found = store.look_up(&id).await?;
        same(format!("the stream of an ID of {name}"), &Some(stream), &found)?;
    }
    Ok(())
}

pub(crate) async fn a8_the_same_stream_id_in_two_sessions_is_two_streams(ctx: &Ctx) -> Outcome {
    let store = ctx.open().await?;
    let places = [stream("one", "same"), stream("two", "same"), stream("onetwo", "same")];
    let places = [&places[..], &[lone("same")]].concat();
    let mut firsts = Vec::new();
    for place in &places {
        firsts.push(store.append(place, format!("first of {:?}", place.session)).await?);
    }
    for (place, first) in places.iter().zip(&firsts) {
        let second = format!("second of {:?}", place.session);
        store.append(place, &second).await?;
        let came = texts(&store.replay(place, first).await?);
        same("one session's stream", &1, &came.len())?;
        same("one session's stream", &second.replace('"', "\\\""), &came[0])?;
    }
    store.complete(&places[0], "end").await?;
    store.append(&places[1], "goes on").await?;
    store.delete_stream(&places[0]).await?;
    for (place, first) in places.iter().zip(&firsts).skip(1) {
        same("another session's stream", &true, &!store.replay(place, first).await?.is_empty())?;
    }
    let two = session("two");
    store.unknown(Scope::Session(&two), &firsts[0], "the other session's event").await
}
