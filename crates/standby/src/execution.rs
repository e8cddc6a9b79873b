//! Runs that answer their caller: blocking or streamed.

use std::{sync::Arc, time::Duration};

use http::{Response, StatusCode};
use mainstay_engine::{RunOutcome, RunStatus, Sink};
use mainstay_net::Body;
use mainstay_wire::dify::{ApiError, ResponseMode, answer, event};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::{
    ServiceCall, Standby, prepare,
    prepare::Prepared,
    reply, result,
    stream::{EVENTS_AHEAD, Frames, files_of},
};

/// A blocking run that ends sooner is stored once, with its end; a longer one is visible while it runs.
const VISIBLE_AFTER: Duration = Duration::from_millis(50);

impl Standby {
    pub(crate) async fn run_workflow(
        &self,
        call: ServiceCall,
        version: Option<&str>,
    ) -> Result<Response<Body>, ApiError> {
        let body = call.json()?;
        let prepared = self.prepare_workflow(asked(&call), &body, version).await?;
        self.answer(prepared).await
    }

    pub(crate) async fn send_message(&self, call: ServiceCall) -> Result<Response<Body>, ApiError> {
        let body = call.json()?;
        let prepared = self.prepare_chat(asked(&call), &body).await?;
        self.answer(prepared).await
    }

    async fn answer(&self, prepared: Prepared) -> Result<Response<Body>, ApiError> {
        let permit = self.permit(&prepared.app.id)?;
        let prepared = Arc::new(prepared);
        let running = self.clone();
        match prepared.mode {
            ResponseMode::Streaming => {
                let (frames, body) = Frames::new(prepared.envelope());
                let run = async move {
                    running.perform(&prepared, Some(frames)).await;
                    drop(permit);
                };
                self.inner.running.spawn(run);
                Ok(reply::event_stream(body))
            }
            ResponseMode::Blocking => {
                let (sender, ended) = oneshot::channel();
                let run = {
                    let prepared = prepared.clone();
                    async move {
                        let outcome = running.perform(&prepared, None).await;
                        drop(permit);
                        // A caller that has left does not hear of it.
                        let _ = sender.send(outcome);
                    }
                };
                self.inner.running.spawn(run);
                let outcome = ended.await.map_err(|_| ApiError::internal())?;
                blocking(&prepared, &outcome)
            }
        }
    }

    fn permit(&self, app_id: &str) -> Result<OwnedSemaphorePermit, ApiError> {
        self.inner.active.clone().try_acquire_owned().map_err(|_| {
            let limit = self.inner.options.max_active_runs;
            ApiError::too_many_requests(format!(
                "Too many requests. Please try again later. The current maximum concurrent requests allowed for \
                 {app_id} is {limit}."
            ))
        })
    }

    /// Runs to the end, whoever listens; stores the end before it is told.
    async fn perform(&self, prepared: &Prepared, mut frames: Option<Frames>) -> RunOutcome {
        let stop = self.inner.ending.child_token();
        let _registered = self.inner.tasks.register(
            &prepared.task_id,
            &prepared.app.id,
            &prepared.session_id,
            stop.clone(),
        );
        let is_streamed = frames.is_some();
        let (sink, events) = match frames {
            None => (Sink::Nobody, None),
            Some(_) => {
                let (sink, events) = Sink::channel(EVENTS_AHEAD);
                (sink, Some(events))
            }
        };
        let runs = self.inner.store.runs();
        let run = self.inner.engine.run(&prepared.version.plan, prepared.run_input(), sink, stop);
        let (begun, outcome) = {
            let relay = async {
                if let (Some(frames), Some(events)) = (&mut frames, events) {
                    frames.relay(events).await;
                }
            };
            let mut work = Box::pin(async {
                let (outcome, ()) = tokio::join!(run, relay);
                outcome
            });
            // A caller who streams knows the run's id at once and may ask for it.
            let unseen = if is_streamed { Duration::ZERO } else { VISIBLE_AFTER };
            match tokio::time::timeout(unseen, &mut work).await {
                Ok(outcome) => (false, outcome),
                Err(_) => {
                    let (begun, outcome) = tokio::join!(runs.insert(prepared.new_run()), work);
                    (begun.is_ok(), outcome)
                }
            }
        };
        let finished = result::of(prepared, &outcome);
        let stored = match begun {
            true => runs.finish(&prepared.run_id, finished).await.map(drop),
            // Also when the store was away at the start: perhaps it is back.
            false => runs.insert_finished(prepared.new_run(), finished).await,
        };
        if let Err(error) = stored {
            // The work is done and the caller waits: losing the answer as well would help nobody.
            let run = &prepared.run_id;
            tracing::error!(%error, run, "a run ended and could not be stored; its caller was answered");
        }
        if let Some(frames) = &mut frames {
            Box::pin(close(frames, prepared, &outcome)).await;
        }
        outcome
    }
}

fn asked(call: &ServiceCall) -> prepare::Asked<'_> {
    prepare::Asked { app_id: &call.app_id, request_id: &call.request_id, trace: call.trace }
}

/// The last frames of a stream: `workflow_finished`, and in a chat `message_end` or `error`.
async fn close(frames: &mut Frames, prepared: &Prepared, outcome: &RunOutcome) {
    let files = files_of(&outcome.outputs);
    let failure = failure(outcome);
    let metadata = result::metadata(outcome);
    let mut last = vec![event::Frame::WorkflowFinished(event::WorkflowFinished {
        id: &prepared.run_id,
        workflow_id: &prepared.version.id,
        status: outcome.status.as_str(),
        outputs: &outcome.outputs,
        error: outcome.error.as_deref(),
        elapsed_time: outcome.elapsed().as_secs_f64(),
        total_tokens: outcome.total_tokens,
        total_steps: outcome.total_steps,
        created_by: event::CreatedBy { id: &prepared.end_user_id, user: &prepared.session_id },
        created_at: outcome.started_at.unix_seconds(),
        finished_at: outcome.finished_at.unix_seconds(),
        exceptions_count: outcome.exceptions_count,
        files: &files,
    })];
    match (&prepared.chat, &failure) {
        (None, _) => {}
        (Some(_), Some(error)) => last.push(event::Frame::Error(error)),
        (Some(_), None) => last.push(event::Frame::MessageEnd { metadata: &metadata, files: &[] }),
    }
    frames.close_with(&last).await;
}

fn blocking(prepared: &Prepared, outcome: &RunOutcome) -> Result<Response<Body>, ApiError> {
    let Some(chat) = &prepared.chat else {
        let answer = answer::Blocking {
            task_id: prepared.task_id.clone(),
            workflow_run_id: prepared.run_id.clone(),
            data: result::run_data(prepared, outcome),
        };
        return Ok(reply::run(StatusCode::OK, &answer));
    };
    if let Some(error) = failure(outcome) {
        return Err(error);
    }
    let answer = answer::ChatAnswer {
        event: "message".to_owned(),
        task_id: prepared.task_id.clone(),
        id: chat.message_id.clone(),
        message_id: chat.message_id.clone(),
        conversation_id: chat.conversation.id.clone(),
        mode: prepared.app.mode.as_str().to_owned(),
        answer: outcome.answer.clone().unwrap_or_default(),
        metadata: result::metadata(outcome),
        created_at: prepared.created_at.unix_seconds(),
    };
    Ok(reply::run(StatusCode::OK, &answer))
}

/// What a chat says about a run that failed; a workflow says it in its result.
fn failure(outcome: &RunOutcome) -> Option<ApiError> {
    let error = outcome.error.as_deref().unwrap_or("unknown error");
    (outcome.status == RunStatus::Failed).then(|| ApiError::invalid_param(format!("Run failed: {error}")))
}
