//! `mainstay queue act`: by the running instance; or from here, where a Dify is named.

use mainstay_base::Clock;
use mainstay_dify::celery::act::{self, Action, Refused, Terms, Undo};
use serde_json::{Value, json};

use super::{is_direct, items, journal::Journal, observer, or_direct, print};
use crate::{
    cli::{QueueAct, QueueHow},
    deployment::{deployment, flags, with_flags},
    failure::{Exit, Failure, chain},
    output::{self, cell},
    remote::Remote,
};

pub(super) async fn run(action: Action, how: &QueueHow) -> Result<Exit, Failure> {
    let QueueHow { yes, dry_run: _, force, why, folder: _, read } = how;
    let answer = if is_direct(read) {
        Box::pin(from_here(action, how)).await?
    } else {
        let body = json!({ "action": action, "yes": yes, "force": force, "why": why });
        Remote::find(&read.read).map_err(or_direct)?.post("/api/queue/act", body).await?
    };
    Ok(print(read.read.json, &answer, told))
}

/// What is done stands in the journal before it is done; what cannot be written down is not done.
async fn from_here(action: Action, how: &QueueHow) -> Result<Value, Failure> {
    let mut observer = observer(&deployment(&how.read.dify)?, &how.read.dify)?;
    let folder = std::path::absolute(&how.folder).unwrap_or_else(|_| how.folder.clone());
    let terms = Terms { force: how.force, folder: Some(folder.clone()) };
    let mut plan = act::plan(&mut observer, action, &terms, Clock::System.now())
        .await
        .map_err(|error| refused(&error))?;
    direct(&mut plan.undo, how);
    if !how.yes {
        return Ok(json!({ "plan": plan, "done": null }));
    }
    let journal = Journal::open(&folder)?;
    let now = || Clock::System.now();
    journal.write(now(), "asked", json!({ "plan": plan, "forced": how.force, "why": how.why }))?;
    let done = act::perform(&mut observer, plan.clone(), &terms, now()).await;
    let end = match &done {
        Ok(done) => journal.write(now(), "done", json!({ "done": done })),
        Err(error) => journal.write(now(), "failed", json!({ "why": chain(error) })),
    };
    let mut done = done.map_err(|error| refused(&error))?;
    direct(&mut done.undo, how);
    // It is done: that is told, even when its second line could not be written.
    if let Err(failure) = end {
        output::note(failure.to_string());
    }
    Ok(json!({ "plan": plan, "done": done, "journal": journal.path() }))
}

/// The way back is the way that was taken.
fn direct(undo: &mut Undo, how: &QueueHow) {
    let QueueHow { folder, read, .. } = how;
    let Undo::By(command) = undo else { return };
    let folder = act::word(&folder.display().to_string()).into_owned();
    *command = with_flags(command, &format!("{} --folder {folder}", flags(&read.dify)));
}

fn refused(error: &Refused) -> Failure {
    let thing = "this is not done";
    match error {
        Refused::Redis(_) | Refused::Database(_) => Failure::unreachable(thing, chain(error), error.next()),
        _ => Failure::problem(thing, chain(error), error.next()),
    }
}

pub(super) fn action(what: QueueAct) -> (Action, QueueHow) {
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
        QueueAct::Purge { queue, message, how } => (Action::Purge { queue, message }, how),
        QueueAct::Import { file, how } => (Action::Import { file }, how),
        QueueAct::Redispatch { kind, tenant, how } => (Action::Redispatch { kind, tenant }, how),
        QueueAct::ClearSlots { app, how } => (Action::ClearSlots { app }, how),
        QueueAct::FailRun { run, how } => (Action::FailRun { run }, how),
        QueueAct::ReopenRun { run, how } => (Action::ReopenRun { run }, how),
    }
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
    output::line(format!("done: {}", cell(done, "/text")));
    if let Some(journal) = answer["journal"].as_str() {
        output::line(format!("written down in {journal}"));
    }
    for said in items(done, "said") {
        output::line(format!("{}: {}", output::clean(&cell(said, "/0")), output::clean(&cell(said, "/1"))));
    }
}
