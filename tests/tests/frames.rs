//! Page frames and resident memory of requests for which both are known in advance.

use std::process::Command;
use std::thread::available_parallelism;
use std::time::Duration;

use memtrace::event::Event;
use memtrace_common::decode::Record;
use memtrace_tests::memtrace::Memtrace;
use memtrace_tests::process::{Running, Stream, built};
use memtrace_tests::report::{Frames, Report, Request, Rss};
use memtrace_tests::traced::{Traced, plan};
use memtrace_tests::workload::{Mode, Workload};
use memtrace_tests::{kernel_at_least, require_root};

mod watched;

/// Base pages of a huge one, and of what one page table maps.
const TABLE: u64 = 512;
/// New pages that a CPU keeps to itself until there are so many (`PAGEVEC_SIZE` in `include/linux/pagevec.h`). Until
/// then it holds on to them, whoever unmaps them.
const BATCH: u64 = 31;
/// CPUs of which the probes read resident memory to the page.
const CPUS_MAX: usize = 16;

#[track_caller]
fn frames(traced: &Traced, request: &Request) -> Frames {
    traced.run.assert(
        request.frames.is_some(),
        format_args!("{}: no frames", request.path),
    );
    request.frames.unwrap_or_default()
}

/// Of resident memory that is known to the page.
#[track_caller]
fn rss(traced: &Traced, request: &Request) -> Rss {
    traced
        .run
        .assert(request.rss.is_some(), format_args!("{}: no rss", request.path));
    let rss = request.rss.unwrap_or_default();
    traced.run.assert(
        rss.error_max == 0,
        format_args!("{}: {rss:?} may be off", request.path),
    );
    rss
}

/// Up to 6.1 each thread has a part of its own, and of many CPUs the parts are not read.
fn is_known_to_the_page() -> bool {
    let cpus = available_parallelism().map_or(1, usize::from);
    cpus <= CPUS_MAX && kernel_at_least(6, 2)
}

/// Resident memory has moved by so many anonymous pages and nothing else.
#[track_caller]
fn assert_moved(traced: &Traced, request: &Request, pages: i64) {
    let Rss { start, end, .. } = rss(traced, request);
    let delta = pages * 4096;
    let expected = Rss {
        start,
        end,
        delta,
        anon_delta: delta,
        ..Rss::default()
    };
    traced.run.assert(
        request.rss == Some(expected),
        format_args!(
            "{}: {:?}, but it moved by {pages} pages",
            request.path, request.rss
        ),
    );
}

/// The fewest tables that map so many pages, and three that their place may need beside: one more for a beginning in
/// the middle of a table, and two of the levels above.
fn tables_max(pages: u64) -> u64 {
    pages.div_ceil(TABLE) + 3
}

#[test]
#[ignore = "needs root"]
fn each_page_that_is_touched_is_a_frame() {
    for mode in Mode::ALL {
        let targets = |round| {
            [1, 64, 700, 3000]
                .map(|n| format!("/touch?pages={}", n + round))
                .to_vec()
        };
        let traced = Traced::drive(mode, &[], &[plan(10, targets)]);
        for (pages, request) in traced.of_route("/touch") {
            let frames = frames(&traced, request);
            traced.run.assert(
                (frames.user, frames.huge) == (pages, 0) && frames.page_table <= tables_max(pages),
                format_args!("{mode:?}, {}: {frames:?}", request.path),
            );
            if is_known_to_the_page() {
                assert_moved(&traced, request, 0);
            }
        }
    }
}

#[test]
#[ignore = "needs root"]
fn resident_memory_that_has_not_moved_is_told_all_the_same() {
    for mode in Mode::ALL {
        let targets = |round| {
            let keep = format!("/keep?pages={}", 1 + round);
            let none = || std::iter::repeat_n("/none".to_owned(), 20);
            none().chain([keep]).chain(none()).collect()
        };
        let traced = Traced::drive(mode, &[], &[plan(10, targets)]);
        if !is_known_to_the_page() {
            return;
        }
        let mut before = None;
        for request in &traced.report.requests {
            let pages = request
                .path
                .split_once('=')
                .map_or(Ok(0), |(_, pages)| pages.parse());
            assert_moved(&traced, request, pages.expect("a number of pages"));
            let Rss { start, end, .. } = rss(&traced, request);
            traced.run.assert(
                before.is_none_or(|before| before == start),
                format_args!("{mode:?}, {}: {start}, but it was {before:?}", request.path),
            );
            before = Some(end);
        }
    }
}

#[test]
#[ignore = "needs root"]
fn what_is_kept_is_resident_until_it_is_unmapped() {
    for mode in Mode::ALL {
        let targets = |round| {
            let pages = 1 + 300 * round;
            ["/keep", "/unmap"]
                .map(|route| format!("{route}?pages={pages}"))
                .to_vec()
        };
        let traced = Traced::drive(mode, &[], &[plan(12, targets)]);
        for (pages, request) in traced.of_route("/keep") {
            let frames = frames(&traced, request);
            traced.run.assert(
                frames.user == pages && frames.page_table <= tables_max(pages),
                format_args!("{mode:?}, {}: {frames:?}", request.path),
            );
            if is_known_to_the_page() {
                assert_moved(&traced, request, pages.cast_signed());
            }
        }
        let cpus = available_parallelism().map_or(1, usize::from) as u64;
        for (pages, request) in traced.of_route("/unmap") {
            let frames = frames(&traced, request);
            // Each CPU may hold on to a batch of these, and let go of one of those before; tables come on top, and
            // what the kernel has allocated to remember what it unmaps.
            let most = pages + BATCH * cpus + tables_max(pages) + frames.kernel;
            traced.run.assert(
                frames.freed >= pages.saturating_sub(BATCH * cpus)
                    && frames.freed <= most
                    && frames.user == 0,
                format_args!("{mode:?}, {}: {frames:?}", request.path),
            );
            if is_known_to_the_page() {
                assert_moved(&traced, request, -pages.cast_signed());
            }
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_huge_page_is_one_fault_and_512_frames() {
    for mode in Mode::ALL {
        let targets = |round| {
            [1 + round % 8, 0]
                .map(|huge| format!("/thp?huge={huge}"))
                .to_vec()
        };
        let workload = Workload::start(mode);
        // Whatever the last request of this kind has left.
        workload.client().get("/thp?huge=0").expect("an answer");
        let traced = Traced::drive_on(&workload, &[], &[plan(12, targets)]);
        let beside = traced.most_for_nothing(|request| request.faults.total);
        let mut before = 0;
        for (huge, request) in traced.of_route("/thp") {
            let frames = frames(&traced, request);
            traced.run.assert(
                (frames.huge, frames.user) == (huge, huge * TABLE)
                    && (huge..=huge + beside).contains(&request.faults.total),
                format_args!("{mode:?}, {}: {frames:?}, {:?}", request.path, request.faults),
            );
            if is_known_to_the_page() {
                let pages = (huge * TABLE).cast_signed();
                assert_moved(&traced, request, pages - before);
                before = pages;
            }
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_request_for_nothing_moves_nothing() {
    for mode in Mode::ALL {
        let traced = Traced::drive(mode, &[], &[plan(50, |_| vec!["/none".to_owned()])]);
        let mut took_none = 0;
        for request in &traced.report.requests {
            let frames = frames(&traced, request);
            traced.run.assert(
                (frames.user, frames.page_table, frames.huge) == (0, 0, 0),
                format_args!("{mode:?}: {frames:?}"),
            );
            took_none += usize::from(frames == Frames::default());
            if is_known_to_the_page() {
                assert_moved(&traced, request, 0);
            }
        }
        // Now and then the kernel needs a page for what it keeps of a connection.
        traced.run.assert(
            took_none > traced.report.requests.len() / 2,
            format_args!("{mode:?}: {took_none} took no frame"),
        );
    }
}

/// What a busy network takes, it takes in interrupts, on whoever runs just then.
#[test]
#[ignore = "needs root"]
fn what_interrupts_allocate_is_nobodys() {
    const PAGES: u64 = 20_000;
    require_root();
    let (workload, neighbour) = (Workload::start(Mode::Threads), Workload::start(Mode::Threads));
    let mut client = workload.client();
    let memtrace = Memtrace::attach([
        "--pid",
        &workload.pid().to_string(),
        "--format",
        "ndjson",
        "--query",
    ]);
    for _ in 0..20 {
        client.get("/none").expect("an answer");
    }
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let mut busy = neighbour.client();
            let done = &done;
            scope.spawn(move || {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    busy.pipeline(&["/none"; 50]).expect("50 answers");
                }
            });
        }
        for _ in 0..3 {
            for target in ["/sleep?ms=300&pages=0", &format!("/touch?pages={PAGES}")] {
                client.get(target).expect("an answer");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let run = memtrace.interrupt();
    let report = Report::of(run.assert_status(0));
    run.assert(report.check().is_ok(), format_args!("{:?}", report.check()));
    let traced = Traced { run, report };
    let most = traced.most_for_nothing(|request| request.frames.map_or(0, |frames| frames.kernel));
    for (_, request) in traced.of_route("/sleep") {
        let frames = frames(&traced, request);
        traced.run.assert(
            (frames.user, frames.page_table) == (0, 0) && frames.kernel <= most,
            format_args!("{}: {frames:?}, and /none takes {most}", request.path),
        );
    }
    for (_, request) in traced.of_route("/touch") {
        let frames = frames(&traced, request);
        // To unmap them the kernel takes a page for each 500 of them, to remember them by.
        let most = most + PAGES / 256;
        traced.run.assert(
            frames.user == PAGES && frames.page_table <= tables_max(PAGES) && frames.kernel <= most,
            format_args!("{}: {frames:?}, and /none takes {most}", request.path),
        );
    }
}

/// A thread that takes the first one's number by `exec` has a stack of its own, and by that its frames are told from
/// those of interrupts. (Faults are timed so that work is added up before any request.)
#[test]
#[ignore = "needs root"]
fn frames_are_a_threads_own_though_exec_gives_it_anothers_number() {
    const PAGES: u64 = 300;
    for who in ["", " --leaderless"] {
        require_root();
        let mut command = Command::new(built("memtrace-tasks", "MEMTRACE_TASKS_BIN"));
        let arguments = format!("exec --pages {PAGES}{who}");
        let mut tasks = Running::start(command.args(arguments.split(' ')));
        tasks.wait_for_line(Stream::Stdout, "ready ");
        let pid = tasks.pid();
        let act = || {
            tasks.type_in(b"g");
            tasks.wait_for_line(Stream::Stdout, "done");
        };
        let (mut is_anew, mut user) = (false, 0);
        watched::watched(pid, true, act, |event| match event {
            Event::Record(Record::Exec(exec)) => is_anew = exec.old_tid != exec.header.tid,
            Event::Record(Record::Tally(tally)) if is_anew && tally.header.tid == pid => {
                user += tally.frames.user;
            }
            Event::Notice(memtrace::event::Notice::Untold { tid, work }) if tid.0 == pid => {
                user += work.frames.user;
            }
            _ => {}
        });
        tasks.type_in(b"g");
        tasks.finish().assert_status(0);
        assert!(is_anew, "no other thread called exec");
        assert!(user >= PAGES, "{user} frames for {PAGES} new pages{who}");
    }
}
