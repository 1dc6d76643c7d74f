//! axum on tokio's threads. UPSTREAM is the port of a server that answers late.
//!
//! Owns the shapes, one for each way to wait. Must not know who watches it.

use std::{
    error::Error,
    fs::File,
    hint::black_box,
    io::{self, Write},
    sync::{Arc, LazyLock},
};

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use memmap2::MmapMut;
use tokio::{net::TcpListener, task};

const BYTES: usize = 192 * 1024;

static MARK: LazyLock<io::Result<File>> = LazyLock::new(|| File::options().write(true).open("/dev/null"));

type Failure = Box<dyn Error + Send + Sync>;

struct Upstream {
    client: reqwest::Client,
    url: String,
}

impl Upstream {
    async fn ask(&self) -> Result<(), Failure> {
        self.client.get(&self.url).send().await?.bytes().await?;
        Ok(())
    }
}

/// Fresh pages for this request. Mapped by hand: what connections leave behind in a thread's heap would do as well, and
/// malloc take it. One part of a request is told from its others by the ID.
fn work(number: u64, part: u64) -> io::Result<()> {
    let mut mark = MARK.as_ref().map_err(|why| io::Error::from(why.kind()))?;
    mark.write_all(format!("memtrace:begin {number} {number}.{part}").as_bytes())?;
    let mut pages = MmapMut::map_anon(BYTES)?;
    black_box(&mut pages).fill(1);
    // Unmapped within the section.
    drop(pages);
    mark.write_all(format!("memtrace:end {number}.{part}").as_bytes())
}

async fn upstream(upstream: &Upstream, number: u64) -> Result<(), Failure> {
    work(number, 1)?;
    upstream.ask().await?;
    work(number, 2)?;
    upstream.ask().await?;
    work(number, 3)?;
    Ok(())
}

async fn spawn(number: u64) -> Result<(), Failure> {
    work(number, 1)?;
    task::spawn(async move { work(number, 2) }).await??;
    work(number, 3)?;
    Ok(())
}

/// The task gives way once: without that it runs next on this thread, as if it had been called.
async fn spawn_yielding(number: u64) -> Result<(), Failure> {
    work(number, 1)?;
    let task = async move {
        task::yield_now().await;
        work(number, 2)
    };
    task::spawn(task).await??;
    work(number, 3)?;
    Ok(())
}

async fn spawn_blocking(number: u64) -> Result<(), Failure> {
    work(number, 1)?;
    task::spawn_blocking(move || work(number, 2)).await??;
    work(number, 3)?;
    Ok(())
}

async fn handle(
    State(asked): State<Arc<Upstream>>,
    Path((shape, number)): Path<(String, u64)>,
) -> Result<&'static str, StatusCode> {
    let done = match &*shape {
        "sync" => work(number, 1).map_err(Into::into),
        "upstream" => upstream(&asked, number).await,
        "spawn" => spawn(number).await,
        "spawn_yielding" => spawn_yielding(number).await,
        "spawn_blocking" => spawn_blocking(number).await,
        _ => Err("no such shape".into()),
    };
    done.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok("done\n")
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let upstream = Upstream {
        client: reqwest::Client::new(),
        url: format!("http://127.0.0.1:{}/", std::env::var("UPSTREAM")?),
    };
    let app = Router::new()
        .route("/{shape}/{number}", get(handle))
        .with_state(Arc::new(upstream));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on {}", listener.local_addr()?.port());
    axum::serve(listener, app).await?;
    Ok(())
}
