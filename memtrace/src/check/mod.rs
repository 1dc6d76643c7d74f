//! Whether requests take more than they did: a run held to a baseline.
//!
//! Owns the judgement. Must not know files, terminals, or where a run comes from. docs/CHECK.md has it in words.
//!
//! - `metric`: what of a request is judged
//! - `samples`: the requests of a run, route by route
//! - `warmup`: how many of a route's first requests are not like the rest
//! - `chance`: how far a figure may go by chance
//! - `baseline`: what it is held to, in TOML
//! - `judge`: what is said of each figure
//! - `text`: that, for a person

pub mod baseline;
pub mod chance;
pub mod judge;
pub mod metric;
pub mod samples;
pub mod text;
pub mod warmup;

#[cfg(test)]
mod tests;
