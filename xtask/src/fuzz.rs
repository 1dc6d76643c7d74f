//! `cargo xtask fuzz`: the targets of the `fuzz` crate, built with coverage and run.
//!
//! Owns how they are built: the pinned compiler's own flags, with no tool to install. Must not know what a target does
//! with its bytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::steps::Outcome;
use crate::{command, workspace};

/// The targets, and how often each is run by `cargo xtask test`: about ten seconds.
const TARGETS: [(&str, u64); 2] = [("fuzz-recording", 80_000), ("fuzz-blocks", 15_000)];
/// Recordings that the search begins with.
const RECORDINGS: &str = "memtrace/src/record/tests/fixtures";
/// The same directory as the profile's name in `Cargo.toml` would be in.
const PROFILE: &str = "fuzz";

/// What cargo-fuzz would set, without a sanitizer: in safe code there is nothing for one to find.
const FLAGS: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
];

/// One input may take so long, seconds, and all of it so much memory, MiB: a block is at most 128 MiB, and a few are
/// there at a time.
const LIMITS: [&str; 2] = ["-timeout=20", "-rss_limit_mb=1024"];

/// Runs each target so many times, from what earlier runs have found.
pub(crate) fn run(runs: u64) -> Result<()> {
    for (name, program) in built()? {
        println!("\n== {name}");
        let mut fuzzer = fuzzer(&program, name, runs, &folder(&format!("corpus/{name}"))?)?;
        command::stream(&mut fuzzer).with_context(found)?;
    }
    Ok(())
}

/// The part of `cargo xtask test`: lints, the crate's own tests, and a search that goes the same way each time.
pub(crate) fn step() -> Outcome {
    if ["c++", "g++", "clang++"]
        .iter()
        .all(|name| which::which(name).is_err())
    {
        return Outcome::Skipped("there is no C++ compiler, which libFuzzer is built with".to_owned());
    }
    short().into()
}

/// That part alone.
pub(crate) fn short() -> Result<()> {
    let of = ["--locked", "--quiet", "--package", "memtrace-fuzz"];
    let lints = ["--all-targets", "--", "-D", "warnings"];
    command::stream(command::cargo().arg("clippy").args(of).args(lints))?;
    command::stream(command::cargo().arg("test").args(of))?;
    let built = built()?;
    for ((name, program), (_, runs)) in built.into_iter().zip(TARGETS) {
        let corpus = tempfile::tempdir().context("cannot make a temporary folder")?;
        let mut fuzzer = fuzzer(&program, name, runs, corpus.path())?;
        command::logged(fuzzer.arg("-seed=1")).with_context(found)?;
        println!("{name}: {runs} runs");
    }
    Ok(())
}

fn found() -> String {
    format!(
        "an input that fails is kept in {}, and is run alone where it is given to the target in place of a folder",
        workspace::shown(&fuzzing("artifacts"))
    )
}

/// Builds the targets; each one's name and program.
fn built() -> Result<Vec<(&'static str, PathBuf)>> {
    // Named, or the flags would be for build scripts too.
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let host = command::read(
        rustc
            .args(["--print", "host-tuple"])
            .current_dir(workspace::root()),
    )?;
    let host = host.trim();
    let mut cargo = command::cargo();
    cargo.args(["build", "--locked", "--profile", PROFILE, "--target", host]);
    cargo.args(TARGETS.iter().flat_map(|(name, _)| ["--bin", name]));
    cargo
        .args(["--package", "memtrace-fuzz"])
        .env("RUSTFLAGS", FLAGS.join(" "))
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    command::stream(&mut cargo)?;
    let folder = workspace::target_dir().join(host).join(PROFILE);
    Ok(TARGETS
        .iter()
        .map(|(name, _)| (*name, folder.join(name)))
        .collect())
}

/// The command that runs a target so many times.
fn fuzzer(program: &Path, name: &str, runs: u64, corpus: &Path) -> Result<Command> {
    let artifacts = folder("artifacts")?;
    let mut fuzzer = Command::new(program);
    fuzzer
        .arg(format!("-runs={runs}"))
        .args(LIMITS)
        .arg("-max_len=16384")
        .arg("-print_final_stats=1")
        .arg(format!("-artifact_prefix={}/{name}-", artifacts.display()))
        .arg(corpus)
        .arg(seeds(name)?)
        .env_remove("RUST_BACKTRACE");
    Ok(fuzzer)
}

/// What a target begins with: recordings as they are, or what is in them.
fn seeds(name: &str) -> Result<PathBuf> {
    let seeds = folder(&format!("seeds/{name}"))?;
    let listed = workspace::root().join(RECORDINGS);
    for entry in fs::read_dir(&listed).with_context(|| format!("cannot list {}", listed.display()))? {
        let recording = entry?.path();
        if recording.extension().is_none_or(|extension| extension != "mtr") {
            continue;
        }
        if name == "fuzz-blocks" {
            let run = ["run", "--locked", "--quiet", "--package", "memtrace-fuzz"];
            let mut cargo = command::cargo();
            cargo
                .args(run)
                .args(["--bin", "fuzz-seeds"])
                .arg(&recording)
                .arg(&seeds);
            command::stream(&mut cargo)?;
        } else {
            let name = recording.file_name().unwrap_or_default();
            fs::copy(&recording, seeds.join(name))
                .with_context(|| format!("cannot copy {}", recording.display()))?;
        }
    }
    Ok(seeds)
}

/// A folder of the fuzzers', made where it is missing.
fn folder(name: &str) -> Result<PathBuf> {
    let folder = fuzzing(name);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

fn fuzzing(name: &str) -> PathBuf {
    workspace::target_dir().join("fuzzing").join(name)
}
