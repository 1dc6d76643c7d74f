//! `memtrace doctor`: what this kernel and this user can do, line by line, with a remedy for each `no`.
//!
//! Owns the wording and the verdicts. Must not know how anything is found out; `kernel::features` does.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    process::ExitCode,
};

use memtrace_common::Tgid;

use super::{
    args::DoctorArgs,
    failure::{FAILED, Failure, chain},
    remedy::{self, OLDEST_KERNEL},
    terminal,
};
use crate::kernel::{
    LoadError, Tried,
    features::{
        self, CAP_BPF, CAP_DAC_READ_SEARCH, CAP_PERFMON, CAP_SYS_ADMIN, CAP_SYS_PTRACE, Capability, Lockdown,
        Resident, Visibility,
    },
    pidns::{self, PidNamespace},
};
use crate::report::figure::counted;

/// How wide the lines may be.
const WIDTH: usize = 100;

/// What was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    verdict: Verdict,
    subject: String,
    what: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Ok,
    /// Something is lost: this.
    Limited(String),
    /// It does not work; this mends it.
    No(String),
}

fn ok(subject: &str, what: impl Into<String>) -> Finding {
    Finding {
        verdict: Verdict::Ok,
        subject: subject.to_owned(),
        what: what.into(),
    }
}

fn limited(subject: &str, what: impl Into<String>, lost: impl Into<String>) -> Finding {
    Finding {
        verdict: Verdict::Limited(lost.into()),
        ..ok(subject, what)
    }
}

fn no(subject: &str, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding {
        verdict: Verdict::No(remedy.into()),
        ..ok(subject, what)
    }
}

/// Runs `memtrace doctor`.
pub(super) fn doctor(args: &DoctorArgs) -> Result<ExitCode, Failure> {
    let mut findings = vec![kernel(&terminal::kernel_release()), btf()];
    findings.extend(capabilities(features::has));
    findings.push(lockdown(&features::lockdown()));
    findings.extend(probes(features::try_probes()));
    findings.push(resident(features::resident()));
    findings.push(timing(features::try_timing()));
    findings.extend(features::jit().map(jit));
    findings.push(pid_namespace(
        PidNamespace::of_this_process().unwrap_or_default(),
        pidns::proc_is_its_own(),
    ));
    findings.push(cgroup(features::cgroup2()));
    if let Some(pid) = args.pid {
        let seen = features::visibility(pid).ok_or_else(|| {
            Failure::new(
                format!("--pid {}", pid.0),
                "no such process",
                "`pgrep -a NAME` finds a process by name",
            )
        })?;
        findings.extend(process(pid, &seen));
    }
    print(&render(&findings))?;
    let fine = findings.iter().all(|f| !matches!(f.verdict, Verdict::No(_)));
    Ok(if fine {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}

/// `print!` would panic where nobody reads.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // `| head`: the status tells what was found all the same.
        Err(why) if why.kind() != io::ErrorKind::BrokenPipe => Err(Failure::inconclusive(
            "cannot write to standard output",
            why,
            "make room, or let doctor print to a terminal",
        )),
        _ => Ok(()),
    }
}

fn kernel(release: &str) -> Finding {
    let (major, minor) = OLDEST_KERNEL;
    if remedy::is_older(release) {
        return no(
            "kernel",
            release,
            format!("memtrace needs the BPF ring buffer of Linux {major}.{minor} or later"),
        );
    }
    ok("kernel", format!("{release}; {major}.{minor} or later is needed"))
}

fn btf() -> Finding {
    match features::btf() {
        Ok(()) => ok("BTF", "the kernel says where its fault counters are"),
        Err(error) => {
            let remedy = "run a kernel with CONFIG_DEBUG_INFO_BTF=y, as all big distributions build them";
            no("BTF", chain(&error), remedy)
        }
    }
}

fn capabilities(has: impl Fn(Capability) -> Option<bool>) -> Vec<Finding> {
    let admin = has(CAP_SYS_ADMIN) == Some(true);
    let loads = [(CAP_BPF, "to load the probes"), (CAP_PERFMON, "to attach them")].map(
        |(capability, what)| match has(capability) {
            Some(true) => ok(capability.name, what),
            _ if admin => ok(capability.name, format!("{what}; CAP_SYS_ADMIN stands for it")),
            Some(false) => no(
                capability.name,
                format!("missing: {what}"),
                remedy::for_privilege(),
            ),
            None => limited(capability.name, "unknown", "/proc/self/status does not say"),
        },
    );
    let looks = [CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH].map(|capability| match has(capability) {
        Some(true) => ok(capability.name, "to look into other users' /proc entries"),
        _ => limited(
            capability.name,
            "missing: to look into other users' /proc entries",
            "only your own processes can be targets; --port and --comm find no others",
        ),
    });
    loads.into_iter().chain(looks).collect()
}

fn lockdown(found: &Lockdown) -> Finding {
    const SUBJECT: &str = "lockdown";
    let untold = "the reason, if the probes below are refused: lockdown=confidentiality would be one";
    match found {
        Lockdown::Mode(mode) if mode == "confidentiality" => no(
            SUBJECT,
            "confidentiality: BPF may not read kernel memory",
            "boot with lockdown=integrity or without lockdown",
        ),
        Lockdown::Mode(mode) => ok(SUBJECT, mode),
        Lockdown::Absent => ok(SUBJECT, "this kernel has none"),
        Lockdown::Unmounted => limited(SUBJECT, "unknown, securityfs is not mounted", untold),
        Lockdown::Unreadable(why) => limited(SUBJECT, format!("unknown, {why}"), untold),
    }
}

fn probes(tried: Result<Vec<Tried>, LoadError>) -> Vec<Finding> {
    let each = match tried {
        Ok(each) => each,
        Err(error) => {
            return vec![no(
                "BPF",
                chain(&error),
                remedy::for_load(&error).hint().to_owned(),
            )];
        }
    };
    let mut findings = vec![ok("BPF", "maps and the ring buffer can be made")];
    for (name, result) in each {
        findings.push(match result {
            Ok(()) => ok(name, purpose(name)),
            Err(error) => no(
                name,
                format!("{}: {}", purpose(name), chain(&error)),
                remedy::for_load(&error).hint().to_owned(),
            ),
        });
    }
    findings
}

/// What a tracepoint is for.
fn purpose(tracepoint: &str) -> &'static str {
    match tracepoint {
        "page_fault_user" => "page faults of the program's own instructions",
        "page_fault_kernel" => "page faults inside system calls",
        "sched_process_fork" => "new threads and children",
        "sched_process_exec" => "new programs, and targets by name and cgroup",
        "sched_process_exit" => "the ends of threads",
        "sched_process_free" => "the last word on a thread's counters",
        "sched_waking" => "threads that hand work to others",
        "sys_enter" => "closing descriptors, and waiting for events",
        "sys_exit" => "connections, their bytes, and address-space calls",
        "mm_page_alloc" => "page frames that are handed out",
        "mm_page_free" => "page frames that are taken back",
        _ => "a probe",
    }
}

fn resident(kept: Resident) -> Finding {
    const SUBJECT: &str = "resident memory";
    match kept {
        Resident::ByCpu { summed: true, .. } => ok(SUBJECT, "counted by CPU; every part is read"),
        Resident::ByCpu { cpus, .. } => limited(
            SUBJECT,
            format!("counted by CPU, and {cpus} are too many to read"),
            "exactness: each request's `rss.error_max` says how far its figures may be off",
        ),
        Resident::ByThread => limited(
            SUBJECT,
            "counted by thread",
            "exactness where a process has several: each request's `rss.error_max` says how far its figures may be \
             off",
        ),
        Resident::Unknown => limited(
            SUBJECT,
            "this kernel does not say where it counts it",
            "how a request moved it: `rss` is null",
        ),
    }
}

fn timing(tried: Result<(), LoadError>) -> Finding {
    const SUBJECT: &str = "fault timing";
    match tried {
        Ok(()) => ok(SUBJECT, "--fault-time can be used"),
        Err(error) => limited(
            SUBJECT,
            chain(&error),
            "the time in faults: --fault-time cannot be used",
        ),
    }
}

fn jit(on: bool) -> Finding {
    if on {
        return ok("BPF JIT", "on");
    }
    let lost = "every probe is interpreted and costs several times as much; sysctl net.core.bpf_jit_enable=1 turns it on";
    limited("BPF JIT", "off", lost)
}

fn pid_namespace(namespace: Option<PidNamespace>, proc_is_its_own: bool) -> Finding {
    const SUBJECT: &str = "pid namespace";
    if !proc_is_its_own {
        let remedy = "mount this namespace's own: mount -t proc proc /proc";
        return no(SUBJECT, "/proc is of another one than this process", remedy);
    }
    match namespace {
        None => ok(SUBJECT, "the host's own"),
        Some(_) => limited(
            SUBJECT,
            "a container's own",
            "processes of other containers and of the host, and those in pid namespaces below, cannot be traced",
        ),
    }
}

fn cgroup(mount: Option<String>) -> Finding {
    match mount {
        Some(path) => ok("cgroup v2", format!("at {path}")),
        None => limited("cgroup v2", "not mounted", "--cgroup cannot be used"),
    }
}

/// What a run would see of one process.
fn process(pid: Tgid, seen: &Visibility) -> Vec<Finding> {
    let subject = format!("pid {}", pid.0);
    let grant = remedy::for_privilege();
    let mut findings = vec![ok(
        &subject,
        format!("{}, {}", seen.comm, counted(seen.threads as u64, "thread")),
    )];
    if seen.is_32_bit {
        let remedy = "memtrace knows the system calls of 64-bit programs only; faults are counted, requests are not seen";
        findings.push(limited("its calls", "a 32-bit program", remedy));
    }
    findings.push(if seen.descriptors {
        let ports = match seen.ports.as_slice() {
            [] => "listens on no TCP port".to_owned(),
            ports => {
                let list: Vec<String> = ports.iter().map(u16::to_string).collect();
                format!("listens on {}", list.join(", "))
            }
        };
        ok(
            "its sockets",
            format!(
                "{ports}; {} from clients",
                counted(seen.connections as u64, "open connection")
            ),
        )
    } else {
        no("its sockets", "its descriptors cannot be listed", grant.as_str())
    });
    findings.push(if seen.maps {
        ok("its memory", "its mappings can be read")
    } else {
        no("its memory", "its mappings cannot be read", grant)
    });
    if let Some(library) = &seen.tls {
        findings.push(limited(
            "TLS",
            format!("{library} is mapped"),
            "requests inside TLS connections are not seen; put memtrace on the server behind the TLS proxy",
        ));
    }
    if seen.io_uring {
        findings.push(limited(
            "io_uring",
            "in use",
            "what is read and written that way is not seen",
        ));
    }
    findings
}

/// Verdict, subject, what; below it, what is lost or what to do.
fn render(findings: &[Finding]) -> String {
    let wide = findings.iter().map(|f| f.subject.len()).max().unwrap_or(0);
    let mut text = String::new();
    // Writing to a string cannot fail.
    for Finding {
        verdict,
        subject,
        what,
    } in findings
    {
        let (word, below) = match verdict {
            Verdict::Ok => ("ok", None),
            Verdict::Limited(lost) => ("limited", Some(format!("lost: {lost}"))),
            Verdict::No(remedy) => ("no", Some(format!("remedy: {remedy}"))),
        };
        let _ = paragraph(&mut text, &format!("{word:<7}  {subject:<wide$}  "), what);
        if let Some(below) = below {
            let _ = paragraph(&mut text, &" ".repeat(wide + 11), &below);
        }
    }
    let missing = findings
        .iter()
        .filter(|f| matches!(f.verdict, Verdict::No(_)))
        .count();
    text.push('\n');
    let _ = match missing {
        0 => writeln!(text, "memtrace can trace here."),
        1 => writeln!(
            text,
            "memtrace cannot trace here: one thing is missing; its remedy is above."
        ),
        n => writeln!(
            text,
            "memtrace cannot trace here: {n} things are missing; their remedies are above."
        ),
    };
    text
}

fn paragraph(text: &mut String, indent: &str, what: &str) -> std::fmt::Result {
    let below = " ".repeat(indent.len());
    let options = textwrap::Options::new(WIDTH)
        .initial_indent(indent)
        .subsequent_indent(&below);
    for line in textwrap::wrap(what, options) {
        writeln!(text, "{}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_shell_on_a_good_kernel() {
        let mut findings = vec![kernel("6.18.44")];
        findings.extend(capabilities(|_| Some(true)));
        findings.extend([
            lockdown(&Lockdown::Mode("none".to_owned())),
            resident(Resident::ByCpu {
                cpus: 2,
                summed: true,
            }),
            timing(Ok(())),
            jit(true),
            pid_namespace(None, true),
            cgroup(Some("/sys/fs/cgroup".to_owned())),
        ]);
        insta::assert_snapshot!(render(&findings));
    }

    #[test]
    fn everything_that_can_be_missing() {
        let mut findings = vec![kernel("5.4.0-42-generic")];
        findings.extend(capabilities(|_| Some(false)));
        findings.extend([
            lockdown(&Lockdown::Mode("confidentiality".to_owned())),
            resident(Resident::ByCpu {
                cpus: 64,
                summed: false,
            }),
            resident(Resident::ByThread),
            resident(Resident::Unknown),
            timing(Err(LoadError::Foreign("page_fault_end"))),
            jit(false),
            pid_namespace(None, false),
            pid_namespace(Some(PidNamespace::default()), true),
            cgroup(None),
        ]);
        findings.extend(process(
            Tgid(42),
            &Visibility {
                comm: "node".to_owned(),
                threads: 11,
                tls: Some("libssl.so.3".to_owned()),
                io_uring: true,
                is_32_bit: true,
                ..Visibility::default()
            },
        ));
        insta::assert_snapshot!(render(&findings));
    }

    #[test]
    fn sys_admin_stands_for_the_newer_two() {
        let findings = capabilities(|c| Some(c == CAP_SYS_ADMIN));
        assert_eq!(
            findings
                .iter()
                .map(|f| f.verdict == Verdict::Ok)
                .collect::<Vec<_>>(),
            [true, true, false, false]
        );
    }

    #[test]
    fn lockdown_always_has_a_line() {
        let found = [
            Lockdown::Absent,
            Lockdown::Unmounted,
            Lockdown::Unreadable(io::ErrorKind::PermissionDenied),
        ];
        insta::assert_snapshot!(render(&found.map(|found| lockdown(&found))));
    }

    #[test]
    fn whatever_is_missing_one_setcap_gives_all() {
        let mut findings = capabilities(|_| Some(false));
        findings.extend(process(Tgid(42), &Visibility::default()));
        let text = render(&findings);
        let all = "setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search+ep";
        let unwrapped = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(unwrapped.matches(all).count(), 4, "{text}");
        assert_eq!(unwrapped.matches("setcap").count(), 4, "{text}");
    }

    #[test]
    fn each_tracepoint_has_a_purpose() {
        for name in crate::kernel::TRACEPOINTS {
            assert_ne!(purpose(name), "a probe", "{name}");
        }
    }

    #[test]
    fn a_server_is_described() {
        let seen = Visibility {
            comm: "nginx".to_owned(),
            threads: 1,
            descriptors: true,
            maps: true,
            ports: vec![80, 8080],
            connections: 3,
            ..Visibility::default()
        };
        let text = render(&process(Tgid(7), &seen));
        assert!(
            text.contains("listens on 80, 8080; 3 open connections from clients"),
            "{text}"
        );
    }
}
