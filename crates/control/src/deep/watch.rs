//! Looks, each component at its own pace.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use mainstay_base::Clock;
use mainstay_dify::{
    Deployment,
    probe::{Component, Prober, Report},
    signature::Catalogue,
};
use mainstay_store::Store;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    Latest, Looked, again,
    others::{Others, Part, Seen},
    turn::{TROUBLED_EVERY, Turn},
};
use crate::{
    doctor::{self, Facts, SchemaFacts},
    queue,
};

/// Between two thoughts about who is due.
const TICK: Duration = Duration::from_millis(500);
/// Between two looks at the schema: it changes with an upgrade.
const SCHEMA_EVERY: Duration = Duration::from_secs(300);

/// What was seen so much longer ago than the pace of its looks is forgotten: nobody has looked since.
const STALE: Duration = Duration::from_secs(60);

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
    among: Option<Among>,
    latest: watch::Sender<Arc<Latest>>,
}

/// This process, among those that share a store.
struct Among {
    store: Store,
    me: String,
}

impl Watch {
    /// Looks at nothing before [`Watch::run`]. Whoever else reads the databases does so over the connections of `prober`.
    pub fn new(
        prober: Arc<Prober>,
        queues: Option<queue::Watch>,
        catalogue: Catalogue,
        clock: Clock,
    ) -> Watch {
        Watch::with(prober, queues, catalogue, clock, None)
    }

    /// Of the processes that share `store` one looks, and the others show what it saw. `me`: this one.
    pub fn among(self, store: Store, me: String) -> Watch {
        let Shared { prober, queues, catalogue, clock, .. } = &*self.shared;
        let among = Some(Among { store, me });
        Watch::with(prober.clone(), queues.clone(), catalogue.clone(), clock.clone(), among)
    }

    fn with(
        prober: Arc<Prober>,
        queues: Option<queue::Watch>,
        catalogue: Catalogue,
        clock: Clock,
        among: Option<Among>,
    ) -> Watch {
        let latest = watch::Sender::new(Arc::default());
        Watch { shared: Arc::new(Shared { prober, queues, catalogue, clock, among, latest }) }
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

    /// Looks until it is stopped; while another process looks, it hears of that one.
    pub async fn run(self, stop: CancellationToken) {
        let mut round = Round::new(&self.shared);
        let mut others = self
            .shared
            .among
            .as_ref()
            .map(|Among { store, me }| Others::new(store.clone(), round.name(), me));
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
                _ = ticks.tick() => match stop.run_until_cancelled(round.tick(others.as_mut())).await {
                    None => break,
                    Some(false) => continue,
                    Some(true) => {}
                },
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
        if let Some(mut others) = others {
            others.leave().await;
        }
    }
}

enum Answer {
    Looked(Component, Box<Report>),
    Schema(Option<SchemaFacts>),
}

struct Round<'a> {
    shared: &'a Shared,
    turns: BTreeMap<Component, Turn>,
    schema: Option<SchemaFacts>,
    schema_at: Instant,
    is_schema_out: bool,
    /// Who looked.
    by: Option<String>,
    /// Whether something was seen that others were not told.
    is_untold: bool,
    answers: JoinSet<Answer>,
}

impl Round<'_> {
    fn new(shared: &Shared) -> Round<'_> {
        let now = Instant::now();
        let named = Component::ALL.into_iter().filter(|component| shared.prober.looks_at(*component));
        Round {
            shared,
            turns: named.map(|component| (component, Turn::new(now))).collect(),
            schema: None,
            schema_at: now,
            is_schema_out: false,
            by: None,
            is_untold: false,
            answers: JoinSet::new(),
        }
    }

    fn deployment(&self) -> &Deployment {
        self.shared.prober.deployment()
    }

    fn name(&self) -> &str {
        &self.deployment().name
    }

    /// Looks, or hears from who does. Whether something is known that was not.
    async fn tick(&mut self, others: Option<&mut Others>) -> bool {
        let Some(others) = others else {
            self.begin();
            return false;
        };
        let part = others.part().await;
        if part == Part::Ends {
            self.forget_who_is_out();
        }
        let mut heard = None;
        if matches!(part, Part::Begins | Part::Ends | Part::Hears) {
            heard = others.hear().await;
        }
        let is_news = heard.is_some() || matches!(part, Part::Begins | Part::Ends);
        if let Some(seen) = heard {
            self.hear(seen, part == Part::Begins);
        }
        if matches!(part, Part::Begins | Part::Looks) {
            self.by = Some(others.me().to_owned());
            self.begin();
            if self.is_untold && others.may_tell() {
                self.is_untold = !others.tell(&self.seen(others.me())).await;
            }
        }
        is_news
    }

    fn seen(&self, me: &str) -> Seen {
        let turns = self.turns.values().filter_map(Turn::told).collect();
        Seen { by: me.to_owned(), turns, schema: self.schema.clone() }
    }

    /// `is_to_go_on`: this process looks from now on, and what is older than a look may be says nothing of now.
    fn hear(&mut self, seen: Seen, is_to_go_on: bool) {
        let Seen { by, turns, schema } = seen;
        let now = self.shared.clock.now();
        self.by = Some(by);
        self.schema = schema.or(self.schema.take());
        for told in turns {
            // What this process's configuration does not name is not shown.
            let Some(component) = told.component() else { continue };
            let pace = &self.shared.prober.deployment().pace;
            if is_to_go_on && told.age(now) > pace.every(component) + STALE {
                continue;
            }
            if let Some(turn) = self.turns.get_mut(&component) {
                turn.hear(told, now, component, pace);
            }
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
                self.is_untold = true;
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
        self.is_untold = true;
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
                turn.take(*report, at);
                turn.next_at = now + turn.pause(component, &self.shared.prober.deployment().pace);
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

    /// Gives up what is out: whose look it was that ended badly is not known, or another process looks now.
    fn forget_who_is_out(&mut self) {
        self.answers = JoinSet::new();
        self.is_schema_out = false;
        for turn in self.turns.values_mut() {
            turn.is_out = false;
            turn.next_at = Instant::now() + TROUBLED_EVERY;
        }
    }

    fn latest(&self) -> Latest {
        let looked: Vec<Looked> =
            self.turns.iter().filter_map(|(component, turn)| turn.looked(*component)).collect();
        let diagnosis = (!looked.is_empty()).then(|| Arc::new(self.diagnosis(&looked)));
        Latest { by: self.by.clone(), looked, diagnosis }
    }

    /// Of a component whose first look was trouble nothing is said before the second.
    fn diagnosis(&self, looked: &[Looked]) -> doctor::Diagnosis {
        let report = |component: Component| match looked.iter().find(|looked| looked.component == component) {
            Some(Looked { stands: Some(report), .. }) => report.clone(),
            _ if self.turns.contains_key(&component) => Report::not_looked_yet(component),
            _ => Report::not_configured(component),
        };
        let deployment = self.deployment();
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
            by_files: Vec::new(),
            is_only_look: false,
            missed: Vec::new(),
        };
        doctor::judge(facts, &self.shared.catalogue)
    }
}
