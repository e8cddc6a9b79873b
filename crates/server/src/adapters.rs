//! The narrow ports of the planes, filled: gateway to standby, worker to standby, console to standby.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Response, StatusCode, header};
use mainstay_base::{
    TraceParent, id,
    snapshot::{AppRoute, Target},
};
use mainstay_console::{ImportError, ImportFile, ImportProblem, Imported};
use mainstay_control::{
    CallbackBody, EngineProbe,
    jobs::{Handler, JobOutcome, Progress},
};
use mainstay_engine::{Engine, Plan, RunInput, RunStatus, Sink};
use mainstay_gateway::{Durable, Embedded, EmbeddedCall, Endpoint, Submission};
use mainstay_net::Body;
use mainstay_standby::{ServiceCall, Standby, apps};
use mainstay_store::{
    Store, StoreError,
    model::{Finish, Job},
};
use serde_json::{Map, json};
use tokio_util::sync::CancellationToken;

use crate::publisher::Publisher;

/// The embedded engine behind the app path.
pub(crate) struct EmbeddedPort {
    pub(crate) standby: Standby,
    pub(crate) store: Store,
}

impl Embedded for EmbeddedPort {
    fn call(&self, call: EmbeddedCall) -> mainstay_gateway::BoxFuture<'static, Response<Body>> {
        let (standby, store) = (self.standby.clone(), self.store.clone());
        let EmbeddedCall { route, method, path, query, headers, body, request_id, trace } = call;
        Box::pin(async move {
            let app_id = match &route.standby {
                None => route.app_id.clone(),
                Some(name) => match store.apps().get_by_name(name, Some(route.mode)).await {
                    Ok(Some(app)) => app.id,
                    Ok(None) => {
                        return refusal(StatusCode::SERVICE_UNAVAILABLE, "standby_missing", NO_STANDBY);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the standby app {name} cannot be looked up");
                        return refusal(StatusCode::SERVICE_UNAVAILABLE, "standby_unavailable", NO_STANDBY);
                    }
                },
            };
            standby.call(ServiceCall { app_id, method, path, query, headers, body, request_id, trace }).await
        })
    }
}

const NO_STANDBY: &str = "The app is not available at the moment. Try again later.";

/// The durable queue behind the app path.
pub(crate) struct DurablePort {
    pub(crate) standby: Standby,
}

impl Durable for DurablePort {
    fn submit(&self, submission: Submission) -> mainstay_gateway::BoxFuture<'static, Response<Body>> {
        let Submission {
            route,
            endpoint,
            body,
            body_hash,
            idempotency_key,
            callback_url,
            key: _,
            request_id,
            trace,
        } = submission;
        if callback_url.is_some() && !route.callbacks {
            return Box::pin(async {
                refusal(StatusCode::BAD_REQUEST, "callbacks_not_configured", UNSIGNED)
            });
        }
        let target = target(&route);
        let endpoint = match endpoint {
            Endpoint::RunWorkflow => mainstay_standby::Endpoint::Workflow,
            Endpoint::RunWorkflowVersion { workflow_id } => mainstay_standby::Endpoint::Version(workflow_id),
            Endpoint::ChatMessages => mainstay_standby::Endpoint::Chat,
        };
        let app_id = route.app_id.clone();
        let standby = self.standby.clone();
        Box::pin(async move {
            let submission = mainstay_standby::Submission {
                app_id,
                target,
                endpoint,
                body,
                body_hash,
                idempotency_key,
                callback_url,
                request_id,
                trace,
            };
            standby.submit(submission).await
        })
    }

    fn find(
        &self,
        route: Arc<AppRoute>,
        run_id: String,
    ) -> mainstay_gateway::BoxFuture<'static, Option<Response<Body>>> {
        let standby = self.standby.clone();
        Box::pin(async move { standby.find(&route.app_id, &run_id).await })
    }
}

fn target(route: &AppRoute) -> mainstay_standby::Target {
    match route.candidates.first().map(|upstream| (&upstream.name, &upstream.target)) {
        Some((name, Target::Http { .. })) => mainstay_standby::Target::Upstream {
            name: name.clone(),
            app_name: route.name.clone(),
            mode: route.mode,
            idempotent: route.idempotent,
        },
        Some((_, Target::Embedded)) | None => mainstay_standby::Target::Embedded,
    }
}

const UNSIGNED: &str =
    "Mainstay-Callback-Url is not served here: no signing secret is configured (callbacks.secret).";

/// A refusal in Dify's shape.
fn refusal(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let body = json!({"code": code, "message": message, "status": status.as_u16()});
    let mut response = Response::new(mainstay_net::full(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

/// What a worker does with a job.
pub(crate) struct JobPort {
    pub(crate) standby: Standby,
}

impl Handler for JobPort {
    fn run(&self, job: Job, stop: CancellationToken, _progress: Progress) -> BoxFuture<'static, JobOutcome> {
        let standby = self.standby.clone();
        Box::pin(async move {
            match standby.execute(&job, stop).await {
                Finish::Done(result) => JobOutcome::Done(result),
                Finish::Cancelled(result) => JobOutcome::Stopped(result),
                decided @ (Finish::Retry { .. } | Finish::Dead { .. } | Finish::Release) => {
                    JobOutcome::Decided(decided)
                }
            }
        })
    }
}

/// What a callback says.
pub(crate) struct CallbackPort {
    pub(crate) standby: Standby,
}

impl CallbackBody for CallbackPort {
    fn body(&self, run_id: String) -> BoxFuture<'static, Result<Option<Bytes>, StoreError>> {
        let standby = self.standby.clone();
        Box::pin(async move {
            let body = standby.callback(&run_id).await?;
            Ok(body.map(|body| Bytes::from(body.to_string())))
        })
    }
}

/// The console's import, published to the gateway before it is answered.
pub(crate) struct AppsPort {
    pub(crate) standby: Standby,
    pub(crate) publisher: Arc<Publisher>,
}

impl mainstay_console::Apps for AppsPort {
    fn import(&self, files: Vec<ImportFile>) -> BoxFuture<'static, Result<Vec<Imported>, ImportError>> {
        let (standby, publisher) = (self.standby.clone(), Arc::clone(&self.publisher));
        Box::pin(async move {
            let files =
                files.into_iter().map(|file| apps::AppFile { path: file.name, text: file.content }).collect();
            let imported = standby.import(files).await.map_err(refused)?;
            if let Err(error) = publisher.refresh().await {
                tracing::warn!(%error, "apps were imported; their routes follow with the next publication");
            }
            Ok(imported.into_iter().map(told).collect())
        })
    }
}

fn told(imported: apps::Imported) -> Imported {
    let apps::Imported { path, app, version_id, version_number, is_new_app, key } = imported;
    Imported {
        file: path,
        app_id: app.id,
        name: app.name,
        mode: app.mode,
        version_id,
        version_number,
        is_new_app,
        api_key: key,
    }
}

fn refused(error: apps::ImportError) -> ImportError {
    match error {
        apps::ImportError::Problems(problems) => ImportError::Problems(
            problems
                .into_iter()
                .map(|problem| {
                    let apps::FileProblem { file, path, node_id, node_type, message } = problem;
                    ImportProblem { file, path, node_id, node_type, message }
                })
                .collect(),
        ),
        apps::ImportError::Store(error) => ImportError::Unavailable(Box::new(error)),
    }
}

/// Two nodes and no peer: what fails here fails everywhere.
const PROBE_APP: &str = include_str!("probe.yml");
const PROBE_WAIT: Duration = Duration::from_secs(2);

/// Runs a trivial app through the engine.
pub(crate) struct ProbePort {
    engine: Engine,
    plan: Result<Arc<Plan>, String>,
}

impl ProbePort {
    pub(crate) fn new(engine: Engine) -> ProbePort {
        ProbePort { engine, plan: probe_plan() }
    }
}

fn probe_plan() -> Result<Arc<Plan>, String> {
    let app = mainstay_wire::dsl::parse(PROBE_APP).map_err(|problems| format!("{problems:?}"))?;
    mainstay_engine::check(&app).map(Arc::new).map_err(|problems| format!("{problems:?}"))
}

impl EngineProbe for ProbePort {
    fn probe(&self) -> BoxFuture<'static, Result<(), String>> {
        let (engine, plan) = (self.engine.clone(), self.plan.clone());
        Box::pin(async move {
            let plan = plan?;
            let input = RunInput {
                run_id: id::new(),
                app_id: "probe".to_owned(),
                workflow_id: "probe".to_owned(),
                user_id: "mainstay".to_owned(),
                inputs: Map::new(),
                files: Vec::new(),
                chat: None,
                conversation_variables: Map::new(),
                trace: TraceParent::new_root(),
                started_at: mainstay_base::Clock::System.now(),
            };
            let run = engine.run(&plan, input, Sink::Nobody, CancellationToken::new());
            match tokio::time::timeout(PROBE_WAIT, Box::pin(run)).await {
                Err(_) => Err(format!("a trivial run took longer than {PROBE_WAIT:?}")),
                Ok(outcome) if outcome.status == RunStatus::Succeeded => Ok(()),
                Ok(outcome) => Err(outcome.error.unwrap_or_else(|| "a trivial run failed".to_owned())),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_probe_is_an_app_that_the_engine_runs() {
        super::probe_plan().unwrap();
    }
}
