//! Developers' commands: `cargo xtask bpf`, `test`, `bench`, `fuzz` and `perfetto`.
//!
//! Owns the command line. Must not know how any of it is done.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "these commands talk to the person who runs them"
)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod apt;
mod bench;
mod bpf;
mod command;
mod fuzz;
mod needs;
mod perfetto;
mod privilege;
mod steps;
mod test;
mod workspace;

/// Developers' commands for memtrace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Rebuild the eBPF object that is committed, setting up the BPF toolchain first where it is missing.
    Bpf {
        /// Rebuild into a scratch directory instead, and fail unless the result is the committed object, bit for
        /// bit.
        #[arg(long)]
        check: bool,
    },
    /// What memtrace costs, and how well it finds whose faults are. Run it as root, on a quiet machine.
    #[command(args_conflicts_with_subcommands = true)]
    Bench {
        #[command(subcommand)]
        only: Option<bench::Only>,
        #[command(flatten)]
        turns: bench::Turns,
    },
    /// Perfetto's own trace processor and user interface, on a trace.
    Perfetto {
        #[command(subcommand)]
        action: perfetto::Action,
    },
    /// Search for recordings that memtrace cannot take, from where the last search ended.
    Fuzz {
        /// How many are tried by each target.
        #[arg(long, default_value_t = 1_000_000)]
        runs: u64,
        /// What `cargo xtask test` does instead: lints, and a short search that goes the same way each time.
        #[arg(long, conflicts_with = "runs")]
        short: bool,
    },
    /// Everything that CI runs: format, clippy, tests and, as root, the root tests and the object's check.
    Test {
        /// Stop after format, clippy and the tests that need no privilege.
        #[arg(long)]
        fast: bool,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Task::Bpf { check: false } => bpf::rebuild(),
        Task::Bpf { check: true } => test::check_object(),
        Task::Bench { only, turns } => bench::run(only, &turns),
        Task::Perfetto { action } => perfetto::run(action),
        Task::Fuzz { short: true, .. } => fuzz::short(),
        Task::Fuzz { runs, .. } => fuzz::run(runs),
        Task::Test { fast } => test::run(fast),
    };
    // A backtrace, which anyhow prints where RUST_BACKTRACE is set, says nothing about a failed command.
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
