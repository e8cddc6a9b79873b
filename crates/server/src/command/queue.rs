//! `mainstay queue`: list, workers, tasks, drain-forecast, act.

use std::time::Duration;

use mainstay_base::Clock;
use mainstay_control::queue::{Judge, LOOK_EVERY, Latest, Limits, Rows};
use mainstay_dify::celery::{Observer, Options, act::Action};
use serde_json::{Value, json};

use crate::{
    cli::{Queue, QueueAct, QueueHow, QueueRead},
    deployment::deployment,
    failure::{Exit, Failure, chain},
    output::{self, Table, cell},
    queue_routes::{list_of, tasks_of, workers_of},
    remote::Remote,
};

use super::{items, print};

pub(super) async fn run(queue: Queue) -> Result<Exit, Failure> {
    match queue {
        Queue::List(read) => {
            let answer = ask(&read, "/api/queue", list_of, Duration::ZERO).await?;
            print(read.read.json, &answer, list);
            let is_bad = items(&answer, "findings").iter().any(|finding| finding["severity"] != "note");
            Ok(if is_bad { Exit::Problem } else { Exit::Good })
        }
        Queue::Workers(read) => {
            let answer = ask(&read, "/api/queue/workers", workers_of, Duration::ZERO).await?;
            Ok(print(read.read.json, &answer, workers))
        }
        Queue::Tasks { queue, read } => {
            let mut answer = ask(&read, "/api/queue/tasks", tasks_of, Duration::ZERO).await?;
            keep(&mut answer, "tasks", "queue", queue.as_deref());
            Ok(print(read.read.json, &answer, tasks))
        }
        Queue::DrainForecast { queue, watch_seconds, read } => {
            let mut answer = ask(&read, "/api/queue", list_of, Duration::from_secs(watch_seconds)).await?;
            keep(&mut answer, "queues", "name", queue.as_deref());
            Ok(print(read.read.json, &answer, forecast))
        }
        Queue::Act(what) => {
            let (action, how) = action(what);
            act(&action, &how).await
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
    if read.dify.config.is_none() && read.dify.dify_env.is_none() {
        return Remote::find(&read.read)?.get(path).await;
    }
    let deployment = deployment(&read.dify)?;
    let Some(mut observer) = Observer::new(&deployment, Options::once()) else {
        return Err(Failure::usage(
            "cannot look at queues",
            "this Dify names no broker",
            "set CELERY_BROKER_URL, or [dify.broker] in the configuration",
        ));
    };
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
        let verdicts = judge.step(&seen, &Rows::default());
        latest = Latest { seen: Some(seen), verdicts };
        if number > 0 && tokio::time::Instant::now() >= until {
            break;
        }
        if !watch.is_zero() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    Ok(tell(&latest))
}

/// Leaves only what is of one queue.
fn keep(answer: &mut Value, list: &str, field: &str, wanted: Option<&str>) {
    if let (Some(wanted), Some(rows)) = (wanted, answer[list].as_array_mut()) {
        rows.retain(|row| row[field] == wanted);
    }
}

fn list(answer: &Value) {
    let mut table = Table::new(&[
        "queue",
        "waiting",
        "oldest",
        "consumers",
        "in/min",
        "out/min",
        "empty in",
        "most of it",
    ]);
    for row in items(answer, "queues") {
        let consumers = items(row, "consumers").len();
        let most = items(row, "subjects").first().or_else(|| items(row, "tasks").first());
        table.row([
            cell(row, "/name"),
            cell(row, "/waiting"),
            oldest(row),
            if consumers == 0 { "nobody".to_owned() } else { consumers.to_string() },
            a_minute(&row["rates"]["arrivals"]),
            a_minute(&row["rates"]["service"]),
            empty_in(&row["drain"]),
            most.map_or_else(|| "-".to_owned(), |most| cell(most, "/name")),
        ]);
    }
    table.print("no queues");
    findings(answer);
}

fn workers(answer: &Value) {
    let mut table =
        Table::new(&["worker", "answers", "pool", "places", "active", "reserved", "done", "load", "queues"]);
    for row in items(answer, "workers") {
        let said = &row["answer"];
        let answers = match (row["said_goodbye"] == true, row["silent_rounds"].as_u64()) {
            (true, _) => "ends".to_owned(),
            (false, Some(0)) if !said.is_null() => "yes".to_owned(),
            (false, rounds) => format!("not for {} rounds", rounds.unwrap_or(0)),
        };
        let names = items(said, "queues").iter().filter_map(Value::as_str).collect::<Vec<_>>();
        table.row([
            cell(row, "/name"),
            answers,
            cell(said, "/pool"),
            cell(said, "/concurrency"),
            items(said, "active").len().to_string(),
            items(said, "reserved").len().to_string(),
            cell(row, "/heard/processed"),
            cell(row, "/heard/load/0"),
            names.join(","),
        ]);
    }
    table.print("no worker was heard or answered");
    findings(answer);
}

fn tasks(answer: &Value) {
    let mut table = Table::new(&["state", "queue", "task", "id", "worker", "about"]);
    for row in items(answer, "tasks") {
        let message = &row["message"]["task"];
        let (task, about) =
            if message.is_null() { (row, &row["about"]) } else { (message, &message["about"]) };
        let about = ["app", "run", "dataset", "tenant"]
            .into_iter()
            .find_map(|name| Some(format!("{name} {}", about[name].as_str()?)));
        let name = match row["message"].as_object().and_then(|message| message.keys().next()) {
            Some(kind) if kind != "task" => format!("({})", kind.replace('_', " ")),
            _ => cell(task, "/task"),
        };
        table.row([
            cell(row, "/state"),
            cell(row, "/queue"),
            name,
            cell(task, "/id"),
            cell(row, "/worker"),
            about.unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    table.print("no tasks");
}

fn forecast(answer: &Value) {
    let mut table = Table::new(&["queue", "waiting", "in/min", "out/min", "over", "empty in"]);
    for row in items(answer, "queues").iter().filter(|row| row["waiting"].as_u64().unwrap_or(0) > 0) {
        let over = row["rates"]["over_s"].as_f64();
        table.row([
            cell(row, "/name"),
            cell(row, "/waiting"),
            a_minute(&row["rates"]["arrivals"]),
            a_minute(&row["rates"]["service"]),
            over.map_or_else(|| "-".to_owned(), seconds),
            empty_in(&row["drain"]),
        ]);
    }
    table.print("every queue is empty");
}

fn findings(answer: &Value) {
    for finding in items(answer, "findings") {
        output::line("");
        let line = |label: &str, pointer: &str| {
            let text = cell(finding, pointer);
            if text != "-" && !text.is_empty() {
                output::line(format!("{label}{}", output::clean(&text)));
            }
        };
        output::line(format!("{} {}", cell(finding, "/severity"), output::clean(&cell(finding, "/what"))));
        line("  why: ", "/cause");
        line("  do:  ", "/remedy");
    }
}

fn oldest(row: &Value) -> String {
    let Some(age) = row["oldest_s"].as_f64() else { return "-".to_owned() };
    let least = if row["oldest_is_at_least"] == true { "> " } else { "" };
    format!("{least}{}", seconds(age))
}

fn a_minute(rate: &Value) -> String {
    rate.as_f64().map_or_else(|| "-".to_owned(), |rate| format!("{:.1}", rate * 60.0))
}

fn empty_in(drain: &Value) -> String {
    let number = |name: &str| drain[name].as_f64();
    match drain["state"].as_str() {
        Some("empty") => "empty".to_owned(),
        Some("growing") => format!("never: grows {:.1}/min", number("per_s").unwrap_or(0.0) * 60.0),
        Some("uncertain") => format!("not before {}", seconds(number("not_before_s").unwrap_or(0.0))),
        Some("within") => {
            let latest = number("latest_s").map_or_else(|| "?".to_owned(), seconds);
            let (expected, earliest) =
                (number("expected_s").unwrap_or(0.0), number("earliest_s").unwrap_or(0.0));
            format!("{} ({} to {latest})", seconds(expected), seconds(earliest))
        }
        _ => "too soon to say".to_owned(),
    }
}

fn seconds(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 120.0 => format!("{seconds:.0} s"),
        seconds if seconds < 7_200.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.1} h", seconds / 3_600.0),
    }
}

fn action(what: QueueAct) -> (Action, QueueHow) {
    match what {
        QueueAct::GrowPool { worker, by, how } => (Action::GrowPool { worker, by }, how),
        QueueAct::ShrinkPool { worker, by, how } => (Action::ShrinkPool { worker, by }, how),
        QueueAct::Autoscale { worker, max, min, how } => (Action::Autoscale { worker, max, min }, how),
        QueueAct::AddConsumer { queue, worker, how } => (Action::AddConsumer { queue, worker }, how),
        QueueAct::CancelConsumer { queue, worker, how } => (Action::CancelConsumer { queue, worker }, how),
        QueueAct::RateLimit { task, rate, worker, how } => (Action::RateLimit { task, rate, worker }, how),
        QueueAct::Revoke { task_id, terminate, how } => (Action::Revoke { task_id, terminate }, how),
        QueueAct::Shutdown { worker, how } => (Action::Shutdown { worker }, how),
        QueueAct::Requeue { tag, how } => (Action::Requeue { tag }, how),
        QueueAct::Purge { queue, how } => (Action::Purge { queue }, how),
        QueueAct::Import { file, how } => (Action::Import { file }, how),
        QueueAct::Redispatch { kind, tenant, how } => (Action::Redispatch { kind, tenant }, how),
        QueueAct::ClearSlots { app, how } => (Action::ClearSlots { app }, how),
    }
}

async fn act(action: &Action, how: &QueueHow) -> Result<Exit, Failure> {
    let QueueHow { yes, force, why, read } = how;
    let body = json!({ "action": action, "yes": yes, "force": force, "why": why });
    let answer = Remote::find(read)?.post("/api/queue/act", body).await?;
    Ok(print(read.json, &answer, told))
}

fn told(answer: &Value) {
    let (plan, done) = (&answer["plan"], &answer["done"]);
    for step in items(plan, "steps") {
        output::line(format!("send   {}", output::clean(&cell(step, "/sends"))));
        output::line(format!("to     {}", output::clean(&cell(step, "/to"))));
        output::line(format!("so     {}", output::clean(&cell(step, "/changes"))));
    }
    for warning in items(plan, "warnings").iter().filter_map(Value::as_str) {
        output::line(format!("warning: {}", output::clean(warning)));
    }
    let undo = if done.is_null() { &plan["undo"] } else { &done["undo"] };
    match undo["by"].as_str() {
        Some(command) => output::line(format!("undo: {}", output::clean(command))),
        None => output::line(format!("IRREVERSIBLE: {}", output::clean(&cell(undo, "/irreversible")))),
    }
    if done.is_null() {
        output::line("dry run: nothing was done; --yes does it");
        return;
    }
    output::line(format!("done: {}", output::clean(&cell(done, "/text"))));
    for said in items(done, "said") {
        output::line(format!("{}: {}", output::clean(&cell(said, "/0")), output::clean(&cell(said, "/1"))));
    }
}
