//! docs/RECORDING.md lists every table of this version, for other programs.

use std::{fmt::Write as _, path::Path};

use crate::record::{
    VERSION,
    column::Codec,
    layout::{Layout, TABLES},
};

/// The beginning of a table's line there.
fn line(layout: &Layout) -> String {
    let mut line = format!("| `{}` |", layout.name);
    for (number, (column, codec)) in layout.columns.iter().enumerate() {
        let comma = if number > 0 { "," } else { "" };
        let _ = write!(line, "{comma} `{column}`");
        if *codec != Codec::Plain {
            let name = serde_json::to_value(codec).unwrap();
            let _ = write!(line, " {}", name.as_str().unwrap());
        }
    }
    line + " | "
}

#[test]
fn every_table_is_documented_with_its_columns_and_codecs() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/RECORDING.md");
    let page = std::fs::read_to_string(path).unwrap();
    for layout in &TABLES {
        let line = line(layout);
        assert!(
            page.lines().any(|has| has.starts_with(&line)),
            "no line begins with {line:?}"
        );
    }
    let version = format!("now {VERSION} |");
    assert!(page.contains(&version), "the page is of another version");
}
