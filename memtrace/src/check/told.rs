//! All that is said of a run that was held to a baseline, for whoever writes it down.

use super::{judge::Judgement, samples::Samples, why::Why};

/// What there is to tell.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// What was found.
    pub judgement: &'a Judgement,
    /// Of each route that has a regression.
    pub whys: &'a [Why],
    /// The run.
    pub samples: &'a Samples,
    /// Where its Perfetto trace is, if there is one.
    pub trace: Option<Trace<'a>>,
}

/// A file for the Perfetto UI.
#[derive(Clone, Copy, Debug)]
pub struct Trace<'a> {
    /// The file.
    pub path: &'a str,
    /// The page that it can be had from.
    pub page: Option<&'a str>,
}
