//! What each server runs on: found, or else installed or built.
//!
//! Owns the packages' names and the builds. What cannot be had is an error, which says why. Must not know what servers
//! are asked.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::{apt, command, workspace};

/// What a server's code is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    Node,
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
            Self::Node => {
                let node = program("node", "nodejs")?;
                let version = command::read(Command::new(&node).arg("--version"))?;
                Ok(Ready {
                    command: vec![node, source("node.js")],
                    version: format!("Node {}", version.trim().trim_start_matches('v')),
                })
            }
        }
    }
}

/// The servers' sources.
fn source(name: &str) -> PathBuf {
    workspace::root().join("tests/apps/attribution").join(name)
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
