//! `memtrace demo`: the built-in app is started, driven, traced and explained.
//!
//! Owns the processes and the order of things. Must not know what the app does or how the story is told. The app
//! is a child that lives as long as a pipe which memtrace holds, so that it is gone when memtrace is, however that
//! ends.

use std::{
    io::{self, BufRead as _, BufReader},
    net::SocketAddr,
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitCode, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use memtrace_common::Tgid;

use super::{
    args::{DemoAppArgs, DemoArgs, LiveArgs},
    drive::LAST_WRITE,
    failure::Failure,
    live::{Stop, Tracing},
    output::Output,
    remedy,
    run::{exit_status, written},
    signals::Signals,
    target::Target,
    terminal::prose,
};
use crate::{
    demo::{
        BUTTON,
        api::Api,
        app,
        driver::{self, drive},
        scene, what_next,
    },
    explain::{Which, story},
    run::Look,
};

/// How long the app may take to say where it listens.
const START: Duration = Duration::from_secs(5);
/// How long all requests together may take: many times what they do.
const DRIVE: Duration = Duration::from_secs(30);

/// The app's process.
pub(super) fn app(args: &DemoAppArgs) -> ExitCode {
    app::main(args.api)
}

/// Runs `memtrace demo`.
pub(super) async fn demo(args: &DemoArgs) -> Result<ExitCode, Failure> {
    remedy::check_kernel()?;
    let mut signals = Signals::new()?;
    let api = Api::start().map_err(|why| cannot_start("mock API", &why))?;
    let mut app = App::start(api.address()).await?;
    let target = Target::own_child(app.tgid())?;
    let live = LiveArgs::for_demo(args);
    let output = Output::open(None)?;
    let trace = args
        .perfetto
        .as_deref()
        .map(|path| Output::open(Some(path)))
        .transpose()?;
    let (method, route) = BUTTON;
    let beside = Look {
        explain: Some(Which::Median(method, route)),
        ..Look::default()
    };
    let mut run = Tracing::attach(&live, &target, output, trace, None, beside)?;
    run.begin(&live);
    run.say(prose(&introduction(&app, api)));

    let enough = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&enough);
    let address = app.address;
    let driving = tokio::task::spawn_blocking(move || drive(address, &stop));
    let driven = async {
        let driven = match tokio::time::timeout(DRIVE, driving).await {
            Ok(Ok(driven)) => driven,
            Ok(Err(panicked)) => Err(io::Error::other(panicked)),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        tokio::time::sleep(LAST_WRITE).await;
        driven
    };
    let why = run.until_over(&live, &target, driven, &mut signals).await;
    enough.store(true, Ordering::Relaxed);
    let why = why?;

    let over = run.close(None)?;
    app.end();
    let told = over.closed.explained.as_ref().map_or_else(
        || "No POST /saju was traced to its end, so there is none to tell of.\n".to_owned(),
        |(request, course)| prose(&story(request, course.as_ref(), &over.closed.summary, &scene())),
    );
    let mut output = over.output;
    output.send(format!("\n{told}\n{}", what_next(&program())).into_bytes());
    written(output, "the report", None, &mut signals).await?;
    if let Some(trace) = over.trace {
        written(trace, "the trace", args.perfetto.as_deref(), &mut signals).await?;
    }
    match why {
        Stop::Over(Err(why)) => Err(Failure::inconclusive(
            "the demo's app did not answer as it should",
            why,
            "try again on a less busy machine; if it stays, please report this",
        )),
        Stop::Over(Ok(_)) | Stop::Enough => Ok(exit_status(&over.closed)),
    }
}

/// What the table is of.
fn introduction(app: &App, api: Api) -> String {
    format!(
        "A small web app was started for you (pid {}, http://{}). Browsers, two at a time, send it {} requests. GET / is \
         its page, and GET /sky.svg a picture that it reads from a file. POST /saju is the page's button: the app asks \
         a GPT API for a fortune (a mock one, inside memtrace) and parses the answer, {} KiB of JSON. Each browser \
         keeps its connection open, and each connection has a thread of its own, with memory of its own.\n\n",
        app.tgid().0,
        app.address,
        driver::REQUESTS,
        api.answer_bytes() / 1024
    )
}

/// The app, running.
struct App {
    child: Child,
    address: SocketAddr,
}

impl App {
    async fn start(api: SocketAddr) -> Result<Self, Failure> {
        let fail = |why: &io::Error| cannot_start("app", why);
        let mut command = Command::new("/proc/self/exe");
        command.args(["demo-app", "--api"]).arg(api.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // Ctrl-C is for memtrace, which then ends the app: not for both at once.
        command.process_group(0);
        let mut child = command.spawn().map_err(|why| fail(&why))?;
        let stdout = child.stdout.take();
        let line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            match stdout {
                Some(stdout) => BufReader::new(stdout).read_line(&mut line).map(|_| line),
                None => Ok(line),
            }
        });
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut app = Self {
            child,
            address: unknown,
        };
        // Where this fails the app is ended on the way out, and so is the thread that reads from it.
        let line = match tokio::time::timeout(START, line).await {
            Ok(Ok(line)) => line.map_err(|why| fail(&why))?,
            Ok(Err(panicked)) => return Err(fail(&io::Error::other(panicked))),
            Err(_) => return Err(fail(&io::ErrorKind::TimedOut.into())),
        };
        app.address = line
            .trim_end()
            .parse()
            .map_err(|_| fail(&io::Error::other("it ended early")))?;
        Ok(app)
    }

    fn tgid(&self) -> Tgid {
        Tgid(self.child.id())
    }

    fn end(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.end();
    }
}

fn cannot_start(what: &str, why: &io::Error) -> Failure {
    Failure::new(
        format!("cannot start the demo's {what}"),
        why,
        "see whether this system can start more processes, and has a loopback interface",
    )
}

/// What the reader typed to get here.
fn program() -> String {
    let typed = std::env::args_os().next().unwrap_or_default();
    if typed.is_empty() {
        "memtrace".to_owned()
    } else {
        typed.to_string_lossy().into_owned()
    }
}
