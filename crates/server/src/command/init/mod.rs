//! `mainstay init`: from the `.env` of a Dify to a configuration, with a report of what was found.
//!
//! Promises: never writes over a file that is there unless forced, whole or not at all, readable by its owner only;
//! no secret is written or printed.

mod render;
mod report;

use std::path::Path;

use mainstay_dify::discovery::Discovered;
use serde_json::json;

use crate::{
    cli::Init,
    deployment,
    failure::{Exit, Failure},
    last_good, output,
};

pub(super) fn run(init: &Init) -> Result<Exit, Failure> {
    let path = &init.output;
    // Said before anything else is: the rest would be read in vain.
    if path.exists() && !init.force {
        return Err(taken(path));
    }
    let found = deployment::discovered(&init.dify_env, init.host.as_deref())?;
    write(path, &render::configuration(&found), init.force)?;
    match init.json {
        true => output::json(&as_json(&found, path)),
        false => output::line(report::text(&found, path)),
    }
    Ok(Exit::Good)
}

fn write(path: &Path, text: &str, force: bool) -> Result<(), Failure> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => taken(path),
        _ => Failure::problem(
            format!("cannot write {}", path.display()),
            error,
            "give --output FILE in a folder that this user may write to",
        ),
    };
    match force {
        true => last_good::replace(path, text.as_bytes()).map_err(failed),
        false => last_good::write_new(path, text.as_bytes()).map_err(failed),
    }
}

fn taken(path: &Path) -> Failure {
    Failure::usage(
        format!("cannot write {}", path.display()),
        "it is there already",
        "give --output FILE for another one, or --force to write over it",
    )
}

/// What somebody's program reads.
fn as_json(found: &Discovered, path: &Path) -> serde_json::Value {
    let Discovered { deployment, found: parts, gaps, findings, version, files, origins: _ } = found;
    let grants = report::grants_of(deployment);
    json!({
        "wrote": path.display().to_string(),
        "files": files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>(),
        "version": version,
        "found": parts.iter().map(|found| json!({"part": found.part, "what": found.what, "note": found.note})).collect::<Vec<_>>(),
        "not_seen": gaps.iter().map(|gap| json!({"part": gap.part, "what": gap.what, "matters": gap.matters})).collect::<Vec<_>>(),
        "findings": findings,
        "grants": grants.map(|grants| json!({
            "reader": grants.reader,
            "plugin_reader": grants.plugin_reader,
            "repairs": grants.repairs,
        })),
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use mainstay_base::Secret;
    use mainstay_dify::Deployment;

    use super::*;
    use crate::config::{Follow, parse};

    const DEPLOYMENTS: [(&str, Option<&str>); 8] = [
        ("plain-1.12", None),
        ("published-1.14", Some("127.0.0.1")),
        ("sentinel", None),
        ("rediss-cluster", None),
        ("rabbitmq", None),
        ("kubernetes", None),
        ("s3-elsewhere", None),
        ("host-1.13", Some("192.0.2.7")),
    ];

    fn found(name: &str, host: Option<&str>) -> Discovered {
        let folder =
            PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../dify/tests/fixtures/deployments"));
        deployment::discovered(&folder.join(name).join(".env"), host).unwrap()
    }

    #[test]
    fn the_configuration_describes_what_was_found() {
        for (name, host) in DEPLOYMENTS {
            let found = found(name, host);
            let text = render::configuration(&found);
            let config = parse(name, &text, &[], Follow::Yes)
                .unwrap_or_else(|error| panic!("{name}: {error:?}\n{text}"));
            assert_eq!(config.dify, Some(found.deployment), "{name}");
            assert_eq!(config.warnings, [], "{name}");
        }
    }

    #[test]
    fn what_is_off_in_the_configuration_can_be_switched_on() {
        let text = render::configuration(&found("plain-1.12", None));
        let mut on = String::new();
        for line in text.lines() {
            match line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')) {
                // The better role in place of Dify's own.
                Some(rest) if rest.starts_with("user =") || rest.starts_with("password =") => {}
                Some(rest) => on.push_str(rest),
                None => on.push_str(line),
            }
            on.push('\n');
        }
        let config = parse("on", &on, &[], Follow::FormOnly).unwrap();
        let dify = config.dify.unwrap();
        assert!(dify.canary.is_some() && dify.repairs.is_some() && config.unknown_keys_to.is_some());
    }

    fn secrets(deployment: &Deployment) -> Vec<&Secret> {
        let Deployment { database, plugin_database, redis, broker, vector, plugin_daemon, sandbox, .. } =
            deployment;
        let databases =
            [database, plugin_database].into_iter().flatten().filter_map(|at| at.password.as_ref());
        let redis = [redis, broker].into_iter().flatten().filter_map(|at| at.password.as_ref());
        let services = [plugin_daemon, sandbox].into_iter().flatten().filter_map(|at| at.key.as_ref());
        let vector = vector.iter().filter_map(|at| at.api_key.as_ref());
        databases.chain(redis).chain(services).chain(vector).collect()
    }

    #[test]
    fn no_secret_is_written_or_printed() {
        for (name, host) in DEPLOYMENTS {
            let found = found(name, host);
            let path = Path::new("mainstay.toml");
            for text in [
                render::configuration(&found),
                report::text(&found, path),
                as_json(&found, path).to_string(),
                format!("{found:?}"),
            ] {
                for secret in secrets(&found.deployment) {
                    // One fixture has the word of a part as its password, which then stands there as that.
                    let is_told = secret.expose().len() > 5 && text.contains(secret.expose());
                    // Dify's published key of the sandbox is also how its image is called.
                    assert!(!is_told || secret.expose() == "dify-sandbox", "{name}:\n{text}");
                }
                assert!(!text.contains("hunter2"), "{name}:\n{text}");
            }
        }
    }
}
