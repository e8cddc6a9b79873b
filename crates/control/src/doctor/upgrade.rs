//! Before an upgrade of Dify: what has broken others on the same step.

use mainstay_base::{Evidence, Finding, Severity, finding::Subject};
use mainstay_dify::probe::State;
use serde::Serialize;

use super::Facts;

/// `1.13.0`, and whatever stands behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// Reads `1.13`, `v1.13.0`, `1.13.0-fix1`.
    pub fn parse(text: &str) -> Option<Version> {
        let mut numbers = text.trim().trim_start_matches('v').split(['.', '-', '+']);
        let mut next = || numbers.next().map(str::parse::<u32>);
        let (major, minor) = (next()?.ok()?, next()?.ok()?);
        Some(Version(major, minor, next().and_then(Result::ok).unwrap_or(0)))
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Version(major, minor, patch) = self;
        write!(formatter, "{major}.{minor}.{patch}")
    }
}

/// What is asked for an upgrade beyond a diagnosis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Upgrade {
    pub to: Version,
    /// `app: plugin`, for each that the installations lack; `None` where that was not known.
    pub lost_references: Option<Vec<String>>,
    /// Apps that were looked at for it.
    pub apps: usize,
    /// Messages in `trigger_refresh_publisher`.
    pub refresh_backlog: u64,
}

/// Which release begins to send to a queue. Facts from Dify's entrypoint and its tasks.
const QUEUES_SINCE: &[(Version, &str, &str)] = &[
    (Version(1, 10, 0), "triggered_workflow_dispatcher", "triggers are not dispatched"),
    (Version(1, 10, 0), "schedule_poller", "schedules do not fire"),
    (Version(1, 10, 0), "schedule_executor", "schedules do not run"),
    (Version(1, 10, 0), "priority_pipeline", "knowledge pipelines wait"),
    (Version(1, 13, 0), "workflow_based_app_execution", "every streaming run hangs"),
    (Version(1, 13, 0), "api_token", "the last use of keys is not written"),
    (Version(1, 14, 0), "dataset_summary", "summaries of knowledge are not made"),
];
/// From here on the refresh queue is consumed, and what gathered in it runs at once.
const REFRESH_CONSUMED: Version = Version(1, 14, 0);
const REFRESH_BACKLOG: u64 = 100;
/// The weaviate client that needs gRPC and a server of 1.27.
const WEAVIATE_V4: Version = Version(1, 9, 2);
const WEAVIATE_V4_SERVER: Version = Version(1, 27, 0);
/// The bundled server that came next; each minor in between has to be stepped through.
const WEAVIATE_NEXT: (Version, Version) = (Version(1, 17, 0), Version(1, 39, 0));
const MAX_NAMED: usize = 5;

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let Some(upgrade) = &facts.upgrade else { return Vec::new() };
    let mut findings = vec![first_steps(upgrade)];
    findings.extend(queues(facts, upgrade));
    findings.extend(refresh(facts, upgrade));
    findings.extend(references(upgrade));
    findings.extend(weaviate(facts, upgrade));
    findings.extend(keys(facts));
    findings.extend(migration(facts));
    findings
}

fn first_steps(upgrade: &Upgrade) -> Finding {
    finding(
        "upgrade-backup",
        Severity::Note,
        "database",
        format!("an upgrade to {} cannot be taken back", upgrade.to),
        "Dify has no downgrade of its schema.",
        "Before it: dump `dify` and `dify_plugin`, copy storage with privkeys, keep SECRET_KEY and the image tags, snapshot the vector store.",
        ("Dify's migrations", "forward only".to_owned()),
    )
}

/// Queues that the target sends to, and that nobody here will consume: workers with a pinned list keep theirs.
fn queues(facts: &Facts, upgrade: &Upgrade) -> Option<Finding> {
    let pinned = facts.sizes.pinned_queues.clone()?;
    let missing: Vec<&(Version, &str, &str)> = QUEUES_SINCE
        .iter()
        .filter(|(since, queue, _)| upgrade.to >= *since && !pinned.iter().any(|name| name == queue))
        .collect();
    let (_, first, consequence) = missing.first()?;
    let names: Vec<&str> = missing.iter().map(|(_, queue, _)| *queue).collect();
    let is_fatal = names.contains(&"workflow_based_app_execution");
    let consequence = if is_fatal { "every streaming run hangs" } else { *consequence };
    Some(finding(
        "upgrade-queues",
        if is_fatal { Severity::Critical } else { Severity::Warning },
        &format!("queue:{first}"),
        format!(
            "{} sends to queues that the pinned list lacks: {}; {consequence}",
            upgrade.to,
            names.join(", ")
        ),
        "CELERY_QUEUES (or CELERY_WORKER_QUEUES) is set, so the new image's own list is not used.",
        &format!("Add {} to it, or remove the variable.", names.join(",")),
        ("CELERY_QUEUES in the environment", pinned.join(",")),
    ))
}

fn refresh(facts: &Facts, upgrade: &Upgrade) -> Option<Finding> {
    let waits = upgrade.refresh_backlog;
    let is_new = running(facts).is_none_or(|version| version < REFRESH_CONSUMED);
    (waits > REFRESH_BACKLOG && is_new && upgrade.to >= REFRESH_CONSUMED).then(|| {
        finding(
            "upgrade-refresh-storm",
            Severity::Critical,
            "queue:trigger_refresh_publisher",
            format!("{waits} tasks wait in trigger_refresh_publisher, and {} runs them all at once", upgrade.to),
            "Dify 1.10 to 1.13 fills it each minute and consumes it never.",
            "Stop beat and delete the list right before the upgrade: `redis-cli -n 1 DEL trigger_refresh_publisher`.",
            ("LLEN trigger_refresh_publisher", waits.to_string()),
        )
    })
}

fn references(upgrade: &Upgrade) -> Option<Finding> {
    let lost = upgrade.lost_references.as_ref().filter(|lost| !lost.is_empty())?;
    let named = lost.iter().take(MAX_NAMED).cloned().collect::<Vec<_>>().join("; ");
    Some(finding(
        "plugin-reference-missing",
        Severity::Warning,
        "plugin-daemon",
        format!(
            "{} references of published workflows to plugin versions that are not installed: {named}",
            lost.len()
        ),
        "",
        "",
        (
            "plugin_unique_identifier in published graphs, against plugin_installations",
            format!("{} apps; {named}", upgrade.apps),
        ),
    ))
}

fn weaviate(facts: &Facts, upgrade: &Upgrade) -> Option<Finding> {
    let report = facts.reports.iter().find(|report| report.component == "vector")?;
    let fact = |name: &str| report.facts.get(name).map(String::as_str);
    if fact("kind") != Some("weaviate") {
        return None;
    }
    let server = Version::parse(fact("version")?)?;
    let ladder = |severity, needs: Version, cause: &str, remedy: &str| {
        finding(
            "vector-ladder",
            severity,
            "vector",
            format!("weaviate is {server}, and Dify {} comes with {needs} or newer", upgrade.to),
            cause,
            remedy,
            ("GET /v1/meta", server.to_string()),
        )
    };
    if upgrade.to >= WEAVIATE_V4 && server < WEAVIATE_V4_SERVER {
        let cause =
            "Since 1.9.2 Dify's client needs named vectors and gRPC, and old collections have neither.";
        let remedy =
            "Upgrade weaviate to 1.27 first, migrate the collections with Dify's script, open port 50051.";
        return Some(ladder(Severity::Critical, WEAVIATE_V4_SERVER, cause, remedy));
    }
    let (since, bundled) = WEAVIATE_NEXT;
    let steps = bundled.1.saturating_sub(server.1);
    (upgrade.to >= since && server < bundled && steps > 1).then(|| {
        ladder(
            Severity::Warning,
            bundled,
            "weaviate does not support leaving out minor versions.",
            &format!(
                "Upgrade weaviate one minor version at a time ({steps} steps), with a backup before each."
            ),
        )
    })
}

fn keys(facts: &Facts) -> Option<Finding> {
    let report = facts.reports.iter().find(|report| report.component == "keys")?;
    matches!(report.state, State::NotConfigured | State::Unknown).then(|| {
        finding(
            "upgrade-keys-unseen",
            Severity::Note,
            "keys",
            "whether every workspace has its private key was not seen from here".to_owned(),
            "Storage is not a folder that this process sees.",
            "Look for privkeys/<workspace>/private.pem of each workspace, and put them into the backup.",
            ("privkeys in storage", report.reason.clone()),
        )
    })
}

/// An upgrade begins from a whole schema.
fn migration(facts: &Facts) -> Option<Finding> {
    let schema = facts.schema.as_ref()?;
    let (revision, release) = (schema.revision.as_ref()?, schema.release.as_ref()?);
    let running = running(facts)?;
    let of = Version::parse(release)?;
    ((running.0, running.1) != (of.0, of.1)).then(|| {
        finding(
            "migration-unfinished",
            Severity::Critical,
            "database",
            format!("the API is {running}, and the schema is that of {release}"),
            "",
            "",
            ("version_num of alembic_version, and X-Version of the API", format!("{revision}; {running}")),
        )
    })
}

fn running(facts: &Facts) -> Option<Version> {
    let api = facts.reports.iter().find(|report| report.component == "api")?;
    Version::parse(api.facts.get("version")?)
}

fn finding(
    id: &str,
    severity: Severity,
    component: &str,
    what: String,
    cause: &str,
    remedy: &str,
    (asked, answered): (&str, String),
) -> Finding {
    Finding {
        id: id.to_owned(),
        severity,
        component: component.to_owned(),
        subject: Subject::default(),
        what,
        cause: cause.to_owned(),
        remedy: remedy.to_owned(),
        evidence: vec![Evidence::new(asked, answered)],
    }
}
