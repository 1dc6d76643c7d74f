//! `memtrace-tasks`: threads and processes that come and go, and touch a known number of pages meanwhile.
//!
//! Owns births, deaths and programs changed in unusual ways: what memtrace's task probes have to keep up with. Each
//! run waits for a byte on standard input before it does anything and for another before it ends, so that a tracer
//! can come and go while it stands still.

mod accesses;
mod marks;
mod own;

use std::io::{self, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand};

use own::{Counted, FreshPages, end_touching};

/// Threads and processes that come and go.
#[derive(Debug, Parser)]
#[command(name = "memtrace-tasks", version)]
struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Clone, Debug, Subcommand)]
enum Act {
    /// So many threads, one after another, each touching so many fresh pages.
    Threads {
        #[arg(long)]
        count: usize,
        #[arg(long)]
        pages: usize,
    },
    /// So many forked children, one after another, each touching so many fresh pages.
    Children {
        #[arg(long)]
        count: usize,
        #[arg(long)]
        pages: usize,
    },
    /// So many threads for each of which the kernel writes to a fresh page when it exits (`clear_child_tid`).
    Late {
        #[arg(long)]
        threads: usize,
        /// Do it in as many children, and end each with `exit_group` as soon as its threads do.
        #[arg(long)]
        children: Option<usize>,
    },
    /// A thread other than the first touches so many fresh pages, and then runs this program anew.
    Exec {
        #[arg(long)]
        pages: usize,
        /// The first thread is gone by then.
        #[arg(long)]
        leaderless: bool,
    },
    /// The first thread ends; another lives on and touches so many fresh pages.
    Leaderless {
        #[arg(long)]
        pages: usize,
        /// The first thread ends before `ready`.
        #[arg(long)]
        early: bool,
    },
    /// One access to memory of each kind that the processor tells the kernel of; says which was where.
    Accesses,
    /// A window of each kind that markers can make, with so many pages or a multiple in it.
    Marks {
        #[arg(long)]
        pages: usize,
    },
    /// So many windows, with so many pages in each.
    Windows {
        #[arg(long)]
        count: usize,
        #[arg(long, default_value_t = 0)]
        pages: usize,
        /// None of them is closed.
        #[arg(long)]
        leave_open: bool,
    },
    /// What `exec` becomes: touches so many fresh pages.
    #[command(hide = true)]
    Execed {
        #[arg(long)]
        pages: usize,
    },
    /// So many children, each with threads that touch fresh pages without end, killed one after another.
    Kill {
        #[arg(long)]
        children: usize,
        #[arg(long)]
        threads: usize,
    },
    /// What `kill` kills.
    #[command(hide = true)]
    Victim {
        #[arg(long)]
        threads: usize,
    },
    /// Runs a command and prints what the kernel counted: for it, from its birth by `fork` to its end; and for this
    /// process meanwhile, and since it was born.
    Parent {
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

fn main() -> anyhow::Result<()> {
    let Args { act } = Args::parse();
    // Where transparent huge pages are `always`, one fault would map 512 pages at once.
    rustix::thread::disable_transparent_huge_pages(true).context("PR_SET_THP_DISABLE")?;
    match act {
        Act::Execed { pages } => {
            touch(pages)?;
            say("done")?;
            return wait_for_a_byte();
        }
        Act::Victim { threads } => return storm(threads),
        Act::Parent { command } => return parent(&command),
        Act::Leaderless { pages, early } => leaderless(pages, early),
        // Its code and data are there then, when it is to take no fault but those that it is asked for.
        Act::Marks { .. } => perform(&act)?,
        Act::Windows {
            pages, leave_open, ..
        } => marks::windows(2, pages, leave_open)?,
        _ => {}
    }
    say(&format!("ready {}", std::process::id()))?;
    wait_for_a_byte()?;
    let before = (Counted::of_this_process(), Counted::of_its_children());
    perform(&act)?;
    let own = Counted::of_this_process().since(before.0);
    let children = Counted::of_its_children().since(before.1);
    say(&format!(r#"{{"own":{own},"children":{children}}}"#))?;
    wait_for_a_byte()
}

fn perform(act: &Act) -> anyhow::Result<()> {
    match *act {
        Act::Threads { count, pages } => (0..count).try_for_each(|_| {
            let thread = std::thread::spawn(move || touch(pages));
            ensure!(matches!(thread.join(), Ok(Ok(()))), "a thread failed");
            Ok(())
        }),
        Act::Children { count, pages } => in_children(count, || touch(pages)),
        Act::Late {
            threads,
            children: None,
        } => late(threads),
        Act::Late {
            threads,
            children: Some(children),
        } => in_children(children, || late(threads)),
        Act::Exec { pages, leaderless } => exec(pages, leaderless),
        Act::Accesses => accesses::perform(say),
        Act::Marks { pages } => marks::of_each_kind(pages),
        Act::Windows {
            count,
            pages,
            leave_open,
        } => marks::windows(count, pages, leave_open),
        Act::Kill { children, threads } => (0..children).try_for_each(|child| kill(child, threads)),
        // Not begun with a byte, or not in this thread.
        Act::Leaderless { .. } | Act::Execed { .. } | Act::Victim { .. } | Act::Parent { .. } => Ok(()),
    }
}

/// One after another.
fn in_children(count: usize, act: impl Fn() -> anyhow::Result<()>) -> anyhow::Result<()> {
    (0..count).try_for_each(|_| {
        let status = own::in_a_child(&act)?;
        ensure!(status == Some(0), "a child ended with {status:?}");
        Ok(())
    })
}

/// Touches so many fresh pages.
fn touch(pages: usize) -> anyhow::Result<()> {
    FreshPages::map(pages)?.touch();
    Ok(())
}

/// Has the kernel's last write for each of so many threads fault, and waits until all are gone.
fn late(threads: usize) -> anyhow::Result<()> {
    let pages = FreshPages::map(threads)?;
    for index in 0..threads {
        let page = pages.page(index);
        let _ = std::thread::Builder::new().spawn(move || end_touching(page))?;
    }
    while std::fs::read_dir("/proc/self/task")?.count() > 1 {
        std::thread::sleep(Duration::from_millis(1));
    }
    // A thread that is not listed any more has written already: `exit_mm` comes before `release_task`.
    ensure!(
        pages.resident()? == threads,
        "the kernel did not write where it was told to"
    );
    Ok(())
}

/// Does not return where it succeeds.
fn exec(pages: usize, leaderless: bool) -> anyhow::Result<()> {
    // While the first thread lives: /proc/self/exe is its.
    let program = std::env::current_exe()?;
    let thread = std::thread::spawn(move || -> anyhow::Result<()> {
        touch(pages)?;
        if leaderless {
            own::wait_until_the_first_thread_is_gone()?;
        }
        let error = Command::new(program)
            .args(["execed", "--pages", &pages.to_string()])
            .exec();
        Err(error).context("exec")
    });
    if leaderless {
        own::end_this_thread();
    }
    match thread.join() {
        Ok(result) => result,
        Err(_) => anyhow::bail!("the thread panicked"),
    }
}

/// Ends the calling thread, which is the first; another one goes on.
fn leaderless(pages: usize, early: bool) -> ! {
    std::thread::spawn(move || {
        let done = go_on(pages, early);
        if let Err(error) = &done {
            let _ = writeln!(io::stderr(), "{error:#}");
        }
        std::process::exit(i32::from(done.is_err()));
    });
    if !early {
        // The other thread says `ready` and waits: so does this one, for what it does then.
        while !READY.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    own::end_this_thread()
}

/// The thread that goes on was told to.
static READY: AtomicBool = AtomicBool::new(false);

fn go_on(pages: usize, early: bool) -> anyhow::Result<()> {
    if early {
        own::wait_until_the_first_thread_is_gone()?;
    }
    say(&format!("ready {}", std::process::id()))?;
    wait_for_a_byte()?;
    READY.store(true, Ordering::Release);
    own::wait_until_the_first_thread_is_gone()?;
    // A tracer has time to take the whole process for gone.
    std::thread::sleep(Duration::from_millis(500));
    touch(pages)?;
    say("done")?;
    wait_for_a_byte()
}

/// Touches fresh pages in so many threads until somebody ends it.
fn storm(threads: usize) -> anyhow::Result<()> {
    // Also where that somebody is ended first.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let barrier = Barrier::new(threads + 1);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                barrier.wait();
                while touch(256).is_ok() {}
            });
        }
        barrier.wait();
        say("storming")
    })
}

/// Kills a storm. The `child`th is let live a little longer than the one before.
fn kill(child: usize, threads: usize) -> anyhow::Result<()> {
    let mut command = Command::new("/proc/self/exe");
    command.args(["victim", "--threads", &threads.to_string()]);
    let mut victim = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut line = [0; 9];
    victim
        .stdout
        .take()
        .context("its standard output")?
        .read_exact(&mut line)?;
    std::thread::sleep(Duration::from_micros(500 + 37 * child as u64));
    victim.kill()?;
    let status = victim.wait()?;
    ensure!(status.code().is_none(), "it ended before it was killed: {status}");
    Ok(())
}

fn parent(command: &[String]) -> anyhow::Result<()> {
    let [program, arguments @ ..] = command else {
        anyhow::bail!("no command");
    };
    let before = Counted::of_this_process();
    let status = Command::new(program).args(arguments).status()?;
    ensure!(status.success(), "{program}: {status}");
    let children = Counted::of_its_children();
    let all = Counted::of_this_process();
    let own = all.since(before);
    say(&format!(r#"{{"own":{own},"all":{all},"children":{children}}}"#))
}

fn say(line: &str) -> anyhow::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// Reads no further than that byte: what `exec` becomes waits for one too.
fn wait_for_a_byte() -> anyhow::Result<()> {
    let bytes = rustix::io::read(io::stdin(), &mut [0; 1])?;
    ensure!(bytes == 1, "a byte on standard input is what this waits for");
    Ok(())
}
