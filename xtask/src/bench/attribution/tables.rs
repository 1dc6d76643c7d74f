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
        let words: Vec<_> = reasons
            .iter()
            .map(|(faults, reason)| format!("{reason} {}", self.share(*faults)))
            .collect();
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

/// A row for each shape of a server and each kind of connection, a column for each number of clients.
pub(super) fn compact(rows: &[Row]) -> Table {
    let mut clients: Vec<_> = rows.iter().map(|row| row.clients).collect();
    clients.sort_unstable();
    clients.dedup();
    let mut table = Table::new();
    let columns = clients.iter().map(|clients| format!("{clients} clients"));
    let names = ["server", "connection"].map(str::to_owned);
    table.load_style(ASCII_MARKDOWN);
    table.set_header(names.into_iter().chain(columns).chain(["extra".to_owned()]));
    let of = |row: &Row| (row.server, row.shape, row.connection);
    for rounds in rows.chunk_by(|a, b| of(a) == of(b)) {
        let Some(first) = rounds.first() else { continue };
        let mut cells = vec![
            format!("{}/{}", first.server, first.shape),
            first.connection.to_string(),
        ];
        for clients in &clients {
            let round = rounds.iter().find(|row| row.clients == *clients);
            cells.push(round.map_or_else(String::new, |row| {
                format!("{}; {}", row.score.verdict(), row.score.error())
            }));
        }
        let extras: Vec<_> = rounds.iter().map(|row| row.score.extra().to_string()).collect();
        cells.push(extras.join(", "));
        table.add_row(cells);
    }
    table
}

/// What should be known of the rounds beside their figures, a sentence each.
pub(super) fn notes(rows: &[Row]) -> Vec<String> {
    let losing = rows.iter().filter(|row| row.score.lost > 0);
    losing
        .map(|row| {
            format!(
                "{row}: {} records were lost, so this may be wrong.",
                row.score.lost
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(clients: u16, connection: Connection, score: Score) -> Row {
        Row {
            server: "node",
            shape: "sync",
            clients,
            connection,
            score,
        }
    }

    fn half() -> Score {
        Score {
            right: 50,
            wrong: 10,
            unattributed: BTreeMap::from([("idle".to_owned(), 15), ("upstream".to_owned(), 25)]),
            extra: 20,
            elsewhere: 80,
            requests: 5,
            error: Some(0.5),
            lost: 0,
        }
    }

    #[test]
    fn neither_none_nor_all_is_rounded_to() {
        for (part, whole, shown) in [
            (0, 0, "-"),
            (0, 5, "0"),
            (5, 5, "100"),
            (1, 100_000, "0.1"),
            (99_999, 100_000, "99.9"),
            (1, 3, "33.3"),
        ] {
            assert_eq!(Share(part, whole).to_string(), shown);
        }
    }

    #[test]
    fn a_round_has_all_its_figures() {
        let table = full(&[row(4, Connection::Closed, half())]).to_string();
        let line = table.lines().last().expect("a row");
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        assert_eq!(
            cells,
            [
                "",
                "node/sync",
                "4",
                "closed",
                "5",
                "100",
                "50.0 / 10.0 / 40.0",
                "0.50",
                "10.0",
                "upstream 25.0, idle 15.0",
                ""
            ]
        );
    }

    #[test]
    fn rounds_of_one_kind_share_a_row() {
        let none = Score::default();
        let rows = [
            row(4, Connection::KeptAlive, half()),
            row(24, Connection::KeptAlive, none),
            row(24, Connection::Closed, half()),
        ];
        let table = compact(&rows).to_string();
        let cells: Vec<Vec<_>> = table
            .lines()
            .map(|line| line.split('|').map(str::trim).collect())
            .collect();
        assert_eq!(
            cells[0],
            ["", "server", "connection", "4 clients", "24 clients", "extra", ""]
        );
        let half = "50.0 / 10.0 / 40.0; 0.50";
        assert_eq!(
            cells[2..],
            [
                ["", "node/sync", "kept alive", half, "- / - / -; -", "10.0, -", ""],
                ["", "node/sync", "closed", "", half, "10.0", ""],
            ]
        );
    }

    #[test]
    fn a_round_that_lost_records_is_named() {
        let whole = row(4, Connection::Closed, half());
        let lost = row(24, Connection::Closed, Score { lost: 3, ..half() });
        let notes = notes(&[whole, lost]);
        assert_eq!(notes.len(), 1);
        assert!(notes[0].starts_with("node/sync, 24 clients, closed"), "{notes:?}");
        assert!(notes[0].contains("3 records"), "{notes:?}");
    }
}
