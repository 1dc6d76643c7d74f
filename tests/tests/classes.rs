//! What kind of fault it was, where, and in which file: each route of the workload has exactly so many in exactly one
//! class, and every request of servers that people run adds up.
//!
//! What a request costs beside (`/none`) is measured in the same run, never assumed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::process::Command;

use memtrace_tests::memtrace::{self, Memtrace};
use memtrace_tests::nginx::Nginx;
use memtrace_tests::process::{Finished, Running};
use memtrace_tests::report::{Report, Request};
use memtrace_tests::server::{Server, app, free_port, installed};
use memtrace_tests::swap::Swap;
use memtrace_tests::traced::{Traced, plan};
use memtrace_tests::workload::{Mode, Workload, kinds_of_memory};
use memtrace_tests::{kernel_at_least, require_root};

/// So many times N, in this class.
type Share = (&'static str, u64);

/// What N of a route are.
struct Class {
    route: &'static str,
    causes: Vec<Share>,
    region: Share,
    /// They are in the one file that the server maps, which it holds open, and whose name is gone.
    in_its_file: bool,
}

#[track_caller]
fn class_of(route: &str) -> Class {
    let route = route.split('?').next().unwrap_or_default();
    let class = |route, cause, region| Class {
        route,
        causes: vec![(cause, 1)],
        region: (region, 1),
        in_its_file: false,
    };
    let file = |route, cause| Class {
        in_its_file: true,
        ..class(route, cause, "file")
    };
    match route {
        "/none" | "/unmap" => Class {
            route: "/unmap",
            causes: Vec::new(),
            region: ("anon", 0),
            in_its_file: false,
        },
        "/touch" => class("/touch", "zero_fill", "anon"),
        "/kernel" => class("/kernel", "zero_fill", "anon"),
        "/brk" => class("/brk", "zero_fill", "heap"),
        "/keep" => class("/keep", "zero_fill", "anon"),
        "/cow" => class("/cow", "cow", "anon"),
        "/filemap" => file("/filemap", "file_map"),
        "/filecow" => file("/filecow", "cow"),
        "/filewrite" => Class {
            causes: vec![("file_map", 1), ("write_protect", 1)],
            region: ("file", 2),
            ..file("/filewrite", "")
        },
        "/major" => file("/major", "file_read"),
        "/stack" => class("/stack", "zero_fill", "stack"),
        "/jit" => class("/jit", "zero_fill", "jit"),
        "/shm" => class("/shm", "zero_fill", "shmem"),
        // A huge page is one fault.
        "/thp" => class("/thp", "zero_fill", "anon"),
        "/zero-read" => class("/zero-read", "zero_page_read", "anon"),
        "/swap" => class("/swap", "swap_in", "anon"),
        "/mremap" => Class {
            causes: vec![("zero_fill", 2)],
            region: ("anon", 2),
            ..class("/mremap", "", "")
        },
        "/mprotect" if kernel_at_least(6, 0) => class("/mprotect", "zero_fill", "anon"),
        // The second write finds the page there, and this process's alone: nothing is copied, but nothing that the
        // probes see tells that from a copy.
        "/mprotect" => Class {
            causes: vec![("zero_fill", 1), ("cow", 1)],
            region: ("anon", 2),
            ..class("/mprotect", "", "")
        },
        other => panic!("no class is known for {other}"),
    }
}

type Counts = BTreeMap<String, u64>;

/// Both breakdowns, which have to be told.
#[track_caller]
fn breakdowns<'r>(run: &Finished, request: &'r Request) -> [(&'static str, &'r Counts); 2] {
    let faults = &request.faults;
    match (&faults.cause, &faults.region, &faults.files) {
        (Some(cause), Some(region), Some(_)) => [("cause", cause), ("region", region)],
        (cause, region, files) => panic!(
            "{}: cause, region and files are to be told, and are {cause:?}, {region:?} and {files:?}\n{run}",
            request.path
        ),
    }
}

/// The most that a request had in each class which asked for nothing.
#[track_caller]
fn beside(traced: &Traced, name: &str) -> Counts {
    let mut most = Counts::new();
    for request in &traced.report.requests {
        if request.path == "/none" {
            let [cause, region] = breakdowns(&traced.run, request);
            let counts = if name == "cause" { cause.1 } else { region.1 };
            for (class, count) in counts {
                let most = most.entry(class.clone()).or_default();
                *most = (*most).max(*count);
            }
        }
    }
    most
}

/// N of each in their class, and in every other no more than `/none` has.
#[track_caller]
fn assert_classes(traced: &Traced, request: &Request, asked: u64, class: &Class) {
    for (name, counts) in breakdowns(&traced.run, request) {
        let shares: &[Share] = if name == "cause" {
            &class.causes
        } else {
            std::slice::from_ref(&class.region)
        };
        let beside = beside(traced, name);
        for (key, &count) in counts {
            let share = shares
                .iter()
                .find(|(name, _)| name == key)
                .map_or(0, |(_, times)| *times);
            let (expected, beside) = (share * asked, beside.get(key).copied().unwrap_or(0));
            traced.run.assert(
                (expected..=expected + beside).contains(&count),
                format_args!(
                    "{}: {count} {name} {key}, not {expected} and up to {beside} beside: {counts:?}",
                    request.path
                ),
            );
        }
    }
}

/// The files that a process holds open without a name.
#[track_caller]
fn unlinked_files(workload: &Workload) -> Vec<String> {
    let folder = fs::read_dir(format!("/proc/{}/fd", workload.pid())).expect("it lives");
    let links = folder.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let links = links.map(|link| link.to_string_lossy().into_owned());
    links.filter(|link| link.ends_with(" (deleted)")).collect()
}

#[track_caller]
fn assert_file(traced: &Traced, request: &Request, asked: u64, class: &Class, unlinked: &[String]) {
    let files = request.faults.files.as_deref().unwrap_or_default();
    let own: Vec<_> = files
        .iter()
        .filter(|file| unlinked.contains(&file.path))
        .collect();
    let expected = if class.in_its_file {
        class.region.1 * asked
    } else {
        0
    };
    let is: u64 = own.iter().map(|file| file.faults).sum();
    traced.run.assert(
        is == expected && own.len() == usize::from(expected > 0),
        format_args!(
            "{}: {expected} are in one of {unlinked:?}, not {files:?}",
            request.path
        ),
    );
    let (all, of_files) = (
        files.iter().map(|file| file.faults).sum::<u64>(),
        request
            .faults
            .region
            .as_ref()
            .and_then(|region| region.get("file")),
    );
    traced.run.assert(
        Some(&all) == of_files,
        format_args!("{}: {of_files:?} are in files, not {files:?}", request.path),
    );
}

/// Each route alone in a run, so that the one that is wrong is the one that is named.
#[track_caller]
fn assert_route(route: &str) {
    let class = class_of(route);
    for mode in Mode::ALL {
        let workload = Workload::start(mode);
        let unlinked = unlinked_files(&workload);
        let targets = |round: usize| {
            let number = [1, 2, 7, 40, 16, 3][round % 6];
            // There has to be something to unmap.
            let keep = (class.route == "/unmap").then(|| format!("/keep?pages={number}"));
            keep.into_iter().chain([format!("{route}{number}")]).collect()
        };
        let traced = Traced::drive_on(&workload, &[], &[plan(12, targets)]);
        let mut seen = 0;
        for (asked, request) in traced.of_route(class.route) {
            assert_classes(&traced, request, asked, &class);
            assert_file(&traced, request, asked, &class, &unlinked);
            seen += 1;
        }
        traced
            .run
            .assert(seen == 12, format_args!("{mode:?}: {seen} of {route}"));
    }
}

#[test]
#[ignore = "needs root"]
fn fresh_anonymous_pages_are_zero_filled() {
    for route in [
        "/touch?pages=",
        "/kernel?pages=",
        "/keep?pages=",
        "/jit?pages=",
        "/shm?pages=",
    ] {
        assert_route(route);
    }
}

#[test]
#[ignore = "needs root"]
fn pages_above_the_old_break_are_the_heaps() {
    assert_route("/brk?pages=");
}

#[test]
#[ignore = "needs root"]
fn pages_that_are_unmapped_untouched_are_no_faults() {
    assert_route("/unmap?pages=");
}

#[test]
#[ignore = "needs root"]
fn pages_that_are_read_first_are_the_zero_page() {
    assert_route("/zero-read?pages=");
}

#[test]
#[ignore = "needs root"]
fn pages_that_a_child_has_too_are_copied() {
    assert_route("/cow?pages=");
}

#[test]
#[ignore = "needs root"]
fn pages_of_a_cached_file_are_mapped_or_copied() {
    for route in ["/filemap?pages=", "/filecow?pages="] {
        assert_route(route);
    }
}

#[test]
#[ignore = "needs root"]
fn pages_of_an_evicted_file_are_read() {
    assert_route("/major?pages=");
}

#[test]
#[ignore = "needs root"]
fn a_shared_files_page_is_protected_until_it_is_written_to() {
    assert_route("/filewrite?pages=");
}

/// The first thread's grows with no call; any other's is found by its thread.
#[test]
#[ignore = "needs root"]
fn deep_frames_are_the_stacks() {
    assert_route("/stack?pages=");
}

#[test]
#[ignore = "needs root"]
fn a_huge_page_is_one_fault() {
    assert_route("/thp?huge=");
}

#[test]
#[ignore = "needs root"]
fn mappings_that_move_or_change_are_followed() {
    for route in ["/mremap?pages=", "/mprotect?pages="] {
        assert_route(route);
    }
}

#[test]
#[ignore = "needs root"]
fn pages_that_are_swapped_out_are_swapped_in() {
    require_root();
    let _swap = match Swap::on() {
        Ok(swap) => swap,
        Err(why) => {
            let _ = writeln!(io::stderr(), "left out: {why}");
            return;
        }
    };
    let routes = kinds_of_memory();
    let routes: Vec<_> = routes.iter().filter(|route| route.starts_with("/swap")).collect();
    assert!(
        !routes.is_empty(),
        "swap is on, but the workload has no route for it"
    );
    for route in routes {
        assert_route(route);
    }
}

/// Traces a server while it is asked 60 times for this, by turns on three connections; then every request's cause and
/// region are told, and add up.
#[track_caller]
fn assert_identities(server: &Server, target: &str) {
    require_root();
    let port = server.port.to_string();
    let memtrace = Memtrace::attach(["--port", &port, "--format", "ndjson"]);
    let mut clients = [server.client(), server.client(), server.client()];
    for number in 0..60 {
        let answer = clients[number % 3].get(target).expect("an answer");
        assert_eq!(answer.status, 200, "{target}");
    }
    let run = memtrace.interrupt();
    let report = Report::of(run.assert_status(0));
    // Where they are told, their sums are held to the total.
    run.assert(report.check().is_ok(), format_args!("{:?}", report.check()));
    run.assert(
        report.requests.len() == 60,
        format_args!("{} requests", report.requests.len()),
    );
    for request in &report.requests {
        for (name, counts) in breakdowns(&run, request) {
            let sum: u64 = counts.values().sum();
            run.assert(
                sum == request.faults.total,
                format_args!("{name}: {sum} in {request:?}"),
            );
        }
        let files = request.faults.files.as_deref().unwrap_or_default();
        let region = request.faults.region.as_ref();
        let of_files = region.and_then(|region| region.get("file")).copied();
        run.assert(
            of_files == Some(files.iter().map(|file| file.faults).sum()),
            format_args!("{of_files:?} are in files: {request:?}"),
        );
    }
    let books = report.summary.books;
    run.assert(books.observed > 0, format_args!("{books:?}"));
}

#[test]
#[ignore = "needs root and nginx"]
fn nginxs_requests_add_up_by_cause_and_region() {
    for sendfile in ["on", "off"] {
        assert_identities(&Nginx::start(sendfile).server, "/page");
    }
}

#[test]
#[ignore = "needs root and python3"]
fn pythons_threads_requests_add_up_by_cause_and_region() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("page"), vec![b'x'; 64 * 1024]).expect("a file");
    let port = free_port();
    let mut command = installed("python3", "python3");
    command.args([
        "-m",
        "http.server",
        "--bind",
        "127.0.0.1",
        "--protocol",
        "HTTP/1.1",
    ]);
    command
        .arg("--directory")
        .arg(folder.path())
        .arg(port.to_string());
    assert_identities(&Server::start_on(port, &mut command), "/page");
}

#[test]
#[ignore = "needs root and node"]
fn nodes_requests_add_up_by_cause_and_region() {
    let mut command: Command = installed("node", "nodejs");
    let server = Server::start(command.arg(app("plain/server.js")).env("PORT", "0"));
    assert_identities(&server, "/page");
}

/// A mapping is gone, and another is at its address, by the time anybody can ask for its file.
#[test]
#[ignore = "needs root and python3"]
fn a_mapping_that_is_gone_is_not_named_after_what_came_next() {
    const SCRIPT: &str = r#"
import mmap, os, sys, time
mark = os.open("/dev/null", os.O_WRONLY)
files = [os.open(path, os.O_RDONLY) for path in sys.argv[1:]]
def map_and_read(file, name):
    memory = mmap.mmap(file, 409600, mmap.MAP_PRIVATE, mmap.PROT_READ)
    os.write(mark, b"memtrace:begin %s %s" % (name, name))
    memory[0]
    os.write(mark, b"memtrace:end %s" % name)
    return memory
map_and_read(files[0], b"before-a-file").close()
memory = map_and_read(files[1], b"a-file")
time.sleep(0.5)
memory.close()
map_and_read(files[0], b"before-memory").close()
memory = mmap.mmap(-1, 409600, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
time.sleep(0.5)
"#;
    require_root();
    let folder = tempfile::tempdir().expect("a folder");
    let [first, second, report] = ["first", "second", "report"].map(|name| folder.path().join(name));
    for file in [&first, &second] {
        fs::write(file, vec![7; 409_600]).expect("a file");
    }
    let mut memtrace = memtrace::command(["--format", "ndjson", "-o"]);
    memtrace
        .arg(&report)
        .args(["--", "python3", "-c", SCRIPT])
        .args([&first, &second]);
    // Only to say which package has it.
    let _ = installed("python3", "python3");
    let run = Running::start(&mut memtrace).finish();
    run.assert_status(0);
    let text = fs::read_to_string(report).expect("a report");
    let report = Report::parse(&text).unwrap_or_else(|why| panic!("{why}\n{run}"));
    run.assert(
        report.requests.len() == 3,
        format_args!("{} windows", report.requests.len()),
    );
    for window in &report.requests {
        breakdowns(&run, window);
        let files = window.faults.files.as_deref().unwrap_or_default();
        let is = files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>();
        let own = if window.path == "a-file" { &second } else { &first };
        let holds = is == [own.to_string_lossy()] || is == ["(unknown)"] && window.path != "a-file";
        run.assert(holds, format_args!("{} is in {own:?}, not {is:?}", window.path));
    }
}
