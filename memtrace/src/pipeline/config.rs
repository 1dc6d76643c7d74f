//! What a run was asked for that matters before reports, and what it asks of the probes.
//!
//! Must not know what the stages make of either.

use memtrace_common::{Fd, Nanos, Tgid};

use crate::ledger::{SETTLE, route::Routing};

/// What the user asked for that matters before reports.
#[derive(Clone, Debug)]
pub struct Config {
    /// How targets become paths and routes.
    pub routing: Routing,
    /// List only requests that came in on this port.
    pub port: Option<u16>,
    /// The probes time faults.
    pub fault_time: bool,
    /// Somebody keeps the events: tell what may be kept of their payload ([`Pipeline::payload_to_keep`]).
    pub keeps_payload: bool,
    /// How long a request that has ended waits for what may still turn out to be its.
    pub settle: Nanos,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            routing: Routing::default(),
            port: None,
            fault_time: false,
            keeps_payload: false,
            settle: SETTLE,
        }
    }
}

/// What the live run should tell the probes. A recording has nobody to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directive {
    /// Nothing more is wanted of what this descriptor was at this time. The number may mean something else by now.
    Ignore(Tgid, Fd, Nanos),
    /// What this process has mapped is not known any more, or not all: read `/proc/PID/maps` again.
    Read(Tgid),
}
