//! The demo's app, API and clients together, without tracing: no privilege is needed.
#![expect(clippy::unwrap_used, reason = "a test: what is not as it should be ends it")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Child, ChildStdin, Command, Stdio},
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

use memtrace::demo::{api::Api, driver};

const PATIENCE: Duration = Duration::from_secs(20);

/// The app in its own process, as `memtrace demo` has it; killed on drop.
struct App {
    child: Child,
    /// The line that it lives on.
    line: Option<ChildStdin>,
    address: SocketAddr,
}

impl App {
    fn start(api: SocketAddr) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_memtrace"))
            .args(["demo-app", "--api", &api.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let line = child.stdin.take();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut address)
            .unwrap();
        let address = address
            .trim_end()
            .parse()
            .unwrap_or_else(|_| panic!("no address: {address:?}"));
        Self { child, line, address }
    }

    fn ends(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.child.try_wait().unwrap().is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends bytes as they are, and reads the first line of what comes back.
fn first_line(to: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

#[test]
fn every_request_is_answered() {
    let api = Api::start().unwrap();
    let app = App::start(api.address());
    let comm = std::fs::read_to_string(format!("/proc/{}/comm", app.child.id())).unwrap();
    assert_eq!(comm.trim_end(), "fortune-app", "the name that the report shows");
    let answered = driver::drive(app.address, &AtomicBool::new(false)).unwrap();
    assert_eq!((answered, driver::REQUESTS), (36, 36));
}

#[test]
fn a_drive_stops_when_told_to() {
    let api = Api::start().unwrap();
    let app = App::start(api.address());
    assert_eq!(driver::drive(app.address, &AtomicBool::new(true)).unwrap(), 0);
}

#[test]
fn an_app_whose_api_is_gone_is_not_taken_for_a_good_one() {
    // Bound to be found closed: nobody listens on a port that was just given back.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let app = App::start(nobody);
    let error = driver::drive(app.address, &AtomicBool::new(false)).unwrap_err();
    assert_eq!(error.to_string(), "POST /saju was answered with 502");
}

#[test]
fn the_app_ends_with_whoever_started_it() {
    let api = Api::start().unwrap();
    let mut app = App::start(api.address());
    // A request is open when the line is cut.
    let mut client = TcpStream::connect(app.address).unwrap();
    client
        .write_all(b"POST /saju HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    drop(app.line.take());
    assert!(app.ends(), "it lives on though whoever started it is gone");
    assert!(
        matches!(client.read(&mut [0]), Ok(0) | Err(_)),
        "its connection is closed too"
    );
}

#[test]
fn what_is_no_http_is_refused() {
    let api = Api::start().unwrap();
    let app = App::start(api.address());
    for (sent, expected) in [
        ("\u{16}\u{3}\u{1}\u{2}\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        ("GET /none HTTP/1.1\r\n\r\n", "HTTP/1.1 404 Not Found"),
        ("DELETE / HTTP/1.1\r\n\r\n", "HTTP/1.1 405 Method Not Allowed"),
        ("GET / HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK"),
    ] {
        assert_eq!(first_line(app.address, sent.as_bytes()), expected, "for {sent:?}");
    }
}
