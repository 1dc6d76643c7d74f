//! How what is no list of requests is written: a comparison, a verdict.
//!
//! Owns the names of its forms.

use std::str::FromStr;

/// For whom it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// For a person.
    #[default]
    Table,
    /// One object on a line.
    Json,
}

/// A `--format` that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--format '{0}': no such format; there are table and json")]
pub struct FormError(String);

impl FromStr for Form {
    type Err = FormError;

    fn from_str(name: &str) -> Result<Self, FormError> {
        match name {
            "table" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            _ => Err(FormError(name.to_owned())),
        }
    }
}
