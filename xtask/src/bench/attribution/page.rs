//! What the rounds come to, as tables.
//!
//! Owns the columns and the figures in them. Must not know how they were had.

use std::{collections::BTreeMap, fmt};

use comfy_table::{Table, presets::ASCII_MARKDOWN};
use serde::Deserialize;

use super::load::Connection;

/// What the scorer says of a recording: `memtrace/examples/attribution/score.rs` has what each means.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Score {
    right: u64,
    wrong: u64,
    unattributed: BTreeMap<String, u64>,
    extra: u64,
    elsewhere: u64,
    requests: u64,
    error: Option<f64>,
    lost: u64,
}

impl Score {
    fn in_sections(&self) -> u64 {
        self.right + self.wrong + self.on_none()
    }

    fn on_none(&self) -> u64 {
        self.unattributed.values().sum()
    }

    /// Of the faults in sections, percent.
    fn share(&self, faults: u64) -> Share {
        Share(faults, self.in_sections())
    }

    /// Right, wrong and unattributed, in percent.
    fn verdict(&self) -> String {
        let shares = [self.right, self.wrong, self.on_none()].map(|faults| self.share(faults).to_string());
        shares.join(" / ")
    }

    /// Of all faults, percent.
    fn extra(&self) -> Share {
        Share(self.extra, self.in_sections() + self.extra + self.elsewhere)
    }

    fn error(&self) -> String {
        self.error
            .map_or_else(|| "-".to_owned(), |error| format!("{error:.2}"))
    }

    /// Why the unattributed are, the most frequent reason first.
    fn reasons(&self) -> String {
        let mut reasons: Vec<_> = self
            .unattributed
            .iter()
            .map(|(reason, &faults)| (faults, reason))
            .collect();
        reasons.sort_by(|a, b| b.cmp(a));
        let mut words: Vec<_> = reasons
            .iter()
            .map(|(faults, reason)| format!("{reason} {}", self.share(*faults)))
            .collect();
        if self.lost > 0 {
            words.push(format!("{} records lost", self.lost));
        }
        words.join(", ")
    }
}

/// So many of so many, shown in percent.
struct Share(u64, u64);

impl fmt::Display for Share {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self(_, 0) => out.write_str("-"),
            // Neither none nor all may look like the other side of it.
            Self(part, whole) if part > 0 && part < whole => {
                let percent = part as f64 * 100.0 / whole as f64;
                write!(out, "{:.1}", percent.clamp(0.1, 99.9))
            }
            Self(0, _) => out.write_str("0"),
            Self(..) => out.write_str("100"),
        }
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::KeptAlive => "kept alive",
            Self::Closed => "closed",
        })
    }
}

/// A round.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) server: &'static str,
    pub(super) shape: &'static str,
    pub(super) clients: u16,
    pub(super) connection: Connection,
    pub(super) score: Score,
}

impl fmt::Display for Row {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            server,
            shape,
            clients,
            connection,
            score,
        } = self;
        write!(
            out,
            "{server}/{shape}, {clients} clients, {connection}: {} of {} faults in {} requests",
            score.verdict(),
            score.in_sections(),
            score.requests
        )
    }
}

/// A row for each round.
pub(super) fn full(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header([
        "server",
        "clients",
        "connection",
        "requests",
        "faults",
        "right / wrong / unattributed",
        "error",
        "extra",
        "unattributed, by reason",
    ]);
    for row in rows {
        let score = &row.score;
        table.add_row([
            format!("{}/{}", row.server, row.shape),
            row.clients.to_string(),
            row.connection.to_string(),
            score.requests.to_string(),
            score.in_sections().to_string(),
            score.verdict(),
            score.error(),
            score.extra().to_string(),
            score.reasons(),
        ]);
    }
    table
}
