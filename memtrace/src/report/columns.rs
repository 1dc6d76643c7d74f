//! Lines of cells in columns that fit a width.
//!
//! Owns alignment, cutting and which columns give way on a narrow terminal. Must not know what the cells say.

use std::fmt::Write as _;

use anstyle::Style;

use super::printable::{columns, shortened};

/// Between two columns.
const GAP: &str = "  ";

/// The text column gets at least so much, at the cost of others.
const TEXT_LEAST: usize = 24;

/// A column.
#[derive(Debug)]
pub(crate) struct Column {
    /// Its heading.
    pub(crate) head: &'static str,
    /// How wide it is at least; the heading may ask for more.
    pub(crate) least: usize,
    /// When it gives way.
    pub(crate) kind: Kind,
    /// Figures stand to the right; the text column and a time of day do not.
    pub(crate) right: bool,
}

/// How a column behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The one column that takes what is left, and is cut where that is too little.
    Text,
    /// Never left out.
    Needed,
    /// Left out where there is no room: those with the highest number first.
    Spare(u8),
}

/// What stands in a column on one line; without control characters, the caller sees to that.
#[derive(Debug, Default)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            style: Style::new(),
        }
    }

    /// The same in `style` where `when` holds.
    pub(crate) fn styled(self, when: bool, style: Style) -> Self {
        if when { Self { style, ..self } } else { self }
    }

    pub(crate) fn columns(&self) -> usize {
        columns(&self.text)
    }
}

/// The columns of a table, chosen once for all of its lines.
#[derive(Debug)]
pub(crate) struct Columns {
    all: Vec<Chosen>,
    width: Option<usize>,
    colour: bool,
}

#[derive(Debug)]
struct Chosen {
    head: &'static str,
    wide: usize,
    text: bool,
    right: bool,
    shown: bool,
}

impl Columns {
    /// Chooses which of `all` are shown within `width`, if any is given.
    pub(crate) fn new(all: Vec<Column>, width: Option<usize>, colour: bool) -> Self {
        let mut kinds = Vec::with_capacity(all.len());
        let all = all.into_iter().map(|column| {
            kinds.push(column.kind);
            Chosen {
                head: column.head,
                wide: column.least.max(columns(column.head)),
                text: column.kind == Kind::Text,
                right: column.right,
                shown: true,
            }
        });
        let mut chosen = Self {
            all: all.collect(),
            width,
            colour,
        };
        while width.is_some_and(|width| chosen.needed() > width) {
            let shown = kinds
                .iter()
                .zip(&chosen.all)
                .enumerate()
                .filter(|(_, (_, column))| column.shown);
            let spare = shown.filter_map(|(index, (kind, _))| match kind {
                Kind::Spare(order) => Some((*order, index)),
                Kind::Text | Kind::Needed => None,
            });
            let Some((_, index)) = spare.max() else { break };
            chosen.all[index].shown = false;
        }
        chosen
    }

    /// The least width at which all that is shown has its room.
    fn needed(&self) -> usize {
        let shown = self.all.iter().filter(|column| column.shown);
        let wide = |column: &Chosen| {
            if column.text {
                column.wide.min(TEXT_LEAST)
            } else {
                column.wide
            }
        };
        let (cells, count) = shown.fold((0, 0), |(sum, count), column| {
            (sum + wide(column), count + 1_usize)
        });
        cells + GAP.len() * count.saturating_sub(1)
    }

    /// The line of headings.
    pub(crate) fn head(&self, style: Style) -> String {
        let cells = self
            .all
            .iter()
            .map(|column| Cell::new(column.head).styled(true, style));
        self.line(cells.collect())
    }

    /// A line of one cell for each column, in their order, without its end.
    pub(crate) fn line(&self, cells: Vec<Cell>) -> String {
        let mut shown: Vec<_> = self
            .all
            .iter()
            .zip(cells)
            .filter(|(column, _)| column.shown)
            .collect();
        let others = shown.iter().filter(|(column, _)| !column.text);
        let fixed: usize = others
            .map(|(column, cell)| column.wide.max(cell.columns()) + GAP.len())
            .sum();
        // A figure that is wider than its column takes from the text beside it.
        let left = self.width.map(|width| width.saturating_sub(fixed));
        let (mut plain, mut styled) = (String::new(), String::new());
        for (column, cell) in &mut shown {
            let mut wide = column.wide;
            if let (true, Some(left)) = (column.text, left) {
                wide = wide.min(left);
                cell.text = shortened(&cell.text, wide).into_owned();
            }
            let room = wide.saturating_sub(cell.columns());
            let (before, after) = if column.right { (room, 0) } else { (0, room) };
            let gap = if plain.is_empty() { "" } else { GAP };
            for (line, style) in [(&mut plain, Style::new()), (&mut styled, cell.style)] {
                // Writing to a String cannot fail. A plain style writes nothing.
                let _ = write!(
                    line,
                    "{gap}{:before$}{style}{}{style:#}{:after$}",
                    "", cell.text, ""
                );
            }
        }
        match self.width {
            // Not even the columns that are needed fit.
            Some(width) if columns(plain.trim_end()) > width => {
                shortened(plain.trim_end(), width).into_owned()
            }
            _ => if self.colour { styled } else { plain }.trim_end().to_owned(),
        }
    }
}
