//! Runs that were started: their detail, their log, and stopping them.

use http::Response;
use mainstay_base::{AppMode, Micros, id};
use mainstay_net::Body;
use mainstay_store::model::{LogFilter, Run, RunStatus, RunSummary};
use mainstay_wire::{
    dify::{
        ApiError,
        answer::{self, RunDetail, SUCCESS},
        query::LogQuery,
        request,
    },
    python_json::dumps,
};

use crate::{ServiceCall, Standby, reply, tasks::Stopped};

impl Standby {
    pub(crate) async fn run_detail(
        &self,
        call: &ServiceCall,
        run_id: &str,
    ) -> Result<Response<Body>, ApiError> {
        self.inner.catalog.app(&call.app_id).await?;
        let missing = || ApiError::not_found("Workflow run not found.");
        let run = self.stored_run(&call.app_id, run_id).await?.ok_or_else(missing)?;
        Ok(reply::ok(&detail(run)))
    }

    /// The run with this id, if it is the app's.
    pub(crate) async fn stored_run(&self, app_id: &str, run_id: &str) -> Result<Option<Run>, ApiError> {
        if !id::is_uuid(run_id) {
            return Ok(None);
        }
        let found = self.inner.store.runs().get(run_id).await;
        let found = found.map_err(|error| reply::of_store("reading a run", error))?;
        Ok(found.filter(|run| run.summary.app_id == app_id))
    }

    /// Dify says `success` whatever happened.
    pub(crate) async fn stop_workflow(
        &self,
        call: &ServiceCall,
        task_id: &str,
    ) -> Result<Response<Body>, ApiError> {
        request::user(&call.json()?)?;
        let app = self.inner.catalog.app(&call.app_id).await?;
        if app.mode != AppMode::Workflow {
            return Err(ApiError::not_workflow_app());
        }
        self.stop(&app.id, task_id, None).await?;
        Ok(reply::text(SUCCESS))
    }

    /// Only who started it stops it; anybody else is told `success` as well, as in Dify.
    pub(crate) async fn stop_chat(
        &self,
        call: &ServiceCall,
        task_id: &str,
    ) -> Result<Response<Body>, ApiError> {
        let user = request::user(&call.json()?)?;
        let app = self.inner.catalog.app(&call.app_id).await?;
        if !app.mode.is_chat() {
            return Err(ApiError::not_chat_app());
        }
        self.stop(&app.id, task_id, Some(&user)).await?;
        Ok(reply::text(SUCCESS))
    }

    /// A run of this process is stopped at once; one in the queue or with a worker through the store.
    async fn stop(&self, app_id: &str, task_id: &str, user: Option<&str>) -> Result<(), ApiError> {
        if self.inner.tasks.stop(task_id, app_id, user) != Stopped::NotHere {
            return Ok(());
        }
        // A durable run's task has the run's id.
        let Some(run) = self.stored_run(app_id, task_id).await? else { return Ok(()) };
        if user.is_none_or(|user| user == run.summary.session_id) {
            let cancelled = self.inner.store.jobs().cancel(&run.summary.id).await;
            cancelled.map_err(|error| reply::of_store("stopping a run", error))?;
        }
        Ok(())
    }

    pub(crate) async fn logs(&self, call: &ServiceCall) -> Result<Response<Body>, ApiError> {
        let app = self.inner.catalog.app(&call.app_id).await?;
        let query = LogQuery::read(&call.query_pairs())?;
        if let Some(account) = query.account {
            return Err(ApiError::invalid_param(format!("Account not found: {account}")));
        }
        let filter = LogFilter {
            keyword: query.keyword,
            status: query.status.as_deref().and_then(RunStatus::parse),
            created_before: moment(query.created_at_before)?,
            created_after: moment(query.created_at_after)?,
            session_id: query.end_user_session_id,
            page: query.page,
            limit: query.limit,
        };
        let page = self.inner.store.runs().logs(&app.id, filter).await;
        let page = page.map_err(|error| reply::of_store("reading the log", error))?;
        let total = u64::try_from(page.total).unwrap_or(0);
        Ok(reply::ok(&answer::Logs {
            page: query.page,
            limit: query.limit,
            total,
            has_more: total > u64::from(query.page) * u64::from(query.limit),
            data: page.runs.into_iter().map(log).collect(),
        }))
    }
}

pub(crate) fn detail(run: Run) -> RunDetail {
    let summary = run.summary;
    RunDetail {
        elapsed_time: seconds(summary.elapsed_us),
        id: summary.id,
        workflow_id: summary.version_id,
        status: summary.status.as_str().to_owned(),
        inputs: dumps(&run.inputs),
        outputs: run.outputs.as_ref().map(dumps),
        error: summary.error,
        total_steps: unsigned(summary.total_steps),
        total_tokens: unsigned(summary.total_tokens),
        created_at: summary.created_at.unix_seconds(),
        finished_at: summary.finished_at.map(Micros::unix_seconds),
    }
}

fn log(run: RunSummary) -> answer::Log {
    let created_at = run.created_at.unix_seconds();
    let session_id = run.session_id;
    answer::Log {
        id: run.id.clone(),
        workflow_run: answer::LogRun {
            id: run.id,
            version: run.version,
            status: run.status.as_str().to_owned(),
            triggered_from: "app-run",
            error: run.error,
            elapsed_time: seconds(run.elapsed_us),
            total_tokens: unsigned(run.total_tokens),
            total_steps: unsigned(run.total_steps),
            created_at,
            finished_at: run.finished_at.map(Micros::unix_seconds),
            exceptions_count: unsigned(run.exceptions_count),
        },
        details: None,
        created_from: "service-api",
        created_by_role: "end_user",
        created_by_account: None,
        created_by_end_user: run.end_user_id.map(|id| answer::LogUser {
            id,
            kind: "service_api",
            is_anonymous: false,
            session_id,
        }),
        created_at,
    }
}

/// A time as ISO 8601: with a zone, without (UTC), or a day alone.
fn moment(text: Option<String>) -> Result<Option<Micros>, ApiError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let as_utc = |time: jiff::civil::DateTime| {
        time.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    };
    let read = text
        .parse::<jiff::Timestamp>()
        .ok()
        .or_else(|| text.parse::<jiff::civil::DateTime>().ok().and_then(as_utc))
        .or_else(|| text.parse::<jiff::civil::Date>().ok().and_then(|day| as_utc(day.at(0, 0, 0, 0))));
    match read {
        Some(time) => Ok(Some(Micros(time.as_microsecond()))),
        None => Err(ApiError::invalid_param("Unused components in ISO string")),
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of one run stay far below 2^53")]
pub(crate) fn seconds(elapsed_us: Option<i64>) -> f64 {
    elapsed_us.unwrap_or(0) as f64 / 1e6
}

pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_and_without_a_zone() {
        for (text, expected) in [
            ("1970-01-01T00:00:01Z", Some(1_000_000)),
            ("1970-01-01T01:00:01+01:00", Some(1_000_000)),
            ("1970-01-01T00:00:01", Some(1_000_000)),
            ("1970-01-02", Some(86_400_000_000)),
            ("yesterday", None),
        ] {
            let read = moment(Some(text.to_owned())).ok().flatten();
            assert_eq!(read, expected.map(Micros), "{text}");
        }
    }
}
