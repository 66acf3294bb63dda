//! Random scripts.

use proptest::collection::vec;
use proptest::option::{of, weighted};
use proptest::prelude::*;

use super::script::{Claim, Known, PLACES, Plan, SESSIONS, Script, Shape, Step};

/// Scripts of up to this many steps.
const STEPS: usize = 50;

pub(super) fn script() -> impl Strategy<Value = Script> {
    (plan(), vec(step(), 1..STEPS)).prop_map(|(plan, steps)| Script { plan, steps })
}

fn plan() -> impl Strategy<Value = Plan> {
    // Small, so that the few events of a script reach them.
    let hours = || weighted(0.5, 0..6_u8);
    let times = (hours(), hours(), hours(), hours());
    let bytes = || prop_oneof![70..1500_u32, 1500..6000_u32, Just(150_000_u32)];
    let caps = (
        weighted(0.4, 1..6_u8),
        weighted(0.3, bytes()),
        weighted(0.3, bytes()),
        weighted(0.3, bytes()),
    );
    let limits = (
        weighted(0.2, prop_oneof![Just(60_u32), Just(400)]),
        weighted(0.2, 1..3_u8),
        weighted(0.2, 1..3_u8),
    );
    (times, caps, limits).prop_map(|(times, caps, limits)| Plan {
        stream_ttl: times.0,
        completed_ttl: times.1,
        event_ttl: times.2,
        session_ttl: times.3,
        max_events: caps.0,
        max_stream_bytes: caps.1,
        max_session_bytes: caps.2,
        max_total_bytes: caps.3,
        max_event_bytes: limits.0,
        max_streams: limits.1,
        max_followers: limits.2,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => writing(),
        4 => reading(),
        4 => following(),
        2 => removing(),
        2 => keeping(),
    ]
}

fn on() -> impl Strategy<Value = u8> {
    0..2_u8
}

fn place() -> impl Strategy<Value = u8> {
    // Most of what happens concerns the same few streams.
    let last = u8::try_from(PLACES).expect("few") - 1;
    prop_oneof![2 => 0..=last, 1 => Just(0), 2 => Just(last), 1 => last - 1..=last]
}

fn session() -> impl Strategy<Value = u8> {
    let last = u8::try_from(SESSIONS.len()).expect("few") - 1;
    prop_oneof![0..=last, Just(last)]
}

fn claim() -> impl Strategy<Value = Claim> {
    let hours = prop_oneof![15 => 1..5_u8, 1 => Just(0)];
    (0..3_u8, hours).prop_map(|(owner, hours)| Claim { owner, hours })
}

fn shape() -> impl Strategy<Value = Shape> {
    let bytes = prop_oneof![
        2 => Just(0_u32),
        8 => 12..500_u32,
        2 => 500..3000_u32,
        // A few of these fill a page.
        1 => Just(110_000_u32),
    ];
    let retry = weighted(0.3, prop_oneof![Just(0_u32), 1..5000_u32]);
    (bytes, retry, prop::bool::weighted(0.1), weighted(0.2, claim()))
        .prop_map(|(bytes, retry_ms, completes, lease)| Shape { bytes, retry_ms, completes, lease })
}

fn known() -> impl Strategy<Value = Known> {
    (any::<u16>(), weighted(0.15, 0..4_u8), weighted(0.15, any::<u16>()))
        .prop_map(|(event, scope, altered)| Known { event, scope, altered })
}

fn writing() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (on(), place(), shape())
            .prop_map(|(on, place, event)| Step::Append { on, place, event }),
        1 => (on(), vec(place(), 1..5)).prop_map(|(on, places)| Step::Burst { on, places }),
        1 => (on(), place(), claim())
            .prop_map(|(on, place, lease)| Step::Renew { on, place, lease }),
    ]
}

fn reading() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (on(), known()).prop_map(|(on, id)| Step::Replay { on, id }),
        1 => (on(), place()).prop_map(|(on, place)| Step::Read { on, place }),
    ]
}

fn following() -> impl Strategy<Value = Step> {
    let take_over = || prop::bool::weighted(0.5);
    prop_oneof![
        2 => (on(), known(), take_over())
            .prop_map(|(on, after, take_over)| Step::Follow { on, after, take_over }),
        2 => (on(), place(), take_over())
            .prop_map(|(on, place, take_over)| Step::FollowFromStart { on, place, take_over }),
        5 => (any::<u8>(), 1..9_u8).prop_map(|(reader, events)| Step::Poll { reader, events }),
        1 => any::<u8>().prop_map(|reader| Step::Drop { reader }),
    ]
}

fn removing() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..5_u8).prop_map(|hours| Step::Wait { hours }),
        4 => on().prop_map(|on| Step::Sweep { on }),
        2 => (on(), place()).prop_map(|(on, place)| Step::DeleteStream { on, place }),
        1 => (on(), session()).prop_map(|(on, session)| Step::DeleteSession { on, session }),
    ]
}

fn keeping() -> impl Strategy<Value = Step> {
    let record = (on(), session(), prop_oneof![4 => 12..100_u32, 1 => Just(500_u32)]);
    prop_oneof![
        2 => record
            .prop_map(|(on, session, bytes)| Step::StoreRecord { on, session, bytes }),
        1 => (on(), session()).prop_map(|(on, session)| Step::LoadRecord { on, session }),
        1 => (on(), session()).prop_map(|(on, session)| Step::TouchRecord { on, session }),
        2 => (on(), any::<bool>(), of(plan()))
            .prop_map(|(on, close, plan)| Step::Reopen { on, close, plan }),
    ]
}
