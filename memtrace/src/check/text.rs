//! A judgement for a person: a line for each figure that moved, one for each route.
//!
//! Owns how the lines lie on the page. Must not know a terminal: width and colour are given.

use super::{
    judge::{Line, Status},
    told::Told,
    words::{HEADS, Words, ended, is_shown, summary, warm_ups},
};
use crate::report::{
    columns::{Cell, Column, Columns, Kind},
    printable::escaped,
    table::{ALARM, DOUBT, FAINT, HEAD, ROUTE_UNCUT, TableOptions, push_line},
};

/// Appends all lines.
pub fn write(told: &Told<'_>, options: &TableOptions, out: &mut Vec<u8>) {
    let judgement = told.judgement;
    let options = &options.clone().widened();
    let shown: Vec<&Line> = judgement.lines.iter().filter(|line| is_shown(line)).collect();
    if !shown.is_empty() {
        let cells: Vec<Vec<Cell>> = shown.iter().map(|line| cells(line)).collect();
        let columns = columns(&cells, options);
        push_line(out, &columns.head(HEAD));
        for line in cells {
            push_line(out, &columns.line(line));
        }
        out.push(b'\n');
    }
    for why in told.whys {
        let text = format!("{}: {}", why.route, why.sentences().join(" "));
        options.paragraph(&escaped(&text), anstyle::Style::new(), out);
    }
    for text in warm_ups(told.samples) {
        options.paragraph(&escaped(&text), FAINT, out);
    }
    for doubt in &judgement.doubts {
        options.paragraph(&escaped(&format!("Inconclusive: {}", ended(doubt))), DOUBT, out);
    }
    for note in &judgement.notes {
        options.paragraph(
            &escaped(&format!("Note: {}", ended(note))),
            anstyle::Style::new(),
            out,
        );
    }
    let style = match judgement.status() {
        Status::Within => anstyle::Style::new(),
        Status::Regression => ALARM,
        Status::Inconclusive => DOUBT,
    };
    options.paragraph(&summary(judgement), style, out);
}

fn cells(line: &Line) -> Vec<Cell> {
    let words = Words::of(line);
    let style = if line.verdict.is_regression() {
        ALARM
    } else if line.verdict.is_inconclusive() {
        DOUBT
    } else {
        anstyle::Style::new()
    };
    vec![
        Cell::new(escaped(&line.route)),
        Cell::new(words.what),
        Cell::new(words.was),
        Cell::new(words.is),
        Cell::new(words.change),
        Cell::new(words.noise),
        Cell::new(words.verdict).styled(true, style),
    ]
}

fn columns(cells: &[Vec<Cell>], options: &TableOptions) -> Columns {
    let widest = |index: usize| {
        cells
            .iter()
            .filter_map(|line| line.get(index))
            .map(Cell::columns)
            .max()
    };
    let all = HEADS.into_iter().enumerate().map(|(index, head)| {
        let least = widest(index).unwrap_or(0);
        let kind = match head {
            "ROUTE" => Kind::Text,
            "NOISE" => Kind::Spare(1),
            _ => Kind::Needed,
        };
        Column {
            head,
            least: match (kind, options.width) {
                (Kind::Text, None) => least.min(ROUTE_UNCUT),
                _ => least,
            },
            kind,
            right: (2..6).contains(&index),
        }
    });
    Columns::new(all.collect(), options.width, options.colour)
}
