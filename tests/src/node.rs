//! The Node app in `tests/apps/saju` as a child process.
//!
//! Owns its command line and what it serves. Must not know memtrace.

use std::process::Command;

use serde_json::Value;

use crate::client::{Client, Response};
use crate::process::{Running, Stream};

/// A running app with its mock API; both are gone after a drop.
pub struct Saju {
    running: Running,
    /// Where it listens.
    pub port: u16,
}

impl Saju {
    /// Starts it on a port that is free, with these settings in its environment beside.
    #[track_caller]
    pub fn start(settings: &[(&str, &str)]) -> Saju {
        let mut command = Command::new("node");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/apps/saju/server.js"));
        for name in ["GPT_API_URL", "GPT_API_KEY", "SAJU_DEBUG"] {
            command.env_remove(name);
        }
        command
            .env("PORT", "0")
            .env("MOCK_PORT", "0")
            .envs(settings.iter().copied());
        let running = Running::start(&mut command);
        let line = running.wait_for_line(Stream::Stdout, "saju on ");
        let port = line.rsplit(':').next().and_then(|port| port.parse().ok());
        Saju {
            port: port.unwrap_or_else(|| panic!("no port in {line:?}")),
            running,
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// A new connection.
    #[track_caller]
    pub fn client(&self) -> Client {
        Client::connect(self.port).unwrap_or_else(|error| panic!("no connection: {error}\n{}", self.running))
    }
}

/// A form that is filled in.
pub const BIRTH: &str = r#"{"name":"Mina","birthDate":"2001-05-17","birthTime":"06:30"}"#;

/// Presses the button.
pub fn press(client: &mut Client, name: &str) -> std::io::Result<Response> {
    let birth = serde_json::json!({"name": name, "birthDate": "2001-05-17", "birthTime": "06:30"});
    client.post("/saju", &birth.to_string())
}

/// The fortune in an answer, which must be 200.
#[track_caller]
pub fn fortune(response: &Response) -> Value {
    let fortune = serde_json::from_slice(&response.body)
        .ok()
        .filter(|_| response.status == 200);
    fortune.unwrap_or_else(|| panic!("status {}: {}", response.status, response.text()))
}
