//! `mainstay check`: every problem of a configuration at once.

use serde_json::json;

use crate::{
    cli::Check,
    config::{self, Config, Follow, LoadError, Problem},
    failure::{Exit, Failure, chain},
    output,
};

pub(super) fn run(check: &Check) -> Result<Exit, Failure> {
    if check.print_example {
        output::line(config::example().trim_end());
        return Ok(Exit::Good);
    }
    let follow = if check.without_secrets { Follow::FormOnly } else { Follow::Yes };
    let path = &check.config.config;
    match config::load(path, follow) {
        Ok(config) => {
            match check.json {
                true => output::json(
                    &json!({"ok": true, "problems": [], "warnings": listed(&config.warnings), "revision": config.revision}),
                ),
                false => {
                    output::line(format!("{} is good: {}", path.display(), summary(&config)));
                    for Problem { path, message } in &config.warnings {
                        output::line(format!("warning: {path} {message}"));
                    }
                }
            }
            Ok(Exit::Good)
        }
        Err(LoadError::Problems(problems)) if check.json => {
            output::json(&json!({"ok": false, "problems": listed(&problems)}));
            Ok(Exit::Usage)
        }
        Err(error) => Err(failure(&path.display().to_string(), &error)),
    }
}

fn listed(problems: &[Problem]) -> serde_json::Value {
    problems.iter().map(|Problem { path, message }| json!({"path": path, "message": message})).collect()
}

fn summary(config: &Config) -> String {
    let engine = if config.engine.enabled { "embedded engine on" } else { "embedded engine off" };
    let dify = if config.dify.is_some() { "a Dify to look after" } else { "no Dify to look after" };
    format!(
        "{} upstreams, {} apps, {engine}, {dify}, {} providers, {} models, {} workers; revision {}",
        config.upstreams.len(),
        config.apps.len(),
        config.providers.len(),
        config.model.routes.len(),
        config.workers.count,
        config.revision
    )
}

/// A configuration that cannot be used, as every command that needs one reports it.
pub(crate) fn failure(path: &str, error: &LoadError) -> Failure {
    match error {
        LoadError::Problems(problems) => {
            let lines: Vec<String> =
                problems.iter().map(|Problem { path, message }| format!("    {path} {message}")).collect();
            Failure::usage(
                format!("cannot use {path}"),
                format!("{error}\n{}", lines.join("\n")),
                "mainstay check --print-example shows every key",
            )
        }
        LoadError::Read { .. } => Failure::usage(
            format!("cannot use {path}"),
            chain(error),
            "give --config, or start from mainstay check --print-example",
        ),
        LoadError::TooLarge { .. }
        | LoadError::Syntax { .. }
        | LoadError::Empty { .. }
        | LoadError::Changing { .. }
        | LoadError::Silent { .. } => Failure::usage(
            format!("cannot use {path}"),
            chain(error),
            "mainstay check --print-example shows every key",
        ),
    }
}
