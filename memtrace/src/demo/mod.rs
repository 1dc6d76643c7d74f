//! `memtrace demo`: a small web app, whoever it calls, whoever calls it, and one of its requests told in words.
//!
//! Owns all that the demo is about. Must not know tracing: the app is an ordinary program.
//!
//! - `app`: the web app, which runs in a process of its own and is what gets traced
//! - `api`: the mock GPT API that it calls, which runs in memtrace's own process: its faults are not the app's
//! - `driver`: the clients that press the app's button
//! - `message`: HTTP/1.1, as far as these three speak it

use std::fmt::Write as _;

use crate::explain::Scene;

pub mod api;
pub mod app;
pub mod driver;
mod message;

/// The route that the story is about: the page's button.
pub const BUTTON: (&str, &str) = ("POST", "/saju");

/// What is known of the app beside what is traced.
pub fn scene() -> Scene {
    Scene {
        which: "the median one by faults".to_owned(),
        introduction: None,
        wait: u64::try_from(api::DELAY.as_nanos())
            .ok()
            .map(|delay| (delay, "the mock GPT API")),
        user_mode: Some("it parses the API's JSON into a tree of small pieces of memory"),
        kernel_mode: Some(
            "the kernel copies the API's answer from the socket into a buffer that nobody has touched before",
        ),
        mprotect: Some("the C library's: it makes a thread's heap larger in steps of about a page"),
    }
}

/// What to do next, with `program` as the reader called it.
pub fn what_next(program: &str) -> String {
    let commands = [
        (
            format!("sudo {program} --port 3000"),
            "the same for your own app, if it listens on port 3000",
        ),
        (
            format!("{program} doctor"),
            "what this kernel and this user can do",
        ),
    ];
    let widest = commands
        .iter()
        .map(|(command, _)| command.chars().count())
        .max()
        .unwrap_or(0);
    let mut text = String::from("Next:\n");
    for (command, meaning) in commands {
        let _ = writeln!(text, "  {command:widest$}  # {meaning}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_next_can_be_typed_as_it_stands() {
        assert_eq!(
            what_next("./target/release/memtrace"),
            "Next:\n  \
             sudo ./target/release/memtrace --port 3000  # the same for your own app, if it listens on port 3000\n  \
             ./target/release/memtrace doctor            # what this kernel and this user can do\n"
        );
    }
}
