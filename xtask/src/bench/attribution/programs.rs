//! What each server runs on: found, or else installed or built.
//!
//! Owns the packages' names and the builds. What cannot be had is an error, which says why. Must not know what servers
//! are asked.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::{apt, command, workspace};

/// What a server's code is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    Node,
    /// Python's own library.
    Python,
    Gunicorn,
    Aiohttp,
    Axum,
    Go,
}

/// A server that can be run.
#[derive(Debug)]
pub(super) struct Ready {
    command: Vec<PathBuf>,
    /// Of the program and of what matters beside it.
    pub(super) version: String,
}

impl Ready {
    pub(super) fn command(&self) -> Result<Command> {
        let (program, arguments) = self.command.split_first().context("a command has a program")?;
        let mut command = Command::new(program);
        command.args(arguments);
        Ok(command)
    }
}

impl Program {
    /// Finds, installs or builds it.
    pub(super) fn set_up(self) -> Result<Ready> {
        match self {
            Self::Node => node(),
            Self::Python => python("sys", "python3", "threads.py"),
            Self::Gunicorn => python("gunicorn", "python3-gunicorn", "pool.py"),
            Self::Aiohttp => python("aiohttp", "python3-aiohttp", "aio.py"),
            Self::Axum => axum(),
            Self::Go => go(),
        }
    }
}

/// The servers' sources.
fn source(name: &str) -> PathBuf {
    workspace::root().join("tests/apps/attribution").join(name)
}

/// Where they are built.
fn built(name: &str) -> PathBuf {
    workspace::target_dir().join("attribution").join(name)
}

/// A program, installed with this package where it is missing.
fn program(name: &str, package: &str) -> Result<PathBuf> {
    if let Ok(path) = which::which(name) {
        return Ok(path);
    }
    apt::install(&[package])?;
    which::which(name)
        .ok()
        .with_context(|| format!("{package} has no {name}"))
}

fn node() -> Result<Ready> {
    let node = program("node", "nodejs")?;
    let version = command::read(Command::new(&node).arg("--version"))?;
    Ok(Ready {
        command: vec![node, source("node.js")],
        version: format!("Node {}", version.trim().trim_start_matches('v')),
    })
}

/// A Python that has this module, which Debian has in this package.
fn python(module: &str, package: &str, script: &str) -> Result<Ready> {
    let mut found = python_with(module);
    if found.is_none() {
        apt::install(&[package])?;
        found = python_with(module);
    }
    let (interpreter, version) =
        found.with_context(|| format!("{package} is there, and no Python finds {module}"))?;
    Ok(Ready {
        command: vec![interpreter, source(script)],
        version,
    })
}

/// Debian's modules go with Debian's Python. The first one in PATH may be another.
fn python_with(module: &str) -> Option<(PathBuf, String)> {
    let says = format!(
        "import {module}, platform; own = '{module}' == 'sys'; python = 'Python ' + platform.python_version(); \
         print(python if own else '{module} ' + {module}.__version__ + ' on ' + python)"
    );
    ["/usr/bin/python3", "python3"]
        .into_iter()
        .find_map(|interpreter| {
            let version = command::read(Command::new(interpreter).args(["-c", &says])).ok()?;
            Some((interpreter.into(), version.trim().to_owned()))
        })
}

fn axum() -> Result<Ready> {
    let manifest = source("axum/Cargo.toml");
    let target = built("axum");
    eprintln!("building the axum server");
    let mut build = command::cargo();
    build.args(["build", "--quiet", "--locked", "--release", "--manifest-path"]);
    command::logged(build.arg(&manifest).arg("--target-dir").arg(&target))?;
    let lock = fs::read_to_string(source("axum/Cargo.lock")).context("cannot read its Cargo.lock")?;
    let version = |package| locked(&lock, package);
    Ok(Ready {
        command: vec![target.join("release/attribution-axum")],
        version: format!("axum {} on tokio {}", version("axum")?, version("tokio")?),
    })
}

/// The version of a package, out of a `Cargo.lock`.
fn locked(lock: &str, package: &str) -> Result<String> {
    #[derive(Deserialize)]
    struct Lock {
        package: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        version: String,
    }
    let lock: Lock = toml::from_str(lock).context("not a Cargo.lock")?;
    let found = lock.package.into_iter().find(|found| found.name == package);
    Ok(found.with_context(|| format!("it has no {package}"))?.version)
}

fn go() -> Result<Ready> {
    let go = program("go", "golang-go")?;
    let server = built("go");
    command::logged(
        Command::new(&go)
            .arg("build")
            .arg("-o")
            .arg(&server)
            .arg(source("go/main.go")),
    )?;
    let version = command::read(Command::new(&go).arg("version"))?;
    // `go version go1.19.8 linux/amd64`
    let version = version.split_whitespace().nth(2).unwrap_or_default();
    Ok(Ready {
        command: vec![server],
        version: format!("Go {}", version.trim_start_matches("go")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_version_is_the_packages_own() {
        let lock = "version = 4\n[[package]]\nname = \"tokio-util\"\nversion = \"0.7.1\"\n\
                    [[package]]\nname = \"tokio\"\nversion = \"1.54.1\"\n";
        assert_eq!(locked(lock, "tokio").expect("it is there"), "1.54.1");
        assert!(locked(lock, "axum").is_err());
        assert!(locked("none", "axum").is_err());
    }

    #[test]
    fn the_axum_servers_own_lock_has_what_it_is_named_by() {
        let lock = fs::read_to_string(source("axum/Cargo.lock")).expect("its lock");
        for package in ["axum", "tokio"] {
            locked(&lock, package).expect("a version");
        }
    }
}
