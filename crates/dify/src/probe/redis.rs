//! A Redis: ping, role, memory, saving, clients.

use std::{collections::BTreeMap, time::Duration};

use mainstay_base::Severity;
use tokio::time::Instant;

use super::{
    Component,
    report::{Problem, Report, State},
};
use crate::redis::{Error, Link};

/// A ping takes a millisecond; beyond this every task and event waits.
const SLOW: Duration = Duration::from_millis(250);
const NEARLY_FULL: f64 = 0.9;

pub(super) async fn look(component: Component, link: &mut Link) -> Report {
    let mut report = Report::of(component);
    // The first opens the connection; the second is timed.
    if let Err(error) = link.ping().await {
        return report.failed(refused(component, &error));
    }
    let began = Instant::now();
    let pinged = link.ping().await;
    let took = began.elapsed();
    report.took(took);
    let info = match pinged {
        Ok(()) => link.info().await,
        Err(error) => Err(error),
    };
    let info = match info {
        Ok(info) => info,
        Err(error @ Error::NotPermitted { .. }) => {
            report.fact("info", &error);
            return report.with(State::Ok, "answers; our user may not read INFO");
        }
        Err(error) => return report.failed(refused(component, &error)),
    };
    judge(&mut report, component, &info);
    if took > SLOW {
        report.problem(Problem {
            id: "redis-slow",
            severity: Severity::Warning,
            what: format!("{} took {} ms for a ping", component.as_str(), took.as_millis()),
            cause: "A slow command, swapping, or the network.",
            remedy: "Look at `redis-cli slowlog get` and `redis-cli --latency`.",
            asked: "PING".to_owned(),
            answered: format!("{} ms", took.as_millis()),
        });
    }
    if report.state == State::Ok {
        let fact = |name: &str| report.facts.get(name).cloned().unwrap_or_default();
        report.reason = format!("Redis {}, {}, {}", fact("version"), fact("role"), fact("memory"));
    }
    report
}

/// What the lines of `INFO` say.
pub(super) fn judge(report: &mut Report, component: Component, info: &BTreeMap<String, String>) {
    let line = |name: &str| info.get(name).map_or("", String::as_str);
    let number = |name: &str| line(name).parse::<f64>().unwrap_or_default();
    let name = component.as_str();
    for (fact, key) in [("version", "redis_version"), ("role", "role"), ("evicted", "evicted_keys")] {
        report.fact(fact, line(key));
    }
    report.fact("clients", format!("{} of {}", line("connected_clients"), line("maxclients")));
    let most = match number("maxmemory") {
        0.0 => "no limit".to_owned(),
        _ => line("maxmemory_human").to_owned(),
    };
    report.fact("memory", format!("{} of {most} ({})", line("used_memory_human"), line("maxmemory_policy")));

    if line("role") == "slave" {
        report.problem(problem(
            "redis-readonly",
            Severity::Critical,
            format!("{name} is a replica and takes no writes"),
            info,
            &["role", "master_host"],
        ));
    }
    let saves = ["rdb_last_bgsave_status", "aof_last_write_status"];
    if saves.iter().any(|key| line(key) == "err") {
        report.problem(problem(
            "redis-persistence",
            Severity::Critical,
            format!("{name} cannot save to disk, and refuses writes"),
            info,
            &saves,
        ));
    }
    let used = number("used_memory") / number("maxmemory").max(1.0);
    if number("maxmemory") > 0.0 && used >= NEARLY_FULL {
        let what = format!("{name} uses {:.0} % of its memory", used * 100.0);
        report.problem(problem(
            "redis-memory",
            Severity::Warning,
            what,
            info,
            &["used_memory", "maxmemory", "maxmemory_policy"],
        ));
    }
    if component == Component::Broker && number("maxmemory") > 0.0 && line("maxmemory_policy") != "noeviction"
    {
        let severity = if number("evicted_keys") > 0.0 { Severity::Critical } else { Severity::Warning };
        report.problem(Problem {
            cause: "With this policy a full Redis throws away queued tasks without a word.",
            remedy: "Set maxmemory-policy noeviction for the broker.",
            ..problem(
                "broker-evicts",
                severity,
                format!("the broker may evict tasks: {}", line("maxmemory_policy")),
                info,
                &["maxmemory_policy", "evicted_keys"],
            )
        });
    }
    if number("maxclients") > 0.0 && number("connected_clients") / number("maxclients") >= NEARLY_FULL {
        let what = format!("{name} has {} of {} clients", line("connected_clients"), line("maxclients"));
        report.problem(problem(
            "S17",
            Severity::Warning,
            what,
            info,
            &["connected_clients", "maxclients", "rejected_connections"],
        ));
    }
}

fn problem<'a>(
    id: &'a str,
    severity: Severity,
    what: String,
    info: &BTreeMap<String, String>,
    lines: &[&str],
) -> Problem<'a> {
    let said = lines.iter().filter_map(|key| info.get(*key).map(|value| format!("{key}:{value}")));
    let answered = said.collect::<Vec<_>>().join(", ");
    Problem { id, severity, what, cause: "", remedy: "", asked: "INFO".to_owned(), answered }
}

fn refused(component: Component, error: &Error) -> Problem<'static> {
    let broker = component == Component::Broker;
    let id = match error {
        Error::WrongPassword { .. } => "redis-password",
        Error::ReadOnly { .. } => "redis-readonly",
        Error::CannotSave { .. } => "redis-persistence",
        Error::OutOfMemory { .. } => "redis-memory",
        Error::TimedOut { .. } => "redis-silent",
        _ => "redis-down",
    };
    Problem {
        id,
        severity: Severity::Critical,
        what: error.to_string(),
        cause: match (error, broker) {
            (Error::TimedOut { .. }, _) => {
                "It accepts and does not answer: overloaded, frozen, or a firewall in between."
            }
            (Error::Unreachable { .. }, true) => {
                "Without it no task is queued: no indexing, no triggers, and since Dify 1.13 no streaming run."
            }
            (Error::Unreachable { .. }, false) => "Without it nobody logs in, and no event of a run arrives.",
            _ => "",
        },
        remedy: error.remedy(),
        asked: "PING".to_owned(),
        answered: error.to_string(),
    }
}
