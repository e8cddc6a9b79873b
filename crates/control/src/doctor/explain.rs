//! One cause explains its symptoms: when the database is down, ten others are not accused beside it.

use mainstay_base::{Evidence, Finding, Severity};

/// What follows from a cause: both are told by id and component.
struct Rule {
    cause: fn(&Finding) -> bool,
    symptom: fn(&Finding) -> bool,
}

const RULES: &[Rule] = &[
    Rule {
        cause: |finding| {
            finding.component == "database" && is_critical(finding) && is_outage(finding, "database")
        },
        symptom: |finding| {
            let needs_it = [
                "api-database",
                "plugin-daemon-stuck",
                "schema-missing",
                "migration-unfinished",
                "vector-down",
            ];
            needs_it.contains(&finding.id.as_str())
                || finding.component == "plugin-database"
                || finding.component == "canary"
                || finding.id == "api-slow"
                || finding.component == "api" && is_outage(finding, "api")
        },
    },
    Rule {
        cause: |finding| {
            finding.component == "broker" && is_critical(finding) && finding.id.starts_with("redis-")
        },
        symptom: |finding| {
            let told_twice = finding.component == "broker"
                && finding.id.starts_with("broker-")
                && finding.id != "broker-evicts";
            told_twice
                || finding.component == "worker"
                || is_of_queues(finding)
                || finding.component == "canary"
        },
    },
    Rule {
        cause: |finding| finding.id == "migration-unfinished",
        symptom: |finding| finding.id == "schema-missing",
    },
    Rule {
        // One server refuses us in both of its databases.
        cause: |finding| finding.component == "database" && is_refusal(finding),
        symptom: |finding| finding.component == "plugin-database" && is_refusal(finding),
    },
    Rule {
        // The same server, told by both.
        cause: |finding| finding.component == "broker" && finding.id.starts_with("redis-"),
        symptom: |finding| finding.component == "redis" && finding.id.starts_with("redis-"),
    },
    Rule {
        cause: |finding| finding.component == "api" && is_critical(finding),
        symptom: |finding| finding.component == "canary",
    },
    Rule {
        cause: |finding| finding.component == "plugin-daemon" && is_critical(finding),
        symptom: |finding| finding.component == "canary",
    },
    Rule {
        cause: |finding| finding.component == "plugin-database" && is_critical(finding),
        symptom: |finding| finding.id == "plugin-daemon-stuck",
    },
    Rule {
        cause: |finding| finding.id == "no-worker" || finding.id == "worker-mute",
        // A worker that is started would end at such a message.
        symptom: |finding| {
            is_of_queues(finding) && !ends_workers(finding) || finding.id == "canary-not-started"
        },
    },
    Rule {
        cause: |finding| {
            let queue = finding.subject.queue.as_deref();
            finding.id == "S18" && queue == Some("workflow_based_app_execution")
        },
        symptom: |finding| finding.id == "canary-not-started",
    },
    Rule {
        cause: |finding| finding.component == "keys",
        symptom: |finding| {
            finding.component == "canary" && ["S57", "S58", "S59", "S60"].contains(&finding.id.as_str())
        },
    },
];

/// How the evidence of a cause begins that is a symptom.
pub(super) const EXPLAINS: &str = "explains ";

/// Whether a finding is the cause of what was found at a component.
pub(crate) fn explains(cause: &Finding, component: &str) -> bool {
    let of = |evidence: &Evidence| {
        let symptom = evidence.asked.strip_prefix(EXPLAINS)?;
        symptom.split_once(" of ").map(|(_, named)| named == component)
    };
    cause.evidence.iter().any(|evidence| of(evidence) == Some(true))
}

/// How many symptoms a cause names.
const MAX_SYMPTOMS: usize = 10;

/// The worst first; symptoms under their cause; nothing twice.
pub(super) fn by_cause(mut findings: Vec<Finding>) -> Vec<Finding> {
    let mut seen = Vec::new();
    findings.retain(|finding| {
        let key = (finding.id.clone(), finding.component.clone(), finding.subject.clone());
        let is_new = !seen.contains(&key);
        seen.push(key);
        is_new
    });
    for rule in RULES {
        let Some(at) = findings.iter().position(rule.cause) else { continue };
        let mut cause = findings.remove(at);
        let (symptoms, rest): (Vec<_>, Vec<_>) = findings.into_iter().partition(|finding| {
            (rule.symptom)(finding) && !(rule.cause)(finding) && is_same_place(&cause, finding)
        });
        for symptom in symptoms.iter().take(MAX_SYMPTOMS) {
            let asked = format!("{EXPLAINS}{} of {}", symptom.id, symptom.component);
            cause.evidence.push(Evidence::new(asked, symptom.what.clone()));
        }
        findings = rest;
        findings.push(cause);
    }
    findings.sort_by(|one, other| {
        // A deadly message is taken out before workers are looked after.
        let place = |finding: &Finding| {
            if ends_workers(finding) { place("worker") } else { place(&finding.component) }
        };
        let rank =
            |finding: &Finding| (std::cmp::Reverse(finding.severity), place(finding), !ends_workers(finding));
        rank(one)
            .cmp(&rank(other))
            .then_with(|| one.id.cmp(&other.id))
            .then_with(|| one.what.cmp(&other.what))
    });
    findings
}

/// Two servers of one kind are one cause only at one address; the address stands in what was said.
fn is_same_place(cause: &Finding, symptom: &Finding) -> bool {
    let is_server = |finding: &Finding| {
        ["database", "plugin-database", "redis", "broker"].contains(&finding.component.as_str())
    };
    if !is_server(cause) || !is_server(symptom) || cause.component == symptom.component {
        return true;
    }
    let address = |finding: &Finding| {
        let words = finding.what.split_whitespace();
        let mut places = words.filter(|word| {
            word.rsplit_once(':').is_some_and(|(_, port)| port.starts_with(|c: char| c.is_ascii_digit()))
        });
        places.next().map(|place| place.split('/').next().unwrap_or(place).trim_end_matches(':').to_owned())
    };
    match (address(cause), address(symptom)) {
        (Some(one), Some(other)) => one == other,
        // One that was given up or is slow names none: two servers rarely fall silent at once.
        _ => true,
    }
}

fn is_critical(finding: &Finding) -> bool {
    finding.severity == Severity::Critical
}

fn is_outage(finding: &Finding, name: &str) -> bool {
    finding.id.strip_prefix(name).is_some_and(|rest| ["-down", "-silent", "-missing"].contains(&rest))
        || finding.id == "S01"
}

fn is_refusal(finding: &Finding) -> bool {
    ["database-password", "database-tls"].contains(&finding.id.as_str())
}

fn is_of_queues(finding: &Finding) -> bool {
    finding.component.starts_with("queue:") || finding.component == "beat" || finding.id == "documents-stuck"
}

fn ends_workers(finding: &Finding) -> bool {
    finding.id == "broken-message" && is_critical(finding)
}

/// What others stand on comes first.
fn place(component: &str) -> usize {
    let order = [
        "database",
        "broker",
        "redis",
        "worker",
        "api",
        "plugin-daemon",
        "plugin-database",
        "vector",
        "storage",
        "keys",
        "sandbox",
        "ssrf-proxy",
        "web",
        "beat",
    ];
    order.iter().position(|name| *name == component).unwrap_or(order.len())
}
