//! How long `memtrace map` takes of a process with many regions, beside reading what it reads.
//!
//! Owns the process and the turns. Must not know what a map says.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};

use super::{Way, answers::receive, machine, served::port, table, ways};

/// A process may have 65,530, unless somebody has set `vm.max_map_count`.
const REGIONS: usize = 60_000;
/// Of one read: what `cat` asks for.
const READ: usize = 128 << 10;

pub(super) fn run(memtrace: &Path, workload: &Path, rounds: u32) -> Result<()> {
    let mut server = Command::new(workload)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run the workload")?;
    let measured = measure(&mut server, memtrace, rounds);
    // One that has ended already is as good.
    let _ = server.kill();
    let _ = server.wait();
    let (regions, bytes, ways) = measured?;
    println!("{}", machine());
    println!(
        "a process of {regions} regions, {} KiB of smaps; milliseconds:",
        bytes / 1024
    );
    print!("{}", table(&ways));
    Ok(())
}

fn measure(server: &mut Child, memtrace: &Path, rounds: u32) -> Result<(usize, usize, [Way; 4])> {
    let mut stream = TcpStream::connect(("127.0.0.1", port(server)?)).context("cannot connect")?;
    write!(
        stream,
        "GET /scatter?pages={REGIONS} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    )?;
    receive(&mut stream).context("no answer")?;
    let pid = server.id().to_string();
    let smaps = format!("/proc/{pid}/smaps");
    let regions = fs::read_to_string(format!("/proc/{pid}/maps"))?.lines().count();
    let bytes = fs::read(&smaps)?.len();
    let mut ways = ways([
        "reading /proc/PID/smaps",
        "memtrace map",
        "memtrace map --format json",
        "memtrace map --summary",
    ]);
    for _ in 0..rounds {
        ways[0].add(milliseconds(|| {
            let mut smaps = File::open(&smaps)?;
            let mut buffer = vec![0; READ];
            while smaps.read(&mut buffer)? > 0 {}
            Ok(())
        })?);
        let asked: [&[&str]; 3] = [&[], &["--format", "json"], &["--summary"]];
        for (way, asked) in ways[1..].iter_mut().zip(asked) {
            way.add(milliseconds(|| {
                let mut map = Command::new(memtrace);
                map.args(["map", "--pid", &pid]).args(asked).stdout(Stdio::null());
                ensure!(map.status()?.success(), "memtrace map failed");
                Ok(())
            })?);
        }
    }
    Ok((regions, bytes, ways))
}

fn milliseconds(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begin = Instant::now();
    work()?;
    Ok(begin.elapsed().as_secs_f64() * 1e3)
}
