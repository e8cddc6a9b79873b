//! Recorded calls under another policy: read in pages, replayed beside the runtime, bounded in time and number.

use std::time::Duration;

use mainstay_base::{Secret, snapshot::ModelRoutes};
use mainstay_console::{RouteRefused, Simulation};
use mainstay_signal::simulate::{Recording, compare};
use mainstay_store::model::{CallCursor, CallFilter};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::RoutePort;
use crate::{
    config::{self, Follow, LoadError},
    routes::{self, Published},
};

/// Calls replayed at most, from the oldest of the span on.
const MAX_CALLS: usize = 100_000;
/// Reading stops after this long with what it has.
const READ_WITHIN: Duration = Duration::from_secs(15);
/// The longest span: records are kept for a week unless told otherwise.
const MAX_SINCE_S: u64 = 31 * 24 * 3600;

pub(super) async fn simulate(port: RoutePort, what: Simulation) -> Result<Value, RouteRefused> {
    let Simulation { policy, since_s, model, seed } = what;
    let snapshot = port.snapshot.load_full();
    let changed = changed(&policy, &snapshot.model)?;
    let read = read(&port, since_s.clamp(1, MAX_SINCE_S), model.as_deref()).await?;
    if read.calls == 0 {
        let of = model.map_or_else(String::new, |model| format!(" of model {model}"));
        return Err(RouteRefused::Nothing(format!("no call{of} is recorded in the last {since_s} s")));
    }
    let Read { recording, calls, left_out, is_whole } = read;
    let replay = move || compare(&recording, &snapshot.model, &changed, seed);
    let report = tokio::task::spawn_blocking(replay).await;
    let report = report.map_err(|error| RouteRefused::Unavailable(Box::new(error)))?;
    Ok(json!({
        "read": {
            "since_s": since_s,
            "calls": calls,
            "left_out": left_out,
            "is_whole": is_whole,
        },
        "report": report,
    }))
}

/// The routes of the changed configuration, with the providers out of rotation of now.
fn changed(policy: &str, current: &ModelRoutes) -> Result<ModelRoutes, RouteRefused> {
    let config = config::parse("the policy", policy, &[], Follow::FormOnly).map_err(|error| {
        RouteRefused::BadPolicy(match error {
            LoadError::Problems(problems) => {
                problems.into_iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect()
            }
            other => vec![other.to_string()],
        })
    })?;
    let published = Published {
        drained: current.drained.clone(),
        failovers: current.failovers.clone(),
        ..Published::default()
    };
    Ok(routes::snapshot(&config, &published, &Secret::new(""), 0).model)
}

struct Read {
    recording: Recording,
    calls: u64,
    /// Records that tell nothing of a route: refused before it, or shared with another call.
    left_out: u64,
    is_whole: bool,
}

async fn read(port: &RoutePort, since_s: u64, model: Option<&str>) -> Result<Read, RouteRefused> {
    let now = port.clock.now();
    let started = Instant::now();
    let mut read = Read { recording: Recording::default(), calls: 0, left_out: 0, is_whole: true };
    let mut after: Option<CallCursor> = None;
    loop {
        let filter = CallFilter {
            since: now - Duration::from_secs(since_s),
            until: now,
            model: model.map(str::to_owned),
            after,
            limit: 0,
        };
        let page = port.store.records().calls(filter).await;
        let page = page.map_err(|error| RouteRefused::Unavailable(Box::new(error)))?;
        for call in &page.calls {
            match read.recording.add(call) {
                true => read.calls += 1,
                false => read.left_out += 1,
            }
        }
        after = page.next;
        let is_full = usize::try_from(read.calls).unwrap_or(usize::MAX) >= MAX_CALLS;
        if after.is_none() || is_full || started.elapsed() >= READ_WITHIN {
            break;
        }
    }
    read.is_whole = after.is_none();
    read.recording.sort();
    Ok(read)
}
