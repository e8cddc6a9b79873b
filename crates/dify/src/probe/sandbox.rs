//! The sandbox: that it lives, and that it runs one line of code for who has its key.

use mainstay_base::Severity;
use serde::Deserialize;
use serde_json::json;

use super::{
    Component,
    ask::{Answer, Ask},
    report::{Problem, Report, State},
};
use crate::deployment::Service;

/// `print(6*7)`, as the sandbox wants it.
const CODE: &str = "cHJpbnQoNio3KQ==";
const EXPECTED: &str = "42";

#[derive(Deserialize)]
struct Ran {
    code: i64,
    #[serde(default)]
    message: String,
    data: Option<Output>,
}

#[derive(Deserialize)]
struct Output {
    #[serde(default)]
    stdout: String,
    #[serde(default)]
    error: String,
}

pub(super) async fn look(ask: Ask<'_>, sandbox: &Service) -> Report {
    let mut report = Report::of(Component::Sandbox);
    let url = sandbox.url.trim_end_matches('/');
    let health = match ask.get(&format!("{url}/health"), None).await {
        Ok(answer) => answer,
        Err(no_answer) => {
            return report.failed(Problem {
                id: "sandbox-down",
                severity: Severity::Critical,
                what: "the sandbox gives no answer".to_owned(),
                cause: "Its container is down, or the address is wrong: code nodes and Jinja templates fail.",
                remedy: "Look at the container sandbox and its log; check CODE_EXECUTION_ENDPOINT.",
                asked: no_answer.asked,
                answered: no_answer.why,
            });
        }
    };
    report.took(health.took);
    if !health.is_success() || health.json::<String>().as_deref() != Some("ok") {
        return report.failed(Problem {
            id: "sandbox-down",
            severity: Severity::Critical,
            what: "what answers at the sandbox's address does not say that it is well".to_owned(),
            cause: "The address leads elsewhere, or the sandbox fails.",
            remedy: "Check CODE_EXECUTION_ENDPOINT (port 8194) and the sandbox's log.",
            asked: health.asked.clone(),
            answered: health.said(),
        });
    }
    let Some(key) = &sandbox.key else {
        return report.with(State::Ok, "answers; no key, so no code was run");
    };
    let body = json!({"language": "python3", "code": CODE, "preload": "", "enable_network": false});
    match ask.post(&format!("{url}/v1/sandbox/run"), Some(("x-api-key", key)), &body).await {
        Ok(answer) => ran(report, &answer),
        Err(no_answer) => report.failed(Problem {
            id: "S77",
            severity: Severity::Critical,
            what: "the sandbox lives, and does not run code".to_owned(),
            cause: "",
            remedy: "",
            asked: no_answer.asked,
            answered: no_answer.why,
        }),
    }
}

fn ran(mut report: Report, answer: &Answer) -> Report {
    report.fact("run_ms", answer.took.as_millis());
    let result = answer.json::<Ran>();
    let output = result.as_ref().and_then(|ran| ran.data.as_ref());
    let worked = output.is_some_and(|output| output.stdout.trim() == EXPECTED);
    if worked && result.as_ref().is_some_and(|ran| ran.code == 0) {
        return report.with(State::Ok, "runs code");
    }
    let said = match (&result, output) {
        (_, Some(output)) if !output.error.is_empty() => output.error.clone(),
        (Some(ran), _) => ran.message.clone(),
        _ => String::new(),
    };
    let (id, what) = match answer.status {
        401 | 403 => ("sandbox-key", "the sandbox refuses the key".to_owned()),
        503 => ("sandbox-busy", "the sandbox has no room for one more request".to_owned()),
        _ if said.contains("operation not permitted") => ("S76", format!("the sandbox ends code: {said}")),
        status => {
            ("sandbox-failing", format!("the sandbox answers {status} and not what the code prints: {said}"))
        }
    };
    let is_ours = id == "sandbox-failing";
    report.failed(Problem {
        id,
        severity: Severity::Critical,
        what,
        cause: if is_ours { "Its Python or its limits do not let code run." } else { "" },
        remedy: if is_ours {
            "Read the sandbox's log; restart it; try its image without own dependencies."
        } else {
            ""
        },
        asked: format!("{} with print(6*7)", answer.asked),
        answered: answer.said(),
    })
}
