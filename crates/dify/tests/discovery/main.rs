//! Deployments as data: each folder of `fixtures/deployments` is one, with what is found in it as a snapshot.

mod dotenv;

use std::path::{Path, PathBuf};

use mainstay_base::{Finding, Secret, secret::Part};
use mainstay_dify::{
    deployment::{RedisAt, Storage, Tls},
    discovery::{self, Ask, Discovered, Found, Gap, Origin, Refused, discover},
};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/deployments").join(name)
}

fn find(name: &str, host: Option<&str>) -> Result<Discovered, Refused> {
    discover(&Ask { env_file: &folder(name).join(".env"), host })
}

/// Everything that was found, as a person reads it, with the fixture's folder as `…`.
fn told(name: &str, host: Option<&str>) -> String {
    let mut lines = Vec::new();
    match find(name, host) {
        Ok(found) => {
            let Discovered { deployment, origins, found, gaps, findings, version: _, files } = found;
            for Found { part, what, note } in found {
                lines.push(format!(
                    "{part}: {what}{}",
                    note.map(|note| format!(" ({note})")).unwrap_or_default()
                ));
            }
            lines.push(String::new());
            for Gap { part, what, matters } in gaps {
                lines.push(format!("not seen, {part}: {what}; {matters}"));
            }
            for Finding { id, what, .. } in findings {
                lines.push(format!("{id}: {what}"));
            }
            lines.push(String::new());
            for (key, Origin { variable, part, source, note: _ }) in origins {
                let part = part.map(|part| format!(" {part:?}")).unwrap_or_default();
                lines.push(format!("{key} = {variable}{part}, {source:?}"));
            }
            lines.push(String::new());
            lines.extend(files.iter().map(|path| path.display().to_string()));
            lines.push(format!("{deployment:#?}"));
        }
        Err(refused) => {
            lines.push(refused.to_string());
            lines.extend(refused.problems);
        }
    }
    lines.join("\n").replace(&folder(name).display().to_string(), "…")
}

#[test]
fn deployments_are_found_as_they_are() {
    for (name, host) in [
        ("plain-1.12", None),
        ("published-1.14", Some("127.0.0.1")),
        ("sentinel", None),
        ("rediss-cluster", None),
        ("mysql", None),
        ("rabbitmq", None),
        ("kubernetes", None),
        ("s3-elsewhere", None),
        ("host-1.13", Some("192.0.2.7")),
        ("broken", None),
    ] {
        let text = told(name, host);
        assert!(!text.contains("hunter2"), "{name} tells a secret:\n{text}");
        insta::assert_snapshot!(name, text);
    }
}

#[test]
fn secrets_are_found_with_their_quotes_and_escapes_resolved() {
    let found = find("published-1.14", None).unwrap().deployment;
    let secret = |text: &str| Some(Secret::new(text));
    assert_eq!(found.database.unwrap().password, secret("pa$$ #word"));
    assert_eq!(found.redis.unwrap().password, secret("r@dis\"1"));
    assert_eq!(found.broker.unwrap().password, secret("r@dis\"1"));
    let found = find("rediss-cluster", None).unwrap().deployment;
    let broker = found.broker.unwrap();
    assert_eq!((broker.password, broker.tls, broker.database), (secret("p@ss/word"), Tls::Checked, 3));
    let found = find("kubernetes", None).unwrap().deployment;
    assert_eq!(found.database.unwrap().password, secret("hunter2$HOME"));
    assert_eq!(
        found.redis.unwrap().password,
        None,
        "empty in the file is no password, whatever compose gives"
    );
    assert_eq!(found.storage, Some(Storage::Elsewhere("s3".to_owned())));
    let found = find("sentinel", None).unwrap().deployment;
    let Some(RedisAt::Sentinel { password, .. }) = found.broker.map(|broker| broker.at) else { panic!() };
    assert_eq!(password, secret("hunter2-sentinel"));
}

#[test]
fn a_reference_has_the_value_that_discovery_found() {
    for name in ["plain-1.12", "published-1.14", "sentinel", "rediss-cluster", "kubernetes", "host-1.13"] {
        let found = find(name, None).unwrap();
        let at = |key: &str| {
            let Origin { variable, part, .. } = found.origins.get(key)?;
            Some(discovery::lookup(&folder(name).join(".env"), variable, *part).unwrap())
        };
        let deployment = &found.deployment;
        assert_eq!(at("database.password"), deployment.database.as_ref().and_then(|at| at.password.clone()));
        assert_eq!(at("redis.password"), deployment.redis.as_ref().and_then(|at| at.password.clone()));
        assert_eq!(at("broker.password"), deployment.broker.as_ref().and_then(|at| at.password.clone()));
        assert_eq!(at("sandbox.key"), deployment.sandbox.as_ref().and_then(|at| at.key.clone()));
        assert_eq!(at("vector.api_key"), deployment.vector.as_ref().and_then(|at| at.api_key.clone()));
    }
}

#[test]
fn what_a_reference_does_not_find_is_named_without_values() {
    let env = folder("sentinel").join(".env");
    let error = discovery::lookup(&env, "NO_SUCH_NAME", None).unwrap_err();
    assert!(error.starts_with("NO_SUCH_NAME is not set in "), "{error}");
    let error = discovery::lookup(&env, "DB_PASSWORD", Some(Part::Password)).unwrap_err();
    assert!(error.contains("is no address with a password") && !error.contains("hunter2"), "{error}");
    assert!(discovery::lookup(Path::new("/nonexistent/.env"), "SECRET_KEY", None).is_err());
}

#[test]
fn a_file_that_sets_nothing_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".env");
    std::fs::write(&path, "# to come\n").unwrap();
    let parts = |found: Discovered| found.gaps.iter().map(|gap| gap.part).collect::<Vec<_>>();
    let found = discover(&Ask { env_file: &path, host: None }).unwrap();
    assert!(parts(found).contains(&"settings"));
    assert!(!parts(find("host-1.13", None).unwrap()).contains(&"settings"));
}

#[test]
fn files_that_are_none_or_too_long_are_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join(".env");
    let refused = || discover(&Ask { env_file: &path, host: None }).unwrap_err().problems.join("\n");
    assert!(refused().contains("cannot be read"), "{}", refused());
    std::fs::create_dir(&path).unwrap();
    assert!(refused().contains("is not a file"), "{}", refused());
    std::fs::remove_dir(&path).unwrap();
    std::fs::write(&path, "A=1\n".repeat(500_000)).unwrap();
    assert!(refused().contains("is longer than"), "{}", refused());
    std::fs::write(&path, b"A=\xff\xfe\n").unwrap();
    assert!(refused().contains("is not UTF-8"), "{}", refused());
}
