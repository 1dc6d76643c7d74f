//! Reports: from the ledger's entries to bytes, as a table, as lines of JSON or as one JSON document.
//!
//! Owns what is listed, in which order, and how it reads. Must not know where entries come from: width, colour
//! and wall-clock time are parameters, and the bytes go where the caller sends them. The same entries and
//! parameters give the same bytes.

pub mod form;
pub mod table;
pub mod view;

pub(crate) mod books;
pub(crate) mod columns;
pub(crate) mod figure;
pub(crate) mod json;
pub(crate) mod printable;
#[cfg(test)]
pub(crate) mod sample;

use std::str::FromStr;

use crate::ledger::entry::{Request, Route, Summary};
use json::Document;
use table::{Table, TableOptions};
use view::{Sieve, View};

/// How a report is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For a person: a line a request, then a table of routes, then the books in words.
    #[default]
    Table,
    /// For a stream of scripts: an object a line, requests as they end, then routes, then one summary.
    Ndjson,
    /// One document.
    Json,
}

/// A `--format` that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--format '{0}': no such format; there are table, ndjson and json")]
pub struct FormatError(String);

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(name: &str) -> Result<Self, FormatError> {
        match name {
            "table" => Ok(Self::Table),
            "ndjson" => Ok(Self::Ndjson),
            "json" => Ok(Self::Json),
            _ => Err(FormatError(name.to_owned())),
        }
    }
}

/// One report, written piece by piece into buffers that the caller empties.
///
/// Keeps no request, unless [`View::sort`] asks for it, and then at most [`view::SORTED_MAX`]. Call
/// [`open`](Self::open) once, [`request`](Self::request) for each one that ended, [`close`](Self::close) once.
#[derive(Debug)]
pub struct Reporter {
    sieve: Sieve,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Table(Box<Table>),
    Ndjson,
    Json(Document),
}

impl Reporter {
    /// A report that lists what `view` asks for; `table` holds for [`Format::Table`] alone.
    pub fn new(format: Format, view: View, table: TableOptions) -> Self {
        let body = match format {
            Format::Table => Body::Table(Box::new(Table::new(table))),
            Format::Ndjson => Body::Ndjson,
            Format::Json => Body::Json(Document::default()),
        };
        Self {
            sieve: Sieve::new(view),
            body,
        }
    }

    /// Appends what comes before all requests.
    pub fn open(&mut self, out: &mut Vec<u8>) {
        match &self.body {
            // The table's head waits for the first request: a run without one shows no empty table.
            Body::Table(_) | Body::Ndjson => {}
            Body::Json(_) => Document::open(out),
        }
    }

    /// Appends a request that ended, if it is to be listed now.
    pub fn request(&mut self, request: &Request, out: &mut Vec<u8>) {
        if let Some(request) = self.sieve.pass(request) {
            self.body.request(request, out);
        }
    }

    /// Appends the requests that were held for sorting, the routes and the summary.
    ///
    /// What the view left out is added to the summary's notes.
    pub fn close(&mut self, routes: &[Route], summary: &Summary, out: &mut Vec<u8>) {
        for request in self.sieve.take_held() {
            self.body.request(&request, out);
        }
        let mut summary = summary.clone();
        summary.notes.extend(self.sieve.notes());
        match &mut self.body {
            Body::Table(table) => table.close(routes, &summary, out),
            Body::Ndjson => json::tail(routes, &summary, out),
            Body::Json(_) => Document::close(routes, &summary, out),
        }
    }
}

impl Body {
    fn request(&mut self, request: &Request, out: &mut Vec<u8>) {
        match self {
            Body::Table(table) => table.request(request, out),
            Body::Ndjson => json::request_line(request, out),
            Body::Json(document) => document.request(request, out),
        }
    }
}

#[cfg(test)]
mod tests;
