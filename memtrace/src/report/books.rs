//! The books, and what else there is to say about a run, in plain words.
//!
//! Owns the sentences. Must not know how wide the screen is: a string is a paragraph.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::figure::{count, counted, duration, share};
use crate::ledger::entry::{Books, Lost, Summary};

/// How many requests there were, of which process, and how long it took.
pub(super) fn run(summary: &Summary) -> Vec<String> {
    let mut said = Vec::new();
    let of = match (summary.target.comm.as_str(), summary.target.pids.as_slice()) {
        (comm, []) => comm.to_owned(),
        (comm, [pid]) => format!("{comm} (pid {pid})"),
        (comm, [first, rest @ ..]) => format!("{comm} (pid {first} and {} more)", count(rest.len() as u64)),
    };
    let whole = format!(
        "in {}: {of}, kernel {}.",
        duration(summary.elapsed_ns),
        summary.kernel
    );
    if summary.requests == 0 {
        let what = if summary.other_requests == 0 {
            "seen"
        } else {
            "listed"
        };
        said.push(format!("No HTTP request was {what} {whole}"));
    } else {
        said.push(format!("{} {whole}", counted(summary.requests, "request")));
    }
    if summary.other_requests > 0 {
        let others = counted(summary.other_requests, "request");
        said.push(format!("Not listed: {others} that came in on another port."));
    }
    if let Some(status) = summary.command_status.filter(|status| *status != 0) {
        said.push(format!("The command ended with status {status}."));
    }
    said
}

/// Whether the kernel's count and memtrace's are the same, and what they are made of.
pub(super) fn books(summary: &Summary) -> Vec<String> {
    let Summary { books, lost, .. } = summary;
    let kernel = u128::from(books.kernel_min_flt) + u128::from(books.kernel_maj_flt);
    let seen = u128::from(books.observed) + u128::from(books.dropped) + u128::from(books.untraced);
    let parts = parts(summary);
    let none_lost = if books.dropped == 0 && lost.records() == 0 {
        " None lost."
    } else {
        ""
    };
    let mut said = Vec::new();
    if books.balanced {
        let counted = counted(kernel, "fault");
        said.push(format!(
            "{counted} counted by the kernel = {parts}.{none_lost} The books balance."
        ));
    } else {
        let difference = match kernel.cmp(&seen) {
            std::cmp::Ordering::Greater => format!("memtrace misses {}", count(kernel - seen)),
            std::cmp::Ordering::Less => format!("memtrace has {} too many", count(seen - kernel)),
            std::cmp::Ordering::Equal => "the sums agree, but not for every thread".to_owned(),
        };
        said.push(format!(
            "The books do not balance. The kernel counted {}, memtrace {} = {parts}: {difference}.{none_lost}",
            counted(kernel, "fault"),
            count(seen),
        ));
    }
    said.extend(losses(books, lost));
    if books.failed > 0 {
        let (attempts, stand) = (
            counted(books.failed, "attempt"),
            if books.failed == 1 { "stands" } else { "stand" },
        );
        said.push(format!(
            "{attempts} that the kernel did not count (a signal, a retry, faults disabled) {stand} apart."
        ));
    }
    said
}

/// What the faults were for, and where, the most first.
pub(super) fn kinds(summary: &Summary) -> Option<String> {
    let observed = summary.books.observed;
    let list = |sums: &BTreeMap<&'static str, u64>| {
        let mut sums: Vec<_> = sums.iter().filter(|(_, faults)| **faults > 0).collect();
        sums.sort_by_key(|(name, faults)| (Reverse(**faults), **name));
        let parts: Vec<String> = sums
            .into_iter()
            .map(|(name, &faults)| {
                format!(
                    "{} {} ({})",
                    name.replace('_', " "),
                    count(faults),
                    share(faults, observed)
                )
            })
            .collect();
        parts.join(", ")
    };
    let (causes, regions) = (list(&summary.cause), list(&summary.region));
    (!causes.is_empty()).then(|| format!("What for: {causes}. Where: {regions}."))
}

/// Why faults are on no request, the most frequent reason first: ` (idle 210, startup 98)`, or nothing.
pub(crate) fn reasons(summary: &Summary) -> String {
    let mut reasons: Vec<_> = summary
        .unattributed
        .iter()
        .filter(|(_, faults)| **faults > 0)
        .collect();
    reasons.sort_by_key(|(name, faults)| (Reverse(**faults), *name));
    let reasons: Vec<String> = reasons
        .into_iter()
        .map(|(name, faults)| format!("{} {}", name.replace('_', " "), count(*faults)))
        .collect();
    if reasons.is_empty() {
        String::new()
    } else {
        format!(" ({})", reasons.join(", "))
    }
}

/// Memtrace's side of the books, `a on requests + b elsewhere …`.
fn parts(summary: &Summary) -> String {
    let books = &summary.books;
    let on_requests = books.direct.saturating_add(books.causal.unwrap_or(0));
    // Writing to a String cannot fail.
    let mut parts = format!("{} on requests", count(on_requests));
    if let Some(causal) = books.causal.filter(|causal| *causal > 0) {
        let _ = write!(
            parts,
            " ({} direct, {} through a chain)",
            count(books.direct),
            count(causal)
        );
    }
    let _ = write!(parts, " + {} elsewhere", count(books.unattributed));
    parts.push_str(&reasons(summary));
    if books.dropped > 0 {
        let _ = write!(parts, " + {} lost", count(books.dropped));
    }
    if books.untraced > 0 {
        let _ = write!(
            parts,
            " + {} that fired no probe (MAP_POPULATE, mlock, exec's copy of its arguments)",
            count(books.untraced)
        );
    }
    parts
}

/// What did not reach memtrace, why, and what to do.
fn losses(books: &Books, lost: &Lost) -> Vec<String> {
    let mut said = Vec::new();
    if books.dropped == 0 && lost.records() == 0 {
        return said;
    }
    let full = if lost.ns > 0 {
        format!(" for {}", duration(lost.ns))
    } else {
        String::new()
    };
    let what = if books.dropped > 0 {
        format!("{} lost", counted(books.dropped, "fault"))
    } else {
        "Records lost".to_owned()
    };
    said.push(format!("{what}: the ring was full{full}; raise --buffer."));
    let families = [
        (lost.mm, "address-space calls"),
        (lost.io, "descriptor calls"),
        (lost.frame, "page frames"),
        (lost.task, "threads and processes"),
    ];
    let others: Vec<String> = families
        .iter()
        .filter(|(records, _)| *records > 0)
        .map(|(records, family)| format!("{} of {family}", count(*records)))
        .collect();
    if !others.is_empty() {
        let consequence = "requests may be missing, cut short or short of figures";
        said.push(format!(
            "Other records lost: {}; {consequence}.",
            others.join(", ")
        ));
    }
    said
}
