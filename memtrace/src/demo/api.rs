//! The mock GPT API that the demo's app calls.
//!
//! Owns the answer: a fortune with the probability of every token beside it, as such APIs give it to who asks for
//! `logprobs`, which makes it large. Must not know the app.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use super::message::Connection;

/// How long the mock model thinks.
pub const DELAY: Duration = Duration::from_millis(100);
/// What it listens to.
pub(super) const PATH: &str = "/v1/chat/completions";

/// Months that the fortune speaks of: they set how long the answer is.
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// What it says of a month.
const SENTENCES: [&str; 7] = [
    "water feeds the tree that stands in your day pillar, and what you began in doubt takes root.",
    "A letter comes late and is worth the wait; answer it before the moon turns.",
    "Metal and fire quarrel in the hour pillar, so count twice what you lend and once what you borrow.",
    "An old friend asks for little and means a lot.",
    "Walk east when you cannot decide, and sleep before you sign.",
    "Somebody watches how you carry bad news, and thinks well of it.",
    "Money goes out by the front door and comes back by the window.",
];

/// Other tokens that the model thought of, at every step.
const ALTERNATIVES: usize = 5;

/// The running API.
#[derive(Clone, Copy, Debug)]
pub struct Api {
    address: SocketAddr,
    answer_bytes: usize,
}

impl Api {
    /// Starts it on threads of this process; it ends with the process.
    pub fn start() -> io::Result<Self> {
        let answer: Arc<[u8]> = answer().to_string().into_bytes().into();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let api = Self {
            address: listener.local_addr()?,
            answer_bytes: answer.len(),
        };
        thread::Builder::new()
            .name("mock-api".to_owned())
            .spawn(move || {
                for stream in listener.incoming().flatten() {
                    let answer = Arc::clone(&answer);
                    let serving = thread::Builder::new().spawn(move || {
                        if let Err(error) = serve(stream, &answer) {
                            tracing::debug!(%error, "the mock API could not answer");
                        }
                    });
                    if let Err(error) = serving {
                        tracing::debug!(%error, "the mock API has no thread for a connection");
                    }
                }
            })?;
        Ok(api)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How large its answer is.
    pub fn answer_bytes(&self) -> usize {
        self.answer_bytes
    }
}

/// One connection, one answer.
fn serve(stream: TcpStream, answer: &[u8]) -> io::Result<()> {
    let mut client = Connection::new(stream)?;
    let Some(request) = client.request()? else {
        return Ok(());
    };
    if request.method != "POST" || request.path != PATH {
        return client.send("HTTP/1.1 404 Not Found\r\nConnection: close", b"");
    }
    thread::sleep(DELAY);
    client.send(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close",
        answer,
    )
}

/// A chat completion with `logprobs`, the same one every time.
fn answer() -> Value {
    let content = fortune();
    let words: Vec<&str> = content.split_inclusive(' ').collect();
    let mut dice = Dice(1);
    let token =
        |word: &str, logprob: f64| json!({"token": word, "logprob": logprob, "bytes": word.as_bytes()});
    let tokens: Vec<Value> = words
        .iter()
        .map(|word| {
            let thought_of: Vec<Value> = (0..ALTERNATIVES)
                .map(|_| token(words.get(dice.roll(words.len())).unwrap_or(word), dice.logprob()))
                .collect();
            let mut chosen = token(word, dice.logprob() / 8.0);
            chosen["top_logprobs"] = thought_of.into();
            chosen
        })
        .collect();
    json!({
        "id": "chatcmpl-memtrace-demo",
        "object": "chat.completion",
        "model": "mock",
        "choices": [{
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": content},
            "logprobs": {"content": tokens},
        }],
        "usage": {"prompt_tokens": 24, "completion_tokens": words.len()},
    })
}

/// A year in sentences.
fn fortune() -> String {
    let month = |(number, name): (usize, &&str)| {
        let said = (0..SENTENCES.len()).map(|n| SENTENCES[(number + n) % SENTENCES.len()]);
        format!("In {name}: {}", said.collect::<Vec<_>>().join(" "))
    };
    MONTHS.iter().enumerate().map(month).collect::<Vec<_>>().join(" ")
}

/// Numbers that look random and are the same in each run (Knuth's MMIX generator).
struct Dice(u64);

impl Dice {
    /// Below `faces`.
    fn roll(&mut self, faces: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % faces.max(1)
    }

    /// The logarithm of some probability: from -8 to 0.
    fn logprob(&mut self) -> f64 {
        -(self.roll(8_000_000) as f64) / 1_000_000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_large_and_what_such_apis_send() {
        let answer = answer();
        let bytes = answer.to_string().len();
        assert!(
            (300_000..900_000).contains(&bytes),
            "several hundred KB, not {bytes} bytes"
        );
        let choice = &answer["choices"][0];
        let content = choice["message"]["content"].as_str().unwrap();
        let tokens = choice["logprobs"]["content"].as_array().unwrap();
        let joined: String = tokens.iter().map(|t| t["token"].as_str().unwrap()).collect();
        assert_eq!(joined, content);
        assert!(
            tokens
                .iter()
                .all(|t| t["logprob"].as_f64().is_some_and(|p| (-1.0..=0.0).contains(&p)))
        );
    }

    #[test]
    fn it_answers_one_path() {
        let api = Api::start().unwrap();
        let mut client = Connection::open(api.address()).unwrap();
        client.send("GET /v1/models HTTP/1.1", b"").unwrap();
        assert_eq!(client.response().unwrap().status, 404);
        let mut client = Connection::open(api.address()).unwrap();
        client.send("POST /v1/chat/completions HTTP/1.1", b"{}").unwrap();
        let answer = client.response().unwrap();
        assert_eq!((answer.status, answer.body.len()), (200, api.answer_bytes()));
    }
}
