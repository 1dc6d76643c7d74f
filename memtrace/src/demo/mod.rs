//! `memtrace demo`: a small web app, whoever it calls, whoever calls it, and one of its requests told in words.
//!
//! Owns all that the demo is about. Must not know tracing: the app is an ordinary program, and the story is told
//! from a ledger's entries alone.
//!
//! - `app`: the web app, which runs in a process of its own and is what gets traced
//! - `api`: the mock GPT API that it calls, which runs in memtrace's own process: its faults are not the app's
//! - `driver`: the clients that press the app's button
//! - `message`: HTTP/1.1, as far as these three speak it
//! - `story`: one request, step by step

pub mod api;
pub mod app;
pub mod driver;
mod message;
pub mod story;

/// The route that the story is about: the page's button.
pub const BUTTON: (&str, &str) = ("POST", "/saju");
