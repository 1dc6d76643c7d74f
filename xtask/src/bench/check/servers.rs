//! The servers that are checked, each with five routes and a knob: one of these takes exactly so many faults more.
//!
//! Owns their commands and what is asked of them. Must not know how they are judged.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::{apt, workspace};

/// Routes of each.
pub(super) const ROUTES: usize = 5;

/// Pages of each request of the workload's.
const PAGES: u64 = 48;
/// What the button sends.
const PRESS: &str = r#"{"name":"Mina","birthDate":"2001-05-17","birthTime":"06:30"}"#;

/// A server, as one run has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Server {
    /// The workload, in Rust.
    Rust,
    /// The student's app, in Node, with its collector.
    Node,
}

/// A route that takes more, and how many faults that are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Knob {
    pub(super) route: usize,
    pub(super) faults: u64,
}

/// A run's commands.
pub(super) struct Commands {
    /// Of the server.
    pub(super) server: Vec<String>,
    pub(super) environment: Vec<(&'static str, String)>,
    /// Beside those of every check.
    pub(super) options: Vec<String>,
    /// Connections and rounds, and what each asks for.
    pub(super) clients: u32,
    pub(super) rounds: u32,
    pub(super) requests: Vec<String>,
}

impl Server {
    pub(super) const ALL: [Self; 2] = [Self::Rust, Self::Node];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Node => "node",
        }
    }

    /// Its routes, as a baseline names them.
    pub(super) fn routes(self) -> [&'static str; ROUTES] {
        match self {
            Self::Rust => [
                "GET /touch",
                "GET /kernel",
                "GET /brk",
                "GET /pwrite",
                "GET /futex",
            ],
            Self::Node => ["GET /", "POST /saju", "GET /saju", "GET /nowhere", "POST /"],
        }
    }

    /// Finds or installs what it needs.
    pub(super) fn set_up(self) -> Result<()> {
        if self == Self::Node && which::which("node").is_err() {
            apt::install(&["nodejs"])?;
            which::which("node").context("nodejs has no node")?;
        }
        Ok(())
    }

    /// A run of it, with a route that takes more or none.
    pub(super) fn commands(self, workload: &Path, port: u16, knob: Option<Knob>) -> Commands {
        match self {
            Self::Rust => rust(workload, self.routes(), knob),
            Self::Node => node(self.routes(), port, knob),
        }
    }
}

fn rust(workload: &Path, routes: [&str; ROUTES], knob: Option<Knob>) -> Commands {
    let requests = routes.iter().enumerate().map(|(at, route)| {
        let more = knob.filter(|knob| knob.route == at).map_or(0, |knob| knob.faults);
        format!("{route}?pages={}", PAGES + more)
    });
    Commands {
        server: vec![workload.display().to_string()],
        environment: Vec::new(),
        // It asks itself for everything before it is asked.
        options: routes
            .iter()
            .flat_map(|route| ["--only".to_owned(), (*route).to_owned()])
            .collect(),
        clients: 4,
        rounds: 50,
        requests: requests.collect(),
    }
}

fn node(routes: [&str; ROUTES], port: u16, knob: Option<Knob>) -> Commands {
    let apps = workspace::root().join("tests/apps");
    let path = |name| apps.join(name).display().to_string();
    let mut environment = vec![
        ("PORT", port.to_string()),
        ("MOCK_DELAY_MS", "2-6".to_owned()),
        // Its requests take what they take from fresh memory in every run: docs/CHECK.md has why.
        ("MALLOC_MMAP_THRESHOLD_", "16384".to_owned()),
        ("MALLOC_TRIM_THRESHOLD_", "0".to_owned()),
        ("MALLOC_ARENA_MAX", "1".to_owned()),
    ];
    let knobs = knob.and_then(|knob| Some(format!("{}={}", routes.get(knob.route)?, knob.faults)));
    environment.extend(knobs.map(|text| ("KNOB", text)));
    let requests = routes.map(|route| match route {
        "POST /saju" => format!("{route} {PRESS}"),
        other => other.to_owned(),
    });
    Commands {
        server: ["node", "--require"]
            .map(str::to_owned)
            .into_iter()
            .chain([path("check/knob.js"), path("saju/server.js")])
            .collect(),
        environment,
        // Its API's stand-in is a child that serves, too.
        options: vec!["--port".to_owned(), port.to_string()],
        clients: 2,
        rounds: 60,
        requests: requests.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_route_takes_more() {
        let knob = Knob { route: 1, faults: 10 };
        let run = Server::Rust.commands(Path::new("w"), 1, Some(knob));
        assert_eq!(run.requests[..2], ["GET /touch?pages=48", "GET /kernel?pages=58"]);
        let run = Server::Node.commands(Path::new("w"), 3000, Some(knob));
        assert!(run.environment.contains(&("KNOB", "POST /saju=10".to_owned())));
        let unchanged = Server::Node.commands(Path::new("w"), 3000, None);
        assert!(unchanged.environment.iter().all(|(name, _)| *name != "KNOB"));
        assert!(unchanged.requests[1].starts_with("POST /saju {"));
    }
}
