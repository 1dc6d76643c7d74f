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

/// As long as most lines are.
const LINE_USUAL: usize = 160;

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
    /// How many columns that takes.
    columns: usize,
    /// How wide its column is on this line, where not as on others.
    room: Option<usize>,
    style: Style,
}

impl Cell {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            columns: columns(&text),
            text,
            ..Self::default()
        }
    }

    /// The same in `style` where `when` holds.
    pub(crate) fn styled(self, when: bool, style: Style) -> Self {
        if when { Self { style, ..self } } else { self }
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
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
    pub(crate) fn line(&self, mut cells: Vec<Cell>) -> String {
        if let Some(width) = self.width {
            self.fit(width, &mut cells);
        }
        let mut line = self.laid_out(&cells, false);
        match self.width {
            // Not even the columns that are needed fit.
            Some(width) if columns(line.trim_end()) > width => {
                return shortened(line.trim_end(), width).into_owned();
            }
            _ if self.colour => line = self.laid_out(&cells, true),
            _ => {}
        }
        line.truncate(line.trim_end().len());
        line
    }

    /// Cuts the text. A figure that is wider than its column takes from it.
    fn fit(&self, width: usize, cells: &mut [Cell]) {
        let shown = || self.all.iter().enumerate().filter(|(_, column)| column.shown);
        let others = shown().filter(|(_, column)| !column.text);
        let fixed: usize = others
            .map(|(at, column)| column.wide.max(cells.get(at).map_or(0, Cell::columns)) + GAP.len())
            .sum();
        let left = width.saturating_sub(fixed);
        for (at, column) in shown().filter(|(_, column)| column.text) {
            if let Some(cell) = cells.get_mut(at) {
                *cell = Cell {
                    style: cell.style,
                    ..Cell::new(shortened(&cell.text, column.wide.min(left)))
                };
                cell.room = Some(column.wide.min(left));
            }
        }
    }

    /// Requests end by the ten thousands a second: no formatter is asked for what is plain.
    fn laid_out(&self, cells: &[Cell], colour: bool) -> String {
        let mut line = String::with_capacity(LINE_USUAL);
        let mut is_first = true;
        for (column, cell) in std::iter::zip(&self.all, cells).filter(|(column, _)| column.shown) {
            if !is_first {
                line.push_str(GAP);
            }
            let room = cell.room.unwrap_or(column.wide).saturating_sub(cell.columns);
            is_first &= room == 0 && cell.text.is_empty();
            if column.right {
                blanks(room, &mut line);
            }
            if colour {
                let style = cell.style;
                // Writing to a String cannot fail. A plain style writes nothing.
                let _ = write!(line, "{style}{}{style:#}", cell.text);
            } else {
                line.push_str(&cell.text);
            }
            if !column.right {
                blanks(room, &mut line);
            }
        }
        line
    }
}

fn blanks(mut count: usize, line: &mut String) {
    const BLANKS: &str = "                                                                ";
    while count > 0 {
        let now = count.min(BLANKS.len());
        line.push_str(&BLANKS[..now]);
        count -= now;
    }
}
