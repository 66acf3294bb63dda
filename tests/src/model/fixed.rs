//! Scripts that are always played: each once failed, or shows a corner that random ones find
//! seldom. A script that the model test prints can be put here as it stands.

use super::script::{Claim, Known, Plan, Script, Shape, Step};

const SMALL: Shape = Shape { bytes: 40, retry_ms: None, completes: false, lease: None };
const END: Shape = Shape { completes: true, ..SMALL };
/// The first session-less stream, and the first of a session.
const LONE: u8 = 0;
const OWN: u8 = 3;

fn append(place: u8, event: Shape) -> Step {
    Step::Append { on: 0, place, event }
}

fn replay(event: u16) -> Step {
    Step::Replay { on: 1, id: Known { event, ..Known::default() } }
}

pub(super) fn scripts() -> Vec<(&'static str, Script)> {
    vec![
        ("an expired stream comes to life again", revived()),
        ("a stream is forgotten and begins anew", forgotten()),
        ("live streams make room but for their newest event", shrunk()),
        ("a follow is outrun, another taken over, a third deleted", follows()),
        ("a lease keeps a silent stream", leased()),
        ("a follow that waits finds a stream that has come and gone", missed()),
        ("a deleted session's record is gone", recorded()),
    ]
}

fn revived() -> Script {
    let plan = Plan { stream_ttl: Some(1), max_streams: Some(1), ..Plan::default() };
    let wait = || Step::Wait { hours: 2 };
    let steps = vec![
        append(OWN, SMALL),
        append(OWN, SMALL),
        Step::FollowFromStart { on: 0, place: OWN, take_over: false },
        Step::Poll { reader: 0, events: 2 },
        wait(),
        replay(0),
        replay(1),
        // Its place among the session's streams is free.
        append(OWN + 1, SMALL),
        append(OWN, SMALL),
        wait(),
        append(OWN, SMALL),
        replay(1),
        Step::Poll { reader: 0, events: 3 },
        Step::Sweep { on: 1 },
        wait(),
        Step::Sweep { on: 0 },
        append(OWN, END),
        replay(3),
    ];
    Script { plan, steps }
}

fn forgotten() -> Script {
    let plan = Plan { stream_ttl: Some(0), completed_ttl: Some(0), ..Plan::default() };
    let wait = |hours| Step::Wait { hours };
    let steps = vec![
        append(LONE, END),
        append(OWN, SMALL),
        wait(3),
        append(LONE, SMALL),
        replay(0),
        wait(1),
        replay(0),
        // Swept or not, nothing of them is known any more.
        append(LONE, SMALL),
        Step::Sweep { on: 0 },
        append(OWN, SMALL),
        replay(1),
        Step::DeleteSession { on: 1, session: 0 },
        append(OWN, SMALL),
        wait(4),
        append(OWN, SMALL),
    ];
    Script { plan, steps }
}

fn shrunk() -> Script {
    let plan = Plan { max_total_bytes: Some(800), ..Plan::default() };
    let mut steps: Vec<_> =
        (0..4).flat_map(|_| [append(LONE, SMALL), append(OWN, SMALL)]).collect();
    steps.extend([
        append(OWN + 1, END),
        Step::Renew { on: 0, place: LONE, lease: Claim { owner: 0, hours: 1 } },
        Step::Sweep { on: 0 },
        replay(6),
        replay(7),
        replay(8),
        append(LONE, SMALL),
    ]);
    Script { plan, steps }
}

fn follows() -> Script {
    let plan = Plan { max_events: Some(2), ..Plan::default() };
    let follow = |on, take_over| Step::FollowFromStart { on, place: LONE, take_over };
    let poll = |reader| Step::Poll { reader, events: 8 };
    let mut steps = vec![follow(0, false), poll(0), append(LONE, SMALL), poll(0), follow(1, false)];
    steps.extend((0..5).map(|_| append(LONE, SMALL)));
    steps.extend([Step::Sweep { on: 0 }, poll(0), poll(0)]);
    steps.extend([follow(0, false), follow(1, true), poll(0), append(LONE, SMALL), poll(0)]);
    steps.extend([Step::DeleteStream { on: 0, place: LONE }, append(LONE, SMALL), poll(0)]);
    Script { plan, steps }
}

fn missed() -> Script {
    let plan = Plan { completed_ttl: Some(1), ..Plan::default() };
    let poll = Step::Poll { reader: 0, events: 1 };
    let follow = Step::FollowFromStart { on: 1, place: LONE, take_over: false };
    let steps = vec![follow, poll, append(LONE, SMALL), append(LONE, END), Step::Wait { hours: 2 }];
    Script { plan, steps }
}

fn recorded() -> Script {
    let store = || Step::StoreRecord { on: 0, session: 0, bytes: 40 };
    let load = || Step::LoadRecord { on: 1, session: 0 };
    let delete = Step::DeleteSession { on: 1, session: 0 };
    let steps = vec![
        store(),
        append(OWN, SMALL),
        load(),
        delete,
        load(),
        store(),
        Step::Wait { hours: 4 },
        load(),
        store(),
        load(),
    ];
    Script { plan: Plan::default(), steps }
}

fn leased() -> Script {
    let plan = Plan { stream_ttl: Some(0), ..Plan::default() };
    let lease = Some(Claim { owner: 0, hours: 3 });
    let renew = |owner, hours| Step::Renew { on: 1, place: OWN, lease: Claim { owner, hours } };
    let wait = |hours| Step::Wait { hours };
    let steps = vec![
        append(OWN, Shape { lease, ..SMALL }),
        wait(2),
        renew(1, 1),
        Step::Sweep { on: 0 },
        append(OWN, SMALL),
        replay(0),
        wait(1),
        renew(0, 2),
        wait(2),
        Step::Sweep { on: 1 },
        renew(1, 1),
        wait(2),
        renew(1, 1),
        append(OWN, Shape { lease, ..END }),
        renew(0, 1),
    ];
    Script { plan, steps }
}
