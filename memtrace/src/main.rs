//! The `memtrace` binary.
fn main() {
    let o = memtrace::kernel::Options {
        ring_bytes: 16 << 20,
        follow: true,
        comm: None,
        cgroup: None,
        kernel_log: false,
    };
    let mut p = match memtrace::kernel::Probes::attach(&o) {
        Ok(p) => p,
        Err(e) => {
            let mut e: &dyn std::error::Error = &e;
            loop {
                eprintln!("{e}");
                match e.source() {
                    Some(s) => e = s,
                    None => break,
                }
            }
            return;
        }
    };
    let pid: u32 = std::env::args().nth(1).unwrap().parse().unwrap();
    p.targets().add(memtrace_common::Tgid(pid));
    let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
    let mut n = std::collections::BTreeMap::new();
    while std::time::Instant::now() < end {
        p.drain(100000, |r| {
            let r = memtrace_common::decode::Record::decode(r).unwrap();
            *n.entry((r.header().kind, r.header().op)).or_insert(0) += 1;
            if r.header().kind != 1 {
                println!("{r:?}");
            }
        });
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    println!("{n:?} {:?}", p.emission(0));
}
