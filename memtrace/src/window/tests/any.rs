//! Whatever workers do in whatever order, every fault is somebody's in the end.

use proptest::prelude::*;

use super::*;

/// Anything that can happen to workers.
#[derive(Clone, Copy, Debug)]
enum Step {
    Read(u32, u64),
    Write(u32, u64),
    Answer(u32, u64),
    Wait(u32, bool),
    RunOut(u32),
    Connect(u32, usize),
    Ask(u32, usize),
    Told(u32, usize),
    Wake(u32, u32, u64),
    Signal(u32, usize),
    Hear(u32, usize),
    End(u32),
    Withdraw(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let (tid, id, line) = (1_u32..6, 0_u64..6, 0_usize..3);
    prop_oneof![
        (tid.clone(), id.clone()).prop_map(|(t, r)| Step::Read(t, r)),
        (tid.clone(), id.clone()).prop_map(|(t, r)| Step::Write(t, r)),
        (tid.clone(), id.clone()).prop_map(|(t, r)| Step::Answer(t, r)),
        (tid.clone(), any::<bool>()).prop_map(|(t, asks)| Step::Wait(t, asks)),
        tid.clone().prop_map(Step::RunOut),
        (tid.clone(), line.clone()).prop_map(|(t, l)| Step::Connect(t, l)),
        (tid.clone(), line.clone()).prop_map(|(t, l)| Step::Ask(t, l)),
        (tid.clone(), line.clone()).prop_map(|(t, l)| Step::Told(t, l)),
        (tid.clone(), tid.clone(), 0_u64..3).prop_map(|(t, u, w)| Step::Wake(t, u, w)),
        (tid.clone(), line.clone()).prop_map(|(t, l)| Step::Signal(t, l)),
        (tid.clone(), line).prop_map(|(t, l)| Step::Hear(t, l)),
        tid.prop_map(Step::End),
        id.prop_map(Step::Withdraw),
    ]
}

proptest! {
    /// In whatever order workers do whatever they can do: each token is resolved once, to a request that there is or
    /// to nobody, and nothing holds a request in the end.
    #[test]
    fn every_fault_is_somebodys_in_the_end(steps in proptest::collection::vec(step(), 0..200)) {
        let mut w = World::new();
        let mut lines: [Outbound; 3] = Default::default();
        let mut channels: [Channel; 3] = Default::default();
        let mut faults = Vec::new();
        for id in 0..6 {
            w.contexts.opened(RequestId(id));
        }
        for step in steps {
            match step {
                Step::Read(tid, id) => w.reads(tid, RequestId(id)),
                Step::Write(tid, id) => w.writes(tid, RequestId(id)),
                Step::Answer(tid, id) => w.answers(tid, RequestId(id)),
                Step::Wait(tid, false) => w.waits(tid),
                Step::Wait(tid, true) => w.asks_for_events(tid),
                Step::RunOut(tid) => w.contexts.wait_runs_out(worker(tid)),
                Step::Connect(tid, line) => {
                    let new = w.connects(tid);
                    let old = std::mem::replace(&mut lines[line], new);
                    w.contexts.closes_outbound(&old);
                }
                Step::Ask(tid, line) => w.asks(tid, &mut lines[line]),
                Step::Told(tid, line) => w.is_told(tid, &mut lines[line]),
                Step::Wake(waker, waiter, word) if waker != waiter => w.wakes(waker, waiter, word),
                Step::Wake(..) => {}
                Step::Signal(tid, channel) => w.signals(tid, &mut channels[channel]),
                Step::Hear(tid, channel) => w.hears(tid, &mut channels[channel]),
                Step::End(tid) => w.contexts.leave(worker(tid)),
                Step::Withdraw(id) => w.contexts.withdrawn(RequestId(id)),
            }
            for tid in 1..6 {
                faults.push(w.fault(tid));
            }
        }
        for tid in 1..6 {
            w.contexts.leave(worker(tid));
        }
        for line in lines {
            w.contexts.closes_outbound(&line);
        }
        for channel in channels {
            w.contexts.closes_channel(channel);
        }
        let _ = w.now();
        for id in 0..6 {
            prop_assert!(!w.contexts.is_held(RequestId(id)));
        }
        w.end();
        for fault in faults {
            prop_assert!(!matches!(w.whose(fault), Owner::Token(..)));
        }
    }
}
