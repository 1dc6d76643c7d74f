//! Entries of a baseline's TOML: what they should be, and what is said of those that are not.
//!
//! Owns the errors. Must not know which entries there are.

use toml_edit::{Item, Table, TableLike, Value};

/// As much alike two names are where one is meant by the other, of 1.
const LIKE: f64 = 0.8;

/// Why a file is no baseline.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BaselineError {
    /// It is no TOML.
    #[error("{0}")]
    Toml(String),
    /// Something in it is not what it should be.
    #[error("{at}: {why}")]
    Entry {
        /// Where.
        at: String,
        /// Why not.
        why: String,
    },
}

/// What is written beside the entry stays.
pub(super) fn set(table: &mut Table, key: &str, new: impl Into<Value>) {
    let mut new = new.into();
    match table.get_mut(key).and_then(Item::as_value_mut) {
        Some(old) => {
            *new.decor_mut() = old.decor().clone();
            *old = new;
        }
        None => {
            table.insert(key, Item::Value(new));
        }
    }
}

/// The table of this name, made where there is none.
pub(super) fn subtable<'a>(table: &'a mut Table, key: &str) -> &'a mut Table {
    let item = table.entry(key).or_insert_with(toml_edit::table);
    if !item.is_table() {
        // Written in one line by hand.
        let in_one_line = std::mem::take(item).into_table();
        *item = Item::Table(in_one_line.unwrap_or_default());
    }
    item.as_table_mut().expect("it is one by now")
}

pub(super) fn entry(at: &str, why: impl Into<String>) -> BaselineError {
    BaselineError::Entry {
        at: at.to_owned(),
        why: why.into(),
    }
}

/// There is no such entry; of what there is, one may have been meant.
pub(super) fn unknown(at: &str, name: &str, known: impl IntoIterator<Item = String>) -> BaselineError {
    let meant = nearest(name, known).map_or_else(String::new, |known| format!("; did you mean {known}?"));
    entry(at, format!("no such entry{meant}"))
}

pub(super) fn table<'a>(item: &'a Item, at: &str) -> Result<&'a dyn TableLike, BaselineError> {
    item.as_table_like()
        .ok_or_else(|| entry(at, "it should be a table"))
}

pub(super) fn texts_of(names: &[&str]) -> impl Iterator<Item = String> {
    names.iter().map(|&name| name.to_owned())
}

pub(super) fn text(item: &Item, at: &str) -> Result<String, BaselineError> {
    item.as_str()
        .map(str::to_owned)
        .ok_or_else(|| entry(at, "it should be a text"))
}

pub(super) fn integer(item: &Item, at: &str) -> Result<i64, BaselineError> {
    item.as_integer()
        .ok_or_else(|| entry(at, "it should be a whole number"))
}

pub(super) fn count(item: &Item, at: &str) -> Result<usize, BaselineError> {
    usize::try_from(integer(item, at)?).map_err(|_| entry(at, "it should be no less than 0"))
}

/// The one of these names that this is most like, if it is like any.
pub(super) fn nearest(name: &str, known: impl IntoIterator<Item = String>) -> Option<String> {
    let known = known
        .into_iter()
        .map(|known| (strsim::jaro_winkler(name, &known), known));
    let (likeness, known) = known.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (likeness >= LIKE).then_some(known)
}
