//! Whether a request or a run counts as good, and whose fault it was when not.

use mainstay_base::{
    Blame, Class, Fault, Kind, Record,
    record::{Outcome, Path},
};
use mainstay_dify::signature;
use mainstay_store::model::{EndedRuns, RunStatus};

/// What Dify begins a failed run with where it answers 400, as if the caller were wrong.
const RUN_FAILED: &str = "Run failed:";
/// The upstream that is the embedded engine.
const EMBEDDED: &str = "embedded";

/// `None`: it was good. [`Blame::Client`] never counts. `class_of` says what a text of Dify means; it is asked of failed
/// runs only.
pub(super) fn of_record(
    record: &Record,
    class_of: &mut dyn FnMut(&str) -> Option<signature::Class>,
) -> Option<Blame> {
    match record.run_status.as_deref() {
        Some("stopped") => return Some(Blame::Client),
        Some("failed") => return Some(of_run(record, class_of)),
        _ => {}
    }
    match record.outcome {
        Outcome::Ok => None,
        Outcome::CallerGone => Some(Blame::Client),
        Outcome::Failed | Outcome::Cut => Some(of_failure(record, class_of)),
    }
}

fn of_failure(record: &Record, class_of: &mut dyn FnMut(&str) -> Option<signature::Class>) -> Blame {
    let last = record.attempts.last();
    let is_callers = last.is_some_and(|attempt| {
        let is_callers = |class: Class| class.fault() == Fault::Caller || class == Class::CallerGone;
        attempt.is_callers_haste || attempt.class.is_some_and(is_callers)
    });
    let has_run = record.error.as_deref().is_some_and(|error| error.starts_with(RUN_FAILED));
    match record.kind {
        Some(Kind::Caller) if record.path == Path::App && has_run => of_run(record, class_of),
        Some(Kind::Caller | Kind::Denied | Kind::OverBudget) => Blame::Client,
        _ if is_callers => Blame::Client,
        Some(Kind::Bug) => Blame::Gateway,
        Some(Kind::Upstream | Kind::Unavailable) | None => match (record.path, last) {
            (_, None) => Blame::Gateway,
            (Path::Model, Some(_)) => Blame::Provider,
            (Path::App, Some(_)) => of_run(record, class_of),
        },
    }
}

/// Of runs that nobody waited for.
pub(super) fn of_ended(
    ended: &EndedRuns,
    class_of: &mut dyn FnMut(&str) -> Option<signature::Class>,
) -> Option<Blame> {
    let otherwise = if ended.is_embedded { Blame::Gateway } else { Blame::Dify };
    match (ended.status, ended.error_kind) {
        (RunStatus::Succeeded | RunStatus::PartialSucceeded, _) => None,
        (RunStatus::Stopped, _) | (_, Some(Kind::Caller | Kind::Denied | Kind::OverBudget)) => {
            Some(Blame::Client)
        }
        _ => {
            let class = ended.error.as_deref().and_then(class_of);
            Some(class.map_or(otherwise, |class| of_class(class, otherwise)))
        }
    }
}

/// Of what failed behind the app path. Of a text that nobody knows, the upstream is to blame.
fn of_run(record: &Record, class_of: &mut dyn FnMut(&str) -> Option<signature::Class>) -> Blame {
    let otherwise = match record.upstream.as_deref() {
        Some(EMBEDDED) => Blame::Gateway,
        _ => Blame::Dify,
    };
    let class = record.error.as_deref().and_then(class_of);
    class.map_or(otherwise, |class| of_class(class, otherwise))
}

/// `otherwise`: of what no row of the catalogue knows.
pub(super) fn of_class(class: signature::Class, otherwise: Blame) -> Blame {
    use signature::Class as C;
    match class {
        C::ProviderRateLimited
        | C::ProviderQuota
        | C::ProviderAuth
        | C::ProviderTimeout
        | C::ProviderOverloaded
        | C::ProviderError
        | C::ProviderUnreachable
        | C::ModelMissing
        | C::BadOutput => Blame::Provider,
        C::ContextOverflow | C::ContentFilter | C::Caller | C::Stopped => Blame::Client,
        C::Plugin | C::PluginDaemon => Blame::Plugin,
        C::Queue | C::Worker | C::Schedule => Blame::Worker,
        C::VectorStore => Blame::Vector,
        // What an app's author wrote or calls runs in Dify, and its callers suffer from it.
        C::Credentials
        | C::Database
        | C::DatabasePool
        | C::Migration
        | C::Redis
        | C::Sandbox
        | C::Code
        | C::HttpRequest
        | C::Storage
        | C::Limit
        | C::Edge
        | C::Tracing
        | C::Bug => Blame::Dify,
        C::Unknown => otherwise,
    }
}

/// Of a run that Dify stored: its status and class. `None`: it was good.
pub(super) fn of_dify(status: &str, class: &str) -> Option<Blame> {
    match status {
        "stopped" => Some(Blame::Client),
        // Nodes failed and the app dealt with it, as its author wanted.
        "partial-succeeded" => None,
        _ if class.is_empty() => None,
        _ => {
            let known = signature::Class::ALL.into_iter().find(|known| known.as_str() == class);
            Some(known.map_or(Blame::Dify, |class| of_class(class, Blame::Dify)))
        }
    }
}

#[cfg(test)]
mod tests {
    use mainstay_base::record::Attempt;

    use super::*;

    fn record(path: Path, change: impl FnOnce(&mut Record)) -> Record {
        let mut record = Record { outcome: Outcome::Failed, ..Record::blank(path) };
        change(&mut record);
        record
    }

    fn attempt(class: Class) -> Vec<Attempt> {
        vec![Attempt { upstream: "one".to_owned(), class: Some(class), ..Attempt::default() }]
    }

    #[test]
    fn the_callers_doing_never_counts_and_every_failure_has_one_to_blame() {
        let cases: Vec<(Record, Option<Blame>)> = vec![
            (record(Path::App, |record| record.outcome = Outcome::Ok), None),
            (record(Path::App, |record| record.outcome = Outcome::CallerGone), Some(Blame::Client)),
            (record(Path::App, |record| record.kind = Some(Kind::Denied)), Some(Blame::Client)),
            (record(Path::App, |record| record.kind = Some(Kind::Caller)), Some(Blame::Client)),
            // A chatflow that fails answers 400.
            (
                record(Path::App, |record| {
                    record.kind = Some(Kind::Caller);
                    record.error = Some("Run failed: plugin".to_owned());
                }),
                Some(Blame::Plugin),
            ),
            (record(Path::Model, |record| record.kind = Some(Kind::OverBudget)), Some(Blame::Client)),
            (record(Path::Model, |record| record.kind = Some(Kind::Bug)), Some(Blame::Gateway)),
            (record(Path::Model, |record| record.kind = Some(Kind::Unavailable)), Some(Blame::Gateway)),
            (
                record(Path::Model, |record| {
                    record.kind = Some(Kind::Upstream);
                    record.attempts = attempt(Class::ServerError);
                }),
                Some(Blame::Provider),
            ),
            (
                record(Path::Model, |record| {
                    record.kind = Some(Kind::Upstream);
                    record.attempts = attempt(Class::ContentFilter);
                }),
                Some(Blame::Client),
            ),
            // A deadline of the caller's own that was too short for the provider.
            (
                record(Path::Model, |record| {
                    record.kind = Some(Kind::Unavailable);
                    record.attempts = attempt(Class::TotalTimeout);
                    record.attempts[0].is_callers_haste = true;
                }),
                Some(Blame::Client),
            ),
            (
                record(Path::App, |record| {
                    record.kind = Some(Kind::Unavailable);
                    record.attempts = attempt(Class::Connect);
                }),
                Some(Blame::Dify),
            ),
            (
                record(Path::App, |record| {
                    record.outcome = Outcome::Ok;
                    record.run_status = Some("failed".to_owned());
                    record.error = Some("plugin".to_owned());
                }),
                Some(Blame::Plugin),
            ),
            (
                record(Path::App, |record| {
                    record.outcome = Outcome::Ok;
                    record.run_status = Some("stopped".to_owned());
                }),
                Some(Blame::Client),
            ),
        ];
        for (record, expected) in cases {
            let mut class_of = |text: &str| text.ends_with("plugin").then_some(signature::Class::Plugin);
            assert_eq!(of_record(&record, &mut class_of), expected, "{record:?}");
        }
    }

    #[test]
    fn runs_that_dify_stored_are_blamed_by_their_class() {
        for (status, class, expected) in [
            ("succeeded", "", None),
            ("partial-succeeded", "http_request", None),
            ("stopped", "", Some(Blame::Client)),
            ("failed", "content_filter", Some(Blame::Client)),
            ("failed", "provider_error", Some(Blame::Provider)),
            ("failed", "vector_store", Some(Blame::Vector)),
            ("failed", "worker", Some(Blame::Worker)),
            ("failed", "unknown", Some(Blame::Dify)),
            ("error", "no word of ours", Some(Blame::Dify)),
        ] {
            assert_eq!(of_dify(status, class), expected, "{status} {class}");
        }
    }
}
