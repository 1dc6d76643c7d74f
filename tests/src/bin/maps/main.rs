//! `memtrace-maps`: random calls that change a process's map, made in this one.
//!
//! Owns which calls are made, and that nothing else changes the map between readings of it. Prints one JSON
//! object: the map before, half-way and after, and each call with its arguments and what it returned.

mod own;

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::AsRawFd as _;

use anyhow::Context as _;
use clap::Parser;
use serde::Serialize;

use own::{Area, Call};

/// Random calls that change this process's map.
#[derive(Debug, Parser)]
#[command(name = "memtrace-maps", version)]
struct Args {
    /// The same number gives the same wishes.
    #[arg(long)]
    seed: u64,
    /// How many calls.
    #[arg(long)]
    calls: usize,
    /// Say `ready` and wait for a byte before them, and for another before the end: time for somebody to attach, and
    /// to look.
    #[arg(long)]
    hold: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    file: &'a str,
    memfd: &'a str,
    brk: u64,
    before: &'a str,
    half_way: &'a str,
    calls: &'a [Call],
    after: &'a str,
}

const PAGE: u64 = 4096;
/// Pages that calls are about.
const PAGES: u64 = 128;
/// Pages by which the break is moved, at most.
const HEAP: u64 = 32;

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let file = tempfile::tempfile().context("a file to map")?;
    file.set_len(PAGES * PAGE).context("a file to map")?;
    let memfd = own::memfd(PAGES * PAGE).context("memfd_create")?;
    let name = |fd: &dyn std::os::fd::AsRawFd| {
        std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).map(|path| path.display().to_string())
    };
    let (file_path, memfd_path) = (name(&file)?, name(&memfd)?);
    let area = Area::reserve(PAGES * PAGE).context("a range to work in")?;
    let mut maps = File::open("/proc/self/maps").context("/proc/self/maps")?;
    let (mut before, mut half_way, mut after) = (room(), room(), room());
    let mut calls = Vec::with_capacity(args.calls);
    own::touch_the_stack(32);
    let brk = own::brk(0);
    let mut random = Random(args.seed);

    if args.hold {
        let mut out = io::stdout().lock();
        writeln!(out, "ready {}", std::process::id())?;
        out.flush()?;
        wait_for_a_byte()?;
    }
    // From here to the last reading nothing is allocated.
    maps.read_to_string(&mut before)?;
    for n in 0..args.calls {
        if n == args.calls / 2 {
            maps.rewind()?;
            maps.read_to_string(&mut half_way)?;
        }
        let fds = (file.as_raw_fd(), memfd.as_raw_fd());
        calls.push(Area::perform(&wish(&mut random, &area, fds, brk)));
    }
    maps.rewind()?;
    maps.read_to_string(&mut after)?;
    own::brk(brk);

    let report = Report {
        file: &file_path,
        memfd: &memfd_path,
        brk,
        before: &before,
        half_way: &half_way,
        calls: &calls,
        after: &after,
    };
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, &report)?;
    out.write_all(b"\n")?;
    out.flush()?;
    if args.hold {
        wait_for_a_byte()?;
    }
    Ok(())
}

fn wait_for_a_byte() -> io::Result<()> {
    io::stdin().lock().read_exact(&mut [0])
}

fn room() -> String {
    String::with_capacity(16 << 20)
}

/// Any call, with arguments that have a chance.
fn wish(random: &mut Random, area: &Area, (file, memfd): (i32, i32), brk: u64) -> Call {
    let addr = area.start() + random.below(PAGES - 8) * PAGE;
    // Lengths that end within a page, too.
    let len = random.below(8 * PAGE) + 1;
    let prot = random.below(8);
    match random.below(16) {
        0..6 => {
            let (fd, anonymous) = match random.below(4) {
                0 | 1 => (-1, libc::MAP_ANONYMOUS),
                2 => (file, 0),
                _ => (memfd, 0),
            };
            let share = [libc::MAP_PRIVATE, libc::MAP_SHARED][usize::from(random.below(3) == 0)];
            let other = match random.below(8) {
                0 => libc::MAP_NORESERVE,
                1 => libc::MAP_STACK,
                _ => 0,
            };
            let (addr, fixed) = match random.below(16) {
                0 => (0, 0),
                _ => (addr, libc::MAP_FIXED),
            };
            let flags = (share | anonymous | other | fixed).cast_unsigned();
            let fd = i64::from(fd).cast_unsigned();
            Call::new(
                "mmap",
                [addr, len, prot, flags.into(), fd, random.below(16) * PAGE],
            )
        }
        6..8 => Call::new("munmap", [addr, len, 0, 0, 0, 0]),
        8..11 => Call::new("mprotect", [addr, len, prot, 0, 0, 0]),
        11..14 => {
            let old_len = if random.below(12) == 0 { 0 } else { len };
            let new_len = if random.below(2) == 0 {
                old_len
            } else {
                random.below(8 * PAGE) + 1
            };
            let flags = [0, 1, 3, 3, 5, 7][usize::try_from(random.below(6)).unwrap_or(0)];
            let new = area.start() + random.below(PAGES - 8) * PAGE;
            // A region that is duplicated onto itself is unmapped before it is looked at: the call fails, and the
            // map has changed. Nothing can follow that.
            let old_len = if new.abs_diff(addr) < 8 * PAGE {
                len
            } else {
                old_len
            };
            Call::new("mremap", [addr, old_len, new_len, flags, new, 0])
        }
        14 => {
            let advices = [
                libc::MADV_DONTNEED,
                libc::MADV_DONTFORK,
                libc::MADV_DOFORK,
                libc::MADV_RANDOM,
            ];
            let advice = advices[usize::try_from(random.below(4)).unwrap_or(0)];
            Call::new("madvise", [addr, len, u64::from(advice.cast_unsigned()), 0, 0, 0])
        }
        _ => Call::new("brk", [brk + random.below(HEAP * PAGE), 0, 0, 0, 0, 0]),
    }
}

/// `SplitMix64` (Steele, Lea, Flood: "Fast splittable pseudorandom number generators").
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}
