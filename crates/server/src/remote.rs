//! The admin API of a running instance, as commands call it.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use mainstay_base::snapshot::Timeouts;
use mainstay_net::{AddressRule, Client, ClientOptions};
use serde_json::Value;

use crate::{
    cli::Read,
    failure::{Failure, chain},
    instance::{self, Found},
    output::one_line,
};

/// The largest answer that a command reads: 200 runs with long errors, or one app's DSL.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// A simulation reads up to a minute and then replays.
const PATIENCE: Duration = Duration::from_secs(120);
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(3),
    first_byte: Duration::from_secs(30),
    idle: Duration::from_secs(10),
    total: Duration::from_secs(60),
};

/// Where the admin API is and how to be let in.
#[derive(Debug)]
pub(crate) struct Remote {
    base_url: String,
    token: String,
    client: Client,
    timeouts: Timeouts,
}

/// An answer of the admin API.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The body as JSON; `Null` when it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

impl Remote {
    /// By flags or environment first, else by the instance file.
    pub(crate) fn find(read: &Read) -> Result<Remote, Failure> {
        let client = Client::new(ClientOptions::default())
            .map_err(|error| Failure::problem("cannot set up an HTTP client", chain(&error), ""))?;
        let (base_url, token) = match (&read.admin, &read.token) {
            (Some(admin), Some(token)) => (admin.clone(), token.clone()),
            (admin, token) => {
                let running = running(admin.as_deref())?;
                let admin = admin.clone().unwrap_or(running.admin);
                (admin, token.clone().unwrap_or(running.token))
            }
        };
        let base_url = base_url.trim_end_matches('/').to_owned();
        if base_url.parse::<http::Uri>().ok().is_none_or(|uri| uri.scheme().is_none()) {
            return Err(Failure::usage(
                format!("cannot use {base_url} as the admin address"),
                "it is not an http:// or https:// address",
                "give --admin as http://127.0.0.1:7000",
            ));
        }
        Ok(Remote { base_url, token, client, timeouts: TIMEOUTS })
    }

    /// For what takes long by nature.
    pub(crate) fn patient(self) -> Remote {
        let timeouts = Timeouts { first_byte: PATIENCE, total: PATIENCE, ..self.timeouts };
        Remote { timeouts, ..self }
    }

    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.expect(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Result<Value, Failure> {
        self.expect(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn get_text(&self, path: &str) -> Result<String, Failure> {
        let answer = self.send(Method::GET, path, None).await?;
        let answer = self.refuse(path, answer)?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    async fn expect(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, Failure> {
        let answer = self.send(method, path, body).await?;
        let answer = self.refuse(path, answer)?;
        serde_json::from_slice(&answer.body).map_err(|error| {
            Failure::problem(
                format!("cannot read the answer of {}{path}", self.base_url),
                format!("it is not JSON: {error}"),
                "check that --admin is the admin address of a Mainstay of this version",
            )
        })
    }

    /// The answer, whatever its status.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Answer, Failure> {
        let url = format!("{}{path}", self.base_url);
        let mut request = Request::builder()
            .method(method)
            .uri(&url)
            .header(header::ACCEPT, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token));
        let body = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                mainstay_net::full(body.to_string())
            }
            None => mainstay_net::empty(),
        };
        let request = request.body(body).map_err(|error| {
            Failure::usage(format!("cannot ask {url}"), error, "check --admin, --token and ids")
        })?;
        let failed = |cause: String| {
            Failure::unreachable(
                format!("cannot reach the admin API at {}", self.base_url),
                cause,
                "check that mainstay serve or demo runs, and --admin",
            )
        };
        let response = self
            .client
            .send(request, &self.timeouts, AddressRule::Any)
            .await
            .map_err(|error| failed(chain(&error)))?;
        let (head, body) = response.into_parts();
        let body =
            mainstay_net::collect(body, MAX_ANSWER_BYTES).await.map_err(|error| failed(chain(&error)))?;
        Ok(Answer { status: head.status, body })
    }

    pub(crate) fn refuse(&self, path: &str, answer: Answer) -> Result<Answer, Failure> {
        if answer.status.is_success() {
            return Ok(answer);
        }
        let body = answer.json();
        let said = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(one_line);
        let cause = problems(&body)
            .or_else(|| said("/error/message"))
            .unwrap_or_else(|| format!("it answered {}", answer.status));
        let next = |otherwise: &str| said("/error/next").unwrap_or_else(|| otherwise.to_owned());
        let thing = format!("the admin API refused {path}");
        Err(match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Failure::usage(thing, cause, "give the admin token by --token or MAINSTAY_TOKEN")
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                Failure::unreachable(thing, cause, next("see mainstay health"))
            }
            _ => Failure::problem(thing, cause, next("")),
        })
    }
}

/// Several problems, a line each: where, and what. `None`: there are not several, or they have no place.
fn problems(body: &Value) -> Option<String> {
    let problems = body.pointer("/error/problems")?.as_array().filter(|problems| problems.len() > 1)?;
    let one = |problem: &Value| {
        let message = problem["message"].as_str()?;
        let place = problem["path"].as_str()?;
        Some(format!("    {}", one_line(format!("{place} {message}").trim())))
    };
    let lines: Vec<String> = problems.iter().map(one).collect::<Option<_>>()?;
    Some(format!("{} problems found\n{}", lines.len(), lines.join("\n")))
}

fn running(admin: Option<&str>) -> Result<instance::Instance, Failure> {
    let next = "start mainstay demo or mainstay serve, or give --admin and --token";
    if let Some(admin) = admin {
        // The token of the instance file belongs to the address in it, and is sent nowhere else.
        let found = instance::path().map(|path| instance::find(&path));
        return match found {
            Some(Found::Running(instance)) if instance.admin == admin.trim_end_matches('/') => Ok(instance),
            _ => Err(Failure::usage(
                format!("cannot ask {admin}"),
                "no token was given",
                "give --token or MAINSTAY_TOKEN",
            )),
        };
    }
    let Some(path) = instance::path() else {
        return Err(Failure::unreachable(
            "no instance found",
            "neither XDG_STATE_HOME nor HOME is set",
            next,
        ));
    };
    match instance::find(&path) {
        Found::Running(instance) => Ok(instance),
        Found::Stale { pid } => Err(Failure::unreachable(
            "no instance is running",
            format!("{} is of process {pid}, which is gone", path.display()),
            next,
        )),
        Found::Nothing => {
            Err(Failure::unreachable("no instance found", format!("there is no {}", path.display()), next))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn several_problems_have_a_line_each_and_cannot_drive_the_terminal() {
        let body = |problems: Value| json!({ "error": { "message": "a: x; b: y", "problems": problems } });
        let two = json!([{ "path": "a", "message": "x\u{1b}[2J" }, { "path": "", "message": "y" }]);
        assert_eq!(problems(&body(two)).as_deref(), Some("2 problems found\n    a x [2J\n    y"));
        for other in [
            json!([]),
            json!([{ "path": "a", "message": "x" }]),
            json!([{ "file": "a.yml", "reason": "x" }, { "file": "b.yml", "reason": "y" }]),
            json!("none"),
        ] {
            assert_eq!(problems(&body(other)), None);
        }
    }
}
