//! Regions as memtrace has them of a live process, by its probes and by `/proc`: against the kernel's own listing.

use std::fs;
use std::ops::Range;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use memtrace::kernel::{Live, Options};
use memtrace::model::maps;
use memtrace::model::vma::{AddressSpace, Backing, Files, Vma};
use memtrace::pipeline::{Config, Pipeline};
use memtrace_common::Tgid;
use memtrace_tests::memtrace::{Memtrace, run};
use memtrace_tests::process::{PATIENCE, Running, Stream, built};
use memtrace_tests::report::Report;
use memtrace_tests::require_root;
use memtrace_tests::server::installed;

/// So many runs.
const SEEDS: u64 = 5;
/// In each run.
const CALLS: &str = "4000";

/// A region in words that do not depend on who numbered the files.
fn described((range, vma): &(Range<u64>, Vma), files: &Files) -> String {
    let backing = match vma.backing {
        Backing::File(id) => format!("file {:?}", files.printable(id)),
        Backing::Shmem(Some(id)) => format!("shmem {:?}", files.printable(id)),
        other => format!("{other:?}"),
    };
    let Vma {
        prot, shared, offset, ..
    } = vma;
    format!("{range:x?} {prot:?} shared {shared} {backing} at {offset:#x}")
}

fn listing(space: &AddressSpace, files: &Files) -> Vec<String> {
    let regions = space.listing();
    regions.iter().map(|region| described(region, files)).collect()
}

#[test]
#[ignore = "needs root"]
fn thousands_of_calls_that_the_probes_saw_leave_what_the_kernel_has() {
    require_root();
    for seed in 0..SEEDS {
        let mut command = Command::new(built("memtrace-maps", "MEMTRACE_MAPS_BIN"));
        let seed = seed.to_string();
        let mut maps = Running::start(command.args(["--seed", &seed, "--calls", CALLS, "--hold"]));
        maps.wait_for_line(Stream::Stdout, "ready ");
        let tgid = Tgid(maps.pid());
        let options = Options {
            ring_bytes: 16 << 20,
            follow: true,
            comm: None,
            cgroup: None,
            fault_time: false,
            kernel_log: false,
        };
        let mut pipeline = Pipeline::new(Config::default());
        let mut live = Live::attach(&options).expect("the probes attach");
        live.tell_beginning(|event| pipeline.feed(event));
        assert!(live.adopt(tgid, |event| pipeline.feed(event)) > 0, "it is gone");
        maps.type_in(b"g");
        maps.wait_for_line(Stream::Stdout, "{");
        // It waits for its second byte: what it did is in the ring.
        let deadline = Instant::now() + PATIENCE;
        std::thread::sleep(Duration::from_millis(50));
        while live.pump(|event| pipeline.feed(event)) {
            assert!(Instant::now() < deadline, "the ring never ends");
        }
        let text = fs::read(format!("/proc/{}/maps", tgid.0)).expect("it lives");
        let (mut kernel, mut files) = (AddressSpace::default(), Files::default());
        kernel.seed(&text, &mut files, None);
        let kernel = listing(&kernel, &files);
        let (model, files) = pipeline.regions(tgid).expect("it is known");
        let model = listing(model, files);
        let differ: Vec<_> = model.iter().filter(|region| !kernel.contains(region)).collect();
        let missing: Vec<_> = kernel.iter().filter(|region| !model.contains(region)).collect();
        assert!(
            differ.is_empty() && missing.is_empty(),
            "seed {seed}: memtrace has {differ:#?}\nthe kernel has {missing:#?}"
        );
        live.finish(|event| pipeline.feed(event))
            .expect("the probes stop");
        let outcome = pipeline.finish();
        assert_eq!(outcome.lost.records(), 0, "seed {seed}");
        maps.type_in(b"g");
        maps.finish().assert_status(0);
    }
}

/// Maps a file and touches it in a window. The first argument is the file's name, in bytes as hexadecimal digits. It
/// stays for long enough to be looked at: what a process has mapped that is gone at once, nobody can ask `/proc`.
const MAP_A_FILE: &str = r#"
import mmap, os, sys, time
path = bytes.fromhex(sys.argv[1])
with open(path, "wb") as file:
    file.write(b"x" * 4096)
marks = os.open("/dev/null", os.O_WRONLY)
file = os.open(path, os.O_RDONLY)
os.write(marks, b"memtrace:begin map 1")
memory = mmap.mmap(file, 4096, prot=mmap.PROT_READ)
memory[0]
os.write(marks, b"memtrace:end 1")
if len(sys.argv) > 2:
    os.unlink(path)
time.sleep(0.1)
"#;

#[test]
#[ignore = "needs root and python3"]
fn paths_of_any_bytes_are_told_and_harm_nobody() {
    require_root();
    let folder = tempfile::tempdir().expect("a folder");
    let folder_bytes = folder.path().as_os_str().to_owned().into_vec();
    let _ = installed("python3", "python3");
    for name in [
        b"plain".as_slice(),
        b"two\nlines",
        b"\x1b[2J\x07",
        b"not \xff\xfe UTF-8",
        b"space at the end ",
        b"7f0000000000-7f0000001000 r--p 00000000 00:00 0 ",
        b"[heap]",
        b"(deleted)",
    ] {
        let path = [folder_bytes.as_slice(), b"/", name].concat();
        let hexadecimal: Vec<String> = path.iter().map(|byte| format!("{byte:02x}")).collect();
        let hexadecimal = hexadecimal.concat();
        let run = run([
            "--format",
            "ndjson",
            "--",
            "python3",
            "-c",
            MAP_A_FILE,
            hexadecimal.as_str(),
        ]);
        let report = Report::of(run.assert_status(0));
        let [window] = &report.requests[..] else {
            panic!("{} windows, not 1\n{run}", report.requests.len());
        };
        // As `/proc/PID/maps` has it, and printable then.
        let lines: Vec<&[u8]> = path.split(|&byte| byte == b'\n').collect();
        let expected = maps::printable(&lines.join(&b"\\012"[..]));
        let files = window.faults.files.as_deref().unwrap_or_default();
        run.assert(
            files.iter().any(|file| file.path == expected),
            format_args!("no file {expected:?}: {files:?}"),
        );
        run.assert(
            !run.stdout.contains('\u{1b}') && !run.stdout.contains('\u{7}'),
            "control characters",
        );
        fs::remove_file(PathBuf::from(std::ffi::OsString::from_vec(path))).expect("it is there");
    }
}

/// Neighbours of different protection.
const REGIONS: u64 = 60_000;
/// Makes them, and takes the difference away again.
const MAP_MANY: &str = r"
import ctypes, mmap, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
area = libc.mmap(None, 4096 * 60000, 3, 0x22, -1, 0)
for page in range(0, 60000, 2):
    if libc.mprotect(area + page * 4096, 4096, 1) != 0:
        sys.exit('mprotect')
print('ready', flush=True)
sys.stdin.read(1)
for page in range(1, 60000, 2):
    libc.mprotect(area + page * 4096, 4096, 1)
print('done', flush=True)
sys.stdin.read(1)
";

#[test]
#[ignore = "needs root and python3"]
fn a_process_with_sixty_thousand_regions_costs_bounded_memory() {
    require_root();
    let mut python = installed("python3", "python3");
    let mut many = Running::start(python.args(["-c", MAP_MANY]));
    many.wait_for_line(Stream::Stdout, "ready");
    let pid = many.pid().to_string();
    let lines = fs::read_to_string(format!("/proc/{pid}/maps"))
        .expect("it lives")
        .lines()
        .count();
    assert!(lines as u64 >= REGIONS, "{lines} regions");
    let memtrace = Memtrace::attach(["--pid", &pid, "--format", "ndjson"]);
    many.type_in(b"g");
    many.wait_for_line(Stream::Stdout, "done");
    std::thread::sleep(Duration::from_millis(200));
    let status = fs::read_to_string(format!("/proc/{}/status", memtrace.pid())).expect("it lives");
    let peak = status
        .lines()
        .find_map(|line| {
            line.strip_prefix("VmHWM:")?
                .trim()
                .strip_suffix(" kB")?
                .parse::<u64>()
                .ok()
        })
        .expect("a peak");
    let run = memtrace.interrupt();
    let report = Report::of(run.assert_status(0));
    run.assert(report.summary.books.balanced, "not balanced");
    // The text of /proc is 6 MB, a region is 64 bytes, and twice while it settles; the ring is mapped twice.
    run.assert(peak < 150_000, format_args!("{peak} KiB at the most"));
    many.type_in(b"g");
}
