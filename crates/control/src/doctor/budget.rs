//! How many connections Dify may open to PostgreSQL at the most, against how many PostgreSQL allows.
//!
//! Each process of SQLAlchemy's has a pool of its own: `SQLALCHEMY_POOL_SIZE` (30) and `SQLALCHEMY_MAX_OVERFLOW` (10) beyond it, as
//! Dify's documentation has them. gevent and threads pools are one process, however many tasks; prefork has one a place.

use mainstay_base::{Evidence, Finding, Severity, finding::Subject};
use serde::Serialize;

use super::{Facts, WorkerFacts};

const POOL_SIZE: u32 = 30;
const MAX_OVERFLOW: u32 = 10;
const API_WORKERS: u32 = 1;
/// The plugin daemon's own pool (`DB_MAX_OPEN_CONNS`).
const DAEMON_POOL: u32 = 30;
/// Mainstay's own: one reader, and one more while something is repaired.
const OURS: u32 = 2;
const RESERVED: u32 = 3;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Budget {
    pub parts: Vec<Part>,
    /// All parts together.
    pub at_most: u32,
    /// `max_connections`, by the server's word or the environment's.
    pub allowed: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    pub who: String,
    /// `2 × (30 + 10)`.
    pub formula: String,
    pub connections: u32,
}

impl Budget {
    pub fn fits(&self) -> bool {
        self.at_most <= self.allowed
    }

    /// In one line, with its numbers.
    pub fn formula(&self) -> String {
        let parts: Vec<String> = self
            .parts
            .iter()
            .map(|part| format!("{} {} = {}", part.who, part.formula, part.connections))
            .collect();
        let sign = if self.fits() { '≤' } else { '>' };
        format!("{}; together {} {sign} max_connections {}", parts.join(", "), self.at_most, self.allowed)
    }
}

/// `None` where nobody says how many are allowed.
pub(super) fn of(facts: &Facts) -> Option<Budget> {
    let sizes = &facts.sizes;
    let server = facts.reports.iter().find(|report| report.component == "database")?;
    let number = |fact: &str| server.facts.get(fact).and_then(|value| value.parse::<u32>().ok());
    let allowed = number("max_connections").or(sizes.postgres_max_connections)?;
    let pool = sizes.pool_size.unwrap_or(POOL_SIZE);
    let overflow = sizes.max_overflow.unwrap_or(MAX_OVERFLOW);
    let each = pool + overflow;
    let of_pools = |who: &str, processes: u32| Part {
        who: who.to_owned(),
        formula: format!("{processes} × ({pool} + {overflow})"),
        connections: processes.saturating_mul(each),
    };
    let single = |who: &str, connections: u32| Part {
        who: who.to_owned(),
        formula: "its pool".to_owned(),
        connections,
    };
    let parts = vec![
        of_pools("API processes", sizes.api_workers.unwrap_or(API_WORKERS)),
        of_pools("worker processes", celery_processes(&facts.workers)),
        // It only enqueues: one connection in practice, a pool at the most.
        of_pools("beat", 1),
        single("plugin daemon", sizes.plugin_daemon_pool.unwrap_or(DAEMON_POOL)),
        single("Mainstay", OURS),
        Part {
            who: "superusers".to_owned(),
            formula: "reserved".to_owned(),
            connections: number("reserved_connections").unwrap_or(RESERVED),
        },
    ];
    let at_most = parts.iter().map(|part| part.connections).sum();
    Some(Budget { parts, at_most, allowed })
}

/// One for each worker that answered, or one for each place of a prefork pool; one when none answered.
fn celery_processes(workers: &[WorkerFacts]) -> u32 {
    let of = |worker: &WorkerFacts| match worker.pool.as_deref() {
        Some(pool) if pool.contains("prefork") => worker.concurrency.unwrap_or(1),
        _ => 1,
    };
    let processes: u64 = workers.iter().map(of).sum();
    u32::try_from(processes).unwrap_or(u32::MAX).max(1)
}

pub(super) fn finding(budget: &Budget) -> Option<Finding> {
    if budget.fits() {
        return None;
    }
    let (at_most, allowed) = (budget.at_most, budget.allowed);
    Some(Finding {
        id: "pool-budget".to_owned(),
        severity: Severity::Warning,
        component: "database".to_owned(),
        subject: Subject::default(),
        what: format!("Dify may open {at_most} connections, and PostgreSQL allows {allowed}"),
        cause: String::new(),
        remedy: format!(
            "Set max_connections to {} or more (POSTGRES_MAX_CONNECTIONS), or lower SQLALCHEMY_POOL_SIZE and SQLALCHEMY_MAX_OVERFLOW.",
            at_most.div_ceil(10) * 10
        ),
        evidence: vec![Evidence::new("the pool budget", budget.formula())],
    })
}
