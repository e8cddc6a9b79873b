//! What PostgreSQL says of itself: replicas, room before wraparound, the sizes of the tables that grow.

use std::time::Duration;

use mainstay_base::Severity;

use super::report::{Problem, Report};
use crate::{
    db::Reader,
    facts::{DatabaseFacts, TableSize, database_facts},
};

/// A standby, or a replica, further behind is not what anybody thinks it is.
const LAG_SECONDS: f64 = 60.0;
/// PostgreSQL takes no writes when none is left; autovacuum has 2,147 millions to begin with and starts at 200 used.
const FEW_TRANSACTIONS: i64 = 500_000_000;
const LAST_TRANSACTIONS: i64 = 100_000_000;
/// Dead rows that are worth a word: so many, and more than the live ones.
const DEAD_ROWS: i64 = 1_000_000;
const NAMED: usize = 5;
const ASKED: &str = "pg_stat_replication, pg_stat_user_tables, pg_database";

/// What cannot be asked is left out: the probe itself says whether the database is well.
pub(super) async fn look(report: &mut Report, reader: &Reader) {
    if let Ok(facts) = database_facts(reader).await {
        judge(report, &facts);
    }
}

fn judge(report: &mut Report, facts: &DatabaseFacts) {
    let sizes: Vec<String> = facts.tables.iter().take(NAMED).map(size).collect();
    report.fact("largest_tables", if sizes.is_empty() { "not told".to_owned() } else { sizes.join(", ") });
    report.fact("not_told", facts.unknown.join("; "));
    if let Some(left) = facts.transactions_left {
        report.fact("transactions_left", left);
    }
    lag(report, facts);
    if let Some(left) = facts.transactions_left.filter(|left| *left < FEW_TRANSACTIONS) {
        report.problem(Problem {
            id: "wraparound-near",
            severity: if left < LAST_TRANSACTIONS { Severity::Critical } else { Severity::Warning },
            what: format!("{} million transactions are left before PostgreSQL takes no writes", left / 1_000_000),
            cause: "Autovacuum does not get to freeze old rows: a long transaction, a stale replication slot, or it is off.",
            remedy: "End the oldest transaction, drop stale replication slots, then run VACUUM (FREEZE) as a superuser.",
            asked: ASKED.to_owned(),
            answered: format!("2147483647 - max(age(datfrozenxid)) = {left}"),
        });
    }
    let bloated = |table: &&TableSize| table.dead_rows > DEAD_ROWS && table.dead_rows > table.live_rows;
    if let Some(table) = facts.tables.iter().find(bloated) {
        report.problem(Problem {
            id: "table-bloated",
            severity: Severity::Warning,
            what: format!("{} has {} dead rows and {} live ones", table.table, table.dead_rows, table.live_rows),
            cause: "Rows were deleted or changed faster than autovacuum cleans up, or a long transaction keeps them.",
            remedy: "Run VACUUM on it when it is quiet; see long transactions first.",
            asked: ASKED.to_owned(),
            answered: size(table),
        });
    }
}

fn lag(report: &mut Report, facts: &DatabaseFacts) {
    if let Some(seconds) = facts.replay_lag_seconds.filter(|_| facts.is_standby) {
        report.fact("replay_lag_seconds", format!("{seconds:.0}"));
        if seconds > LAG_SECONDS {
            report.problem(Problem {
                id: "standby-behind",
                severity: Severity::Warning,
                what: format!("this is a standby that is {seconds:.0} s behind its primary"),
                cause: "The network to the primary, or replay on this machine, is too slow; or the primary writes nothing.",
                remedy: "Compare pg_last_wal_replay_lsn() with the primary; point [dify.database] at the primary if it stays so.",
                asked: ASKED.to_owned(),
                answered: format!("now() - pg_last_xact_replay_timestamp() = {seconds:.0} s"),
            });
        }
    }
    let lags = |seconds: &f64| *seconds > LAG_SECONDS;
    for replica in facts.replicas.iter().take(NAMED) {
        let Some(seconds) = replica.lag_seconds.filter(lags) else { continue };
        report.problem(Problem {
            id: "replica-behind",
            severity: Severity::Warning,
            what: format!("the replica {} is {seconds:.0} s behind", replica.name),
            cause: "Its network, disk or a long query on it holds replay back; the primary keeps WAL for it meanwhile.",
            remedy: "Look at its load and its log; WAL that is kept for it fills the primary's disk.",
            asked: ASKED.to_owned(),
            answered: format!("{} {} bytes behind", replica.state, replica.lag_bytes.unwrap_or_default()),
        });
    }
}

/// `workflow_runs 312 MB`.
fn size(table: &TableSize) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    let (mut amount, mut unit) = (table.bytes / 1024, 0);
    while amount >= 10_000 && unit + 1 < UNITS.len() {
        (amount, unit) = (amount / 1024, unit + 1);
    }
    format!("{} {amount} {}", table.table, UNITS[unit])
}

/// At most so long beside the other questions of the probe.
pub(super) const WITHIN: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{facts::Replica, probe::Component};

    fn found(change: impl FnOnce(&mut DatabaseFacts)) -> Vec<String> {
        let table = TableSize { table: "workflow_runs".to_owned(), bytes: 30 << 30, ..TableSize::default() };
        let mut facts = DatabaseFacts {
            tables: vec![table],
            transactions_left: Some(2_000_000_000),
            ..DatabaseFacts::default()
        };
        change(&mut facts);
        let mut report = Report::of(Component::Database);
        judge(&mut report, &facts);
        assert_eq!(report.facts["largest_tables"], "workflow_runs 30 GB");
        report.findings.iter().map(|finding| finding.id.clone()).collect()
    }

    #[test]
    fn what_postgresql_says_of_itself_is_judged() {
        assert_eq!(found(|_| {}), Vec::<String>::new());
        assert_eq!(found(|facts| facts.transactions_left = Some(90_000_000)), ["wraparound-near"]);
        let standby = |facts: &mut DatabaseFacts| {
            (facts.is_standby, facts.replay_lag_seconds) = (true, Some(61.0));
        };
        assert_eq!(found(standby), ["standby-behind"]);
        let replica = Replica { name: "two".to_owned(), lag_seconds: Some(61.0), ..Replica::default() };
        assert_eq!(found(|facts| facts.replicas.push(replica)), ["replica-behind"]);
        assert_eq!(found(|facts| facts.tables[0].dead_rows = 2_000_000), ["table-bloated"]);
    }
}
