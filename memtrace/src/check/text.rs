//! A judgement for a person: a line for each figure that moved, one for each route.
//!
//! Owns the lines and their words. Must not know a terminal: width and colour are given.

use super::{
    judge::{Judgement, Line, Verdict, What},
    metric::{Metric, Unit},
    samples::Samples,
    warmup::WarmUp,
};
use crate::report::{
    columns::{Cell, Column, Columns, Kind},
    figure::{bytes, bytes_changed, count, counted},
    printable::escaped,
    table::{ALARM, DOUBT, FAINT, HEAD, ROUTE_UNCUT, TableOptions, push_line},
};

/// Appends all lines.
pub fn write(judgement: &Judgement, samples: &Samples, options: &TableOptions, out: &mut Vec<u8>) {
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
    for (name, route) in &samples.routes {
        let name = name.to_string();
        let name = escaped(&name);
        let text = match route.warmup {
            WarmUp::Ends(0) | WarmUp::Unknown => continue,
            WarmUp::Ends(cold) => format!(
                "{name}: a warm-up of {} with {}, which are not judged with the rest.",
                counted(cold as u64, "request"),
                counted(route.cold_faults().unsigned_abs(), "fault")
            ),
            WarmUp::GoesOn => format!(
                "{name}: the first half of its requests is mostly unlike the second: it has not settled. Drive it for \
                 longer, or say how long that takes with --warmup."
            ),
        };
        options.paragraph(&text, FAINT, out);
    }
    for doubt in &judgement.doubts {
        options.paragraph(&format!("Inconclusive: {doubt}."), DOUBT, out);
    }
    for note in &judgement.notes {
        options.paragraph(&format!("Note: {note}."), anstyle::Style::new(), out);
    }
    let (text, style) = summary(judgement);
    options.paragraph(&text, style, out);
}

fn summary(judgement: &Judgement) -> (String, anstyle::Style) {
    let many =
        |is: fn(Verdict) -> bool| judgement.lines.iter().filter(|line| is(line.verdict)).count() as u64;
    let regressions = many(Verdict::is_regression);
    if regressions > 0 {
        (format!("{}.", counted(regressions, "regression")), ALARM)
    } else if judgement.is_inconclusive() {
        (
            "Inconclusive: what could not be judged is above.".to_owned(),
            DOUBT,
        )
    } else {
        let held = many(|verdict| matches!(verdict, Verdict::Same | Verdict::Less));
        (
            format!("Within the baseline: {} held to it.", counted(held, "figure")),
            anstyle::Style::new(),
        )
    }
}

/// Whatever moved, and of each route its faults.
fn is_shown(line: &Line) -> bool {
    line.verdict != Verdict::Same || matches!(line.what, What::Figure(Metric::Faults, _))
}

fn cells(line: &Line) -> Vec<Cell> {
    let (what, unit) = match line.what {
        What::Route => ("-".to_owned(), Unit::Count),
        What::WarmUp => ("warm-up faults".to_owned(), Unit::Count),
        What::Figure(metric, quantile) => (
            format!("{} p{}", metric.name(), quantile.percent()),
            metric.unit(),
        ),
        What::Most(metric) => (format!("{} max", metric.name()), metric.unit()),
    };
    let figure = |value: Option<i64>| Cell::new(value.map_or("-".to_owned(), |value| text(unit, value)));
    let change = match (line.was, line.is) {
        (Some(_), Some(_)) => changed(unit, line.change()),
        _ => "-".to_owned(),
    };
    let noise = if line.least > 0 {
        let unit = if unit == Unit::BytesChanged {
            Unit::Bytes
        } else {
            unit
        };
        format!("±{}", text(unit, line.least))
    } else {
        "-".to_owned()
    };
    let style = if line.verdict.is_regression() {
        ALARM
    } else if line.verdict.is_inconclusive() {
        DOUBT
    } else {
        anstyle::Style::new()
    };
    vec![
        Cell::new(escaped(&line.route)),
        Cell::new(what),
        figure(line.was),
        figure(line.is),
        Cell::new(change),
        Cell::new(noise),
        Cell::new(verdict(line.verdict)).styled(true, style),
    ]
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Same => "same",
        Verdict::More => "MORE",
        Verdict::Less => "less",
        Verdict::Over => "OVER ITS LIMIT",
        Verdict::New => "new",
        Verdict::Missing => "not in this run",
        Verdict::TooFew => "too few requests",
        Verdict::NotSteady => "not steady",
        Verdict::Unknown => "not known in this run",
    }
}

fn text(unit: Unit, value: i64) -> String {
    match unit {
        Unit::Count => count(value.unsigned_abs()),
        Unit::Bytes => bytes(value.unsigned_abs()),
        Unit::BytesChanged => bytes_changed(value),
        Unit::Thousandths => format!("{}.{}%", value / 10, (value % 10).abs()),
    }
}

fn changed(unit: Unit, change: i64) -> String {
    match (unit, change) {
        (_, 0) => "0".to_owned(),
        (Unit::Bytes | Unit::BytesChanged, _) => bytes_changed(change),
        (_, 1..) => format!("+{}", text(unit, change)),
        (Unit::Thousandths, _) => format!("-{}", text(unit, change.saturating_abs())),
        (Unit::Count, _) => format!("-{}", text(unit, change)),
    }
}

fn columns(cells: &[Vec<Cell>], options: &TableOptions) -> Columns {
    let widest = |index: usize| {
        cells
            .iter()
            .filter_map(|line| line.get(index))
            .map(Cell::columns)
            .max()
    };
    let heads = [
        ("ROUTE", Kind::Text),
        ("FIGURE", Kind::Needed),
        ("BASELINE", Kind::Needed),
        ("NOW", Kind::Needed),
        ("CHANGE", Kind::Needed),
        ("NOISE", Kind::Spare(1)),
        ("VERDICT", Kind::Needed),
    ];
    let all = heads.into_iter().enumerate().map(|(index, (head, kind))| {
        let least = widest(index).unwrap_or(0);
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
