//! The command line: what was asked for, done.
//!
//! Owns the edges of the program: arguments, terminal, files, signals, exit statuses. Must not know BPF or HTTP.

mod args;
mod around;
mod check;
mod demo;
mod diff;
mod doctor;
mod drive;
mod explain;
mod export;
mod failure;
mod forms;
mod held;
mod live;
mod made;
mod map;
mod output;
mod recording;
mod remedy;
mod replay;
mod run;
mod signals;
mod sink;
mod target;
mod terminal;

use std::process::ExitCode;

use clap::{Parser as _, error::ErrorKind};
use tracing_subscriber::EnvFilter;

use self::{
    args::{Cli, Verb, Voice},
    failure::Failure,
};

/// The whole program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let voice = match &cli.command {
        Some(Verb::Hold(args)) => return held::hold(args),
        Some(Verb::DemoApp(args)) => return demo::app(args),
        Some(Verb::Demo(args)) => args.voice,
        Some(Verb::Record(args)) => args.voice,
        Some(Verb::Report(args)) => args.voice,
        Some(Verb::Export(args)) => args.voice,
        Some(Verb::Diff(args)) => args.voice,
        Some(Verb::Check(args)) => args.voice,
        Some(Verb::Map(args)) => args.voice,
        Some(Verb::Explain(args)) => args.voice,
        Some(Verb::Doctor(_)) => Voice::default(),
        None => cli.live.voice,
    };
    log_to_stderr(voice);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(why) => {
            return Failure::new("cannot start", why, "see whether this system can open more files").report();
        }
    };
    let result = runtime.block_on(async {
        match &cli.command {
            Some(Verb::Demo(args)) => demo::demo(args).await,
            Some(Verb::Doctor(args)) => doctor::doctor(args),
            Some(Verb::Record(args)) => run::record(args).await,
            Some(Verb::Report(args)) => replay::report(args),
            Some(Verb::Export(args)) => export::export(args),
            Some(Verb::Diff(args)) => diff::diff(args),
            Some(Verb::Check(args)) => check::check(args).await,
            Some(Verb::Explain(args)) => explain::explain(args).await,
            Some(Verb::Map(args)) if args.diff => around::around(args).await,
            Some(Verb::Map(args)) => map::map(args),
            Some(Verb::Hold(_) | Verb::DemoApp(_)) | None => run::live(&cli.live).await,
        }
    });
    // Whatever still waits (for a reader who stalls, say) is not waited for.
    runtime.shutdown_background();
    result.unwrap_or_else(|failure| failure.report())
}

/// Help and version go where they should; anything else is a usage error, in two lines.
fn usage(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // Nobody is left to tell if this cannot be printed.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    let why = text
        .split("\n\n")
        .next()
        .unwrap_or_default()
        .trim_start_matches("error: ")
        .to_owned();
    Failure::new("usage", why, "`memtrace --help` lists targets and options").report()
}

fn log_to_stderr(voice: Voice) {
    let filter = EnvFilter::try_from_env("MEMTRACE_LOG").unwrap_or_else(|_| filter(voice));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(terminal::log_is_coloured())
        .without_time()
        .init();
}

/// What is logged. `memtrace` stands for the probes' own log too, which is `memtrace_ebpf`; what the libraries have to
/// say below a warning is for their authors.
fn filter(Voice { quiet, verbose }: Voice) -> EnvFilter {
    EnvFilter::new(match (quiet, verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "warn,memtrace=info",
        (false, _) => "warn,memtrace=debug",
    })
}

#[cfg(test)]
mod tests {
    use tracing::{Level, enabled, subscriber::with_default};

    use super::*;

    #[test]
    fn verbose_is_about_memtrace_and_not_its_libraries() {
        let logged = |quiet, verbose| {
            let subscriber = tracing_subscriber::fmt()
                .with_env_filter(filter(Voice { quiet, verbose }))
                .finish();
            with_default(subscriber, || {
                [
                    enabled!(target: "memtrace::cli::run", Level::WARN),
                    enabled!(target: "memtrace::cli::run", Level::INFO),
                    enabled!(target: "memtrace::kernel::live", Level::DEBUG),
                    enabled!(target: "memtrace_ebpf::probes", Level::DEBUG),
                    enabled!(target: "aya_obj::relocation", Level::WARN),
                    enabled!(target: "aya_obj::relocation", Level::INFO),
                    enabled!(target: "aya::bpf", Level::DEBUG),
                ]
            })
        };
        assert_eq!(logged(true, 0), [false; 7]);
        assert_eq!(logged(false, 0), [true, false, false, false, true, false, false]);
        assert_eq!(logged(false, 1), [true, true, false, false, true, false, false]);
        assert_eq!(logged(false, 2), [true, true, true, true, true, false, false]);
    }
}
