//! What is wrong with a Dify as far as its files tell: secrets that everybody knows, pairs that must agree and do not,
//! a database that no profile starts.

use mainstay_base::{Evidence, Finding, Severity, finding::Subject};

use super::{Search, Source, broker, defaults};
use crate::deployment::{Deployment, RedisAt, Storage};

pub(super) fn examine(search: &mut Search<'_>, deployment: &Deployment) {
    key_material(search, deployment);
    published(search);
    pair(
        search,
        "CODE_EXECUTION_API_KEY",
        "SANDBOX_API_KEY",
        "code nodes fail: the sandbox refuses the key that Dify sends",
    );
    if deployment.vector.as_ref().is_some_and(|vector| vector.kind == "weaviate") {
        pair(
            search,
            "WEAVIATE_API_KEY",
            "WEAVIATE_AUTHENTICATION_APIKEY_ALLOWED_KEYS",
            "knowledge retrieval and indexing fail: Weaviate refuses the key that Dify sends",
        );
    }
    broker_password(search, deployment);
    profiles(search, deployment);
}

/// What signs sessions, and what decrypts the keys of model providers.
fn key_material(search: &mut Search<'_>, deployment: &Deployment) {
    let signs = match search.environment.said("SECRET_KEY") {
        Some(_) => "SECRET_KEY is set",
        None => "SECRET_KEY is not set (1.14 and later keep one in the storage)",
    };
    let keys = match &deployment.storage {
        Some(Storage::Folder(folder)) => format!("tenants' private keys in {}/privkeys", folder.display()),
        Some(Storage::Elsewhere(kind)) => format!("tenants' private keys in the storage ({kind})"),
        None => "tenants' private keys in the storage".to_owned(),
    };
    search.found("key material", format!("{signs}; {keys}"), "");
}

/// One finding a secret, because each is changed in its own way.
fn published(search: &mut Search<'_>) {
    let environment = search.environment;
    let mut names: Vec<&str> = defaults::published_names().collect();
    names.sort_unstable();
    for name in names {
        // What is of another vector store is not in use unless somebody set it.
        let Some(value) = environment.said(name).filter(|value| defaults::is_published(name, &value.text))
        else {
            continue;
        };
        let is_used = search.origins.values().any(|origin| origin.variable == name && origin.part.is_none());
        let is_ours = matches!(name, "SECRET_KEY" | "PLUGIN_DIFY_INNER_API_KEY" | "SANDBOX_API_KEY");
        if is_used || is_ours {
            let is_default = value.source == Source::Default;
            search.findings.push(a_published(name, is_default));
        }
    }
    let broker = environment.said("CELERY_BROKER_URL");
    let password = broker.as_ref().and_then(|url| broker::password(&url.text));
    if password.is_some_and(|password| defaults::is_published("REDIS_PASSWORD", &password)) {
        search.findings.push(a_published("CELERY_BROKER_URL", false));
    }
}

fn a_published(name: &str, is_default: bool) -> Finding {
    let (cause, remedy) = match name {
        "SECRET_KEY" => (
            "it signs sessions and file addresses: who knows it can make either",
            "set SECRET_KEY to `openssl rand -base64 42` and restart api, worker and web; everybody signs in again, and OAuth clients of plugins are entered again",
        ),
        "DB_PASSWORD" => (
            "who reaches the database's port reads and changes everything",
            "`ALTER USER … PASSWORD` in PostgreSQL, then DB_PASSWORD in the .env, then restart; the .env alone changes nothing",
        ),
        "REDIS_PASSWORD" | "CELERY_BROKER_URL" => (
            "who reaches the port of Redis can queue any task and read decrypted model keys in its cache",
            "change REDIS_PASSWORD and the password in CELERY_BROKER_URL together, then restart redis, api, worker, worker_beat, plugin_daemon",
        ),
        "SANDBOX_API_KEY" | "CODE_EXECUTION_API_KEY" => (
            "who reaches the sandbox's port can run code in it",
            "set SANDBOX_API_KEY and CODE_EXECUTION_API_KEY to the same new key, then restart sandbox, api and worker",
        ),
        "PLUGIN_DAEMON_KEY" => (
            "who reaches the plugin daemon's port can install plugins, which is to run code",
            "set a new PLUGIN_DAEMON_KEY, then restart plugin_daemon, api and worker",
        ),
        "PLUGIN_DIFY_INNER_API_KEY" => (
            "who reaches the API's port can call its inner API, models of every tenant included",
            "set a new PLUGIN_DIFY_INNER_API_KEY, then restart plugin_daemon, api and worker",
        ),
        _ => ("who reaches its port is let in", "set a new one on both sides, then restart both"),
    };
    let answered = match is_default {
        true => "not set, so Dify's compose file gives the published one",
        false => "the value that is published in Dify's repository",
    };
    Finding {
        id: "published-secret".to_owned(),
        severity: Severity::Warning,
        component: "configuration".to_owned(),
        subject: Subject::default(),
        what: format!("{name} is the secret that stands in Dify's repository"),
        cause: cause.to_owned(),
        remedy: remedy.to_owned(),
        evidence: vec![Evidence::new(format!("{name} in the .env"), answered)],
    }
}

/// Two variables that hold one key.
fn pair(search: &mut Search<'_>, one: &str, other: &str, cause: &str) {
    let said = |name: &str| search.environment.said(name).map(|value| value.text);
    let (Some(first), Some(second)) = (said(one), said(other)) else { return };
    // Weaviate takes a list.
    if second.split(',').any(|key| key.trim() == first.trim()) {
        return;
    }
    search.findings.push(Finding {
        id: "keys-differ".to_owned(),
        severity: Severity::Warning,
        component: "configuration".to_owned(),
        subject: Subject::default(),
        what: format!("{one} and {other} differ"),
        cause: cause.to_owned(),
        remedy: "give both the same value and restart who uses them".to_owned(),
        evidence: vec![Evidence::new(format!("{one} and {other} in the .env"), "two values")],
    });
}

/// Changed in one of the two places: the cause of half of the `WRONGPASS` reports.
fn broker_password(search: &mut Search<'_>, deployment: &Deployment) {
    let (Some(app), Some(broker)) = (&deployment.redis, &deployment.broker) else { return };
    let is_one_server = matches!(
        (&app.at, &broker.at),
        (RedisAt::Server { host, port }, RedisAt::Server { host: other, port: other_port })
            if host == other && port == other_port
    );
    if is_one_server && app.user == broker.user && app.password != broker.password {
        search.findings.push(Finding {
            id: "broker-password-differs".to_owned(),
            severity: Severity::Critical,
            component: "broker".to_owned(),
            subject: Subject::default(),
            what: "REDIS_PASSWORD and the password in CELERY_BROKER_URL differ, and both are of one Redis".to_owned(),
            cause: "one of them is refused: either the API or every worker cannot use Redis".to_owned(),
            remedy: "write the same password into both (percent-encoded in the URL) and restart api, worker, worker_beat".to_owned(),
            evidence: vec![Evidence::new("REDIS_PASSWORD and CELERY_BROKER_URL in the .env", "two passwords")],
        });
    }
}

/// `db_postgres` is started by a profile; an `.env` of before 1.12 names none.
fn profiles(search: &mut Search<'_>, deployment: &Deployment) {
    let environment = search.environment;
    let Some(compose) = &environment.compose else { return };
    let active = environment.own("COMPOSE_PROFILES").unwrap_or_default();
    let active: Vec<&str> = active.split(',').map(str::trim).collect();
    let database = deployment.database.as_ref().and(environment.said("DB_HOST")).map(|value| value.text);
    let host = database.unwrap_or_default();
    let Some(service) = compose.service(host.trim()) else { return };
    let is_started = service.profiles.is_empty()
        || service.profiles.iter().any(|profile| profile.is_empty() || active.contains(&profile.as_str()));
    if !is_started {
        let wanted = service.profiles.join(", ");
        search.findings.push(Finding {
            id: "profile-not-started".to_owned(),
            severity: Severity::Warning,
            component: "database".to_owned(),
            subject: Subject::default(),
            what: format!("the service {} is started by the profile {wanted} only, and COMPOSE_PROFILES does not name it", host.trim()),
            cause: "`docker compose up` leaves the database out, and the API cannot resolve its name".to_owned(),
            remedy: "set COMPOSE_PROFILES=${VECTOR_STORE:-weaviate},${DB_TYPE:-postgresql} in the .env".to_owned(),
            evidence: vec![Evidence::new("COMPOSE_PROFILES in the .env", active.join(","))],
        });
    }
}
