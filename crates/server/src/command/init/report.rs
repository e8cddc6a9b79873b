//! What `mainstay init` says: what was found, what was not and why that matters, what is wrong, what to grant.

use std::path::Path;

use mainstay_base::Finding;
use mainstay_dify::{
    Deployment,
    celery::act::word,
    discovery::{Discovered, Found, Gap, Grants, grants},
};

pub(super) fn text(found: &Discovered, wrote: &Path) -> String {
    let Discovered { deployment, found: parts, gaps, findings, files, origins: _, version: _ } = found;
    let mut page = String::new();
    let mut line = |text: &str| {
        page.push_str(text);
        page.push('\n');
    };
    line("Read:");
    for file in files {
        line(&format!("  {}", file.display()));
    }
    line("\nFound:");
    let width = parts.iter().map(|found| found.part.len()).max().unwrap_or(0);
    for Found { part, what, .. } in parts {
        line(&format!("  {part:<width$}  {}", plain(what)));
    }
    let noted: Vec<&Found> = parts.iter().filter(|found| found.note.is_some()).collect();
    if !noted.is_empty() {
        line("\nTo know:");
        for Found { part, note, .. } in noted {
            line(&format!("  {part:<width$}  {}", plain(note.as_deref().unwrap_or_default())));
        }
        let is_inside =
            |found: &&Found| found.note.as_deref().is_some_and(|note| note.starts_with("only inside"));
        if parts.iter().any(|found| is_inside(&found)) {
            line(
                "  Names of the compose network resolve where Mainstay runs in it (networks: [default, ssrf_proxy_network]), or are\n  \
                 reached by published ports: add them to docker-compose.override.yaml and run init again with --host ADDRESS.",
            );
        }
    }
    if !gaps.is_empty() {
        line("\nNot seen:");
        for Gap { part, what, matters } in gaps {
            line(&format!("  {part}: {}", plain(what)));
            line(&format!("    so: {}", plain(matters)));
        }
    }
    if !findings.is_empty() {
        line("\nWrong in this Dify:");
        for Finding { severity, what, cause, remedy, .. } in findings {
            line(&format!("  {}: {}", format!("{severity:?}").to_lowercase(), plain(what)));
            line(&format!("    why:  {}", plain(cause)));
            line(&format!("    do:   {}", plain(remedy)));
        }
    }
    if let Some(Grants { reader, plugin_reader, repairs }) = grants_of(deployment) {
        line(
            "\nRights: the configuration uses Dify's own user, which may do anything. A role that can only read is enough:\n",
        );
        for script in [Some(reader), plugin_reader].into_iter().flatten() {
            line(&indented(&script));
        }
        line("Optional, for guarded repairs (dify.database.write_user):\n");
        line(&indented(&repairs));
    }
    line(&format!("Wrote {} (readable by you only; it holds references, no secret).", wrote.display()));
    let path = wrote.display().to_string();
    let path = word(&path);
    line(&format!("Next: mainstay check --config {path} && mainstay doctor --config {path}"));
    page.trim_end().to_owned()
}

pub(super) fn grants_of(deployment: &Deployment) -> Option<Grants> {
    let database = deployment.database.as_ref()?;
    Some(grants(database, deployment.plugin_database.as_ref()))
}

fn indented(script: &str) -> String {
    script.lines().map(|line| format!("    {line}\n")).collect()
}

/// What comes from a foreign file must not drive the terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
