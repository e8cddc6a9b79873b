//! The task that judges, while this process acts: reads what was counted, looks at every objective, says in the store how each
//! stands, and gives the alert step its components.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use mainstay_base::Micros;
use mainstay_store::{Store, StoreError, model::SloRow};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{HOUR_US, MINUTE_US, admin, choosing::Choosing, engine::Engine, figures, tell, tracked::Heard};
use crate::{facade::Shared, incident, ingest::view, options::Options};

/// Between two looks. At ten runs a minute the fifth failure in a row comes 55 s after the first success is missed (p95): what
/// is left of a minute must do for counting, writing, reading and looking.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A look that hangs is given up. The first one reads three days.
const LOOK_DEADLINE: Duration = Duration::from_secs(120);
/// What was written so long before the last look is looked at again: transactions end out of order.
const OVERLAP: Duration = Duration::from_secs(15);
/// After so long without a look everything is read anew.
const TOO_LONG: Duration = Duration::from_secs(1_800);
/// A state that only grew is written no more often.
const WRITE_EVERY: Duration = Duration::from_secs(15);
const DIFY_EVERY: Duration = Duration::from_secs(15);
/// Minutes of a Dify that are read again: longest runs end so late.
const DIFY_MINUTES: i64 = 45;
/// Minutes at a start, read hour by hour from the newest, until so many rows were read.
const LOAD_HOURS: i64 = 73;
const LOAD_ROWS: usize = 300_000;
const LOAD_DAYS: i64 = 92;
const SWEEP_EVERY: Duration = Duration::from_secs(300);
const KEEP_MINUTES: Duration = Duration::from_secs(31 * 86_400);
const KEEP_HOURS: Duration = Duration::from_secs(100 * 86_400);
/// A state that changes back and forth is told of no more often.
const NOTE_EVERY: Duration = Duration::from_secs(300);
const STANDING_MAX_AGE: Duration = Duration::from_secs(600);

pub(crate) struct Judging {
    shared: Arc<Shared>,
    store: Store,
    options: watch::Receiver<Arc<Options>>,
    mind: Option<Mind>,
}

/// What is known while this process acts.
struct Mind {
    engine: Engine,
    rows: Vec<SloRow>,
    /// Nothing was adopted yet.
    is_new: bool,
    looked_at: Instant,
    dify_at: Option<Instant>,
    sweep_at: Instant,
    choosing: Choosing,
    written: HashMap<String, (Value, Instant)>,
    /// The state that the timeline knows, and when it may be told of another.
    noted: HashMap<String, (String, Instant)>,
}

impl Mind {
    fn new() -> Mind {
        let now = Instant::now();
        Mind {
            engine: Engine::default(),
            rows: Vec::new(),
            is_new: true,
            looked_at: now,
            dify_at: None,
            sweep_at: now + SWEEP_EVERY,
            choosing: Choosing::new(),
            written: HashMap::new(),
            noted: HashMap::new(),
        }
    }
}

impl Judging {
    pub(crate) fn new(shared: Arc<Shared>, options: watch::Receiver<Arc<Options>>) -> Judging {
        Judging { store: shared.store.clone(), shared, options, mind: None }
    }

    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        let mut leads = self.shared.leads.subscribe();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = ticks.tick() => {}
                // Who begins to act looks at once: alerts wait for it.
                changed = leads.changed() => if changed.is_err() { break },
            }
            if !self.shared.is_leader.load(Ordering::Relaxed) {
                self.mind = None;
                self.shared.slos.send_replace(None);
                continue;
            }
            let outcome = match timeout(LOOK_DEADLINE, self.look()).await {
                Ok(outcome) => outcome.map_err(|error| error.to_string()),
                Err(_) => Err(format!("no end within {LOOK_DEADLINE:?}")),
            };
            match (&outcome, failing) {
                (Err(error), false) => warn!(%error, "service levels cannot be judged"),
                (Err(error), true) => debug!(%error, "service levels cannot be judged"),
                (Ok(()), _) => {}
            }
            failing = outcome.is_err();
            if failing {
                // Whatever was half taken in is read anew.
                self.mind = None;
            }
        }
    }

    async fn look(&mut self) -> Result<(), StoreError> {
        let dify = self.options.borrow().dify_source.clone();
        let now = self.shared.clock.now();
        let mut mind =
            self.mind.take().filter(|mind| mind.looked_at.elapsed() < TOO_LONG).unwrap_or_else(Mind::new);
        let looked_at = Instant::now();
        self.adopt(&mut mind, dify.as_deref(), now).await?;
        self.take_changed(&mut mind, now).await?;
        self.take_dify(&mut mind, dify.as_deref(), now, None).await?;
        let heard = self.heard(dify.as_deref()).await?;
        mind.engine.look(heard, now);
        self.shared.slos.send_replace(Some(Arc::new(mind.engine.components(now))));
        self.shared.wake.notify_one();
        self.tell(&mut mind, now).await?;
        self.keep_house(&mut mind, dify.as_deref(), now).await?;
        mind.looked_at = looked_at;
        self.mind = Some(mind);
        Ok(())
    }

    async fn adopt(&self, mind: &mut Mind, dify: Option<&str>, now: Micros) -> Result<(), StoreError> {
        let rows = self.store.slos().list().await?;
        if !mind.is_new && rows == mind.rows {
            return Ok(());
        }
        let states = self.store.slos().states().await?;
        let mut remembered: HashMap<_, _> = states
            .iter()
            .filter_map(|state| Some((state.name.clone(), tell::remembered(&state.body)?)))
            .collect();
        for state in states.iter().filter(|_| mind.is_new) {
            let word = state.body["state"].as_str().unwrap_or_default().to_owned();
            mind.noted.insert(state.name.clone(), (word, Instant::now()));
        }
        let chosen_before: HashSet<String> = remembered.keys().cloned().collect();
        let (held, problems) = admin::together(&rows);
        for problem in &problems {
            warn!("a stored service level is not judged: {problem}");
        }
        let new = mind.engine.adopt(held, dify.is_some(), &mut remembered, now);
        let names: HashSet<&str> =
            mind.engine.all().iter().map(|tracked| tracked.held.document.name.as_str()).collect();
        let gone: Vec<String> = states
            .into_iter()
            .map(|state| state.name)
            .filter(|name| !names.contains(name.as_str()))
            .collect();
        if !gone.is_empty() {
            self.store.slos().forget(gone).await?;
        }
        self.load(mind, dify, &new, now).await?;
        // Until their turn comes for the last 30 days.
        let is_new = |name: &String| new.contains(name) && !chosen_before.contains(name);
        let unchosen = mind.engine.all_mut().iter_mut();
        unchosen
            .filter(|tracked| is_new(&tracked.held.document.name))
            .for_each(|tracked| tracked.choose(now));
        mind.rows = rows;
        mind.is_new = false;
        Ok(())
    }

    /// Reads the past of these: minutes of three days, hours of the time before.
    async fn load(
        &self,
        mind: &mut Mind,
        dify: Option<&str>,
        new: &HashSet<String>,
        now: Micros,
    ) -> Result<(), StoreError> {
        if new.is_empty() {
            return Ok(());
        }
        mind.engine.learn(self.store.slis().series().await?);
        let end_hour = now.0.div_euclid(HOUR_US) + 1;
        let (mut hour, mut read) = (end_hour, 0);
        while hour > end_hour - LOAD_HOURS && read < LOAD_ROWS {
            hour -= 1;
            let rows = self.store.slis().minutes(hour * 60, (hour + 1) * 60).await?;
            read += rows.len();
            mind.engine.take_minutes(&rows, Some(new), now);
        }
        let first = end_hour - LOAD_DAYS * 24;
        let mut from = first;
        while from < hour {
            let to = (from + 7 * 24).min(hour);
            mind.engine.take_hours(&self.store.slis().hours(from, to).await?, new, now);
            from = to;
        }
        let Some(dify) = dify else { return Ok(()) };
        mind.engine.learn_dify(self.store.dify().series(dify).await?);
        let (mut hour, mut read) = (end_hour, 0);
        while hour > end_hour - LOAD_HOURS && read < LOAD_ROWS {
            hour -= 1;
            let span = (hour * 60, (hour + 1) * 60);
            let rows = self.store.dify().counted(dify, false, span, figures::KINDS).await?;
            read += rows.len();
            mind.engine.take_dify_minutes(&rows, Some(new), now);
        }
        let mut from = first;
        while from < hour {
            let to = (from + 7 * 24).min(hour);
            let rows = self.store.dify().counted(dify, true, (from, to), figures::KINDS).await?;
            mind.engine.take_dify_hours(&rows, new, now);
            from = to;
        }
        Ok(())
    }

    /// Minutes of which any process wrote a row since the last look.
    async fn take_changed(&self, mind: &mut Mind, now: Micros) -> Result<(), StoreError> {
        let within = mind.looked_at.elapsed() + OVERLAP;
        let (_, changed) = self.store.slis().changed(within).await?;
        for minutes in together(&changed) {
            let rows = self.store.slis().minutes(minutes.0, minutes.1).await?;
            if mind.engine.has_unknown(&rows) {
                mind.engine.learn(self.store.slis().series().await?);
            }
            mind.engine.take_minutes(&rows, None, now);
        }
        Ok(())
    }

    async fn take_dify(
        &self,
        mind: &mut Mind,
        dify: Option<&str>,
        now: Micros,
        only: Option<&HashSet<String>>,
    ) -> Result<(), StoreError> {
        let Some(dify) = dify else { return Ok(()) };
        if mind.dify_at.is_some_and(|at| at.elapsed() < DIFY_EVERY) {
            return Ok(());
        }
        mind.dify_at = Some(Instant::now());
        mind.engine.learn_dify(self.store.dify().series(dify).await?);
        let end = now.0.div_euclid(MINUTE_US) + 2;
        let rows = self.store.dify().counted(dify, false, (end - DIFY_MINUTES, end), figures::KINDS).await?;
        mind.engine.take_dify_minutes(&rows, only, now);
        Ok(())
    }

    async fn heard(&self, dify: Option<&str>) -> Result<Heard, StoreError> {
        let stood = self.store.standings().list(STANDING_MAX_AGE).await?;
        let gateway = stood.iter().map(|stood| stood.at).max();
        let dify = match dify {
            Some(dify) => view::reading(&self.store, dify).await?.map(|(at, _)| at),
            None => None,
        };
        Ok(Heard { gateway, dify })
    }

    /// Says in the store how each stands, and of what changed in the timeline.
    async fn tell(&self, mind: &mut Mind, now: Micros) -> Result<(), StoreError> {
        let mut states = Vec::new();
        let mut events = Vec::new();
        for tracked in mind.engine.all() {
            let name = &tracked.held.document.name;
            let Some(state) = tell::state(tracked) else { continue };
            let word = state["state"].as_str().unwrap_or_default().to_owned();
            match mind.noted.get(name) {
                Some((before, next)) if *before != word && Instant::now() >= *next => {
                    events.push((name.clone(), before.clone(), word.clone(), state["reason"].clone()));
                }
                Some(_) => {}
                None => {
                    mind.noted.insert(name.clone(), (word, Instant::now()));
                }
            }
            let is_due = mind.written.get(name).is_none_or(|(was, at)| {
                let same = |key: &str| was[key] == state[key];
                let is_news = !(same("state") && same("health") && same("detectors") && same("source"));
                is_news || (*was != state && at.elapsed() >= WRITE_EVERY)
            });
            if is_due {
                states.push((name.clone(), state));
            }
        }
        if !states.is_empty() {
            self.store.slos().tell(states.clone(), now).await?;
            mind.written.extend(states.into_iter().map(|(name, state)| (name, (state, Instant::now()))));
        }
        for (name, before, after, reason) in events {
            // The first data is no news.
            let is_first = before == "no_data";
            if !is_first {
                self.note(&name, &before, &after, reason.as_str().unwrap_or_default(), now).await?;
            }
            let next = Instant::now() + if is_first { Duration::ZERO } else { NOTE_EVERY };
            mind.noted.insert(name, (after, next));
        }
        Ok(())
    }

    async fn note(
        &self,
        name: &str,
        before: &str,
        after: &str,
        reason: &str,
        now: Micros,
    ) -> Result<(), StoreError> {
        let text = format!("service level {name} was {before} and is {after}: {reason}");
        let detail = json!({ "slo": name, "before": before, "after": after, "offers": tell::offers(after) });
        incident::note(&self.store, &format!("slo:{name}"), "slo_state", incident::ACTOR, &text, detail, now)
            .await
    }

    async fn keep_house(&self, mind: &mut Mind, dify: Option<&str>, now: Micros) -> Result<(), StoreError> {
        mind.choosing.go_on(&mut mind.engine, &self.store, dify, now);
        let at = Instant::now();
        if at >= mind.sweep_at {
            let more = self.store.slis().sweep(now - KEEP_MINUTES, now - KEEP_HOURS).await?;
            mind.sweep_at = at + if more { LOOK_EVERY } else { SWEEP_EVERY };
        }
        Ok(())
    }
}

/// Minutes that follow each other as spans.
fn together(minutes: &[i64]) -> Vec<(i64, i64)> {
    let mut spans: Vec<(i64, i64)> = Vec::new();
    for minute in minutes {
        match spans.last_mut().filter(|(first, end)| *end == *minute && *end - *first < 30) {
            Some((_, end)) => *end += 1,
            None => spans.push((*minute, *minute + 1)),
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    #[test]
    fn minutes_that_follow_each_other_are_read_together() {
        assert_eq!(super::together(&[3, 4, 5, 9, 10, 12]), [(3, 6), (9, 11), (12, 13)]);
        assert!(super::together(&[]).is_empty());
    }
}
