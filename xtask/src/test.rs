//! `cargo xtask test`, what CI runs, and `cargo xtask bpf --check`, one part of it.
//!
//! Owns which steps there are, their order, and what each needs. Must not know how the object is built.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::bpf::toolchain::{self, Toolchain};
use crate::bpf::{self, Check};
use crate::steps::{Outcome, Steps};
use crate::{apt, command, fuzz, needs, perfetto, privilege, workspace};

/// Says to the root tests, and through them to memtrace, which object to load in place of the embedded one.
const OBJECT_VARIABLE: &str = "MEMTRACE_BPF_OBJECT";

/// Programs that root tests run, and the packages that have them, first choice first.
pub(crate) const PROGRAMS: [(&str, &[&str]); 5] = [
    ("python3", &["python3"]),
    ("node", &["nodejs"]),
    ("nginx", &["nginx"]),
    ("wrk", &["wrk"]),
    ("perf", &["linux-perf", "linux-tools-generic"]),
];

const ROOT_TESTS: &str = "root tests";
const RELEASE_BUILD: &str = "release build";

/// Runs every step that can be run here, and fails if any of them did.
pub(crate) fn run(fast: bool) -> Result<()> {
    let mut steps = Steps::default();
    let root = privilege::root_with_bpf();

    steps.run("format", || {
        command::stream(command::cargo().args(["fmt", "--all", "--check"])).into()
    });
    steps.run("clippy", || {
        let arguments = [
            "clippy",
            "--locked",
            "--quiet",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ];
        command::stream(command::cargo().args(arguments)).into()
    });
    let install = !fast && root.is_ok();
    let toolchain = bpf_toolchain(&mut steps, install);
    match &toolchain {
        Ok(toolchain) => {
            steps.run("clippy, eBPF", || bpf::build::clippy(toolchain).into());
        }
        Err(why) => steps.skip("clippy, eBPF", why),
    }
    steps.run("unprivileged tests", || {
        command::stream(command::cargo().args(["test", "--locked"])).into()
    });
    if fast {
        return steps.finish();
    }
    steps.run("fuzz", fuzz::step);

    match &root {
        Ok(()) => {
            steps.run("programs for root tests", programs);
            steps.run("Perfetto for root tests", perfetto::set_up);
            if steps.run(RELEASE_BUILD, || build_release().into()) {
                steps.run(ROOT_TESTS, || root_tests(None));
            } else {
                steps.skip(ROOT_TESTS, "there is no release build");
            }
        }
        Err(why) => steps.skip(ROOT_TESTS, why),
    }
    object_check(&mut steps, toolchain.as_ref(), root.as_ref());
    steps.finish()
}

/// Rebuilds the object and compares it with the committed one. Fails where it is another one, unless other tools made
/// it and the root tests pass with it.
pub(crate) fn check_object() -> Result<()> {
    let mut steps = Steps::default();
    let toolchain = bpf_toolchain(&mut steps, true);
    let verdict = object_check(
        &mut steps,
        toolchain.as_ref(),
        privilege::root_with_bpf().as_ref(),
    );
    steps.finish()?;
    if verdict == Verdict::Open {
        bail!(
            "the rebuilt object is another one, and nothing has proven it: run `cargo xtask bpf --check` as root"
        );
    }
    Ok(())
}

/// Finds the BPF toolchain, or with `install` sets it up; the reason where it cannot be had.
fn bpf_toolchain(steps: &mut Steps, install: bool) -> Result<Toolchain, String> {
    let mut found = Err(String::new());
    steps.run("bpf toolchain", || {
        let had = if install {
            toolchain::set_up()
        } else {
            toolchain::find()
        };
        found = had.map_err(|error| format!("{error:#}"));
        match &found {
            Ok(toolchain) => Outcome::Passed(toolchain.tools.to_string()),
            Err(why) => Outcome::Skipped(why.clone()),
        }
    });
    found
}

/// What is known of the committed object after its check.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Compared, proven, or not to be had; whatever went wrong is among the steps.
    Settled,
    /// Another one was built by other tools, and the root tests could not be run with it.
    Open,
}

fn object_check(
    steps: &mut Steps,
    toolchain: Result<&Toolchain, &String>,
    root: Result<&(), &String>,
) -> Verdict {
    const NAME: &str = "bpf object rebuild";
    let toolchain = match toolchain {
        Ok(toolchain) => toolchain,
        Err(why) => {
            steps.skip(NAME, why);
            return Verdict::Settled;
        }
    };
    let mut rebuilt = None;
    steps.run(NAME, || match bpf::check(toolchain) {
        Ok(Check::Identical(differences)) if differences.is_empty() => {
            Outcome::Passed("bit-identical".to_owned())
        }
        Ok(Check::Identical(differences)) => {
            Outcome::Passed(format!("bit-identical, although {}", differences.join("; ")))
        }
        Ok(Check::OtherTools { object, differences }) => {
            let why = format!(
                "other tools than the recorded ones, to be proven by root tests: {}",
                differences.join("; ")
            );
            rebuilt = Some(object);
            Outcome::Skipped(why)
        }
        Err(error) => Outcome::Failed(format!("{error:#}")),
    });
    let Some(object) = rebuilt else {
        return Verdict::Settled;
    };
    let name = "root tests with the rebuilt object";
    match root {
        Ok(()) => {
            steps.run(name, || match build_release() {
                Ok(()) => root_tests(Some(&object)),
                Err(error) => Err(error).into(),
            });
            Verdict::Settled
        }
        Err(why) => {
            steps.skip(name, why);
            Verdict::Open
        }
    }
}

fn build_release() -> Result<()> {
    command::stream(command::cargo().args(["build", "--locked", "--release"]))
}

/// Runs the tests that are marked `#[ignore = "needs root"]`, with the embedded object or with `object`. Those that
/// need a program which is not here are left out, by name.
fn root_tests(object: Option<&Path>) -> Outcome {
    let missing: Vec<_> = PROGRAMS
        .iter()
        .map(|(program, _)| *program)
        .filter(|program| !is_installed(program))
        .chain((!perfetto::is_here()).then_some(perfetto::NEED))
        .collect();
    let left_out = needs::tests_that_need(&missing, &workspace::root().join("tests/tests"));
    match left_out.and_then(|left_out| run_root_tests(object, &left_out).map(|()| left_out)) {
        Ok(left_out) => Outcome::Passed(without(&missing, &left_out)),
        Err(error) => Err(error).into(),
    }
}

/// What a run without these tests has to say.
fn without(missing: &[&str], left_out: &[String]) -> String {
    if left_out.is_empty() {
        return String::new();
    }
    format!(
        "left out, without {}: {}",
        missing.join(" and "),
        left_out.join(", ")
    )
}

fn run_root_tests(object: Option<&Path>, left_out: &[String]) -> Result<()> {
    let cargo = |arguments: &[&str]| {
        let mut command = command::cargo();
        command.args([
            "test",
            "--locked",
            "--release",
            "--package",
            "memtrace-tests",
            "--",
            "--ignored",
            "--exact",
        ]);
        command.args(left_out.iter().flat_map(|name| ["--skip", name]));
        command.args(arguments);
        match object {
            Some(object) => command.env(OBJECT_VARIABLE, object),
            None => command.env_remove(OBJECT_VARIABLE),
        };
        command
    };
    // A test run without a test would pass.
    let listed = command::read(&mut cargo(&["--list", "--format", "terse"]))?;
    let count = tests_in(&listed);
    if count == 0 {
        bail!("the `tests` crate has no test marked #[ignore = \"needs root\"]");
    }
    match object {
        Some(object) => println!("{count} tests with {}", workspace::shown(object)),
        None => println!("{count} tests"),
    }
    command::stream(&mut cargo(&["--test-threads=1"]))
}

/// How many tests `--list --format terse` lists.
fn tests_in(listed: &str) -> usize {
    listed.lines().filter(|line| line.ends_with(": test")).count()
}

/// Installs the programs that root tests run, where they are missing.
fn programs() -> Outcome {
    let mut refused = Vec::new();
    for (program, packages) in PROGRAMS {
        if is_installed(program) {
            continue;
        }
        if let Err(error) = install_program(program, packages) {
            refused.push(format!("no {program}: {error:#}"));
        }
    }
    if refused.is_empty() {
        let names: Vec<_> = PROGRAMS.iter().map(|(program, _)| *program).collect();
        return Outcome::Passed(names.join(", "));
    }
    Outcome::Skipped(refused.join("; "))
}

/// Whether root tests find it: servers are in `/usr/sbin`, which a PATH may lack.
fn is_installed(program: &str) -> bool {
    which::which(program).is_ok() || Path::new("/usr/sbin").join(program).is_file()
}

fn install_program(program: &str, packages: &[&str]) -> Result<()> {
    let mut last = Ok(());
    for package in packages {
        println!("installing {program}: apt-get install {package}");
        last = apt::install(&[package]).and_then(|()| {
            is_installed(program)
                .then_some(())
                .with_context(|| format!("{package} has no {program}"))
        });
        if last.is_ok() {
            break;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_tests_are_counted_and_other_lines_are_not() {
        let listed = "memtrace_tests::direct: test\nbooks_balance: test\n\nspeed: benchmark\n";
        assert_eq!(tests_in(listed), 2);
        assert_eq!(tests_in("0 tests, 0 benchmarks\n"), 0);
    }

    #[test]
    fn what_is_left_out_is_said_by_name() {
        assert_eq!(without(&[], &[]), "");
        let left_out = ["nginx_is_exact", "all_is_listed"].map(str::to_owned);
        assert_eq!(
            without(&["nginx", "wrk"], &left_out),
            "left out, without nginx and wrk: nginx_is_exact, all_is_listed"
        );
    }

    #[test]
    fn without_a_toolchain_the_rebuild_is_skipped_by_name_and_the_run_passes() {
        let mut steps = Steps::default();
        let why = "no bpf-linker: no cargo".to_owned();
        let verdict = object_check(&mut steps, Err(&why), Err(&why));
        assert!(verdict == Verdict::Settled);
        let table = steps.to_string();
        assert!(table.contains("bpf object rebuild  skipped"), "{table}");
        assert!(table.ends_with("no bpf-linker: no cargo"), "{table}");
        assert!(steps.finish().is_ok());
    }
}
