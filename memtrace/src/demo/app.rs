//! The demo's web app: a fortune page, its picture, and the button that calls a GPT API.
//!
//! Owns what a small app of this kind does, in the plainest way: a thread a connection, blocking calls, fresh
//! buffers. Nothing here is arranged for the sake of figures. Must not know that it is traced.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsRawFd as _, OwnedFd},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    thread,
};

use rustix::fs::MemfdFlags;
use serde_json::{Value, json};

use super::{
    api,
    message::{Connection, Request},
};

/// The process's name, as `ps` shows it; the kernel keeps 15 bytes.
pub const NAME: &std::ffi::CStr = c"fortune-app";

const PAGE: &str = include_str!("page.html");
/// Stars in the picture: they set how large it is.
const STARS: u64 = 4_500;
/// Connections served at a time; who comes on top is turned away.
const CONNECTIONS_MAX: usize = 32;

/// The process's life: says on standard output where it listens, and serves until standard input ends. Whoever
/// started it holds the other end of that, so it never outlives them.
pub fn main(api: SocketAddr) -> ExitCode {
    if let Err(error) = rustix::thread::set_name(NAME) {
        tracing::debug!(%error, "the app goes by another name");
    }
    let started = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| {
        let app = App::new(api)?;
        let address = listener.local_addr()?;
        thread::Builder::new().name("life-line".to_owned()).spawn(|| {
            let gone = io::copy(&mut io::stdin(), &mut io::sink());
            std::process::exit(i32::from(gone.is_err()));
        })?;
        let mut stdout = io::stdout();
        writeln!(stdout, "{address}").and_then(|()| stdout.flush())?;
        Ok((app, listener))
    });
    match started {
        Ok((app, listener)) => Arc::new(app).serve(&listener),
        // Whoever waits for the address sees that none comes.
        Err(_) => return ExitCode::FAILURE,
    }
    ExitCode::SUCCESS
}

/// What all connections share.
#[derive(Debug)]
struct App {
    api: SocketAddr,
    /// A file without a name in any folder, so that nothing is left behind.
    sky: OwnedFd,
}

/// What the client is told.
struct Answer {
    status: &'static str,
    content_type: &'static str,
    body: Vec<u8>,
}

impl App {
    fn new(api: SocketAddr) -> io::Result<Self> {
        let sky = rustix::fs::memfd_create("sky.svg", MemfdFlags::CLOEXEC)?;
        let mut file = File::from(sky);
        file.write_all(draw_sky().as_bytes())?;
        Ok(Self {
            api,
            sky: file.into(),
        })
    }

    fn serve(self: Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming().flatten() {
            // The listener's thread and each that serves hold one.
            if Arc::strong_count(&self) > CONNECTIONS_MAX {
                continue;
            }
            let app = Arc::clone(&self);
            // A client whose connection breaks, or for whom there is no thread, sees it.
            let _ = thread::Builder::new()
                .name("connection".to_owned())
                .spawn(move || app.converse(stream));
        }
    }

    /// One connection, request by request.
    fn converse(&self, stream: TcpStream) -> io::Result<()> {
        let mut client = Connection::new(stream)?;
        loop {
            let request = match client.request() {
                Ok(Some(request)) => request,
                Ok(None) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return client.send("HTTP/1.1 400 Bad Request\r\nConnection: close", b"");
                }
                Err(error) => return Err(error),
            };
            let Answer {
                status,
                content_type,
                body,
            } = self.answer(&request);
            let connection = if request.keep_alive { "keep-alive" } else { "close" };
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nConnection: {connection}");
            client.send(&head, &body)?;
            if !request.keep_alive {
                return Ok(());
            }
        }
    }

    fn answer(&self, request: &Request) -> Answer {
        let path = request.path.split('?').next().unwrap_or_default();
        match (request.method.as_str(), path) {
            ("GET", "/") => Answer::html("200 OK", PAGE.to_owned()),
            ("GET", "/sky.svg") => match self.read_sky() {
                Ok(body) => Answer {
                    status: "200 OK",
                    content_type: "image/svg+xml",
                    body,
                },
                Err(error) => Answer::html("500 Internal Server Error", format!("<p>No sky: {error}.\n")),
            },
            ("POST", "/saju") => match self.ask(&request.body) {
                Ok(body) => Answer::html("200 OK", body),
                Err(error) => Answer::html("502 Bad Gateway", format!("<p>The stars are silent: {error}.\n")),
            },
            (_, "/" | "/sky.svg" | "/saju") => {
                Answer::html("405 Method Not Allowed", "<p>Not like this.\n".to_owned())
            }
            _ => Answer::html("404 Not Found", "<p>Nothing is here.\n".to_owned()),
        }
    }

    /// The whole file into a new buffer, as most apps do it.
    fn read_sky(&self) -> io::Result<Vec<u8>> {
        let path = PathBuf::from(format!("/proc/self/fd/{}", self.sky.as_raw_fd()));
        let mut sky = Vec::new();
        File::open(path)?.read_to_end(&mut sky)?;
        Ok(sky)
    }

    /// Asks the API, and makes a page of what it says.
    fn ask(&self, form: &[u8]) -> io::Result<String> {
        let birthday = String::from_utf8_lossy(form.strip_prefix(b"birthday=").unwrap_or_default());
        let question = json!({
            "model": "mock",
            "messages": [{"role": "user", "content": format!("I was born on {birthday}. What does my saju say?")}],
            "logprobs": true,
            "top_logprobs": 5,
        });
        let mut upstream = Connection::open(self.api)?;
        let path = api::PATH;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: api\r\nContent-Type: application/json\r\nConnection: close"
        );
        upstream.send(&head, question.to_string().as_bytes())?;
        let answer = upstream.response()?;
        if answer.status != 200 {
            return Err(io::Error::other(format!("the API answered {}", answer.status)));
        }
        page_of(&answer.body)
    }
}

impl Answer {
    fn html(status: &'static str, body: String) -> Self {
        Self {
            status,
            content_type: "text/html; charset=utf-8",
            body: body.into_bytes(),
        }
    }
}

/// The fortune, and how sure the model was of its words.
fn page_of(answer: &[u8]) -> io::Result<String> {
    let answer: Value = serde_json::from_slice(answer)?;
    let choice = &answer["choices"][0];
    let content = choice["message"]["content"].as_str();
    let content = content.ok_or_else(|| io::Error::other("the API sent no fortune"))?;
    let logprobs: Vec<f64> = choice["logprobs"]["content"]
        .as_array()
        .map(|tokens| {
            tokens
                .iter()
                .filter_map(|token| token["logprob"].as_f64())
                .collect()
        })
        .unwrap_or_default();
    let mean = logprobs.iter().sum::<f64>() / logprobs.len().max(1) as f64;
    let sure = mean.exp() * 100.0;
    Ok(format!(
        "<!doctype html>\n<title>Your fortune</title>\n<p>{content}\n<p>The stars are {sure:.0}% sure.\n"
    ))
}

/// A night sky.
fn draw_sky() -> String {
    let mut svg = String::from("<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 4096 4096'>\n");
    for star in 0..STARS {
        // Multiples of two odd numbers, cut to 12 bits, are spread evenly and look like chance.
        let (x, y) = ((star * 2_531) & 0xfff, (star * star * 17 + star * 1_289) & 0xfff);
        let _ = writeln!(
            svg,
            "<circle cx='{x}' cy='{y}' r='{}' fill='#fff' opacity='.{}'/>",
            1 + star % 5,
            3 + star % 7
        );
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app() -> App {
        App::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 1))).unwrap()
    }

    fn ask(app: &App, method: &str, path: &str) -> Answer {
        let (method, path) = (method.to_owned(), path.to_owned());
        app.answer(&Request {
            method,
            path,
            body: Vec::new(),
            keep_alive: true,
        })
    }

    #[test]
    fn it_serves_what_its_page_refers_to() {
        let app = app();
        let page = ask(&app, "GET", "/?from=mail");
        assert_eq!((page.status, page.body.as_slice()), ("200 OK", PAGE.as_bytes()));
        assert!(PAGE.contains("url(/sky.svg)") && PAGE.contains("method=\"post\" action=\"/saju\""));
        for _ in 0..2 {
            let sky = ask(&app, "GET", "/sky.svg");
            assert_eq!((sky.status, sky.content_type), ("200 OK", "image/svg+xml"));
            assert_eq!(sky.body, draw_sky().as_bytes(), "whole each time");
        }
        assert!(
            (200_000..400_000).contains(&draw_sky().len()),
            "{} bytes",
            draw_sky().len()
        );
    }

    #[test]
    fn what_it_does_not_have_it_says() {
        let app = app();
        for (method, path, status) in [
            ("GET", "/nothing", "404 Not Found"),
            ("PUT", "/", "405 Method Not Allowed"),
            ("GET", "/saju", "405 Method Not Allowed"),
            // Nobody listens on port 1.
            ("POST", "/saju", "502 Bad Gateway"),
        ] {
            assert_eq!(ask(&app, method, path).status, status, "{method} {path}");
        }
    }

    #[test]
    fn an_answer_that_is_none_is_no_fortune() {
        for bad in [
            "",
            "{",
            "{}",
            r#"{"choices":[]}"#,
            r#"{"choices":[{"message":{"content":7}}]}"#,
        ] {
            assert!(page_of(bad.as_bytes()).is_err(), "{bad}");
        }
        let page = page_of(br#"{"choices":[{"message":{"content":"Walk east."}}]}"#).unwrap();
        assert!(page.contains("<p>Walk east."));
    }
}
