//! Servers that people run, as they are: each request that a client made is listed once, and adds up.

use std::fs;
use std::process::Command;
use std::time::Duration;

use memtrace_tests::asked::Asked;
use memtrace_tests::client::Client;
use memtrace_tests::memtrace::Memtrace;
use memtrace_tests::nginx::{self, Nginx};
use memtrace_tests::process::{Finished, Running};
use memtrace_tests::report::Report;
use memtrace_tests::require_root;
use memtrace_tests::server::{Server, app, free_port, installed};

/// Clients that ask at the same time, each on a connection that it keeps.
const CLIENTS: usize = 4;
const REQUESTS: usize = 50;
/// What a file has.
const FILE: usize = nginx::PAGE;

/// What one client asks for the `n`th time: method, path and the status to expect.
type Ask = fn(n: usize) -> (&'static str, String, u16);

/// All clients at once, on connections that have served a request before memtrace is there.
#[track_caller]
fn drive(server: &Server, options: &[&str], ask: Ask) -> (Finished, Report) {
    require_root();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.client()).collect();
    for client in &mut clients {
        let (_, path, status) = ask(0);
        assert_eq!(client.get(&path).expect("an answer").status, status);
    }
    let memtrace = Memtrace::attach([&["--format", "ndjson", "--query"], options].concat());
    let asked = std::thread::scope(|scope| {
        let threads: Vec<_> = clients
            .iter_mut()
            .enumerate()
            .map(|(number, client)| scope.spawn(move || converse(client, number, ask)))
            .collect();
        let mut all = Asked::default();
        for thread in threads {
            all.extend(thread.join().expect("a client that is content"));
        }
        all
    });
    let run = memtrace.interrupt();
    let report = asked.assert_listed(&run);
    run.assert(
        report.requests.len() == REQUESTS,
        format_args!("{} requests, not {REQUESTS}", report.requests.len()),
    );
    run.assert(report.summary.notes.is_empty(), "there is something to note");
    (run, report)
}

/// One client's share of the requests.
#[track_caller]
fn converse(client: &mut Client, number: usize, ask: Ask) -> Asked {
    let mut asked = Asked::default();
    for n in (number..REQUESTS).step_by(CLIENTS) {
        let (method, path, status) = ask(n);
        let response = match method {
            "GET" => client.get(&path),
            // Longer than what of a body is looked at.
            _ => client.post(&path, &"y".repeat(300 * n)),
        };
        let response = response.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        assert_eq!(response.status, status, "{method} {path}");
        assert!(
            status != 200 || !path.starts_with("/page") || response.body.len() == FILE,
            "{method} {path}: {} bytes",
            response.body.len()
        );
        asked.note(method, &path, status);
    }
    asked
}

#[track_caller]
fn assert_nginx_is_exact(sendfile: &str) {
    let nginx = Nginx::start(sendfile);
    let (run, report) = drive(
        &nginx.server,
        &["--port", &nginx.server.port.to_string()],
        |n| match n % 5 {
            3 => ("GET", format!("/missing?{n}"), 404),
            4 => ("POST", format!("/page?{n}"), 405),
            _ => ("GET", format!("/page?{n}"), 200),
        },
    );
    let workers = nginx.workers();
    run.assert(workers.len() == 2, format_args!("its workers: {workers:?}"));
    run.assert(
        report.requests.iter().all(|r| workers.contains(&r.pid)),
        format_args!("not all are of {workers:?}"),
    );
}

#[test]
#[ignore = "needs root and nginx"]
fn nginx_with_sendfile_is_exact() {
    assert_nginx_is_exact("on");
}

#[test]
#[ignore = "needs root and nginx"]
fn nginx_without_sendfile_is_exact() {
    assert_nginx_is_exact("off");
}

#[test]
#[ignore = "needs root and python3"]
fn pythons_threading_server_is_exact() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("page"), vec![b'x'; FILE]).expect("a file");
    let port = free_port();
    let mut command = installed("python3", "python3");
    command.args([
        "-m",
        "http.server",
        "--bind",
        "127.0.0.1",
        "--protocol",
        "HTTP/1.1",
    ]);
    command
        .arg("--directory")
        .arg(folder.path())
        .arg(port.to_string());
    let server = Server::start_on(port, &mut command);
    // It closes the connection after whatever it cannot serve.
    drive(&server, &["--pid", &server.pid().to_string()], |n| {
        ("GET", format!("/page?{n}"), 200)
    });
}

#[test]
#[ignore = "needs root and node"]
fn a_plain_node_server_is_exact() {
    let mut command = installed("node", "nodejs");
    let server = Server::start(command.arg(app("plain/server.js")).env("PORT", "0"));
    drive(&server, &["--port", &server.port.to_string()], |n| match n % 5 {
        2 => ("GET", format!("/late?{n}"), 200),
        3 => ("GET", format!("/missing?{n}"), 404),
        4 => ("POST", format!("/page?{n}"), 201),
        _ => ("GET", format!("/page?{n}"), 200),
    });
}

/// Connections that `wrk` keeps busy.
const BUSY: usize = 8;

#[track_caller]
fn wrk(nginx: &Nginx, seconds: &str) -> Command {
    let mut wrk = installed("wrk", "wrk");
    wrk.args(["-t", "2", "-c", &BUSY.to_string(), "-d", seconds]);
    wrk.arg(format!("http://127.0.0.1:{}/short", nginx.server.port));
    wrk
}

/// What is listed is what nginx has answered, but for what was in flight at either edge.
#[track_caller]
fn assert_agrees(run: &Finished, least: usize, most: usize) {
    run.assert_status(0);
    let report = Report::of(run);
    run.assert(report.check().is_ok(), format_args!("{:?}", report.check()));
    let listed = report.requests.len();
    run.assert(
        (least.saturating_sub(BUSY)..=most + BUSY).contains(&listed) && least > 100,
        format_args!("{listed} are listed, but nginx has answered from {least} to {most}"),
    );
    let whole = report
        .requests
        .iter()
        .filter(|r| r.complete && r.status == Some(200) && r.path == "/short")
        .count();
    run.assert(
        listed - whole <= BUSY,
        format_args!("{} of {listed} are not whole", listed - whole),
    );
}

#[test]
#[ignore = "needs root, nginx and wrk"]
fn all_of_a_benchmark_is_listed() {
    require_root();
    let nginx = Nginx::start("on");
    let port = nginx.server.port.to_string();
    let memtrace = Memtrace::attach(["--port", &port, "--format", "ndjson"]);
    let before = nginx.answered();
    Running::start(&mut wrk(&nginx, "2s")).finish().assert_status(0);
    let run = memtrace.interrupt();
    let answered = nginx.answered() - before;
    assert_agrees(&run, answered, answered);
}

#[test]
#[ignore = "needs root, nginx and wrk"]
fn all_of_the_middle_of_a_benchmark_is_listed() {
    require_root();
    let nginx = Nginx::start("off");
    let port = nginx.server.port.to_string();
    let wrk = Running::start(&mut wrk(&nginx, "4s"));
    std::thread::sleep(Duration::from_millis(500));
    let outer = nginx.answered();
    let memtrace = Memtrace::attach(["--port", &port, "--format", "ndjson"]);
    let inner = nginx.answered();
    std::thread::sleep(Duration::from_secs(1));
    let inner = nginx.answered() - inner;
    let run = memtrace.interrupt();
    let outer = nginx.answered() - outer;
    wrk.finish().assert_status(0);
    assert_agrees(&run, inner, outer);
}
