//! Looks, each component at its own pace.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use mainstay_base::{Clock, Micros};
use mainstay_dify::{
    probe::{Component, Prober, Report},
    signature::Catalogue,
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Latest, Looked, again, every, standing::Standing};
use crate::{
    doctor::{self, Facts, SchemaFacts},
    queue,
};

/// Between two thoughts about who is due.
const TICK: Duration = Duration::from_millis(500);
/// Between two looks at the schema: it changes with an upgrade.
const SCHEMA_EVERY: Duration = Duration::from_secs(300);
/// Those in trouble are looked at no less often than this, if a look costs nothing.
const TROUBLED_EVERY: Duration = Duration::from_secs(5);

/// Cheap to clone.
#[derive(Clone)]
pub struct Watch {
    shared: Arc<Shared>,
}

struct Shared {
    prober: Arc<Prober>,
    queues: Option<queue::Watch>,
    catalogue: Catalogue,
    clock: Clock,
    latest: watch::Sender<Arc<Latest>>,
}

impl Watch {
    /// Looks at nothing before [`Watch::run`]. Whoever else reads the databases does so over the connections of `prober`.
    pub fn new(
        prober: Arc<Prober>,
        queues: Option<queue::Watch>,
        catalogue: Catalogue,
        clock: Clock,
    ) -> Watch {
        let latest = watch::Sender::new(Arc::default());
        Watch { shared: Arc::new(Shared { prober, queues, catalogue, clock, latest }) }
    }

    /// What is known now.
    pub fn latest(&self) -> Arc<Latest> {
        self.shared.latest.borrow().clone()
    }

    /// Follows what is known.
    pub fn follow(&self) -> watch::Receiver<Arc<Latest>> {
        self.shared.latest.subscribe()
    }

    pub fn prober(&self) -> &Arc<Prober> {
        &self.shared.prober
    }

    /// Looks until it is stopped.
    pub async fn run(self, stop: CancellationToken) {
        let mut round = Round::new(&self.shared);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut queues = self.shared.queues.as_ref().map(queue::Watch::follow);
        loop {
            let queues_seen = async {
                let seen = match &mut queues {
                    Some(queues) => queues.changed().await.is_ok(),
                    None => false,
                };
                if !seen {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                _ = ticks.tick() => {
                    round.begin();
                    continue;
                }
                () = queues_seen => {}
                Some(answer) = round.answers.join_next(), if !round.answers.is_empty() => match answer {
                    Ok(answer) => round.take(answer),
                    Err(error) => {
                        warn!(%error, "a look at a Dify ended badly");
                        round.forget_who_is_out();
                    }
                },
            }
            self.shared.latest.send_replace(Arc::new(round.latest()));
        }
        round.answers.shutdown().await;
    }
}

enum Answer {
    Looked(Component, Box<Report>),
    Schema(Option<SchemaFacts>),
}

/// One component's bookkeeping.
struct Turn {
    next_at: Instant,
    is_out: bool,
    at: Micros,
    looks: u64,
    last: Option<Report>,
    standing: Standing,
    out_since: Option<Micros>,
}

struct Round<'a> {
    shared: &'a Shared,
    turns: BTreeMap<Component, Turn>,
    schema: Option<SchemaFacts>,
    schema_at: Instant,
    is_schema_out: bool,
    answers: JoinSet<Answer>,
}

impl Round<'_> {
    fn new(shared: &Shared) -> Round<'_> {
        let now = Instant::now();
        let turn = || Turn {
            next_at: now,
            is_out: false,
            at: Micros(0),
            looks: 0,
            last: None,
            standing: Standing::default(),
            out_since: None,
        };
        let named = Component::ALL.into_iter().filter(|component| shared.prober.looks_at(*component));
        Round {
            shared,
            turns: named.map(|component| (component, turn())).collect(),
            schema: None,
            schema_at: now,
            is_schema_out: false,
            answers: JoinSet::new(),
        }
    }

    /// Starts the looks that are due. What is out is left alone: so much is under way as there are components.
    fn begin(&mut self) {
        let now = Instant::now();
        for (&component, turn) in &mut self.turns {
            if turn.is_out || now < turn.next_at {
                continue;
            }
            if self.shared.prober.is_under_way(component) {
                // Given up at its deadline, and a thread of it still hangs: that says what the last look said, once more.
                turn.out_since.get_or_insert_with(|| self.shared.clock.now());
                turn.standing.take_again(turn.last.as_ref());
                turn.next_at = now + TROUBLED_EVERY;
                continue;
            }
            turn.is_out = true;
            let prober = Arc::clone(&self.shared.prober);
            self.answers
                .spawn(async move { Answer::Looked(component, Box::new(prober.probe(component).await)) });
        }
        if !self.is_schema_out && now >= self.schema_at {
            self.is_schema_out = true;
            let prober = Arc::clone(&self.shared.prober);
            self.answers.spawn(async move { Answer::Schema(doctor::schema_of(&prober).await) });
        }
    }

    fn take(&mut self, answer: Answer) {
        let now = Instant::now();
        match answer {
            Answer::Schema(schema) => {
                self.is_schema_out = false;
                self.schema_at = now + SCHEMA_EVERY;
                // The probe of the database says why it is not known; what was known stays.
                self.schema = schema.or(self.schema.take());
            }
            Answer::Looked(component, report) => {
                let at = self.shared.clock.now();
                let Some(turn) = self.turns.get_mut(&component) else { return };
                turn.is_out = false;
                turn.out_since = None;
                (turn.at, turn.looks) = (at, turn.looks + 1);
                turn.last = Some((*report).clone());
                turn.standing.take(*report);
                let is_cheap = again(component) < TROUBLED_EVERY;
                let pause = match &turn.standing {
                    standing if standing.is_in_doubt() => again(component),
                    standing if standing.is_in_trouble() && is_cheap => TROUBLED_EVERY,
                    _ => every(component),
                };
                turn.next_at = now + pause.min(every(component));
                if turn.standing.is_in_doubt() {
                    self.hurry(component, now);
                }
            }
        }
    }

    /// What others stand on is looked at again at once, so that a cause is known before its symptoms are told.
    fn hurry(&mut self, surprised: Component, now: Instant) {
        const CAUSES: [Component; 3] = [Component::Database, Component::Broker, Component::Redis];
        for cause in CAUSES.into_iter().filter(|cause| *cause != surprised) {
            if let Some(turn) = self.turns.get_mut(&cause) {
                turn.next_at = turn.next_at.min(now + again(cause) / 2);
            }
        }
    }

    /// Whose look it was that ended badly is not known.
    fn forget_who_is_out(&mut self) {
        self.answers.abort_all();
        self.is_schema_out = false;
        for turn in self.turns.values_mut() {
            turn.is_out = false;
            turn.next_at = Instant::now() + TROUBLED_EVERY;
        }
    }

    fn latest(&self) -> Latest {
        let looked = self.turns.iter().filter_map(|(&component, turn)| {
            Some(Looked {
                component,
                at: turn.at,
                looks: turn.looks,
                stands: turn.standing.report.clone(),
                last: turn.last.clone()?,
                out_since: turn.out_since,
            })
        });
        let looked: Vec<Looked> = looked.collect();
        let diagnosis = (!looked.is_empty()).then(|| Arc::new(self.diagnosis(&looked)));
        Latest { looked, diagnosis }
    }

    /// Of a component whose first look was trouble nothing is said before the second.
    fn diagnosis(&self, looked: &[Looked]) -> doctor::Diagnosis {
        let report = |component: Component| match looked.iter().find(|looked| looked.component == component) {
            Some(Looked { stands: Some(report), .. }) => report.clone(),
            _ if self.turns.contains_key(&component) => Report::not_looked_yet(component),
            _ => Report::not_configured(component),
        };
        let deployment = self.shared.prober.deployment();
        let queues = self.shared.queues.as_ref().map(queue::Watch::latest).unwrap_or_default();
        let facts = Facts {
            at: self.shared.clock.now(),
            deployment: deployment.name.clone(),
            reports: Component::ALL.into_iter().map(report).collect(),
            queues: queues.verdicts.clone(),
            workers: queues.seen.iter().flat_map(doctor::workers_of).collect(),
            schema: self.schema.clone(),
            sizes: deployment.sizes.clone(),
            upgrade: None,
            is_only_look: false,
            missed: Vec::new(),
        };
        doctor::judge(facts, &self.shared.catalogue)
    }
}
