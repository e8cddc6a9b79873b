//! `mainstay doctor`: one whole look at a Dify: a table of its components, then what is wrong, the worst first.

mod bundle;
mod print;

use std::{io::IsTerminal as _, path::Path};

use mainstay_base::{Clock, Severity};
use mainstay_control::doctor::{Asked, Diagnosis, Facts, Outcome, Version, gather, judge};
use mainstay_dify::{
    Deployment,
    discovery::{Discovered, Gap},
    probe::{Prober, Report, State},
};
use mainstay_net::{Client, ClientOptions};
use serde_json::json;

use crate::{
    cli::{self, Doctor},
    config, deployment,
    failure::{Exit, Failure},
    last_good, output,
};

pub(super) async fn run(asked: &Doctor) -> Result<Exit, Failure> {
    somewhere(&asked.dify)?;
    let upgrade_to = asked.upgrade_to.as_deref().map(version).transpose()?;
    let files = match &asked.dify.dify_env {
        Some(env_file) => Some(deployment::discovered(env_file, asked.dify.host.as_deref())?),
        None => None,
    };
    let deployment = match &files {
        Some(found) => found.deployment.clone(),
        None => deployment::deployment(&asked.dify)?,
    };
    let catalogue = deployment::catalogue(&deployment)?;
    let client = Client::new(ClientOptions::default()).map_err(|error| {
        Failure::problem("cannot ask over HTTP", error, "report it: this is a mistake of Mainstay")
    })?;
    let prober = Prober::new(deployment, client);
    let tells = std::io::stderr().is_terminal() && !asked.json;
    let each = |report: &Report| {
        if tells && report.state != State::NotConfigured {
            output::note(format!("  {:<16} {}", report.component, report.state.as_str()));
        }
    };
    let mut facts = Box::pin(gather(&prober, &Clock::System, Asked { upgrade_to }, each)).await;
    if let Some(found) = files {
        by_files(&mut facts, found);
    }
    let mut diagnosis = judge(facts, &catalogue);
    let flags = deployment::flags(&asked.dify);
    for finding in &mut diagnosis.findings {
        finding.remedy = deployment::with_flags(&finding.remedy, &flags);
    }
    if let Some(path) = &asked.bundle {
        write_bundle(path, &diagnosis, prober.deployment(), &deployment::dotenv_texts(&asked.dify))?;
    }
    match asked.json {
        true => output::json(&as_json(&diagnosis)),
        false => print::diagnosis(&diagnosis),
    }
    Ok(match diagnosis.outcome() {
        Outcome::Well => Exit::Good,
        Outcome::Problem => Exit::Problem,
        Outcome::Unreachable => Exit::Unreachable,
    })
}

/// What only the files tell: pairs of settings that cannot both be right, and why a part is not looked at.
fn by_files(facts: &mut Facts, found: Discovered) {
    let Discovered { gaps, findings, .. } = found;
    for report in facts.reports.iter_mut().filter(|report| report.state == State::NotConfigured) {
        let of_report = |gap: &&Gap| match gap.part {
            "vector store" => report.component == "vector",
            part => part.replace(' ', "-") == report.component,
        };
        if let Some(gap) = gaps.iter().find(of_report) {
            report.reason.clone_from(&gap.what);
        }
    }
    facts.by_files = findings;
    // A secret that everybody knows lets others in; it keeps nothing from working.
    for finding in facts.by_files.iter_mut().filter(|finding| finding.id == "published-secret") {
        finding.severity = Severity::Note;
    }
}

/// Without any pointer at a Dify there is nothing to look at.
fn somewhere(asked: &cli::Dify) -> Result<(), Failure> {
    let is_told = asked.config.is_some() || asked.dify_env.is_some();
    if is_told || Path::new(config::DEFAULT_PATH).exists() {
        return Ok(());
    }
    Err(Failure::usage(
        "no Dify to look at",
        format!("neither --dify-env nor --config is given, and there is no {} here", config::DEFAULT_PATH),
        "mainstay doctor --dify-env docker/.env, the .env of your Dify",
    ))
}

fn version(text: &str) -> Result<Version, Failure> {
    Version::parse(text).ok_or_else(|| {
        Failure::usage(
            format!("`{text}` is not a version of Dify"),
            "it has no two numbers",
            "as --upgrade-to 1.14.0",
        )
    })
}

fn write_bundle(
    path: &Path,
    diagnosis: &Diagnosis,
    deployment: &Deployment,
    dotenv_texts: &[String],
) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::problem(
            format!("cannot write {}", path.display()),
            error,
            "give --bundle FILE in a folder that this user may write to",
        )
    };
    let files = bundle::files(diagnosis, &as_json(diagnosis), deployment);
    let packed = bundle::pack(files, deployment, dotenv_texts, diagnosis.at).map_err(failed)?;
    last_good::replace(path, &packed).map_err(failed)?;
    output::note(format!(
        "bundle: {} ({} bytes); secrets are taken out, names of hosts and apps are in it",
        path.display(),
        packed.len()
    ));
    Ok(())
}

/// The diagnosis as programs read it.
fn as_json(diagnosis: &Diagnosis) -> serde_json::Value {
    let mut value = serde_json::to_value(diagnosis).unwrap_or_default();
    value["mainstay"] = json!(env!("CARGO_PKG_VERSION"));
    value["outcome"] = json!(match diagnosis.outcome() {
        Outcome::Well => "well",
        Outcome::Problem => "problem",
        Outcome::Unreachable => "unreachable",
    });
    if let Some(budget) = &diagnosis.budget {
        value["budget"]["formula"] = json!(budget.formula());
    }
    value
}
