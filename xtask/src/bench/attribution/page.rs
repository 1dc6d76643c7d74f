//! The table in docs/ATTRIBUTION.md.
//!
//! Owns what stands between the page's two marks, and leaves all else alone. Must not know what is in the table.

use std::fs;

use anyhow::{Context as _, Result};

use crate::workspace;

const PAGE: &str = "docs/ATTRIBUTION.md";
const BEGIN: &str = "<!-- Written by `cargo xtask bench attribution --write` from here -->\n";
const END: &str = "<!-- to here. -->\n";

/// Puts this into the page in place of what was there.
pub(super) fn write(about: &[String], table: &str) -> Result<()> {
    let path = workspace::root().join(PAGE);
    let page = fs::read_to_string(&path).with_context(|| format!("cannot read {PAGE}"))?;
    let written = format!("\n{}\n\n{table}\n\n", about.join("\n"));
    let page = between_marks(&page, &written).with_context(|| format!("{PAGE} has lost its marks"))?;
    fs::write(&path, page).with_context(|| format!("cannot write {PAGE}"))
}

/// The page with this between its marks.
fn between_marks(page: &str, written: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some([before, BEGIN, written, END, after].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_around_the_marks_is_kept() {
        let page = format!("# Title\n\nprose\n\n{BEGIN}\n| old |\n{END}\nmore prose\n");
        let new = between_marks(&page, "\n| new |\n").expect("it has marks");
        assert_eq!(
            new,
            format!("# Title\n\nprose\n\n{BEGIN}\n| new |\n{END}\nmore prose\n")
        );
        assert_eq!(between_marks(&new, "\n| new |\n").as_ref(), Some(&new));
    }

    #[test]
    fn a_page_without_its_marks_is_refused() {
        for page in [
            "prose\n".to_owned(),
            format!("{BEGIN}prose\n"),
            format!("{END}{BEGIN}"),
        ] {
            assert_eq!(between_marks(&page, "new"), None);
        }
    }

    #[test]
    fn the_page_has_its_marks_once() {
        let page = fs::read_to_string(workspace::root().join(PAGE)).expect("the page");
        assert_eq!((page.matches(BEGIN).count(), page.matches(END).count()), (1, 1));
        assert!(between_marks(&page, "").is_some());
    }
}
