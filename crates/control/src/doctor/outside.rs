//! A look from outside of the network that the names of a Dify belong to says nothing about the Dify: no part is accused.
//!
//! For a look that is the only one. To an instance that looks all the time, names that are gone are parts that are gone.

use std::collections::BTreeSet;

use mainstay_base::{Evidence, Finding, Severity, finding::Subject};
use mainstay_dify::probe::{Report, State};

use super::{Facts, explain::EXPLAINS};

/// How the resolver of this machine, and our client over HTTP, say that there is no such name.
const UNKNOWN_NAME: [&str; 2] = ["failed to lookup address information", "cannot resolve `"];
const NO_FOLDER: &str = "No such file or directory";
/// Looked at on this machine or through others, so no proof that anything was reached.
const NO_SERVERS: [&str; 3] = ["storage", "keys", "canary"];
/// One name that is not known may be a mistake in one address.
const FEWEST: usize = 2;

/// One finding in place of those that only say that no server's name is known here.
pub(super) fn by_place(facts: &Facts, findings: Vec<Finding>) -> Vec<Finding> {
    let is_server = |report: &&Report| !NO_SERVERS.contains(&report.component.as_str());
    let servers: Vec<&Report> = facts.reports.iter().filter(is_server).collect();
    let is_reached = |report: &&Report| matches!(report.state, State::Ok | State::Degraded);
    let unknown: BTreeSet<&str> = findings
        .iter()
        .filter(|finding| says(finding, &UNKNOWN_NAME))
        .map(|found| found.component.as_str())
        .collect();
    if !facts.is_only_look || unknown.len() < FEWEST || servers.iter().any(is_reached) {
        return findings;
    }
    let names: Vec<&str> = unknown.into_iter().collect();
    let what =
        format!("no server of this Dify has a name that is known on this machine: {}", names.join(", "));
    let (follows, mut rest): (Vec<_>, Vec<_>) = findings.into_iter().partition(|finding| {
        says(finding, &UNKNOWN_NAME) || finding.component == "storage" && says(finding, &[NO_FOLDER])
    });
    let evidence = follows.iter().map(|finding| {
        let answered = finding.evidence.first().map_or(&finding.what, |evidence| &evidence.answered);
        Evidence::new(format!("{EXPLAINS}{} of {}", finding.id, finding.component), answered)
    });
    rest.push(Finding {
        id: "names-unknown".to_owned(),
        severity: Severity::Critical,
        component: "network".to_owned(),
        subject: Subject::default(),
        what,
        cause: "They are names inside the compose network or the cluster: Mainstay runs outside of it and knows nothing \
                of this Dify, or none of its containers runs."
            .to_owned(),
        remedy: "See that the containers run; then run Mainstay in their network, or publish their ports and give \
                 --host ADDRESS beside --dify-env."
            .to_owned(),
        evidence: evidence.collect(),
    });
    rest
}

fn says(finding: &Finding, words: &[&str]) -> bool {
    let texts = finding.evidence.iter().map(|evidence| &evidence.answered).chain([&finding.what]);
    texts.into_iter().any(|text| words.iter().any(|word| text.contains(word)))
}
