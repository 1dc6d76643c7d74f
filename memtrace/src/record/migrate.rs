//! How recordings of older versions differ from this one's.
//!
//! Owns the list of changes, and nothing of how a table is read: a change says what an older recording has in a
//! column's place, and the reader goes by that.

/// One change of the layout.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    /// The first version that is as it is now.
    since: u32,
    table: &'static str,
    column: &'static str,
    before: Before,
}

/// What recordings of versions before a change have in place of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// Nothing: every row has this figure (and no bytes).
    Always(u64),
    /// A column of this name.
    Named(&'static str),
}

/// All changes, the newest last.
const CHANGES: &[Change] = &[
    // Losses were told of without their time, and threads without their names.
    added(2, "lost", "since_ns"),
    added(2, "lost", "until_ns"),
    added(2, "thread", "comm"),
    // Faults were timed in sums alone.
    added(2, "fault", "last_fault_ns"),
    added(2, "exec", "last_fault_ns"),
    added(2, "tally", "last_fault_ns"),
    added(2, "untold", "last_fault_ns"),
    // Calls had no beginning, and munmap no end.
    added(2, "mm", "began_ns"),
    // A wait was told of as it began, and that was all.
    added(3, "wait", "flags"),
];

/// A column that is new in a version: 0, or nothing, in all rows before it.
const fn added(since: u32, table: &'static str, column: &'static str) -> Change {
    Change {
        since,
        table,
        column,
        before: Before::Always(0),
    }
}

/// Where a column of this version is in a recording of `version`: under which name, or which figure stands for it.
pub(super) fn column(version: u32, table: &str, column: &'static str) -> Before {
    by(CHANGES, version, table, column)
}

fn by(changes: &[Change], version: u32, table: &str, column: &'static str) -> Before {
    let mut name = column;
    for change in changes.iter().rev().filter(|c| c.since > version) {
        if (change.table, change.column) == (table, name) {
            match change.before {
                Before::Named(before) => name = before,
                always @ Before::Always(_) => return always,
            }
        }
    }
    Before::Named(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_undone_from_the_newest_to_the_oldest() {
        let change = |since, column, before| Change {
            since,
            table: "fault",
            column,
            before,
        };
        let changes = [
            change(2, "node", Before::Always(7)),
            change(3, "address", Before::Named("addr")),
            change(4, "numa_node", Before::Named("node")),
        ];
        let in_version = |version, column| by(&changes, version, "fault", column);
        assert_eq!(in_version(4, "numa_node"), Before::Named("numa_node"));
        assert_eq!(in_version(3, "numa_node"), Before::Named("node"));
        assert_eq!(in_version(2, "numa_node"), Before::Named("node"));
        assert_eq!(in_version(1, "numa_node"), Before::Always(7));
        assert_eq!(in_version(2, "address"), Before::Named("addr"));
        assert_eq!(in_version(3, "address"), Before::Named("address"));
        assert_eq!(by(&changes, 1, "mm", "address"), Before::Named("address"));
    }

    #[test]
    fn changes_are_in_order_and_of_versions_that_were() {
        assert!(CHANGES.is_sorted_by_key(|c| c.since));
        assert!(CHANGES.first().is_none_or(|c| c.since > 1));
        assert!(CHANGES.last().is_none_or(|c| c.since <= super::super::VERSION));
    }
}
