//! Tables that benches write into pages of docs/.
//!
//! Owns what stands between a page's two marks, and leaves all else alone. Must not know what is in a table.

use std::fs;

use anyhow::{Context as _, Result};

use crate::workspace;

const END: &str = "<!-- to here. -->\n";

/// A page, and the bench that writes a table there.
#[derive(Clone, Copy)]
pub(super) struct Page {
    /// `docs/NAME.md`
    pub(super) path: &'static str,
    /// `cargo xtask bench NAME --write`
    pub(super) bench: &'static str,
}

/// All of them.
pub(super) const ATTRIBUTION: Page = Page {
    path: "docs/ATTRIBUTION.md",
    bench: "attribution",
};
pub(super) const CHECK: Page = Page {
    path: "docs/CHECK.md",
    bench: "check",
};

impl Page {
    /// Puts this into the page in place of what was there.
    pub(super) fn write(self, about: &[String], table: &str) -> Result<()> {
        let name = self.path;
        let path = workspace::root().join(name);
        let page = fs::read_to_string(&path).with_context(|| format!("cannot read {name}"))?;
        let written = format!("\n{}\n\n{table}\n\n", about.join("\n"));
        let page = self
            .between_marks(&page, &written)
            .with_context(|| format!("{name} has lost its marks"))?;
        fs::write(&path, page).with_context(|| format!("cannot write {name}"))
    }

    fn begin(self) -> String {
        format!(
            "<!-- Written by `cargo xtask bench {} --write` from here -->\n",
            self.bench
        )
    }

    /// The page with this between its marks.
    fn between_marks(self, page: &str, written: &str) -> Option<String> {
        let begin = self.begin();
        let (before, rest) = page.split_once(&begin)?;
        let (_, after) = rest.split_once(END)?;
        Some([before, &begin, written, END, after].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_around_the_marks_is_kept() {
        let begin = CHECK.begin();
        let page = format!("# Title\n\nprose\n\n{begin}\n| old |\n{END}\nmore prose\n");
        let new = CHECK.between_marks(&page, "\n| new |\n").expect("it has marks");
        assert_eq!(
            new,
            format!("# Title\n\nprose\n\n{begin}\n| new |\n{END}\nmore prose\n")
        );
        assert_eq!(CHECK.between_marks(&new, "\n| new |\n").as_ref(), Some(&new));
    }

    #[test]
    fn a_page_without_its_marks_is_refused() {
        let begin = CHECK.begin();
        for page in [
            "prose\n".to_owned(),
            format!("{begin}prose\n"),
            format!("{END}{begin}"),
        ] {
            assert_eq!(CHECK.between_marks(&page, "new"), None);
        }
    }

    #[test]
    fn the_pages_have_their_marks_once() {
        for page in [ATTRIBUTION, CHECK] {
            let text = fs::read_to_string(workspace::root().join(page.path)).expect("the page");
            assert_eq!(
                (text.matches(&page.begin()).count(), text.matches(END).count()),
                (1, 1)
            );
            assert!(page.between_marks(&text, "").is_some());
        }
    }
}
