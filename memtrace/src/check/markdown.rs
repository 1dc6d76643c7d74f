//! A judgement for a pull request: a comment of GitHub's or GitLab's, or a job's summary.
//!
//! Owns what may stand in Markdown. Paths are whatever clients asked for: none of them becomes markup.

use std::fmt::Write as _;

use super::{
    judge::{Line, Status},
    told::Told,
    words::{HEADS, Words, ended, is_shown, summary, warm_ups},
};
use crate::report::{figure::counted, printable::escaped};

/// Lines of the table: a comment has room for 65,536 characters.
const LINES_MAX: usize = 200;

/// The whole text.
pub fn markdown(told: &Told<'_>) -> String {
    let judgement = told.judgement;
    let sign = match judgement.status() {
        Status::Within => "✅",
        Status::Regression => "❌",
        Status::Inconclusive => "⚠️",
    };
    let mut text = format!("### memtrace check\n\n{sign} {}\n\n", summary(judgement));
    table(told, &mut text);
    for why in told.whys {
        let sentences: Vec<String> = why.sentences().iter().map(|one| sentence(one)).collect();
        let _ = writeln!(text, "**{}**: {}\n", code(&why.route), sentences.join(" "));
    }
    if let Some(trace) = told.trace {
        let _ = match trace.page {
            Some(page) => writeln!(
                text,
                "The trace for [Perfetto](https://ui.perfetto.dev) is {}, [with this run]({page}).\n",
                code(trace.path)
            ),
            None => writeln!(
                text,
                "The trace for [Perfetto](https://ui.perfetto.dev) is {}.\n",
                code(trace.path)
            ),
        };
    }
    for doubt in &judgement.doubts {
        let _ = writeln!(text, "- Inconclusive: {}", sentence(&ended(doubt)));
    }
    for note in &judgement.notes {
        let _ = writeln!(text, "- {}", sentence(&ended(note)));
    }
    for warm_up in warm_ups(told.samples) {
        let _ = writeln!(text, "- {}", plain(&warm_up));
    }
    text
}

fn table(told: &Told<'_>, text: &mut String) {
    let mut shown: Vec<&Line> = told
        .judgement
        .lines
        .iter()
        .filter(|line| is_shown(line))
        .collect();
    if shown.is_empty() {
        return;
    }
    // What matters is not cut off.
    shown.sort_by_key(|line| (!line.verdict.is_regression(), !line.verdict.is_inconclusive()));
    let _ = writeln!(text, "| {} |", HEADS.join(" | ").to_lowercase());
    text.push_str("|---|---|--:|--:|--:|--:|---|\n");
    for line in shown.iter().take(LINES_MAX) {
        let Words {
            what,
            was,
            is,
            change,
            noise,
            verdict,
        } = Words::of(line);
        let verdict = if line.verdict.is_regression() {
            format!("**{verdict}**")
        } else {
            verdict.to_owned()
        };
        let route = code(&line.route);
        let _ = writeln!(
            text,
            "| {route} | {what} | {was} | {is} | {change} | {noise} | {verdict} |"
        );
    }
    if let Some(more @ 1..) = shown.len().checked_sub(LINES_MAX) {
        let _ = writeln!(text, "\n{} more.", counted(more as u64, "line"));
    }
    text.push('\n');
}

/// Text that is no markup.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for c in escaped(text).chars() {
        match c {
            '&' => plain.push_str("&amp;"),
            '<' => plain.push_str("&lt;"),
            '>' => plain.push_str("&gt;"),
            // Of a table, of code, of a link, of emphasis, of a person's name.
            '|' | '`' | '[' | ']' | '*' | '_' | '~' | '\\' | '@' | '#' => {
                let _ = write!(plain, "&#{};", u32::from(c));
            }
            c => plain.push(c),
        }
    }
    plain
}

/// Our own words, of which some are in a typewriter's letters.
fn sentence(text: &str) -> String {
    let parts = text.split('`').enumerate();
    parts
        .map(|(at, part)| if at % 2 == 1 { code(part) } else { plain(part) })
        .collect()
}

/// The same in a typewriter's letters.
fn code(text: &str) -> String {
    format!("<code>{}</code>", plain(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_becomes_markup() {
        assert_eq!(
            code("GET /<b>|`@all`\n"),
            "<code>GET /&lt;b&gt;&#124;&#96;&#64;all&#96;&#92;n</code>"
        );
    }
}
