//! Asks everything at the same time, within one limit.

use std::time::Duration;

use mainstay_base::Clock;
use mainstay_dify::{
    celery::{Observer, Options, Seen, act::longest_run},
    db::Reader,
    probe::{Component, Prober, Report},
    read::plugins,
    schema,
};
use tokio::time::{Instant, timeout, timeout_at};

use super::{Facts, SchemaFacts, Upgrade, Version, WorkerFacts};
use crate::queue::{Judge, Limits, Rows, Verdicts, ask};

/// What a whole diagnosis takes at the most.
pub const LONGEST: Duration = Duration::from_secs(14);
/// Between the two looks at the queues: long enough that a worker is asked twice.
const BETWEEN_LOOKS: Duration = Duration::from_secs(3);
/// Beside them, for the runs and documents of the database.
const LONGEST_ROWS: Duration = Duration::from_secs(5);
const REFRESH: &str = "trigger_refresh_publisher";
const MAX_LOST: usize = 100;

/// What is wanted beyond a look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    pub upgrade_to: Option<Version>,
}

/// All facts that come within [`LONGEST`]; `each` hears of each component as it is done.
pub async fn gather(prober: &Prober, clock: &Clock, asked: Asked, each: impl FnMut(&Report)) -> Facts {
    let until = Instant::now() + LONGEST;
    let deployment = prober.deployment();
    let (reports, queues, database) = tokio::join!(
        prober.all(&Component::ALL, each),
        timeout_at(until, queues(prober, clock)),
        timeout_at(until, database(prober, asked)),
    );
    let mut missed = Vec::new();
    let (seen, verdicts) = queues.unwrap_or_else(|_| {
        missed.push("queues and workers were not known in time".to_owned());
        (None, Verdicts::default())
    });
    let (schema, plugins) = database.unwrap_or_else(|_| {
        missed.push("the database's schema was not known in time".to_owned());
        (None, None)
    });
    let upgrade = asked.upgrade_to.map(|to| {
        let (lost, apps) = match plugins {
            Some((lost, apps)) => (Some(lost), apps),
            None => {
                missed.push("references of workflows to plugins were not compared".to_owned());
                (None, 0)
            }
        };
        let refresh = seen.iter().flat_map(|seen| &seen.queues).find(|queue| queue.name == REFRESH);
        let refresh_backlog = refresh.map_or(0, mainstay_dify::celery::Queue::length);
        Upgrade { to, lost_references: lost, apps, refresh_backlog }
    });
    Facts {
        at: clock.now(),
        deployment: deployment.name.clone(),
        reports,
        workers: seen.iter().flat_map(workers).collect(),
        queues: verdicts,
        schema,
        sizes: deployment.sizes.clone(),
        upgrade,
        by_files: Vec::new(),
        is_only_look: true,
        missed,
    }
}

/// Two looks, so that what does not move is told from what does; with the runs and documents nobody works on.
async fn queues(prober: &Prober, clock: &Clock) -> (Option<Seen>, Verdicts) {
    let deployment = prober.deployment();
    let options = Options { remote_every: BETWEEN_LOOKS, ..Options::once() };
    let Some(mut observer) = Observer::new(deployment, options) else { return (None, Verdicts::default()) };
    let mut judge = Judge::new(Limits::at_once());
    let (mut latest, mut rows) = ((None, Verdicts::default()), Rows::default());
    for look in 0..2 {
        if look > 0 {
            (rows, ()) = tokio::join!(rows_of(prober), tokio::time::sleep(BETWEEN_LOOKS));
        }
        // The probe of the broker says what is wrong with it.
        let Ok(seen) = observer.observe(clock.now()).await else { return latest };
        let verdicts = judge.step(&seen, &rows);
        latest = (Some(seen), verdicts);
    }
    latest
}

/// Nothing where the database does not tell it soon: its own probe says why.
async fn rows_of(prober: &Prober) -> Rows {
    let Some(reader) = prober.database() else { return Rows::default() };
    let asked = timeout(LONGEST_ROWS, ask(reader, longest_run(prober.deployment()))).await;
    asked.ok().and_then(Result::ok).unwrap_or_default()
}

pub(crate) fn workers(seen: &Seen) -> Vec<WorkerFacts> {
    let answered = seen.workers.iter().filter_map(|worker| Some((worker, worker.answer.as_ref()?)));
    let facts = answered.map(|(worker, answer)| WorkerFacts {
        name: worker.name.clone(),
        pool: answer.pool.clone(),
        concurrency: answer.concurrency,
        queues: answer.queues.clone().unwrap_or_default(),
    });
    facts.collect()
}

type Lost = (Vec<String>, usize);

async fn database(prober: &Prober, asked: Asked) -> (Option<SchemaFacts>, Option<Lost>) {
    let Some(reader) = prober.database() else { return (None, None) };
    // The probe of the database says what is wrong with it.
    let Ok(schema) = schema::look(reader).await else { return (None, None) };
    let facts = schema_facts(&schema);
    let lost = match (asked.upgrade_to, prober.plugin_database()) {
        (Some(_), Some(plugins)) => lost_references(reader, plugins).await,
        _ => None,
    };
    (Some(facts), lost)
}

/// `None` where it cannot be read: the probe of the database says why.
pub(crate) async fn schema_of(prober: &Prober) -> Option<SchemaFacts> {
    schema::look(prober.database()?).await.ok().as_ref().map(schema_facts)
}

fn schema_facts(schema: &schema::Schema) -> SchemaFacts {
    SchemaFacts {
        revision: schema.revision.clone(),
        release: schema.release.map(|release| release.name.to_owned()),
        missing: schema
            .missing
            .iter()
            .map(|missing| (missing.sentence.clone(), missing.remedy.clone()))
            .collect(),
    }
}

/// What published workflows name and nobody has installed.
async fn lost_references(main: &Reader, plugins: &Reader) -> Option<Lost> {
    let installed = plugins::installed(plugins).await.ok()?;
    let references = plugins::references(main).await.ok()?;
    let lost = references.found.iter().filter(|reference| !installed.contains(&reference.plugin));
    let lost = lost.take(MAX_LOST).map(|reference| format!("{}: {}", reference.app, reference.plugin));
    Some((lost.collect(), references.apps))
}
