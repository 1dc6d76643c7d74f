//! Perfetto's own trace processor, in each version that is here.
//!
//! Owns finding it and reading what it answers. Must not know what is in a trace, nor how it was written.

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::process::Running;

const SCRIPT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../xtask/src/perfetto/trace_processor.mjs"
);

/// What is wrong with a trace, by its own reader's count. One that is cut off loads without an error.
const WRONG: &str = "select name, value from stats where value > 0 and (severity in ('error', 'data_loss') \
     or name in ('tokenizer_skipped_packets', 'packet_skipped_seq_needs_incremental_state_invalid'))";

/// One version of it.
pub struct TraceProcessor {
    engine: PathBuf,
}

#[derive(Deserialize)]
struct Table {
    rows: Vec<Vec<String>>,
}

impl TraceProcessor {
    /// All versions that `cargo xtask perfetto fetch` has fetched, at least one; or the one that
    /// `MEMTRACE_TRACE_PROCESSOR` names the directory of.
    #[track_caller]
    pub fn all() -> Vec<TraceProcessor> {
        if let Some(directory) = env::var_os("MEMTRACE_TRACE_PROCESSOR") {
            return vec![Self {
                engine: directory.into(),
            }];
        }
        let fetched = target_dir().join("perfetto");
        let mut engines: Vec<_> = folders(&fetched)
            .iter()
            .flat_map(|package| [folders(package), vec![package.clone()]].concat())
            .filter(|folder| folder.join("trace_processor.wasm").is_file())
            .collect();
        engines.sort();
        assert!(
            !engines.is_empty(),
            "no trace processor in {}: run `cargo xtask perfetto fetch`, as `cargo xtask test` does",
            fetched.display()
        );
        engines.into_iter().map(|engine| Self { engine }).collect()
    }

    /// The rows that it answers: each cell as text, NULL as `NULL`.
    #[track_caller]
    pub fn query(&self, trace: &Path, sql: &str) -> Vec<Vec<String>> {
        self.queries(trace, &[sql]).remove(0)
    }

    /// As [`query`](Self::query), the trace read once for all of these.
    #[track_caller]
    pub fn queries(&self, trace: &Path, sql: &[&str]) -> Vec<Vec<Vec<String>>> {
        let mut command = Command::new("node");
        command.arg(SCRIPT).arg(&self.engine).arg(trace).args(sql);
        let done = Running::start(&mut command).finish();
        assert!(done.status.success(), "{done}");
        let answers: Vec<_> = done
            .stdout
            .lines()
            .map(|line| {
                let table: Table = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line}"));
                table.rows
            })
            .collect();
        assert_eq!(answers.len(), sql.len(), "{done}");
        answers
    }

    /// As [`queries`](Self::queries), of a trace that fails the test unless all of it could be read.
    #[track_caller]
    pub fn sound_queries(&self, trace: &Path, sql: &[&str]) -> Vec<Vec<Vec<String>>> {
        let mut answers = self.queries(trace, &[&[WRONG], sql].concat());
        let wrong = answers.remove(0);
        assert!(wrong.is_empty(), "{self} finds in {}: {wrong:?}", trace.display());
        answers
    }

    /// Fails unless all of the trace could be read. Counts are for the caller to check.
    #[track_caller]
    pub fn assert_sound(&self, trace: &Path) {
        self.sound_queries(trace, &[]);
    }
}

impl fmt::Display for TraceProcessor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.engine.file_name().unwrap_or(self.engine.as_os_str());
        write!(out, "trace processor {}", name.display())
    }
}

/// Cargo's target directory, which this program was built into.
fn target_dir() -> PathBuf {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    top.join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}
