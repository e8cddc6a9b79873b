//! The vector store, by its kind: readiness, version, and what makes it lose vectors without a word.

use mainstay_base::{Secret, Severity};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Component,
    ask::{Answer, Ask, NoAnswer},
    report::{Problem, Report, State},
};
use crate::{db::Reader, deployment::Vector};

/// Classes of weaviate whose shards are asked for.
const MAX_CLASSES: usize = 20;

pub(super) async fn look(ask: Ask<'_>, vector: &Vector, database: Option<&Reader>) -> Report {
    let mut report = Report::of(Component::Vector);
    report.fact("kind", &vector.kind);
    if let Some(reader) = database {
        return postgres(report, reader).await;
    }
    let Some(url) = vector.url.as_deref().map(|url| url.trim_end_matches('/')) else {
        let reason = format!("{}: the configuration names no address", vector.kind);
        return report.with(State::NotConfigured, reason);
    };
    let key = vector.api_key.as_ref();
    match vector.kind.as_str() {
        "weaviate" => weaviate(report, ask, url, key, &vector.index_prefix).await,
        "qdrant" | "tidb_on_qdrant" => qdrant(report, ask, url, key).await,
        "milvus" => milvus(report, ask, url).await,
        "chroma" => chroma(report, ask, url, key).await,
        "opensearch" | "elasticsearch" | "elasticsearch-ja" => search_engine(report, ask, url, vector).await,
        _ => any(report, ask, url).await,
    }
}

async fn weaviate(mut report: Report, ask: Ask<'_>, url: &str, key: Option<&Secret>, prefix: &str) -> Report {
    let key = key.map(|key| ("authorization", key));
    if let Err(problem) = ready(&mut report, ask.get(&format!("{url}/v1/.well-known/ready"), key).await) {
        return report.failed(*problem);
    }
    if let Ok(meta) = ask.get(&format!("{url}/v1/meta"), key).await {
        if matches!(meta.status, 401 | 403) {
            return report.failed(key_refused(&meta));
        }
        version(&mut report, &meta, "version");
    }
    let schema = match ask.get(&format!("{url}/v1/schema"), key).await {
        Ok(answer) if answer.is_success() => answer.json::<Value>().unwrap_or_default(),
        // More classes than fit an answer that we read; readiness stands.
        _ => Value::Null,
    };
    let names = schema["classes"].as_array().map_or(&[][..], Vec::as_slice).iter();
    let names: Vec<&str> = names.filter_map(|class| class["class"].as_str()).collect();
    report.fact("collections", names.len());
    let prefix = prefix.to_lowercase();
    let ours = names.into_iter().filter(|name| name.to_lowercase().starts_with(&prefix));
    for class in ours.take(MAX_CLASSES) {
        let Ok(shards) = ask.get(&format!("{url}/v1/schema/{class}/shards"), key).await else { break };
        let listed = shards.json::<Value>().unwrap_or_default();
        let mut listed = listed.as_array().map_or(&[][..], Vec::as_slice).iter();
        if listed.any(|shard| shard["status"] == "READONLY") {
            report.problem(readonly(format!("weaviate's shard of {class} is READONLY"), &shards));
            break;
        }
    }
    well(report, "ready")
}

async fn qdrant(mut report: Report, ask: Ask<'_>, url: &str, key: Option<&Secret>) -> Report {
    let key = key.map(|key| ("api-key", key));
    if let Err(problem) = ready(&mut report, ask.get(&format!("{url}/readyz"), key).await) {
        return report.failed(*problem);
    }
    if let Ok(root) = ask.get(&format!("{url}/"), key).await {
        version(&mut report, &root, "version");
    }
    match ask.get(&format!("{url}/collections"), key).await {
        Ok(answer) if matches!(answer.status, 401 | 403) => return report.failed(key_refused(&answer)),
        Ok(answer) => {
            let listed = answer.json::<Value>().unwrap_or_default();
            if let Some(collections) = listed["result"]["collections"].as_array() {
                report.fact("collections", collections.len());
            }
        }
        Err(no_answer) => return report.failed(down(no_answer)),
    }
    well(report, "ready")
}

/// Milvus says its health on a port of its own.
async fn milvus(mut report: Report, ask: Ask<'_>, url: &str) -> Report {
    let health = url::Url::parse(url).ok().and_then(|mut url| {
        url.set_port(Some(9091)).ok()?;
        url.set_path("/healthz");
        Some(url.to_string())
    });
    let Some(health) = health else { return any(report, ask, url).await };
    if let Err(problem) = ready(&mut report, ask.get(&health, None).await) {
        return report.failed(*problem);
    }
    well(report, "ready")
}

async fn chroma(mut report: Report, ask: Ask<'_>, url: &str, key: Option<&Secret>) -> Report {
    let key = key.map(|key| ("authorization", key));
    let mut heartbeat = ask.get(&format!("{url}/api/v2/heartbeat"), key).await;
    // Before 0.6 there was version 1 only; it answers 404 or 410 now.
    let mut api = "v2";
    if heartbeat.as_ref().is_ok_and(|answer| !answer.is_success() && answer.status < 500) {
        heartbeat = ask.get(&format!("{url}/api/v1/heartbeat"), key).await;
        api = "v1";
    }
    if let Ok(answer) = &heartbeat
        && matches!(answer.status, 401 | 403)
    {
        return report.failed(key_refused(answer));
    }
    if let Err(problem) = ready(&mut report, heartbeat) {
        return report.failed(*problem);
    }
    if let Ok(answer) = ask.get(&format!("{url}/api/{api}/version"), key).await
        && answer.is_success()
    {
        report.fact("version", answer.text().trim_matches('"'));
    }
    well(report, "beats")
}

#[derive(Deserialize)]
struct ClusterHealth {
    status: String,
    #[serde(default)]
    unassigned_shards: i64,
}

async fn search_engine(mut report: Report, ask: Ask<'_>, url: &str, vector: &Vector) -> Report {
    // Basic authentication, where there is a login: the header is made here and goes nowhere else.
    let login = vector.login.as_ref().map(|login| {
        use base64::Engine as _;
        let password = login.password.as_ref().map_or("", Secret::expose);
        let pair = format!("{}:{password}", login.user);
        Secret::new(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)))
    });
    let key = login.as_ref().map(|login| ("Authorization", login));
    let answer = match ask.get(&format!("{url}/_cluster/health"), key).await {
        Ok(answer) if matches!(answer.status, 401 | 403) => return report.failed(key_refused(&answer)),
        Ok(answer) => answer,
        Err(no_answer) => return report.failed(down(no_answer)),
    };
    report.took(answer.took);
    let Some(health) = answer.json::<ClusterHealth>().filter(|_| answer.is_success()) else {
        return report.failed(not_ready(&answer));
    };
    report.fact("cluster", &health.status);
    match health.status.as_str() {
        "red" => report.failed(not_ready(&answer)),
        "yellow" => well(report, &format!("yellow: {} shards have no replica", health.unassigned_shards)),
        _ => well(report, "green"),
    }
}

async fn postgres(mut report: Report, reader: &Reader) -> Report {
    const SQL: &str = "SELECT extname::text, extversion FROM pg_extension WHERE extname IN ('vector', 'vectors', 'pg_bigm') LIMIT 5";
    let bound = crate::db::Bound::new(5, std::time::Duration::from_secs(2));
    match reader.rows(SQL, &[], bound).await {
        Ok(rows) => {
            for row in &rows {
                if let (Ok(name), Ok(version)) = (row.word(0), row.word(1)) {
                    report.fact(&format!("extension_{name}"), version);
                }
            }
            if report.facts.keys().any(|fact| fact.starts_with("extension_vector")) {
                return well(report, "PostgreSQL answers and has the extension");
            }
            report.failed(Problem {
                id: "vector-extension",
                severity: Severity::Critical,
                what: "the vector store's PostgreSQL has no vector extension".to_owned(),
                cause: "It is not an image with pgvector, or its database was made without it.",
                remedy: "Use the pgvector image, and CREATE EXTENSION vector in that database.",
                asked: format!("{SQL} on {}", reader.at()),
                answered: "(no rows)".to_owned(),
            })
        }
        Err(failure) => report.failed(Problem {
            id: "vector-down",
            severity: Severity::Critical,
            what: failure.to_string(),
            cause: "",
            remedy: "Check that the vector store's PostgreSQL runs and takes our role.",
            asked: format!("SELECT 1 on {}", reader.at()),
            answered: failure.to_string(),
        }),
    }
}

/// A kind that we do not know more of: that somebody answers.
async fn any(mut report: Report, ask: Ask<'_>, url: &str) -> Report {
    match ask.get(url, None).await {
        Ok(answer) => {
            report.took(answer.took);
            report.leaves_open = "everything but that somebody answers there".to_owned();
            well(report, &format!("answers {}", answer.status))
        }
        Err(no_answer) => report.failed(down(no_answer)),
    }
}

fn well(mut report: Report, words: &str) -> Report {
    if report.state == State::Ok {
        let kind = report.facts.get("kind").cloned().unwrap_or_default();
        let version = report.facts.get("version").map_or(String::new(), |version| format!(" {version}"));
        report.reason = format!("{kind}{version} {words}");
    }
    report
}

/// The readiness question: 2xx, or why not.
fn ready(report: &mut Report, answer: Result<Answer, NoAnswer>) -> Result<(), Box<Problem<'static>>> {
    match answer {
        Ok(answer) if answer.is_success() => {
            report.took(answer.took);
            Ok(())
        }
        Ok(answer) if matches!(answer.status, 401 | 403) => Err(Box::new(key_refused(&answer))),
        Ok(answer) => Err(Box::new(not_ready(&answer))),
        Err(no_answer) => Err(Box::new(down(no_answer))),
    }
}

fn version(report: &mut Report, answer: &Answer, field: &str) {
    if let Some(version) = answer.json::<Value>().and_then(|meta| Some(meta[field].as_str()?.to_owned())) {
        report.fact("version", version);
    }
}

fn down(no_answer: NoAnswer) -> Problem<'static> {
    Problem {
        id: "vector-down",
        severity: Severity::Critical,
        what: "the vector store gives no answer".to_owned(),
        cause: "It is down, or the address is wrong: retrieval finds nothing and does not fail, indexing fails.",
        remedy: "Look at its container and log, and at its disk; check the address.",
        asked: no_answer.asked,
        answered: no_answer.why,
    }
}

fn not_ready(answer: &Answer) -> Problem<'static> {
    Problem {
        id: "vector-down",
        severity: Severity::Critical,
        what: format!("the vector store is not ready: it answers {}", answer.status),
        cause: "It starts, recovers, or fails: retrieval finds nothing and does not fail.",
        remedy: "Wait for its start; else read its log, and look at its disk.",
        asked: answer.asked.clone(),
        answered: answer.said(),
    }
}

fn key_refused(answer: &Answer) -> Problem<'static> {
    Problem {
        id: "vector-key",
        severity: Severity::Critical,
        what: "the vector store refuses the key".to_owned(),
        cause: "Its key is not the one that Dify has, or ours is neither.",
        remedy: "Let the store's key equal Dify's (WEAVIATE_API_KEY, QDRANT_API_KEY, …), and ours.",
        asked: answer.asked.clone(),
        answered: answer.said(),
    }
}

fn readonly(what: String, answer: &Answer) -> Problem<'static> {
    Problem {
        id: "vector-readonly",
        severity: Severity::Critical,
        what,
        cause: "",
        remedy: "",
        asked: answer.asked.clone(),
        answered: answer.said(),
    }
}
