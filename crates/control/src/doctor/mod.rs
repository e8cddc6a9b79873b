//! One whole look at a Dify, and what is made of it.
//!
//! Promises: [`judge`] is pure; one cause is one finding, and what follows from it is listed under it, not beside it;
//! the worst comes first. [`gather`] ends within [`LONGEST`], whatever the deployment does, and writes nothing but the probes' marker.

mod budget;
mod explain;
mod gather;
mod outside;
#[cfg(test)]
mod tests;
mod upgrade;

use mainstay_base::{Evidence, Finding, Micros, Severity, finding::Subject};
use mainstay_dify::{deployment::Sizes, signature::Catalogue};
use serde::{Deserialize, Serialize};

pub use mainstay_dify::probe::{Report, State};

pub use budget::{Budget, Part};
pub(crate) use explain::explains;
pub use gather::{Asked, LONGEST, gather};
pub(crate) use gather::{schema_of, workers as workers_of};
pub use upgrade::{Upgrade, Version};

use crate::queue::Verdicts;

/// All that is known, as plain values.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Facts {
    pub at: Micros,
    pub deployment: String,
    pub reports: Vec<Report>,
    pub queues: Verdicts,
    /// Workers that answered.
    pub workers: Vec<WorkerFacts>,
    pub schema: Option<SchemaFacts>,
    #[serde(skip)]
    pub sizes: Sizes,
    pub upgrade: Option<Upgrade>,
    /// What is wrong by the files of the Dify, where they were read.
    #[serde(skip)]
    pub by_files: Vec<Finding>,
    /// Nothing was seen before this look, and nothing will be after it.
    pub is_only_look: bool,
    /// What was not known in time, in sentences.
    pub missed: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WorkerFacts {
    pub name: String,
    pub pool: Option<String>,
    pub concurrency: Option<u64>,
    pub queues: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaFacts {
    pub revision: Option<String>,
    /// The release that ends at the revision, where it is known.
    pub release: Option<String>,
    /// What is not read for want of what, and what to do.
    pub missing: Vec<(String, String)>,
}

/// What is printed, and what a program reads.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnosis {
    pub at: Micros,
    pub deployment: String,
    /// The version that the API says.
    pub version: Option<String>,
    /// The worst first.
    pub findings: Vec<Finding>,
    pub reports: Vec<Report>,
    pub workers: Vec<WorkerFacts>,
    pub schema: Option<SchemaFacts>,
    pub budget: Option<Budget>,
    pub queues: Vec<crate::queue::QueueView>,
    pub missed: Vec<String>,
}

/// How a diagnosis ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing worse than a note.
    Well,
    Problem,
    /// Nothing that was looked at answered.
    Unreachable,
}

impl Diagnosis {
    pub fn outcome(&self) -> Outcome {
        let looked_at = self.reports.iter().filter(|report| report.state != State::NotConfigured);
        let is_silent = |report: &Report| matches!(report.state, State::Down | State::Unknown);
        if looked_at.clone().all(is_silent) && looked_at.clone().any(|report| report.state == State::Down) {
            return Outcome::Unreachable;
        }
        match self.findings.iter().map(|finding| finding.severity).max() {
            Some(Severity::Warning | Severity::Critical) => Outcome::Problem,
            Some(Severity::Note) | None => Outcome::Well,
        }
    }
}

/// What the facts come to.
pub fn judge(facts: Facts, catalogue: &Catalogue) -> Diagnosis {
    let budget = budget::of(&facts);
    let mut findings: Vec<Finding> =
        facts.reports.iter().flat_map(|report| report.findings.iter().cloned()).collect();
    findings.extend(facts.queues.findings.iter().cloned());
    findings.extend(schema(&facts));
    findings.extend(budget.as_ref().and_then(budget::finding));
    findings.extend(upgrade::findings(&facts));
    findings.extend(facts.by_files.iter().cloned());
    for finding in &mut findings {
        complete(finding, catalogue);
    }
    let findings = explain::by_cause(outside::by_place(&facts, findings));
    let version = facts.reports.iter().find(|report| report.component == "api");
    let version = version.and_then(|api| api.facts.get("version").cloned());
    let Facts { at, deployment, reports, queues, workers, schema, missed, .. } = facts;
    Diagnosis {
        at,
        deployment,
        version,
        findings,
        reports,
        workers,
        schema,
        budget,
        queues: queues.queues,
        missed,
    }
}

/// An operator's own row says cause and remedy in their words, whoever found it.
fn complete(finding: &mut Finding, catalogue: &Catalogue) {
    let Some(row) = catalogue.state(&finding.id).or_else(|| catalogue.get(&finding.id)) else { return };
    let built_in = Catalogue::built_in();
    let is_own = built_in.get(&row.id) != Some(row);
    if finding.cause.is_empty() || is_own {
        finding.cause.clone_from(&row.cause);
    }
    if finding.remedy.is_empty() || is_own {
        finding.remedy.clone_from(&row.remedy);
    }
}

fn schema(facts: &Facts) -> Vec<Finding> {
    let Some(schema) = &facts.schema else { return Vec::new() };
    let mut findings = Vec::new();
    let asked = "version_num of alembic_version";
    match (&schema.revision, &schema.release) {
        (Some(revision), None) => findings.push(Finding {
            id: "schema-unknown".to_owned(),
            severity: Severity::Note,
            component: "database".to_owned(),
            subject: Subject::default(),
            what: format!("the schema revision {revision} is not one that this Mainstay knows"),
            cause: "This Dify is newer, or a fork: what its columns carry is read, and nothing is written to it."
                .to_owned(),
            remedy: "Upgrade Mainstay; until then repairs of rows are refused.".to_owned(),
            evidence: vec![Evidence::new(asked, revision)],
        }),
        (None, _) => findings.push(Finding {
            id: "migration-unfinished".to_owned(),
            severity: Severity::Critical,
            component: "database".to_owned(),
            subject: Subject::default(),
            what: "the database has no schema revision".to_owned(),
            cause: "The migrations never ran, this is not Dify's database, or our role may not read alembic_version."
                .to_owned(),
            remedy: "Check the database's name and the GRANTs that `mainstay init` prints; then run `flask upgrade-db`."
                .to_owned(),
            evidence: vec![Evidence::new(asked, "(no row)")],
        }),
        (Some(_), Some(_)) => {}
    }
    if let Some((first, remedy)) = schema.missing.first() {
        let all: Vec<&str> = schema.missing.iter().map(|(sentence, _)| sentence.as_str()).collect();
        findings.push(Finding {
            id: "schema-missing".to_owned(),
            severity: Severity::Warning,
            component: "database".to_owned(),
            subject: Subject::default(),
            what: match all.len() {
                1 => first.clone(),
                more => format!("{more} kinds of rows are not read; the first: {first}"),
            },
            cause: "A table, column, index or right that this needs is not there.".to_owned(),
            remedy: remedy.clone(),
            evidence: vec![Evidence::new(
                "the catalogue of the database (pg_attribute, pg_index)",
                all.join("; "),
            )],
        });
    }
    findings
}
