//! Marking a run failed that nobody works on any more, and taking that back: the one thing that is ever written to Dify's
//! database.
//!
//! Promises: one row by its id, and only while it is what it was seen to be, in one statement that asks again; the guards
//! about it cannot be forced; nothing is written by the role that reads, nor to a schema that is not known.

use std::time::Duration;

use mainstay_base::Micros;

use super::{Action, Done, Parts, Plan, Refused, Terms, Undo, step};
use crate::{
    Deployment,
    celery::Seen,
    db::{self, Id, Reader, Value},
    deployment::{Database, Login},
    read::Source,
    schema,
};

/// The longest that a run may take where the environment does not tell: Dify's own default, `WORKFLOW_MAX_EXECUTION_TIME`.
pub const LONGEST_RUN: Duration = Duration::from_secs(1_200);
/// A run in which nothing happened for so long makes no progress.
pub const NO_PROGRESS: Duration = Duration::from_secs(300);
/// What a marked run says of itself. What does not say this was not marked here, and is not taken back.
pub const MARK: &str =
    "Marked failed by Mainstay: it was running for longer than a run may take, without progress.";

const WITHIN: Duration = Duration::from_secs(2);
const TABLE: &str = "workflow_runs";
const WRITTEN: [&str; 3] = ["status", "error", "finished_at"];

const SEE: &str = "SELECT status, error, app_id, created_at, finished_at, LOCALTIMESTAMP, \
     has_column_privilege('workflow_runs', 'status', 'UPDATE') \
     AND has_column_privilege('workflow_runs', 'error', 'UPDATE') \
     AND has_column_privilege('workflow_runs', 'finished_at', 'UPDATE') FROM workflow_runs WHERE id = $1";
/// `$3`: seconds that a run may take; `$4`: seconds in which something must have happened.
const FAIL: &str = "UPDATE workflow_runs SET status = 'failed', error = $2, finished_at = LOCALTIMESTAMP \
     WHERE id = $1 AND status = 'running' AND finished_at IS NULL AND coalesce(error, '') = '' \
     AND created_at < LOCALTIMESTAMP - $3 * interval '1 second' \
     AND NOT EXISTS (SELECT 1 FROM workflow_node_executions WHERE workflow_run_id = $1 \
       AND greatest(created_at, finished_at) > LOCALTIMESTAMP - $4 * interval '1 second')";
const REOPEN: &str = "UPDATE workflow_runs SET status = 'running', error = NULL, finished_at = NULL \
     WHERE id = $1 AND status = 'failed' AND error = $2";

/// Who may repair, and where.
pub(crate) struct Repairs {
    database: Option<Database>,
    login: Option<Login>,
    longest_run: Duration,
}

impl Repairs {
    pub(crate) fn of(deployment: &Deployment) -> Repairs {
        Repairs {
            database: deployment.database.clone(),
            login: deployment.repairs.clone(),
            longest_run: longest_run(deployment) + NO_PROGRESS,
        }
    }

    /// The database as the role that repairs sees it.
    fn database(&self) -> Result<Database, Refused> {
        let Some(database) = &self.database else {
            let why = "this Dify names no database";
            return Err(Refused::because(why, "write [dify.database] with mainstay init"));
        };
        let Some(Login { user, password }) = &self.login else {
            let why = "nobody is named who may write to Dify's database";
            let next = "set dify.database.write_user, with the GRANTs that mainstay init prints for it";
            return Err(Refused::because(why, next));
        };
        Ok(Database { user: user.clone(), password: password.clone(), ..database.clone() })
    }
}

/// The longest that a run may take.
pub fn longest_run(deployment: &Deployment) -> Duration {
    deployment.sizes.longest_run_secs.map_or(LONGEST_RUN, Duration::from_secs)
}

pub(super) async fn plan(
    repairs: &Repairs,
    seen: &Seen,
    action: &Action,
    terms: &Terms,
) -> Result<Parts, Refused> {
    let database = repairs.database()?;
    match action {
        Action::FailRun { run } => {
            nobody_has(seen, run, terms)?;
            let row = row(&database, run).await?;
            is_zombie(&row, run, repairs.longest_run)?;
            let changes = format!("run {run} of app {} is failed, and ended now", row.app);
            let warnings = vec![
                "its nodes stay as they are; whoever waits for its answer goes on waiting".to_owned(),
                format!("it may hold a slot of its app: mainstay queue act clear-slots {}", row.app),
            ];
            let undo = Undo::By(format!("mainstay queue act reopen-run {run} --yes"));
            Ok((vec![step(FAIL, "Dify's database", changes)], undo, warnings))
        }
        Action::ReopenRun { run } => {
            let row = row(&database, run).await?;
            if row.status != "failed" || row.error.as_deref() != Some(MARK) {
                let why = format!("run {run} is {} and was not marked failed by Mainstay", row.status);
                return Err(Refused::because(why, "nothing is to do"));
            }
            let undo = Undo::By(format!("mainstay queue act fail-run {run} --yes"));
            let changes = format!("run {run} is running again by its row; nobody works on it");
            Ok((vec![step(REOPEN, "Dify's database", changes)], undo, Vec::new()))
        }
        _ => Err(Refused::because("this is not about a run", "")),
    }
}

pub(super) async fn perform(repairs: &Repairs, plan: &Plan) -> Result<Done, Refused> {
    let database = repairs.database()?;
    let seconds = |duration: Duration| Value::Int(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX));
    let changed = match &plan.action {
        Action::FailRun { run } => {
            let values =
                [Value::Id(id(run)?), Value::Text(MARK), seconds(repairs.longest_run), seconds(NO_PROGRESS)];
            db::write(&database, FAIL, &values, WITHIN).await?
        }
        Action::ReopenRun { run } => {
            db::write(&database, REOPEN, &[Value::Id(id(run)?), Value::Text(MARK)], WITHIN).await?
        }
        _ => return Err(Refused::because("this is not about a run", "")),
    };
    if changed == 0 {
        return Err(Refused::because("the run moved in between", "nothing was changed"));
    }
    let text = plan.steps.iter().map(|step| step.changes.as_str()).collect::<Vec<_>>().join("; ");
    Ok(Done { text, undo: plan.undo.clone(), said: Vec::new(), file: None })
}

struct Row {
    status: String,
    error: Option<String>,
    app: String,
    age: Duration,
    is_ended: bool,
    progress_ago: Option<Duration>,
}

/// The run as it is now, if it is one that could be written to.
async fn row(database: &Database, run: &str) -> Result<Row, Refused> {
    let run_id = id(run)?;
    let reader = Reader::new(database);
    let schema = schema::look(&reader).await?;
    if let Err(refused) = schema.permits_write(TABLE, &WRITTEN) {
        return Err(Refused::because(refused.to_string(), "upgrade Mainstay"));
    }
    let Some(row) = reader.one(SEE, &[Value::Id(run_id)], WITHIN).await? else {
        return Err(Refused::because(format!("there is no run {run}"), "see mainstay queue list, S23"));
    };
    if row.bool(6)? != Some(true) {
        let why = format!("the role `{}` may not update {} of {TABLE}", database.user, WRITTEN.join(", "));
        return Err(Refused::because(why, "run the GRANTs for repairs that mainstay init prints"));
    }
    let now = row.time(5)?.unwrap_or_default();
    let ago = |at: Option<Micros>| at.map(|at| now.since(at));
    let progress = Source { reader: &reader, schema: &schema }.last_progress(run_id).await?;
    let found = Row {
        status: row.word(0)?,
        error: row.text(1)?.map(str::to_owned),
        app: row.id(2)?.unwrap_or_default().to_string(),
        age: ago(row.time(3)?).unwrap_or_default(),
        is_ended: row.time(4)?.is_some(),
        progress_ago: ago(progress),
    };
    reader.close().await;
    Ok(found)
}

fn is_zombie(row: &Row, run: &str, longest: Duration) -> Result<(), Refused> {
    if row.status != "running" || row.is_ended {
        return Err(Refused::because(format!("run {run} is {}", row.status), "nothing is to do"));
    }
    if row.age <= longest {
        let (age, longest) = (row.age.as_secs(), longest.as_secs());
        let why = format!("run {run} began {age} s ago; it may take {longest} s");
        return Err(Refused::because(why, "let it run, or stop it in Dify"));
    }
    if let Some(ago) = row.progress_ago.filter(|ago| *ago <= NO_PROGRESS) {
        let why = format!("a node of run {run} began or ended {} s ago", ago.as_secs());
        return Err(Refused::because(why, "let it run, or stop it in Dify"));
    }
    Ok(())
}

fn nobody_has(seen: &Seen, run: &str, terms: &Terms) -> Result<(), Refused> {
    let held = seen.workers.iter().find(|worker| {
        let tasks = worker.answer.iter().flat_map(|answer| answer.active.iter().chain(&answer.reserved));
        tasks.into_iter().any(|task| task.about.run.as_deref() == Some(run))
    });
    if let Some(worker) = held {
        let why = format!("{} has a task of run {run}", worker.name);
        return Err(Refused::because(why, "end that task first: mainstay queue act revoke --terminate"));
    }
    let answered =
        seen.workers.iter().filter(|worker| worker.answer.is_some() && worker.silent_rounds == 0).count();
    if seen.listeners.is_none_or(|listeners| listeners > answered as u64) && !terms.force {
        let why = "a worker that does not answer may work on it";
        return Err(Refused::unless_forced(why, "end the worker that does not answer"));
    }
    Ok(())
}

fn id(run: &str) -> Result<Id, Refused> {
    run.parse().map_err(|_| Refused::because(format!("`{run}` is no id of a run"), "see mainstay queue list"))
}
