//! One run: its events in, its report out. A live run goes this way, and so does a recording of it.
//!
//! Owns what both have to do alike so that they give the same bytes: which requests count towards `--requests`, what is
//! rolled up into routes, what the summary says. Must not know where events come from or where the bytes go.

use std::collections::BTreeMap;

use memtrace_common::Nanos;

use crate::{
    event::Event,
    explain::{Course, Explainer, Which},
    ledger::{
        SETTLE,
        entry::{Request, Summary, Target},
        journal::Posting,
        route::{Pattern, PatternError, Routing},
        spread::Routes,
    },
    model::vma::Files,
    pipeline::{Config, Directive, Outcome, Pipeline},
    record::{Asked, Clocks, Program},
    report::{
        Format, Reporter,
        table::TableOptions,
        view::{Only, OnlyError, View},
    },
    tables::{Bytes, Tables},
    timed::{Completed, Timed},
    timeline::{Detail, Timeline},
    watch::Watch,
    window::RequestId,
};

/// What is made of a run.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// A report, in this format.
    pub report: Option<(Format, TableOptions)>,
    /// What it lists; its `only` is the run's own.
    pub view: View,
    /// A timeline.
    pub timeline: Option<Detail>,
    /// Tables of requests and faults.
    pub tables: bool,
    /// A request that is waited for.
    pub watch: Option<Watch>,
    /// A request that is to be told of.
    pub explain: Option<Which>,
}

/// What the run does not say itself.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    /// COMMAND's exit status.
    pub command_status: Option<i32>,
    /// The kernel's release.
    pub kernel: String,
    /// What ran in the targets.
    pub programs: BTreeMap<String, Program>,
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
    /// What ran in the targets, by the executables' base names.
    pub programs: BTreeMap<String, Program>,
    /// The rest of the timeline.
    pub trace: Vec<u8>,
    /// The rest of the tables.
    pub tables: Bytes,
    /// The request that was waited for.
    pub watch: Option<Watch>,
    /// The request that is to be told of, and its course if all of it was kept.
    pub explained: Option<(Request, Option<Course>)>,
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
    reporter: Option<Reporter>,
    /// What is made of single events.
    drawn: Option<Drawn>,
    routes: Routes,
    view: View,
    /// `--requests`, how many of those that were asked for have come, and how many came after the last of them.
    limit: Option<u64>,
    selected: u64,
    surplus: u64,
    /// Requests that are done and not listed yet.
    done: Vec<Request>,
}

/// What is made of a run beside its report. All want faults with their times, which are paired once.
struct Drawn {
    timed: Timed,
    on: Canvas,
}

/// What it is drawn on.
struct Canvas {
    timeline: Option<Timeline>,
    tables: Option<Tables>,
    watch: Option<Watch>,
    explainer: Option<Explainer>,
}

impl Canvas {
    fn fault(&mut self, fault: &Completed) {
        if let Some(timeline) = &mut self.timeline {
            timeline.fault(fault);
        }
        if let Some(tables) = &mut self.tables {
            tables.fault(fault);
        }
        if let Some(watch) = &mut self.watch {
            watch.fault(fault);
        }
        if let Some(explainer) = &mut self.explainer {
            explainer.fault(fault);
        }
    }
}

impl Drawn {
    fn event(&mut self, event: &Event<'_>) {
        let Self { timed, on } = self;
        timed.event(event, |fault| on.fault(&fault));
        if let Some(timeline) = &mut on.timeline {
            timeline.event(event);
        }
    }

    /// Returns a request that has been answered, if somebody waits for one.
    fn posting(&mut self, posting: &Posting, files: &Files) -> Option<RequestId> {
        let Self { timed, on } = self;
        timed.posting(posting, files, |fault| on.fault(&fault));
        if let Some(timeline) = &mut on.timeline {
            timeline.posting(posting);
        }
        if let Some(explainer) = &mut on.explainer {
            explainer.posting(posting);
        }
        on.watch.as_mut()?.posting(posting)
    }

    /// No event comes any more.
    fn settle(&mut self) {
        let Self { timed, on } = self;
        timed.finish(|fault| on.fault(&fault));
    }

    /// A request is reported; perhaps one that was asked for.
    fn request(&mut self, request: &Request, is_selected: bool) {
        if let Some(timeline) = &mut self.on.timeline {
            timeline.request(request);
        }
        if let Some(tables) = &mut self.on.tables {
            tables.request(request);
        }
        if let Some(explainer) = &mut self.on.explainer {
            explainer.request(request, is_selected);
        }
    }
}

impl Run {
    /// A run that was asked for like this, and began then. Tells what may be kept of payload, if that is wanted.
    pub fn new(asked: &Asked, clocks: Clocks, look: Look, keeps_payload: bool) -> Result<Self, AskedError> {
        let routes: Result<Vec<Pattern>, _> = asked.route.iter().map(|text| text.parse()).collect();
        let only: Result<Vec<Only>, _> = asked.only.iter().map(|text| text.parse()).collect();
        let view = View {
            only: only?,
            ..look.view
        };
        let config = Config {
            routing: Routing::new(routes?, asked.query),
            port: asked.port,
            fault_time: asked.fault_time,
            keeps_payload,
            settle: asked.settle.map_or(SETTLE, Nanos),
        };
        let mut pipeline = Pipeline::new(config);
        let on = Canvas {
            timeline: look.timeline.map(|detail| Timeline::new(clocks, detail)),
            tables: look.tables.then(Tables::default),
            watch: look.watch,
            explainer: look.explain.map(Explainer::new),
        };
        let is_drawn =
            on.timeline.is_some() || on.tables.is_some() || on.watch.is_some() || on.explainer.is_some();
        let drawn = is_drawn.then(|| Drawn {
            timed: Timed::new(asked.fault_time),
            on,
        });
        if drawn.is_some() {
            pipeline.keep_journal();
        }
        let report = |(format, table)| Reporter::new(format, view.clone(), table);
        Ok(Self {
            pipeline,
            reporter: look.report.map(report),
            drawn,
            routes: Routes::new(),
            view,
            limit: asked.requests,
            selected: 0,
            surplus: 0,
            done: Vec::new(),
        })
    }

    /// The next event.
    #[inline]
    pub fn feed(&mut self, event: Event<'_>) {
        if let Some(drawn) = &mut self.drawn {
            drawn.event(&event);
        }
        self.pipeline.feed(event);
        self.draw_postings();
        // Here and not where they are listed: how often somebody asks for them must not make a difference.
        let done = self.pipeline.take_done();
        self.take_in(done);
    }

    /// Draws what is done and keeps it to be listed, up to as many as were asked for.
    fn take_in(&mut self, done: Vec<Request>) {
        for request in done {
            let is_selected = self.view.selects(&request);
            if is_selected {
                if self.limit == Some(self.selected) {
                    self.surplus += 1;
                    if let Some(timeline) = self.drawn.as_mut().and_then(|drawn| drawn.on.timeline.as_mut()) {
                        timeline.leave_out(request.id);
                    }
                    continue;
                }
                self.selected += 1;
            }
            if let Some(drawn) = &mut self.drawn {
                drawn.request(&request, is_selected);
            }
            self.done.push(request);
        }
    }

    #[inline]
    fn draw_postings(&mut self) {
        let Some(drawn) = &mut self.drawn else { return };
        let (postings, files) = self.pipeline.take_postings();
        let mut answered = Vec::new();
        for posting in postings {
            answered.extend(drawn.posting(&posting, files));
        }
        for id in answered {
            if let (Some(watch), Some((method, path))) = (&mut drawn.on.watch, self.pipeline.asks_for(id)) {
                watch.answered(id, method, path);
            }
        }
    }

    /// The request that is waited for.
    pub fn watch(&mut self) -> Option<&mut Watch> {
        self.drawn.as_mut()?.on.watch.as_mut()
    }

    /// What there is of the timeline since it was last asked.
    pub fn take_trace(&mut self) -> Vec<u8> {
        let timeline = self.drawn.as_mut().and_then(|drawn| drawn.on.timeline.as_mut());
        timeline.map_or_else(Vec::new, Timeline::take)
    }

    /// What there is of the tables since it was last asked.
    pub fn take_tables(&mut self) -> Bytes {
        let tables = self.drawn.as_mut().and_then(|drawn| drawn.on.tables.as_mut());
        tables.map_or_else(Bytes::default, Tables::take)
    }

    /// What may be kept of the last event's payload.
    pub fn payload_to_keep(&self) -> &[u8] {
        self.pipeline.payload_to_keep()
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
        if let Some(reporter) = &mut self.reporter {
            reporter.open(out);
        }
    }

    /// Appends the requests that ended since it was last asked. `and` sees each of those that were asked for.
    pub fn report(&mut self, out: &mut Vec<u8>, mut and: impl FnMut(&Request)) {
        for request in std::mem::take(&mut self.done) {
            if self.view.selects(&request) {
                self.routes.push(&request);
                and(&request);
            }
            if let Some(reporter) = &mut self.reporter {
                reporter.request(&request, out);
            }
        }
    }

    /// Ends the run and appends the rest of the report.
    pub fn close(mut self, ending: Ending, out: &mut Vec<u8>, and: impl FnMut(&Request)) -> Closed {
        self.pipeline.settle();
        self.draw_postings();
        if let Some(drawn) = &mut self.drawn {
            drawn.settle();
        }
        let pipeline = std::mem::replace(&mut self.pipeline, Pipeline::new(Config::default()));
        let mut outcome = pipeline.finish();
        self.take_in(std::mem::take(&mut outcome.requests));
        self.report(out, and);
        let is_conclusive = outcome.books.balanced && outcome.lost.records() == 0 && !ending.is_incomplete;
        let programs = ending.programs.clone();
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
        let tables = self.take_tables();
        let routes = self.routes.finish();
        if let Some(mut reporter) = self.reporter {
            reporter.close(&routes, &summary, out);
        }
        let on = self.drawn.map(|drawn| drawn.on);
        let (timeline, watch, explainer) =
            on.map_or((None, None, None), |on| (on.timeline, on.watch, on.explainer));
        Closed {
            summary,
            is_conclusive,
            programs,
            trace: timeline.map_or_else(Vec::new, Timeline::finish),
            tables,
            watch,
            explained: explainer.and_then(Explainer::finish),
        }
    }
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
