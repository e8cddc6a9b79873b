//! `mainstay queue`: list, workers, tasks, drain-forecast, act.

mod act;
mod journal;
mod tables;

use std::time::Duration;

use mainstay_base::Clock;
use mainstay_control::queue::{Judge, LOOK_EVERY, Latest, Limits, Rows};
use mainstay_dify::{
    Deployment,
    celery::{Observer, Options, act::longest_run},
    db::Reader,
    discovery::Gap,
};
use serde_json::Value;

use crate::{
    cli::{self, Queue, QueueRead},
    deployment::{deployment, flags, gap, with_flags},
    failure::{Exit, Failure, chain},
    output,
    queue_routes::{list_of, tasks_of, workers_of},
    remote::Remote,
};

use super::{items, print};

/// What the database may take to tell of runs and documents.
const LONGEST_ROWS: Duration = Duration::from_secs(10);

pub(super) async fn run(queue: Queue) -> Result<Exit, Failure> {
    match queue {
        Queue::List(read) => {
            let answer = ask(&read, "/api/queue", list_of, Duration::ZERO).await?;
            print(read.read.json, &answer, tables::list);
            let is_bad = items(&answer, "findings").iter().any(|finding| finding["severity"] != "note");
            Ok(if is_bad { Exit::Problem } else { Exit::Good })
        }
        Queue::Workers(read) => {
            let answer = ask(&read, "/api/queue/workers", workers_of, Duration::ZERO).await?;
            Ok(print(read.read.json, &answer, tables::workers))
        }
        Queue::Tasks { queue, read } => {
            let mut answer = ask(&read, "/api/queue/tasks", tasks_of, Duration::ZERO).await?;
            keep(&mut answer, "tasks", "queue", queue.as_deref());
            Ok(print(read.read.json, &answer, tables::tasks))
        }
        Queue::DrainForecast { queue, watch_seconds, read } => {
            let mut answer = ask(&read, "/api/queue", list_of, Duration::from_secs(watch_seconds)).await?;
            keep(&mut answer, "queues", "name", queue.as_deref());
            Ok(print(read.read.json, &answer, tables::forecast))
        }
        Queue::Act(what) => {
            let (action, how) = act::action(what);
            Box::pin(act::run(action, &how)).await
        }
    }
}

/// From the running instance; or by looks of our own, where a Dify is named.
async fn ask(
    read: &QueueRead,
    path: &str,
    tell: fn(&Latest) -> Value,
    watch: Duration,
) -> Result<Value, Failure> {
    if !is_direct(read) {
        return Remote::find(&read.read).map_err(or_direct)?.get(path).await;
    }
    let deployment = deployment(&read.dify)?;
    let mut observer = observer(&deployment, &read.dify)?;
    let rows = rows(&deployment).await;
    if !watch.is_zero() {
        output::note(format!("watching the queues for {} s; --watch-seconds changes that", watch.as_secs()));
    }
    // Twice, so that what is on its way is not taken for stuck; longer for rates.
    let limits = if watch.is_zero() { Limits::at_once() } else { Limits::default() };
    let (mut judge, mut latest) = (Judge::new(limits), Latest::default());
    let until = tokio::time::Instant::now() + watch;
    for number in 0.. {
        let look = if number < 2 {
            observer.fresh(Clock::System.now()).await
        } else {
            observer.observe(Clock::System.now()).await
        };
        let seen = look
            .map_err(|error| Failure::unreachable("cannot ask the broker", chain(&error), error.remedy()))?;
        let verdicts = judge.step(&seen, &rows);
        latest = Latest { seen: Some(seen), verdicts };
        if number > 0 && tokio::time::Instant::now() >= until {
            break;
        }
        if !watch.is_zero() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    let mut answer = tell(&latest);
    for finding in answer["findings"].as_array_mut().into_iter().flatten() {
        let remedy = with_flags(finding["remedy"].as_str().unwrap_or_default(), &flags(&read.dify));
        finding["remedy"] = remedy.into();
    }
    Ok(answer)
}

/// Who runs no instance may look all the same.
fn or_direct(failure: Failure) -> Failure {
    failure.or("; or look without an instance: --dify-env docker/.env, or --config mainstay.toml")
}

/// Whether a Dify is named, so that no instance is asked.
fn is_direct(read: &QueueRead) -> bool {
    read.dify.config.is_some() || read.dify.dify_env.is_some()
}

fn observer(deployment: &Deployment, asked: &cli::Dify) -> Result<Observer, Failure> {
    Observer::new(deployment, Options::once()).ok_or_else(|| match gap(asked, "broker") {
        Some(Gap { what, matters, .. }) => Failure::usage("cannot look at queues", what, matters),
        None => Failure::usage(
            "cannot look at queues",
            "this Dify names no broker",
            "set CELERY_BROKER_URL, or [dify.broker] in the configuration",
        ),
    })
}

/// What the database tells, when it tells it soon; `mainstay doctor` says why it does not.
async fn rows(deployment: &Deployment) -> Rows {
    let Some(database) = &deployment.database else { return Rows::default() };
    let (reader, longest) = (Reader::new(database), longest_run(deployment));
    let rows = tokio::time::timeout(LONGEST_ROWS, mainstay_control::queue::ask(&reader, longest)).await;
    match rows {
        Ok(Ok(rows)) => rows,
        Ok(Err(error)) => {
            output::note(format!("runs and documents are left out: {}", chain(&error)));
            Rows::default()
        }
        Err(_) => {
            output::note(format!(
                "runs and documents are left out: they took longer than {} s",
                LONGEST_ROWS.as_secs()
            ));
            Rows::default()
        }
    }
}

/// Leaves only what is of one queue.
fn keep(answer: &mut Value, list: &str, field: &str, wanted: Option<&str>) {
    if let (Some(wanted), Some(rows)) = (wanted, answer[list].as_array_mut()) {
        rows.retain(|row| row[field] == wanted);
    }
}
