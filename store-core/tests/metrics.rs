//! What the engine counts, as a recorder of the `metrics` crate sees it.

#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::HashMap;

use mcp_event_store_core::memory::MemoryBackend;
use mcp_event_store_core::{
    Clock, Engine, EventId, EventStore, EventStoreExt, Maintenance, NewEvent, Retention, Settings,
    StreamId, StreamRef,
};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};

/// Appends three events, one of them refused, and replays twice, once in vain.
async fn work() {
    let settings = Settings { retention: Retention::keep_everything(), ..Settings::default() };
    let engine = Engine::open(MemoryBackend::new(Clock::system()), settings).unwrap();
    let stream = StreamRef::sessionless(StreamId::new("a").unwrap());
    let first = engine.store_event(&stream, NewEvent::priming(None)).await.unwrap();
    engine.store_event(&stream, NewEvent::priming(None).completing()).await.unwrap();
    engine.store_event(&stream, NewEvent::priming(None)).await.unwrap_err();
    engine.replay_to_vec(stream.scope(), &first).await.unwrap();
    engine.replay_to_vec(stream.scope(), &EventId::from("made up")).await.unwrap_err();
    engine.sweep().await.unwrap();
    engine.close().await.unwrap();
}

#[test]
fn appends_replays_and_sweeps_are_counted() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Every task of this runtime runs on this thread, and so sees this recorder.
    metrics::with_local_recorder(&recorder, || runtime.block_on(work()));
    let seen: HashMap<String, DebugValue> = snapshotter
        .snapshot()
        .into_vec()
        .into_iter()
        .map(|(key, _, _, value)| {
            let labels = key.key().labels().filter(|label| label.key() != "backend");
            let labels: Vec<_> = labels.map(metrics::Label::value).collect();
            (format!("{}{labels:?}", key.key().name()), value)
        })
        .collect();
    let counter = |name: &str| match seen.get(name) {
        Some(DebugValue::Counter(count)) => *count,
        other => panic!("{name}: {other:?} among {:?}", seen.keys()),
    };
    assert_eq!(counter("mcp_event_store_appends_total[]"), 2);
    assert_eq!(counter(r#"mcp_event_store_refused_total["stream_complete"]"#), 1);
    assert_eq!(counter(r#"mcp_event_store_replays_total["recovered"]"#), 1);
    assert_eq!(counter(r#"mcp_event_store_replays_total["unknown_event"]"#), 1);
    assert_eq!(counter("mcp_event_store_replayed_events_total[]"), 1);
    for histogram in ["append_seconds", "commit_seconds", "batch_events", "sweep_seconds"] {
        let name = format!("mcp_event_store_{histogram}[]");
        assert!(matches!(seen.get(&name), Some(DebugValue::Histogram(_))), "{name}");
    }
}
