//! Whole connections: what is read and written, and the events that follow.

mod blanking;
mod exchanges;
mod holes;
mod properties;
mod protocols;

use memtrace_common::decode::Piece;

use super::{Connection, HttpEvent, Shut};

/// A connection under test. Events are compared as short lines.
struct Wire {
    connection: Connection,
    events: Vec<HttpEvent>,
}

impl Wire {
    fn accepted() -> Self {
        Self {
            connection: Connection::new(),
            events: Vec::new(),
        }
    }

    fn mid_stream() -> Self {
        Self {
            connection: Connection::mid_stream(),
            events: Vec::new(),
        }
    }

    fn read(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.read_pieces(&[Piece::Seen(bytes.as_ref())])
    }

    fn read_pieces(&mut self, pieces: &[Piece<'_>]) -> &mut Self {
        self.connection
            .read(pieces.iter().copied(), None, &mut self.events);
        self
    }

    fn write(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.write_pieces(&[Piece::Seen(bytes.as_ref())])
    }

    fn write_pieces(&mut self, pieces: &[Piece<'_>]) -> &mut Self {
        self.connection
            .write(pieces.iter().copied(), None, &mut self.events);
        self
    }

    fn eof(&mut self) -> &mut Self {
        self.connection.read_eof(&mut self.events);
        self
    }

    fn close(&mut self) -> &mut Self {
        self.connection.shut(Shut::Closed, &mut self.events);
        self
    }

    fn cut(&mut self) -> &mut Self {
        self.connection.shut(Shut::Cut, &mut self.events);
        self
    }

    fn lose_place(&mut self) -> &mut Self {
        self.connection.lose_place(&mut self.events);
        self
    }

    /// The events since the last call are these.
    #[track_caller]
    fn gives(&mut self, lines: &[&str]) -> &mut Self {
        let events: Vec<String> = self.events.drain(..).map(|e| line(&e)).collect();
        assert_eq!(events, lines);
        self
    }

    #[track_caller]
    fn serves(&mut self, exchange: Option<u64>) -> &mut Self {
        assert_eq!(self.connection.serving().map(|e| e.0), exchange);
        self
    }
}

fn line(event: &HttpEvent) -> String {
    match event {
        HttpEvent::RequestStarted { exchange } => format!("{} started", exchange.0),
        HttpEvent::RequestWithdrawn { exchange } => format!("{} withdrawn", exchange.0),
        HttpEvent::RequestHead {
            exchange,
            method,
            target,
            trace_id,
            head_truncated,
        } => {
            let trace_id = trace_id
                .as_ref()
                .map_or(String::new(), |id| format!(" trace {id}"));
            let truncated = if *head_truncated { " truncated" } else { "" };
            format!("{} head {method} {target}{trace_id}{truncated}", exchange.0)
        }
        HttpEvent::ResponseStatus { exchange, status } => format!("{} status {status}", exchange.0),
        HttpEvent::ResponseEnded {
            exchange,
            complete,
            inferred,
        } => {
            let complete = if *complete { "complete" } else { "incomplete" };
            let inferred = if *inferred { " inferred" } else { "" };
            format!("{} {complete}{inferred}", exchange.0)
        }
        HttpEvent::NotHttp { looks_like } => format!("not http: {looks_like:?}"),
    }
}
