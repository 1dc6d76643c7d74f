//! A list of steps, what became of each, and the table at the end.
//!
//! Owns how a run goes on after a failure and how it is summed up. Must not know any step.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It did what it should; with a word about what that was, where there is something to say.
    Passed(String),
    /// It went wrong, and so the run fails.
    Failed(String),
    /// It could not be run here, and the run goes on without it.
    Skipped(String),
}

impl Outcome {
    fn word(&self) -> &'static str {
        match self {
            Outcome::Passed(_) => "passed",
            Outcome::Failed(_) => "FAILED",
            Outcome::Skipped(_) => "skipped",
        }
    }

    fn reason(&self) -> &str {
        match self {
            Outcome::Passed(reason) | Outcome::Failed(reason) | Outcome::Skipped(reason) => reason,
        }
    }
}

impl From<Result<()>> for Outcome {
    fn from(result: Result<()>) -> Self {
        match result {
            Ok(()) => Outcome::Passed(String::new()),
            Err(error) => Outcome::Failed(format!("{error:#}")),
        }
    }
}

/// The steps so far.
#[derive(Default)]
pub(crate) struct Steps {
    done: Vec<(String, Outcome, Duration)>,
}

impl Steps {
    /// Runs a step; true where it passed. A later step that can do without it is run whatever this returns.
    pub(crate) fn run(&mut self, name: &str, step: impl FnOnce() -> Outcome) -> bool {
        println!("\n== {name}");
        let begun = Instant::now();
        let outcome = step();
        let took = begun.elapsed();
        match outcome.reason() {
            "" => println!("{}: {name}", outcome.word()),
            reason => println!("{}: {name}: {reason}", outcome.word()),
        }
        let passed = matches!(outcome, Outcome::Passed(_));
        self.done.push((name.to_owned(), outcome, took));
        passed
    }

    /// Notes a step that is not run at all.
    pub(crate) fn skip(&mut self, name: &str, reason: &str) {
        self.run(name, || Outcome::Skipped(reason.to_owned()));
    }

    /// Prints the table. Fails if any step did.
    pub(crate) fn finish(self) -> Result<()> {
        println!("\n{self}");
        let failed: Vec<_> = self
            .done
            .iter()
            .filter(|(_, outcome, _)| matches!(outcome, Outcome::Failed(_)))
            .map(|(name, ..)| name.as_str())
            .collect();
        if !failed.is_empty() {
            bail!(
                "{} of {} steps failed: {}",
                failed.len(),
                self.done.len(),
                failed.join(", ")
            );
        }
        Ok(())
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .done
            .iter()
            .map(|(name, ..)| name.len())
            .max()
            .unwrap_or(0)
            .max("STEP".len());
        write!(out, "{:width$}  RESULT       TIME", "STEP")?;
        for (name, outcome, took) in &self.done {
            write!(
                out,
                "\n{name:width$}  {:7}  {:>6.1} s",
                outcome.word(),
                took.as_secs_f64()
            )?;
            // The whole of a long reason stands where the step ended.
            if let Some(line) = outcome.reason().lines().next() {
                write!(out, "  {line}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_does_not_stop_the_next_but_fails_the_run() {
        let mut steps = Steps::default();
        assert!(!steps.run("one", || Outcome::Failed("broken\nin detail".into())));
        assert!(steps.run("two", || Ok(()).into()));
        steps.skip("three", "needs root");
        for (_, _, took) in &mut steps.done {
            *took = Duration::from_millis(1_250);
        }
        assert_eq!(
            steps.to_string(),
            "STEP   RESULT       TIME\n\
             one    FAILED      1.2 s  broken\n\
             two    passed      1.2 s\n\
             three  skipped     1.2 s  needs root"
        );
        let error = steps.finish().expect_err("one step failed");
        assert_eq!(error.to_string(), "1 of 3 steps failed: one");
    }

    #[test]
    fn a_run_with_skipped_steps_passes() {
        let mut steps = Steps::default();
        steps.skip("root tests", "needs root");
        assert!(steps.finish().is_ok());
    }

    #[test]
    fn an_error_is_told_with_its_causes() {
        let outcome = Outcome::from(Err(anyhow::anyhow!("inner").context("outer")));
        assert_eq!(outcome, Outcome::Failed("outer: inner".into()));
    }
}
