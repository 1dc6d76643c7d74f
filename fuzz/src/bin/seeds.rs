//! `fuzz-seeds RECORDING FOLDER`: what `fuzz-blocks` begins with, out of a real recording.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let mut argument = || arguments.next().context("usage: fuzz-seeds RECORDING FOLDER");
    let (recording, folder) = (argument()?, argument()?);
    let bytes = fs::read(&recording).with_context(|| format!("cannot read {}", recording.display()))?;
    let name = recording
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    for (number, words) in memtrace_fuzz::blocks::words(&bytes)?.iter().enumerate() {
        let path = folder.join(format!("{name}-{number}"));
        fs::write(&path, words).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
