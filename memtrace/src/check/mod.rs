//! Whether requests take more than they did: a run held to a baseline.
//!
//! Owns the judgement. Must not know files, terminals, or where a run comes from. docs/CHECK.md has it in words.
//!
//! - `metric`: what of a request is judged
//! - `samples`: the requests of a run, route by route
//! - `warmup`: how many of a route's first requests are not like the rest
//! - `drift`: requests that map memory while others find it
//! - `chance`: how far a figure may go by chance
//! - `baseline`: what it is held to, in TOML
//! - `entry`: what stands there, and what is said of what should not
//! - `environment`: what moves figures beside the program
//! - `judge`: what is said of each figure
//! - `why`: where a regression's faults are, and which requests have them
//! - `words`: a line in words; `text`, `json`, `markdown`, `junit` and `github`: all of it, for who reads that

pub mod baseline;
pub mod chance;
pub mod drift;
pub mod entry;
pub mod environment;
pub mod github;
pub mod json;
pub mod judge;
pub mod junit;
pub mod markdown;
pub mod metric;
pub mod samples;
pub mod text;
pub mod told;
pub mod warmup;
pub mod why;
mod words;

#[cfg(test)]
mod tests;
