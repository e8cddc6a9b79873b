//! A bundle for whoever helps: what was found and how the deployment is laid out, without its secrets.
//!
//! Promises: no secret of the deployment is in it, neither as it is nor percent-encoded, escaped or in base64, wherever others
//! put it: a server may say in an error what it was sent.

mod scrub;
mod tar;

use std::io;

use mainstay_base::Micros;
use mainstay_control::doctor::Diagnosis;
use mainstay_dify::{
    Deployment,
    deployment::{Database, Login, Redis, RedisAt, Service, Storage, Tls},
    probe::Component,
};
use serde_json::{Value, json};

use scrub::{REMOVED, Scrub};

/// Names and contents.
pub(super) fn files(
    diagnosis: &Diagnosis,
    whole: &Value,
    deployment: &Deployment,
) -> Vec<(&'static str, String)> {
    let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default();
    let component = |report: &mainstay_dify::probe::Report| {
        (report.component.clone(), json!({"state": report.state, "facts": report.facts}))
    };
    let versions: serde_json::Map<String, Value> = diagnosis.reports.iter().map(component).collect();
    vec![
        ("README.txt", "Made by `mainstay doctor --bundle`. Secrets are taken out; names of hosts, users, queues and apps are in it.\n".to_owned()),
        ("doctor.json", pretty(whole)),
        ("versions.json", pretty(&json!({"mainstay": env!("CARGO_PKG_VERSION"), "dify": diagnosis.version, "components": versions}))),
        ("deployment.json", pretty(&layout(deployment))),
        ("schema.json", pretty(&json!(diagnosis.schema))),
        ("queues.json", pretty(&json!({"queues": diagnosis.queues, "workers": diagnosis.workers}))),
    ]
}

/// Where the parts are; of a secret only whether there is one.
fn layout(deployment: &Deployment) -> Value {
    let Deployment {
        name,
        api_url,
        web_url,
        database,
        repairs,
        plugin_database,
        redis,
        broker,
        vector,
        plugin_daemon,
        sandbox,
        ssrf_proxy_url,
        storage,
        canary,
        sizes,
        pace,
        signatures,
    } = deployment;
    json!({
        "name": name,
        "api_url": api_url.as_deref().map(without_login),
        "web_url": web_url.as_deref().map(without_login),
        "database": database.as_ref().map(of_database),
        "repairs": repairs.as_ref().map(of_login),
        "plugin_database": plugin_database.as_ref().map(of_database),
        "redis": redis.as_ref().map(of_redis),
        "broker": broker.as_ref().map(of_redis),
        "vector": vector.as_ref().map(|vector| json!({
            "kind": vector.kind,
            "url": vector.url.as_deref().map(without_login),
            "has_key": vector.api_key.is_some(),
            "login": vector.login.as_ref().map(of_login),
            "database": vector.database.as_ref().map(of_database),
            "index_prefix": vector.index_prefix,
        })),
        "plugin_daemon": plugin_daemon.as_ref().map(of_service),
        "sandbox": sandbox.as_ref().map(of_service),
        "ssrf_proxy_url": ssrf_proxy_url.as_deref().map(without_login),
        "storage": match storage {
            Some(Storage::Folder(folder)) => json!({"folder": folder}),
            Some(Storage::Elsewhere(kind)) => json!({"kind": kind}),
            None => Value::Null,
        },
        "has_canary": canary.is_some(),
        "sizes": format!("{sizes:?}"),
        "probes_every_s": Component::ALL.map(|component| (component.as_str(), pace.every(component).as_secs())),
        "signatures": signatures,
    })
}

fn of_database(database: &Database) -> Value {
    let Database { host, port, user, password, name, tls } = database;
    json!({"host": host, "port": port, "user": user, "has_password": password.is_some(), "name": name, "tls": of_tls(*tls)})
}

fn of_login(login: &Login) -> Value {
    json!({"user": login.user, "has_password": login.password.is_some()})
}

fn of_service(service: &Service) -> Value {
    json!({"url": without_login(&service.url), "has_key": service.key.is_some()})
}

fn of_redis(redis: &Redis) -> Value {
    let at = match &redis.at {
        RedisAt::Server { host, port } => json!({"host": host, "port": port}),
        RedisAt::Sentinel { sentinels, service, .. } => json!({"sentinels": sentinels, "service": service}),
    };
    json!({
        "at": at,
        "user": redis.user,
        "has_password": redis.password.is_some(),
        "database": redis.database,
        "tls": of_tls(redis.tls),
        "key_prefix": redis.key_prefix,
    })
}

fn of_tls(tls: Tls) -> &'static str {
    match tls {
        Tls::Off => "off",
        Tls::Unchecked => "unchecked",
        Tls::Checked => "checked",
    }
}

fn without_login(address: &str) -> String {
    match url::Url::parse(address) {
        Ok(mut parsed) => {
            let _ = parsed.set_password(None);
            let _ = parsed.set_username("");
            parsed.to_string()
        }
        Err(_) => REMOVED.to_owned(),
    }
}

/// The files as a `.tar.gz`, every secret taken out of each. `dotenv_texts` are those of the deployment, whose other secrets
/// are taken out too.
pub(super) fn pack(
    files: Vec<(&'static str, String)>,
    deployment: &Deployment,
    dotenv_texts: &[String],
    at: Micros,
) -> io::Result<Vec<u8>> {
    let scrub = Scrub::new(deployment, dotenv_texts);
    let clean: Vec<_> = files.into_iter().map(|(name, content)| (name, scrub.text(content))).collect();
    tar::pack(&clean, at)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use base64::Engine as _;
    use flate2::read::GzDecoder;
    use mainstay_base::{Evidence, Finding, Secret, Severity, finding::Subject};
    use mainstay_control::doctor::{Facts, judge};
    use mainstay_dify::{
        deployment::{Canary, Vector},
        signature::Catalogue,
    };

    use super::{scrub::secrets, tar::BLOCK, *};

    /// Every secret that a deployment can have, each with letters that have to be escaped somewhere.
    fn deployment() -> Deployment {
        let secret = |name: &str| Some(Secret::new(format!("{name}/+ \"p@ss%wörd\"")));
        let database = |name: &str| Database {
            host: "db".to_owned(),
            port: 5432,
            user: "mainstay".to_owned(),
            password: secret(name),
            name: "dify".to_owned(),
            tls: Tls::Off,
        };
        let redis = |name: &str| Redis {
            at: RedisAt::Sentinel {
                sentinels: vec![("s1".to_owned(), 26379)],
                service: "master".to_owned(),
                user: None,
                password: secret(&format!("{name}-sentinel")),
            },
            user: None,
            password: secret(name),
            database: 0,
            tls: Tls::Off,
            key_prefix: String::new(),
        };
        let login = |name: &str| Some(Login { user: "u".to_owned(), password: secret(name) });
        let service =
            |name: &str| Some(Service { url: "http://u:in-the-url@p:1".to_owned(), key: secret(name) });
        Deployment {
            api_url: Some("http://admin:in-the-url@api:5001".to_owned()),
            database: Some(database("main")),
            repairs: login("repairs"),
            plugin_database: Some(database("plugins")),
            redis: Some(redis("redis")),
            broker: Some(redis("broker")),
            vector: Some(Vector {
                kind: "weaviate".to_owned(),
                url: Some("http://w:8080".to_owned()),
                api_key: secret("vector-key"),
                login: login("vector-login"),
                database: Some(database("vector-database")),
                index_prefix: "Vector_index".to_owned(),
            }),
            plugin_daemon: service("daemon"),
            sandbox: service("sandbox"),
            canary: Some(Canary { key: Secret::new("app-canary/+key"), inputs: serde_json::Map::new() }),
            ..Deployment::named("test")
        }
    }

    fn unpacked(packed: &[u8]) -> Vec<(String, String)> {
        let mut tar = Vec::new();
        GzDecoder::new(packed).read_to_end(&mut tar).unwrap();
        let mut files = Vec::new();
        let mut rest = tar.as_slice();
        while rest[0] != 0 {
            let text = |from: usize, to: usize| {
                String::from_utf8_lossy(&rest[from..to]).trim_matches(['\0', ' ']).to_owned()
            };
            let size = usize::from_str_radix(&text(124, 136), 8).unwrap();
            let sum: u32 = rest[..BLOCK]
                .iter()
                .enumerate()
                .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
                .sum();
            assert_eq!(u32::from_str_radix(&text(148, 154), 8).unwrap(), sum, "the sum of a head");
            files.push((text(0, 100), String::from_utf8(rest[BLOCK..BLOCK + size].to_vec()).unwrap()));
            rest = &rest[BLOCK + size.next_multiple_of(BLOCK)..];
        }
        files
    }

    /// A server that says in an error what it was sent, in every form, puts no secret into the bundle.
    #[test]
    fn a_bundle_holds_no_secret_in_any_form() {
        let deployment = deployment();
        let secrets: Vec<&str> = secrets(&deployment).into_iter().map(Secret::expose).collect();
        assert_eq!(secrets.len(), 13, "every secret is named");
        let padded = base64::engine::general_purpose::STANDARD;
        let encodings = |secret: &str| {
            let percent: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            let mut forms =
                vec![secret.to_owned(), percent.clone(), percent.replace('+', "%20"), percent.to_lowercase()];
            for before in ["", "u:", "user:", "admin:"] {
                forms.push(padded.encode(format!("{before}{secret}")));
                forms.push(padded.encode(format!("{before}{secret}@host")));
            }
            forms
        };
        let answered: Vec<String> = secrets.iter().flat_map(|secret| encodings(secret)).collect();
        let mut facts = Facts { deployment: "test".to_owned(), ..Facts::default() };
        facts.queues.findings.push(Finding {
            id: "x".to_owned(),
            severity: Severity::Note,
            component: "x".to_owned(),
            subject: Subject::default(),
            what: answered.join(" "),
            cause: String::new(),
            remedy: String::new(),
            evidence: answered.iter().map(|form| Evidence::new("asked", form.clone())).collect(),
        });
        let diagnosis = judge(facts, Catalogue::built_in());
        let whole = serde_json::to_value(&diagnosis).unwrap();
        let packed = pack(files(&diagnosis, &whole, &deployment), &deployment, &[], Micros(0)).unwrap();
        let files = unpacked(&packed);
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["README.txt", "doctor.json", "versions.json", "deployment.json", "schema.json", "queues.json"]
                .map(|name| format!("mainstay-doctor/{name}"))
        );
        for (name, content) in &files {
            for secret in &secrets {
                for form in encodings(secret) {
                    assert!(!content.contains(&form), "{name} holds {form}");
                    // Of base64 what is the secret's own, without the letters that it shares with its neighbours.
                }
                let escaped = Value::from(*secret).to_string();
                assert!(!content.contains(escaped.trim_matches('"')), "{name} holds {escaped}");
            }
            assert!(!content.contains("in-the-url"), "{name} holds a login of an address");
        }
        assert!(files[1].1.contains(REMOVED) && files[3].1.contains("\"host\": \"db\""));
    }
}
