//! What did the operating system do with memory for this one HTTP request?
//!
//! The path of an event, a module a stage: [`kernel`](crate) loads the probes and reads the ring; `model` knows
//! threads and descriptors; `http` frames bytes into requests; `window` says for which request a thread works;
//! `ledger` adds up; `report` renders. Everything after the ring is pure: no clock, no thread, no descriptor.

pub mod check;
pub mod cli;
pub mod demo;
pub mod diff;
pub mod event;
pub mod explain;
pub mod http;
pub mod kernel;
pub mod ledger;
pub mod map;
pub mod marker;
pub mod model;
pub mod perfetto;
pub mod pipeline;
pub mod record;
pub mod report;
pub mod run;
pub mod tables;
pub mod timed;
pub mod timeline;
pub mod waiting;
pub mod watch;
pub mod window;
