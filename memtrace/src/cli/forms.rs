//! The forms in which a verdict is written: for whoever reads the terminal, and for a CI.
//!
//! Owns the files, and what GitHub's runners tell of themselves. Must not know what is in a verdict.

use std::{env, fs::File, io::Write as _, path::Path};

use super::{args::CheckArgs, failure::Failure, made::Made, replay::Recorded};
use crate::{
    check::{
        github::annotations,
        json,
        judge::Judgement,
        junit::junit,
        markdown::markdown,
        samples::Samples,
        text,
        told::{Told, Trace},
        why::Why,
    },
    report::{form::Form, table::TableOptions},
};

/// What is to be written, opened.
pub(super) struct Forms {
    report: Made,
    markdown: Option<Made>,
    junit: Option<Made>,
    trace: Option<Made>,
}

impl Forms {
    /// Before anything is traced or judged: what cannot be written is said at once.
    pub(super) fn open(args: &CheckArgs, recordings: &[Recorded<'_>]) -> Result<Self, Failure> {
        let open = |what, path: Option<&Path>| {
            recordings
                .iter()
                .try_for_each(|recording| recording.refuse(path))?;
            Made::open(what, path)
        };
        let wanted = |what, path: Option<&Path>| path.map(|path| open(what, Some(path))).transpose();
        Ok(Self {
            report: open("the verdict", args.output.as_deref())?,
            markdown: wanted("the comment", args.markdown.as_deref())?,
            junit: wanted("the tests", args.junit.as_deref())?,
            trace: wanted("the trace", args.perfetto.as_deref())?,
        })
    }

    /// Where the timeline goes, to be written first.
    pub(super) fn take_trace(&mut self) -> Option<Made> {
        self.trace.take()
    }

    /// Writes all of them.
    pub(super) fn write(
        mut self,
        args: &CheckArgs,
        judgement: &Judgement,
        whys: &[Why],
        samples: &Samples,
        options: &TableOptions,
    ) -> Result<(), Failure> {
        let runner = Runner::find();
        let path = args.perfetto.as_deref().map(|path| path.display().to_string());
        let page = runner.as_ref().and_then(|runner| runner.page.as_deref());
        let told = Told {
            judgement,
            whys,
            samples,
            trace: path.as_deref().map(|path| Trace { path, page }),
        };
        let mut bytes = Vec::new();
        match args.format {
            Form::Table => text::write(&told, options, &mut bytes),
            Form::Json => json::write(&told, &mut bytes),
        }
        self.report.write(&mut bytes)?;
        self.report.complete()?;
        if let Some(mut made) = self.markdown {
            made.write(&mut markdown(&told).into_bytes())?;
            made.complete()?;
        }
        if let Some(mut made) = self.junit {
            let text =
                junit(&told).map_err(|why| Failure::not_written("the tests", args.junit.as_deref(), why))?;
            made.write(&mut text.into_bytes())?;
            made.complete()?;
        }
        if let Some(runner) = &runner {
            runner.tell(&told)?;
        }
        Ok(())
    }
}

/// A runner of GitHub's that this is a step of.
///
/// Source: <https://docs.github.com/actions/reference/workflows-and-actions/variables>
struct Runner {
    summary: Option<std::ffi::OsString>,
    /// Of this run, with what it keeps.
    page: Option<String>,
}

impl Runner {
    fn find() -> Option<Self> {
        let is_there = env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true");
        is_there.then(|| Self {
            summary: env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()),
            page: page(),
        })
    }

    /// Its log shows annotations; its page shows the step's summary, to which this is appended.
    fn tell(&self, told: &Told<'_>) -> Result<(), Failure> {
        // Standard output may be JSON. A runner reads both.
        let _ = std::io::stderr().write_all(annotations(told).as_bytes());
        let Some(path) = self.summary.as_deref().map(Path::new) else {
            return Ok(());
        };
        let appended = File::options()
            .append(true)
            .create(true)
            .open(path)
            .and_then(|mut file| file.write_all(markdown(told).as_bytes()));
        appended.map_err(|why| Failure::not_written("the step's summary", Some(path), why))
    }
}

fn page() -> Option<String> {
    let [server, repository, run] =
        ["GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID"].map(|name| env::var(name).ok());
    Some(format!("{}/{}/actions/runs/{}", server?, repository?, run?))
}
