//! One function a command. Each asks, prints, and says by its exit code what it found.

mod alert;
mod apps;
pub(crate) mod check;
mod dify;
mod doctor;
mod explain;
mod groups;
mod health;
mod init;
mod model;
mod oncall;
mod provider;
mod queue;
mod quiet;
mod receivers;
mod reload;
mod runbook;
mod runs;
pub(crate) mod serve;
mod slo;

use crate::{
    cli::Command,
    failure::{Exit, Failure},
};

pub(crate) async fn run(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Check(check) => check::run(&check),
        Command::Doctor(asked) => Box::pin(doctor::run(&asked)).await,
        Command::Init(init) => init::run(&init),
        Command::Reload(read) => reload::run(&read).await,
        Command::Status(read) => health::status(&read).await,
        Command::Health(read) => health::health(&read).await,
        Command::Explain(explain) => explain::run(&explain).await,
        Command::Runs(runs) => runs::run(runs).await,
        Command::Apps(apps) => apps::run(apps).await,
        Command::Alert(alert) => alert::run(alert).await,
        Command::OnCall(asked) => oncall::run(asked).await,
        Command::Runbook(runbook) => runbook::run(runbook).await,
        Command::Provider(provider) => provider::run(provider).await,
        Command::Model(model) => model::run(model).await,
        Command::Dify(command) => dify::run(command).await,
        Command::Slo(slo) => slo::run(slo).await,
        Command::Queue(queue) => Box::pin(queue::run(queue)).await,
        Command::Route(route) => model::simulate(route).await,
        Command::Demo(demo) => Box::pin(crate::demo::run(demo)).await,
        Command::Serve(serve) => Box::pin(serve::run(serve)).await,
        Command::Worker => Box::pin(crate::worker::run()).await,
        Command::Migrate(file) => serve::migrate(&file).await,
    }
}

/// Runs a list command whose answer is printed as it is or as a table.
fn print(json: bool, answer: &serde_json::Value, human: impl FnOnce(&serde_json::Value)) -> Exit {
    match json {
        true => crate::output::json(answer),
        false => human(answer),
    }
    Exit::Good
}

/// The items of an answer that is a list, or an object with one under `key`.
fn items<'a>(answer: &'a serde_json::Value, key: &str) -> &'a [serde_json::Value] {
    answer.as_array().or_else(|| answer[key].as_array()).map_or(&[][..], Vec::as_slice)
}

/// Those of a list that are texts, in one line: `a, b`.
fn joined(texts: &[serde_json::Value]) -> String {
    let texts = texts.iter().filter_map(serde_json::Value::as_str);
    crate::output::one_line(&texts.collect::<Vec<_>>().join(", "))
}

/// An id or a name as one segment of a path.
fn segment(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte))
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
