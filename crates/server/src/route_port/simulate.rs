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

/// Calls replayed at most, from the oldest of the span on. Each takes some 300 bytes while it is replayed.
const MAX_CALLS: u64 = 1_000_000;
/// Reading stops after this long with what it has.
const READ_WITHIN: Duration = Duration::from_secs(60);
/// The longest span: records are kept for a week unless told otherwise.
const MAX_SINCE_S: u64 = 31 * 24 * 3600;

pub(super) async fn simulate(port: RoutePort, what: Simulation) -> Result<Value, RouteRefused> {
    let Simulation { policy, since_s, model, seed } = what;
    let since_s = since_s.clamp(1, MAX_SINCE_S);
    // Each holds its calls in memory: one at a time.
    let turn = port.simulating.clone().try_acquire_owned().map_err(|_| RouteRefused::Busy)?;
    let snapshot = port.snapshot.load_full();
    let Changed { routes, notes } = changed(&policy, &snapshot.model)?;
    let read = read(&port, since_s, model.as_deref()).await?;
    if read.calls == 0 {
        let of = model.map_or_else(String::new, |model| format!(" of model {model}"));
        return Err(RouteRefused::Nothing(format!("no call{of} is recorded in the last {since_s} s")));
    }
    let Read { recording, calls, left_out, needs_unknown, is_whole } = read;
    // A caller that left ends neither the replay nor its turn: both are over in seconds.
    let replay = move || (compare(&recording, &snapshot.model, &routes, seed), drop(turn)).0;
    let report = tokio::task::spawn_blocking(replay).await;
    let report = report.map_err(|error| RouteRefused::Unavailable(Box::new(error)))?;
    Ok(json!({
        "read": {
            "since_s": since_s,
            "calls": calls,
            "left_out": left_out,
            "needs_unknown": needs_unknown,
            "is_whole": is_whole,
            "notes": notes,
        },
        "report": report,
    }))
}

struct Changed {
    routes: ModelRoutes,
    /// What makes the records say less than happened.
    notes: Vec<String>,
}

/// The routes of the changed configuration, with the providers out of rotation of now.
fn changed(policy: &str, current: &ModelRoutes) -> Result<Changed, RouteRefused> {
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
    let kept = config.records.keep_success;
    let note = format!(
        "of successes only the share {kept} is stored (records.keep_success): failures weigh more than they did"
    );
    let notes = if kept < 1.0 { vec![note] } else { Vec::new() };
    Ok(Changed { routes: routes::snapshot(&config, &published, &Secret::new(""), 0).model, notes })
}

struct Read {
    recording: Recording,
    calls: u64,
    /// Records that tell nothing of a route: refused before it, or shared with another call.
    left_out: u64,
    /// Calls of records that do not say what they needed.
    needs_unknown: u64,
    is_whole: bool,
}

async fn read(port: &RoutePort, since_s: u64, model: Option<&str>) -> Result<Read, RouteRefused> {
    let now = port.clock.now();
    let started = Instant::now();
    let mut read =
        Read { recording: Recording::default(), calls: 0, left_out: 0, needs_unknown: 0, is_whole: true };
    let mut after: Option<CallCursor> = None;
    loop {
        let filter = CallFilter {
            since: now - Duration::from_secs(since_s),
            until: now,
            model: model.map(str::to_owned),
            after,
            limit: 0,
        };
        let page = port.store.records().routed(filter).await;
        let page = page.map_err(|error| RouteRefused::Unavailable(Box::new(error)))?;
        for call in &page.calls {
            if read.recording.add(call) {
                read.calls += 1;
                read.needs_unknown += u64::from(call.needs.is_none());
            } else {
                read.left_out += 1;
            }
        }
        after = page.next;
        let is_full = read.calls >= MAX_CALLS;
        if after.is_none() || is_full || started.elapsed() >= READ_WITHIN {
            break;
        }
    }
    read.is_whole = after.is_none();
    read.recording.sort();
    Ok(read)
}
