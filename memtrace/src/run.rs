//! One run: its events in, its report out. A live run goes this way, and so does a recording of it.
//!
//! Owns what both have to do alike so that they give the same bytes: which requests count towards `--requests`, what is
//! rolled up into routes, what the summary says. Must not know where events come from or where the bytes go.

use memtrace_common::Nanos;

use crate::{
    event::Event,
    ledger::{
        entry::{Request, Summary, Target},
        route::{Pattern, PatternError, Routing},
        spread::Routes,
    },
    pipeline::{Config, Directive, Outcome, Pipeline},
    record::{Asked, Clocks},
    report::{
        Format, Reporter,
        table::TableOptions,
        view::{Only, OnlyError, View},
    },
    tables::{Bytes, Tables},
    timeline::{Detail, Timeline},
};

/// How the report is to look.
#[derive(Clone, Debug)]
pub struct Look {
    /// Table, lines or a document.
    pub format: Format,
    /// What is listed.
    pub view: View,
    /// How a table is laid out.
    pub table: TableOptions,
    /// A timeline is drawn beside the report.
    pub timeline: Option<Detail>,
    /// Tables of requests and faults are made beside it.
    pub tables: bool,
}

/// What the run does not say itself.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    /// COMMAND's exit status.
    pub command_status: Option<i32>,
    /// The kernel's release.
    pub kernel: String,
    /// What the reader should know of the way that events and report came, a sentence each.
    pub notes: Vec<String>,
    /// Something of them did not come.
    pub is_incomplete: bool,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Closed {
    /// As the report has it.
    pub summary: Summary,
    /// Nothing was lost, and the books balance.
    pub is_conclusive: bool,
    /// The rest of the timeline.
    pub trace: Vec<u8>,
    /// The rest of the tables.
    pub tables: Bytes,
}

/// Why what was asked for cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskedError {
    /// A `--route` is none.
    #[error(transparent)]
    Route(#[from] PatternError),
    /// An `--only` is none.
    #[error(transparent)]
    Only(#[from] OnlyError),
}

/// A run on its way.
pub struct Run {
    pipeline: Pipeline,
    timeline: Option<Timeline>,
    tables: Option<Tables>,
    reporter: Reporter,
    routes: Routes,
    view: View,
    /// `--requests`, how many of those that were asked for have come, and how many came after the last of them.
    limit: Option<u64>,
    selected: u64,
    surplus: u64,
}

impl Run {
    /// A run that was asked for like this.
    pub fn new(asked: &Asked, clocks: Clocks, look: Look, keeps_payload: bool) -> Result<Self, AskedError> {
        let routes: Result<Vec<Pattern>, _> = asked.route.iter().map(|text| text.parse()).collect();
        let config = Config {
            routing: Routing::new(routes?, asked.query),
            port: asked.port,
            fault_time: asked.fault_time,
            keeps_payload,
        };
        let mut pipeline = Pipeline::new(config);
        if look.timeline.is_some() || look.tables {
            pipeline.keep_journal();
        }
        Ok(Self {
            pipeline,
            timeline: look.timeline.map(|detail| Timeline::new(clocks, asked, detail)),
            tables: look.tables.then(|| Tables::new(asked.fault_time)),
            routes: Routes::new(),
            view: look.view.clone(),
            reporter: Reporter::new(look.format, look.view, look.table),
            limit: asked.requests,
            selected: 0,
            surplus: 0,
        })
    }

    /// The next event.
    #[inline]
    pub fn feed(&mut self, event: Event<'_>) {
        if let Some(timeline) = &mut self.timeline {
            timeline.event(&event);
        }
        if let Some(tables) = &mut self.tables {
            tables.event(&event);
        }
        self.pipeline.feed(event);
        self.pass_on_postings();
    }

    #[inline]
    fn pass_on_postings(&mut self) {
        if self.timeline.is_none() && self.tables.is_none() {
            return;
        }
        let (postings, files) = self.pipeline.take_postings();
        for posting in postings {
            if let Some(timeline) = &mut self.timeline {
                timeline.posting(&posting, files);
            }
            if let Some(tables) = &mut self.tables {
                tables.posting(&posting, files);
            }
        }
    }

    /// What there is of the timeline since it was last asked.
    pub fn take_trace(&mut self) -> Vec<u8> {
        self.timeline.as_mut().map_or_else(Vec::new, Timeline::take)
    }

    /// What there is of the tables since it was last asked.
    pub fn take_tables(&mut self) -> Bytes {
        self.tables.as_mut().map_or_else(Bytes::default, Tables::take)
    }

    /// The stages, for what they know besides.
    pub fn pipeline(&mut self) -> &mut Pipeline {
        &mut self.pipeline
    }

    /// What the probes should be told.
    pub fn take_directives(&mut self) -> Vec<Directive> {
        self.pipeline.take_directives()
    }

    /// `--requests` are there.
    pub fn is_enough(&self) -> bool {
        self.limit.is_some_and(|n| self.selected >= n)
    }

    /// Appends what comes before all requests.
    pub fn open(&mut self, out: &mut Vec<u8>) {
        self.reporter.open(out);
    }

    /// Appends the requests that ended since it was last asked. `and` sees each of those that are not surplus.
    pub fn report(&mut self, out: &mut Vec<u8>, and: impl FnMut(&Request)) {
        let done = self.pipeline.take_done();
        self.list(&done, out, and);
    }

    fn list(&mut self, done: &[Request], out: &mut Vec<u8>, mut and: impl FnMut(&Request)) {
        for request in done {
            if self.view.selects(request) {
                if self.limit == Some(self.selected) {
                    self.surplus += 1;
                    if let Some(timeline) = &mut self.timeline {
                        timeline.leave_out(request.id);
                    }
                    continue;
                }
                self.selected += 1;
                self.routes.push(request);
            }
            self.reporter.request(request, out);
            if let Some(timeline) = &mut self.timeline {
                timeline.request(request);
            }
            if let Some(tables) = &mut self.tables {
                tables.request(request);
            }
            and(request);
        }
    }

    /// Ends the run and appends the rest of the report.
    pub fn close(mut self, ending: Ending, out: &mut Vec<u8>, and: impl FnMut(&Request)) -> Closed {
        self.pipeline.settle();
        self.pass_on_postings();
        let pipeline = std::mem::replace(&mut self.pipeline, Pipeline::new(Config::default()));
        let outcome = pipeline.finish();
        self.list(&outcome.requests, out, and);
        let is_conclusive = outcome.books.balanced && outcome.lost.records() == 0 && !ending.is_incomplete;
        let mut summary = summary(outcome, ending);
        summary.requests -= self.surplus;
        if self.surplus > 0 {
            let were = if self.surplus == 1 {
                "request is"
            } else {
                "requests are"
            };
            summary.notes.push(format!(
                "{} {were} not listed: --requests were there by then",
                self.surplus
            ));
        }
        summary.notes.extend(self.routes.note());
        let routes = self.routes.finish();
        self.reporter.close(&routes, &summary, out);
        if let Some(tables) = &mut self.tables {
            tables.finish();
        }
        Closed {
            tables: self.tables.as_mut().map_or_else(Bytes::default, Tables::take),
            summary,
            is_conclusive,
            trace: self.timeline.map_or_else(Vec::new, Timeline::finish),
        }
    }
}

/// The `--only` of a run that was asked for like this.
pub fn only(asked: &Asked) -> Result<Vec<Only>, OnlyError> {
    asked.only.iter().map(|text| text.parse()).collect()
}

fn summary(outcome: Outcome, ending: Ending) -> Summary {
    let Nanos(elapsed_ns) = outcome.elapsed;
    Summary {
        requests: outcome.listed,
        other_requests: outcome.others,
        elapsed_ns,
        books: outcome.books,
        unattributed: outcome.unattributed,
        cause: outcome.cause,
        region: outcome.region,
        lost: outcome.lost,
        target: Target {
            pids: outcome.pids,
            comm: outcome.comm,
        },
        command_status: ending.command_status,
        notes: outcome.notes.into_iter().chain(ending.notes).collect(),
        kernel: ending.kernel,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}
