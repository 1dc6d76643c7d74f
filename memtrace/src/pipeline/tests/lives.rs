//! Threads that end, and threads that take another's place.

use super::*;

#[test]
fn a_fault_after_the_exit_probe_is_in_the_books() {
    let mut k = Kernel::new();
    k.thread(1, FaultCount::default());
    let header = k.header(1, wire::KIND_EXIT);
    k.record(Record::Exit(header));
    k.minor(1, wire::FAULT_KERNEL);
    let header = k.header(1, wire::KIND_FREE);
    k.record(Record::Free(header));
    k.counts.clear();
    let (_, outcome) = k.finish();
    assert_eq!((outcome.books.kernel_min_flt, outcome.books.observed), (1, 1));
    assert_eq!(outcome.unattributed, [("background_thread".to_owned(), 1)].into());
}

/// On a busy server a thread can be born and gone before what it did is taken out of the ring: nobody finds it when the
/// horizons are read.
#[test]
fn a_thread_that_was_born_and_gone_while_nobody_read_the_ring_counts() {
    for is_too_late in [false, true] {
        let mut k = Kernel::new();
        k.thread(P, FaultCount::default());
        let ended = Nanos(if is_too_late { k.time } else { k.time + 1_000 });
        k.notice(Notice::Horizon {
            tid: Tid(P),
            count: FaultCount::default(),
        });
        k.notice(Notice::Ending { time: ended });
        k.fork(P, P, 7, 0);
        k.accept(7, 5);
        k.request(7, 5, "/");
        k.minor(7, 0);
        k.respond(7, 5);
        k.minor(7, 0);
        let header = k.header(7, wire::KIND_EXIT);
        k.record(Record::Exit(header));
        let header = k.header(7, wire::KIND_FREE);
        k.record(Record::Free(header));
        k.counts.clear();
        let (requests, outcome) = k.conclude();
        let totals: Vec<_> = requests.iter().map(|r| (r.complete, r.faults.total)).collect();
        let expected = if is_too_late {
            (&[][..], 0)
        } else {
            (&[(true, 1)][..], 2)
        };
        assert_eq!((&totals[..], outcome.books.kernel_min_flt), expected);
        assert!(outcome.books.balanced);
    }
}

#[test]
fn a_fault_of_a_thread_whose_last_word_never_comes_is_on_neither_side() {
    let mut k = Kernel::new();
    k.thread(1, FaultCount::default());
    k.minor(1, 0);
    let header = k.header(1, wire::KIND_EXIT);
    k.record(Record::Exit(header));
    k.minor(1, wire::FAULT_KERNEL);
    k.counts.clear();
    let (_, outcome) = k.finish();
    assert_eq!((outcome.books.kernel_min_flt, outcome.books.observed), (1, 1));
    assert!(outcome.books.balanced);
    assert!(
        outcome.notes[0].starts_with("1 attempt at a fault "),
        "{:?}",
        outcome.notes
    );
}

#[test]
fn what_a_process_was_asked_ends_with_it_though_its_last_word_never_comes() {
    let mut k = Kernel::new();
    k.thread(P, FaultCount::default());
    k.accept(P, 5);
    k.request(P, 5, "/");
    k.minor(P, 0);
    let header = k.header(P, wire::KIND_EXIT);
    k.record(Record::Exit(header));
    let time = Nanos(k.time + 50);
    k.notice(Notice::Gone { tgid: Tgid(P), time });
    k.take_done();
    let [request] = k.done.as_slice() else {
        panic!("{:?}", k.done)
    };
    assert_eq!((request.complete, request.faults.total), (false, 1));
}

#[test]
fn exec_by_another_thread_takes_over_the_process() {
    let mut k = Kernel::new();
    k.thread(P, FaultCount { minor: 10, major: 0 });
    k.thread(7, FaultCount { minor: 3, major: 0 });
    k.minor(7, 0);
    let header = k.header(P, wire::KIND_EXIT);
    k.record(Record::Exit(header));
    // The caller's counters go on, under the process's id.
    let caller = k.counts.remove(&7).unwrap();
    let old_leader = k.counts.insert(P, caller).unwrap();
    let header = k.header(P, wire::KIND_EXEC);
    k.record(Record::Exec(Exec {
        header,
        old_tid: 7,
        pad: 0,
        comm: *b"new\0\0\0\0\0\0\0\0\0\0\0\0\0",
    }));
    k.minor(P, 0);
    k.counts.insert(7, old_leader);
    let header = k.header(7, wire::KIND_FREE);
    k.record(Record::Free(header));
    k.counts.remove(&7);
    let (_, outcome) = k.finish();
    assert!(outcome.books.balanced);
    assert_eq!(
        (
            outcome.books.kernel_min_flt,
            outcome.books.observed,
            outcome.books.untraced
        ),
        (2, 2, 0)
    );
    assert_eq!(outcome.comm, "new");
}

/// A first thread that exits, and a last word of it under the id that it is left with.
struct FirstThread(FaultCount);

impl Kernel {
    /// Thread 7 calls `execve`: the first thread exits, and thread 7 has the process's id and its own counters.
    fn begin_exec(&mut self, first_faults_late: bool) -> FirstThread {
        let header = self.header(P, wire::KIND_EXIT);
        self.record(Record::Exit(header));
        if first_faults_late {
            self.minor(P, wire::FAULT_KERNEL);
        }
        let caller = self.counts.remove(&7).unwrap();
        FirstThread(self.counts.insert(P, caller).unwrap())
    }

    fn end_exec(&mut self) {
        let header = self.header(P, wire::KIND_EXEC);
        self.record(Record::Exec(Exec {
            header,
            old_tid: 7,
            pad: 0,
            comm: *b"new\0\0\0\0\0\0\0\0\0\0\0\0\0",
        }));
    }

    fn free(&mut self, FirstThread(count): FirstThread) {
        self.counts.insert(7, count);
        let header = self.header(7, wire::KIND_FREE);
        self.record(Record::Free(header));
        self.counts.remove(&7);
    }
}

#[test]
fn faults_of_an_exec_that_come_before_its_record_are_its_callers() {
    // Whichever of the two has more behind it, and whether the first thread's last word comes early or late.
    for (base, caller) in [(10, 3), (3, 10), (5, 5)] {
        for (first_faults_late, freed_early) in [(false, false), (true, false), (false, true), (true, true)] {
            let mut k = Kernel::new();
            k.thread(
                P,
                FaultCount {
                    minor: base,
                    major: 0,
                },
            );
            k.thread(
                7,
                FaultCount {
                    minor: caller,
                    major: 0,
                },
            );
            k.minor(7, 0);
            let mut first = Some(k.begin_exec(first_faults_late));
            k.count(P).minor += 2;
            k.minor(P, wire::FAULT_KERNEL);
            k.attempt(P, wire::FAULT_KERNEL);
            k.major(P);
            if freed_early {
                k.free(first.take().unwrap());
            }
            k.end_exec();
            k.minor(P, 0);
            if let Some(first) = first {
                k.free(first);
            }
            let (_, outcome) = k.finish();
            let late = u64::from(first_faults_late);
            let books = outcome.books;
            let case = format!("{first_faults_late} {freed_early} {books:?}");
            assert!(books.balanced, "{case}");
            assert_eq!(
                (books.kernel_min_flt, books.kernel_maj_flt),
                (5 + late, 1),
                "{case}"
            );
            // Where both counters are alike, a first thread's late fault is taken for the other's: both sides of
            // the books have it all the same.
            if base != caller || !first_faults_late {
                assert_eq!((books.untraced, books.failed), (2, 1), "{case}");
            }
        }
    }
}

#[test]
fn a_first_thread_that_is_gone_takes_nobodys_place() {
    // Both had begun to exit when the process was found: neither says anything but its last word.
    let mut k = Kernel::new();
    k.thread(P, FaultCount { minor: 10, major: 0 });
    k.thread(7, FaultCount { minor: 3, major: 0 });
    let header = k.header(P, wire::KIND_EXIT);
    k.record(Record::Exit(header));
    let header = k.header(7, wire::KIND_FREE);
    k.record(Record::Free(header));
    k.minor(P, wire::FAULT_KERNEL);
    let header = k.header(P, wire::KIND_FREE);
    k.record(Record::Free(header));
    k.counts.clear();
    let (_, outcome) = k.finish();
    assert!(outcome.books.balanced);
    assert_eq!((outcome.books.kernel_min_flt, outcome.books.observed), (1, 1));
}

#[test]
fn a_threads_last_word_may_come_after_its_process_is_gone() {
    let mut k = Kernel::new();
    k.thread(P, FaultCount::default());
    k.thread(7, FaultCount::default());
    for tid in [7, P] {
        let header = k.header(tid, wire::KIND_EXIT);
        k.record(Record::Exit(header));
    }
    k.minor(7, wire::FAULT_KERNEL);
    for tid in [P, 7] {
        let header = k.header(tid, wire::KIND_FREE);
        k.record(Record::Free(header));
    }
    k.counts.clear();
    let (_, outcome) = k.finish();
    assert_eq!((outcome.books.kernel_min_flt, outcome.books.observed), (1, 1));
    assert!(outcome.books.balanced);
}

#[test]
fn a_thread_whose_last_word_never_came_is_in_the_books_when_its_id_is_used_again() {
    let mut k = Kernel::new();
    k.thread(P, FaultCount::default());
    k.thread(7, FaultCount::default());
    k.minor(7, 0);
    let header = k.header(7, wire::KIND_EXIT);
    k.record(Record::Exit(header));
    k.fork(P, P, 7, 0);
    k.counts.insert(7, FaultCount::default());
    k.minor(7, 0);
    k.wait(7);
    let (_, outcome) = k.finish();
    assert_eq!((outcome.books.kernel_min_flt, outcome.books.observed), (2, 2));
    assert!(outcome.books.balanced);
}
