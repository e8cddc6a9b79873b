//! PostgreSQL: does it answer our role, how many connections are left, who holds a transaction.

use std::time::Duration;

use mainstay_base::Severity;
use tokio::time::Instant;

use super::{
    Component, inside,
    report::{Problem, Report, State},
};
use crate::db::{Bound, Failure, Reader};

const WITHIN: Duration = Duration::from_secs(2);
const SLOW: Duration = Duration::from_millis(500);
const NEARLY_FULL: f64 = 0.8;

const SERVER: &str = "SELECT current_setting('server_version'), current_setting('max_connections')::bigint, \
    current_setting('superuser_reserved_connections')::bigint, \
    (SELECT sum(numbackends)::bigint FROM pg_stat_database), pg_is_in_recovery()";
/// Other roles' rows show no times unless ours is in `pg_read_all_stats`.
const TRANSACTIONS: &str = "SELECT pid::bigint, coalesce(application_name, ''), coalesce(state, ''), \
    extract(epoch FROM now() - xact_start)::bigint FROM pg_stat_activity \
    WHERE xact_start < now() - interval '5 minutes' AND backend_type = 'client backend' \
    ORDER BY xact_start LIMIT 5";

pub(super) async fn look(component: Component, reader: &Reader) -> Report {
    let mut report = Report::of(component);
    let opened = reader.one("SELECT 1::bigint", &[], WITHIN).await;
    if let Err(failure) = opened {
        return report.failed(refused(reader, &failure));
    }
    let began = Instant::now();
    let server = reader.one(SERVER, &[], WITHIN).await;
    report.took(began.elapsed());
    match server {
        Ok(Some(row)) => {
            if let Err(failure) = connections(&mut report, &row) {
                return report.failed(refused(reader, &failure));
            }
        }
        Ok(None) => {}
        Err(failure) => return report.failed(refused(reader, &failure)),
    }
    if component == Component::Database
        && let Ok(rows) = reader.rows(TRANSACTIONS, &[], Bound::new(5, WITHIN)).await
        && let Some(row) = rows.first()
    {
        let lines = rows.iter().map(|row| {
            let seconds = row.int(3).ok().flatten().unwrap_or_default();
            let word = |column| row.word(column).unwrap_or_default();
            format!(
                "pid {} {} {} {seconds} s",
                row.int(0).ok().flatten().unwrap_or_default(),
                word(1),
                word(2)
            )
        });
        let answered = lines.collect::<Vec<_>>().join("; ");
        let seconds = row.int(3).ok().flatten().unwrap_or_default();
        report.problem(Problem {
            id: "long-transaction",
            severity: Severity::Warning,
            what: format!("a transaction has been open for {} minutes", seconds / 60),
            cause: "A session forgot to end it, or a long job holds it: it keeps dead rows and locks.",
            remedy: "See who it is in pg_stat_activity; end it with pg_terminate_backend(pid) when nobody misses it.",
            asked: TRANSACTIONS.to_owned(),
            answered,
        });
    }
    let asked_for = began.elapsed();
    if component == Component::Database {
        // Beyond the time it has, what PostgreSQL says of itself is left out.
        let _ = tokio::time::timeout(inside::WITHIN, inside::look(&mut report, reader)).await;
    }
    if asked_for > 2 * SLOW {
        report.problem(Problem {
            id: "database-slow",
            severity: Severity::Warning,
            what: format!("two questions to the catalogue took {} ms", asked_for.as_millis()),
            cause: "PostgreSQL is saturated, or the network to it is slow.",
            remedy: "Look at its load, disk and locks; S12 in the plugin daemon's log says the same.",
            asked: SERVER.to_owned(),
            answered: format!("after {} ms", asked_for.as_millis()),
        });
    }
    if report.state == State::Ok {
        let fact = |name: &str| report.facts.get(name).cloned().unwrap_or_default();
        report.reason = format!("PostgreSQL {}, {} connections", fact("version"), fact("connections"));
    }
    report
}

fn connections(report: &mut Report, row: &crate::db::Row) -> Result<(), Failure> {
    let number = |column| Ok::<i64, Failure>(row.int(column)?.unwrap_or_default());
    let (most, reserved, used) = (number(1)?, number(2)?, number(3)?);
    report.fact("version", row.word(0)?.split(' ').next().unwrap_or_default());
    report.fact("max_connections", most);
    report.fact("reserved_connections", reserved);
    report.fact("connections", format!("{used} of {most}"));
    report.fact("in_recovery", row.bool(4)?.unwrap_or_default());
    let room = (most - reserved).max(1);
    if used as f64 / room as f64 >= NEARLY_FULL {
        let is_full = used >= room;
        report.problem(Problem {
            id: "pool-nearly-full",
            severity: if is_full { Severity::Critical } else { Severity::Warning },
            what: format!("{used} of {room} connections that Dify may use are open"),
            cause: "The pools of API, workers and plugin daemon together are larger than max_connections, or something leaks.",
            remedy: "Lower SQLALCHEMY_POOL_SIZE or raise max_connections; `mainstay doctor` prints the budget.",
            asked: SERVER.to_owned(),
            answered: format!("max_connections {most}, reserved {reserved}, open {used}"),
        });
    }
    Ok(())
}

fn refused(reader: &Reader, failure: &Failure) -> Problem<'static> {
    let (id, severity) = match failure {
        Failure::Refused { .. } => ("database-password", Severity::Critical),
        Failure::Full { .. } => ("S01", Severity::Critical),
        Failure::Silent { .. } => ("database-silent", Severity::Critical),
        Failure::Encryption { .. } | Failure::Tls(_) => ("database-tls", Severity::Critical),
        Failure::NoDatabase { .. } => ("database-missing", Severity::Critical),
        Failure::Missing { .. } | Failure::Forbidden { .. } => ("database-permission", Severity::Warning),
        Failure::TooSlow { .. } | Failure::Busy { .. } => ("database-slow", Severity::Warning),
        _ => ("database-down", Severity::Critical),
    };
    // The remedy outlives the failure: few, and once a probe.
    let remedy: &'static str = match failure {
        Failure::Refused { .. } => {
            "Set the right user and password, or run the GRANTs that `mainstay init` prints."
        }
        Failure::Encryption { .. } | Failure::Tls(_) => {
            "Set `tls` of the database to what the server offers: off, unchecked or checked."
        }
        Failure::NoDatabase { .. } => {
            "Set the database's name (DB_DATABASE, or DB_PLUGIN_DATABASE, in Dify's .env)."
        }
        Failure::Silent { .. } => {
            "Check what answers there: a firewall that drops packets, a frozen server, a proxy with nobody behind it."
        }
        Failure::Unreachable { .. } => {
            "Check that PostgreSQL runs and that its host and port can be reached from here."
        }
        Failure::NotReady { .. } => "Wait until PostgreSQL has started, and read its log if it does not.",
        Failure::Full { .. } => "",
        Failure::Missing { .. } | Failure::Forbidden { .. } => {
            "Grant our role SELECT: `mainstay init --dify-env` prints every GRANT."
        }
        _ => "Ask again; read PostgreSQL's log if it happens often.",
    };
    Problem {
        id,
        severity,
        what: failure.to_string(),
        cause: match id {
            "database-silent" => {
                "It accepts and does not answer: overloaded, frozen, or a firewall in between."
            }
            "database-password" => "The role or its password is not the server's.",
            "database-down" => "PostgreSQL is down or restarts, or the address is wrong.",
            "database-slow" => "PostgreSQL is saturated, or the network to it is slow.",
            _ => "",
        },
        remedy,
        asked: format!("SELECT 1 on {}", reader.at()),
        answered: failure.to_string(),
    }
}
