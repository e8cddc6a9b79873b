use std::collections::BTreeMap;

use mainstay_dify::{
    Deployment,
    probe::{Component, Prober},
};
use mainstay_net::{Client, ClientOptions};

use super::*;

fn finding(id: &str, component: &str, severity: Severity, what: &str) -> Finding {
    Finding {
        id: id.to_owned(),
        severity,
        component: component.to_owned(),
        subject: Subject::default(),
        what: what.to_owned(),
        cause: "because".to_owned(),
        remedy: "do".to_owned(),
        evidence: vec![Evidence::new("asked", "answered")],
    }
}

fn report(component: &str, state: State, facts: &[(&str, &str)], findings: Vec<Finding>) -> Report {
    Report {
        component: component.to_owned(),
        state,
        reason: "r".to_owned(),
        latency_ms: Some(1),
        proves: String::new(),
        leaves_open: String::new(),
        facts: facts
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect::<BTreeMap<_, _>>(),
        findings,
    }
}

fn diagnosed(facts: Facts) -> Diagnosis {
    judge(facts, Catalogue::built_in())
}

fn ids(diagnosis: &Diagnosis) -> Vec<&str> {
    diagnosis.findings.iter().map(|finding| finding.id.as_str()).collect()
}

#[test]
fn a_database_that_is_down_is_one_finding_and_names_what_follows() {
    let critical = |id: &str, component: &str, what: &str| finding(id, component, Severity::Critical, what);
    let down = |component: &str, found| report(component, State::Down, &[], vec![found]);
    let facts = Facts {
        reports: vec![
            down("api", critical("api-database", "api", "the API answers 500")),
            down(
                "database",
                critical("database-down", "database", "the database db:5432/dify cannot be reached"),
            ),
            down(
                "plugin-database",
                critical(
                    "database-down",
                    "plugin-database",
                    "the database db:5432/dify_plugin cannot be reached",
                ),
            ),
            down("plugin-daemon", critical("plugin-daemon-stuck", "plugin-daemon", "stuck")),
            down("canary", critical("canary-unanswered", "canary", "not taken")),
            report("sandbox", State::Down, &[], vec![critical("sandbox-down", "sandbox", "no answer")]),
        ],
        ..Facts::default()
    };
    let diagnosis = diagnosed(facts);
    assert_eq!(ids(&diagnosis), ["database-down", "sandbox-down"]);
    let explained: Vec<&str> =
        diagnosis.findings[0].evidence[1..].iter().map(|seen| seen.asked.as_str()).collect();
    assert_eq!(
        explained,
        [
            "explains api-database of api",
            "explains database-down of plugin-database",
            "explains plugin-daemon-stuck of plugin-daemon",
            "explains canary-unanswered of canary"
        ]
    );
    assert_eq!(diagnosis.outcome(), Outcome::Unreachable);
}

/// The broken twin of the rule above: another server is another cause.
#[test]
fn a_second_server_that_is_down_is_a_second_finding() {
    let critical =
        |component: &str, what: &str| finding("database-down", component, Severity::Critical, what);
    let facts = Facts {
        reports: vec![
            report(
                "database",
                State::Down,
                &[],
                vec![critical("database", "the database one:5432/dify cannot be reached")],
            ),
            report(
                "plugin-database",
                State::Down,
                &[],
                vec![critical("plugin-database", "the database two:5432/dify_plugin cannot be reached")],
            ),
            report("api", State::Ok, &[], vec![]),
        ],
        ..Facts::default()
    };
    let diagnosis = diagnosed(facts);
    assert_eq!(ids(&diagnosis), ["database-down", "database-down"]);
    assert_eq!(diagnosis.outcome(), Outcome::Problem);
}

#[test]
fn a_broker_that_is_away_explains_queues_and_the_other_redis_of_the_same_server() {
    let critical = |id: &str, component: &str, what: &str| finding(id, component, Severity::Critical, what);
    let mut facts = Facts {
        reports: vec![
            report(
                "redis",
                State::Down,
                &[],
                vec![critical("redis-down", "redis", "Redis at r:6379 cannot be reached: refused")],
            ),
            report(
                "broker",
                State::Down,
                &[],
                vec![critical("redis-down", "broker", "Redis at r:6379 cannot be reached: refused")],
            ),
            report("api", State::Ok, &[], vec![]),
        ],
        ..Facts::default()
    };
    facts.queues.findings =
        vec![critical("broker-unreachable", "broker", "x"), critical("no-worker", "worker", "y")];
    assert_eq!(ids(&diagnosed(facts)), ["redis-down"]);
}

/// Whoever starts a worker first has it ended by the message.
#[test]
fn a_message_that_ends_workers_is_told_before_the_worker_that_is_missing() {
    let mut facts = Facts::default();
    facts.queues.findings = vec![
        finding("no-worker", "worker", Severity::Critical, "y"),
        finding("broken-message", "queue:mail", Severity::Critical, "x"),
        finding("broken-message", "queue:dataset", Severity::Warning, "thrown away"),
        finding("S18", "queue:mail", Severity::Critical, "z"),
    ];
    assert_eq!(ids(&diagnosed(facts)), ["broken-message", "no-worker"]);
}

#[test]
fn the_worst_comes_first_and_nothing_twice() {
    let facts = Facts {
        reports: vec![report(
            "api",
            State::Degraded,
            &[],
            vec![
                finding("note", "api", Severity::Note, "n"),
                finding("warning", "vector", Severity::Warning, "w"),
                finding("critical", "web", Severity::Critical, "c"),
                finding("critical", "web", Severity::Critical, "c"),
                finding("warning", "broker", Severity::Warning, "w"),
            ],
        )],
        ..Facts::default()
    };
    let diagnosis = diagnosed(facts);
    let order: Vec<(&str, &str)> =
        diagnosis.findings.iter().map(|finding| (finding.id.as_str(), finding.component.as_str())).collect();
    assert_eq!(order, [("critical", "web"), ("warning", "broker"), ("warning", "vector"), ("note", "api")]);
    assert_eq!(diagnosis.outcome(), Outcome::Problem);
    let note = Facts {
        reports: vec![report("api", State::Ok, &[], vec![finding("note", "api", Severity::Note, "n")])],
        ..Facts::default()
    };
    assert_eq!(diagnosed(note).outcome(), Outcome::Well);
}

#[test]
fn the_pool_budget_is_added_up_and_printed_with_its_numbers() {
    let server = |most: &str| {
        report("database", State::Ok, &[("max_connections", most), ("reserved_connections", "3")], vec![])
    };
    let worker = |pool: &str, places: u64| WorkerFacts {
        name: "celery@w".to_owned(),
        pool: Some(pool.to_owned()),
        concurrency: Some(places),
        queues: Vec::new(),
    };
    let facts = |most: &str| Facts {
        reports: vec![server(most)],
        workers: vec![
            worker("celery.concurrency.gevent:TaskPool", 100),
            worker("celery.concurrency.prefork:TaskPool", 4),
        ],
        sizes: Sizes { api_workers: Some(2), pool_size: Some(30), ..Sizes::default() },
        ..Facts::default()
    };
    let tight = diagnosed(facts("100"));
    assert_eq!(ids(&tight), ["pool-budget"]);
    assert_eq!(
        tight.budget.as_ref().unwrap().formula(),
        "API processes 2 × (30 + 10) = 80, worker processes 5 × (30 + 10) = 200, beat 1 × (30 + 10) = 40, \
         plugin daemon its pool = 30, Mainstay its pool = 2, superusers reserved = 3; \
         together 355 > max_connections 100"
    );
    assert!(tight.findings[0].remedy.contains("360 or more") && !tight.findings[0].cause.is_empty());
    assert!(diagnosed(facts("355")).findings.is_empty());
}

#[test]
fn a_schema_that_is_not_known_is_said_and_one_that_is_missing_is_critical() {
    let facts = |revision: Option<&str>, release: Option<&str>| Facts {
        schema: Some(SchemaFacts {
            revision: revision.map(str::to_owned),
            release: release.map(str::to_owned),
            missing: vec![("likes are not read".to_owned(), "grant it".to_owned())],
        }),
        ..Facts::default()
    };
    assert_eq!(ids(&diagnosed(facts(Some("1"), Some("1.12.1")))), ["schema-missing"]);
    assert_eq!(ids(&diagnosed(facts(Some("1"), None))), ["schema-missing", "schema-unknown"]);
    // What is missing follows from it.
    assert_eq!(ids(&diagnosed(facts(None, None))), ["migration-unfinished"]);
}

#[test]
fn an_upgrade_is_told_what_it_breaks() {
    let api = |version: &str| report("api", State::Ok, &[("version", version)], vec![]);
    let weaviate =
        |version: &str| report("vector", State::Ok, &[("kind", "weaviate"), ("version", version)], vec![]);
    let facts = |to: &str, reports: Vec<Report>| Facts {
        reports,
        sizes: Sizes {
            pinned_queues: Some(vec!["dataset".to_owned(), "schedule_poller".to_owned()]),
            ..Sizes::default()
        },
        schema: Some(SchemaFacts {
            revision: Some("788d3099ae3a".to_owned()),
            release: Some("1.12.1".to_owned()),
            missing: Vec::new(),
        }),
        upgrade: Some(Upgrade {
            to: Version::parse(to).unwrap(),
            lost_references: Some(vec!["bot: acme/tool:1.0.0@abc".to_owned()]),
            apps: 3,
            refresh_backlog: 5_000,
        }),
        ..Facts::default()
    };
    let diagnosis = diagnosed(facts("1.14.0", vec![api("1.12.1"), weaviate("1.19.0")]));
    assert_eq!(
        ids(&diagnosis),
        [
            "vector-ladder",
            "upgrade-queues",
            "upgrade-refresh-storm",
            "plugin-reference-missing",
            "upgrade-backup"
        ]
    );
    let queues = diagnosis.findings.iter().find(|finding| finding.id == "upgrade-queues").unwrap();
    assert!(queues.what.contains("every streaming run hangs"), "{}", queues.what);
    assert!(queues.remedy.contains("triggered_workflow_dispatcher,schedule_executor"), "{}", queues.remedy);
    // A step within one line breaks less; a schema behind its API is half an upgrade already.
    let small = diagnosed(facts("1.12.2", vec![api("1.13.0"), weaviate("1.27.0")]));
    assert_eq!(
        ids(&small),
        ["migration-unfinished", "plugin-reference-missing", "upgrade-queues", "upgrade-backup"]
    );
}

#[test]
fn an_operators_row_speaks_for_a_finding() {
    let own = "[[signature]]\nid = \"S01\"\nstate = \"pool-budget\"\nclass = \"database_pool\"\ncause = \"Ours.\"\nremedy = \"Call us.\"\n";
    let facts = Facts {
        reports: vec![report("database", State::Ok, &[("max_connections", "10")], vec![])],
        ..Facts::default()
    };
    let diagnosis = judge(facts, &Catalogue::with(own).unwrap());
    assert_eq!(
        (diagnosis.findings[0].cause.as_str(), diagnosis.findings[0].remedy.as_str()),
        ("Ours.", "Call us.")
    );
}

#[test]
fn versions_are_read_as_people_write_them() {
    for (text, version) in
        [("1.13", Version(1, 13, 0)), ("v1.14.2", Version(1, 14, 2)), ("1.9.2-fix.1", Version(1, 9, 2))]
    {
        assert_eq!(Version::parse(text), Some(version));
    }
    assert_eq!(Version::parse("latest"), None);
    assert!(Version(1, 9, 2) < Version(1, 13, 0));
}

#[test]
fn names_that_are_known_nowhere_accuse_no_part() {
    let unknown = |component: &str| {
        let what = format!("{component}:1 cannot be reached: failed to lookup address information");
        let mut finding = finding(&format!("{component}-down"), component, Severity::Critical, &what);
        finding.evidence =
            vec![Evidence::new("GET /", format!("cannot resolve `{component}`: no such name"))];
        report(component, State::Down, &[], vec![finding])
    };
    let storage = || {
        let mut finding = finding("storage-failing", "storage", Severity::Critical, "storage does not work");
        finding.evidence = vec![Evidence::new("write", "No such file or directory (os error 2)")];
        report("storage", State::Down, &[], vec![finding])
    };
    let keys = || report("keys", State::Unknown, &[], vec![]);
    let facts = |mut reports: Vec<Report>, is_only_look: bool| {
        reports.extend([storage(), keys()]);
        Facts { reports, is_only_look, ..Facts::default() }
    };
    let outside = diagnosed(facts(vec![unknown("api"), unknown("database"), unknown("redis")], true));
    assert_eq!((ids(&outside), outside.outcome()), (vec!["names-unknown"], Outcome::Unreachable));
    assert!(outside.findings[0].what.ends_with(": api, database, redis"), "{}", outside.findings[0].what);
    assert_eq!(outside.findings[0].evidence.len(), 4);
    // To whoever looks all the time, a name that is gone is a part that is gone.
    let later = diagnosed(facts(vec![unknown("redis"), unknown("sandbox")], false));
    assert_eq!(ids(&later), ["redis-down", "storage-failing", "sandbox-down"]);
    // Where one part is reached, the others are accused by name; and so is one whose address alone is wrong.
    let well = report("api", State::Ok, &[], vec![]);
    let inside = diagnosed(facts(vec![well, unknown("redis"), unknown("sandbox")], true));
    assert_eq!(ids(&inside), ["redis-down", "storage-failing", "sandbox-down"]);
    assert_eq!(ids(&diagnosed(facts(vec![unknown("redis")], true))), ["redis-down", "storage-failing"]);
}

/// Nobody there at all: it ends, says so, and hears of each component.
#[tokio::test]
async fn a_dify_that_is_not_there_is_unreachable() {
    let mut deployment = Deployment::named("gone");
    deployment.api_url = Some("http://127.0.0.1:1".to_owned());
    deployment.web_url = Some("http://127.0.0.1:1".to_owned());
    let prober = Prober::new(deployment, Client::new(ClientOptions::default()).unwrap());
    let mut heard = Vec::new();
    let clock = mainstay_base::Clock::System;
    let facts =
        gather(&prober, &clock, Asked::default(), |report| heard.push(report.component.clone())).await;
    assert_eq!(heard.len(), Component::ALL.len());
    assert_eq!(diagnosed(facts).outcome(), Outcome::Unreachable);
}
