//! Everything that is checked before a run exists. Nothing is stored here but the end user, and that last.

use std::sync::Arc;

use mainstay_base::{AppMode, Micros, TraceParent, id};
use mainstay_engine::{ChatInput, Exchange, RunInput};
use mainstay_store::model::{App, Conversation, JobKind, MessageStatus, NewRun};
use mainstay_wire::dify::{ApiError, ChatBody, Envelope, ResponseMode, RunBody, request};
use serde_json::{Map, Value};

use crate::{Standby, catalog::Published, chat, reply};

/// Exchanges that an LLM node's memory may look back on.
const MAX_HISTORY: u32 = 100;

/// A run that may begin.
pub(crate) struct Prepared {
    pub(crate) app: Arc<App>,
    pub(crate) version: Arc<Published>,
    pub(crate) run_id: String,
    pub(crate) task_id: String,
    pub(crate) session_id: String,
    pub(crate) end_user_id: String,
    pub(crate) inputs: Map<String, Value>,
    pub(crate) files: Vec<Value>,
    pub(crate) mode: ResponseMode,
    pub(crate) chat: Option<PreparedChat>,
    pub(crate) request_id: String,
    pub(crate) trace: TraceParent,
    pub(crate) created_at: Micros,
}

pub(crate) struct PreparedChat {
    /// As it will be once the message is answered; new or already stored.
    pub(crate) conversation: Conversation,
    pub(crate) message_id: String,
    pub(crate) query: String,
    pub(crate) history: Vec<Exchange>,
}

/// Who asked, and in what context.
pub(crate) struct Asked<'a> {
    pub(crate) app_id: &'a str,
    pub(crate) request_id: &'a str,
    pub(crate) trace: TraceParent,
}

impl Standby {
    pub(crate) async fn prepare_workflow(
        &self,
        asked: Asked<'_>,
        body: &Value,
        version: Option<&str>,
    ) -> Result<Prepared, ApiError> {
        let session_id = request::user(body)?;
        let app = self.inner.catalog.app(asked.app_id).await?;
        if app.mode != AppMode::Workflow {
            return Err(ApiError::not_workflow_app());
        }
        let RunBody { inputs, files, response_mode } = RunBody::read(body)?;
        let version = self.version(&app, version).await?;
        let inputs = self.fill(&app, &version, &inputs).await?;
        let files = self.attached(&app, &version, files).await?;
        self.prepared(asked, app, version, session_id, inputs, files, response_mode, None).await
    }

    pub(crate) async fn prepare_chat(&self, asked: Asked<'_>, body: &Value) -> Result<Prepared, ApiError> {
        let session_id = request::user(body)?;
        let app = self.inner.catalog.app(asked.app_id).await?;
        if app.mode != AppMode::AdvancedChat {
            return Err(ApiError::not_chat_app());
        }
        let body = ChatBody::read(body)?;
        let version = self.version(&app, body.workflow_id.as_deref().filter(|id| !id.is_empty())).await?;
        let old = match &body.conversation_id {
            Some(id) => Some(self.conversation_of(&app, id, &session_id).await?),
            None => None,
        };
        let inputs = self.fill(&app, &version, &body.inputs).await?;
        let files = self.attached(&app, &version, body.files.clone()).await?;
        let mode = body.response_mode;
        self.prepared(asked, app, version, session_id, inputs, files, mode, Some((body, old))).await
    }

    async fn version(&self, app: &App, named: Option<&str>) -> Result<Arc<Published>, ApiError> {
        match named {
            Some(id) => self.inner.catalog.named(app, id).await,
            None => self.inner.catalog.current(app).await,
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the checked parts of one run, put together in one place")]
    async fn prepared(
        &self,
        asked: Asked<'_>,
        app: Arc<App>,
        version: Arc<Published>,
        session_id: String,
        inputs: Map<String, Value>,
        files: Vec<Value>,
        mode: ResponseMode,
        chat: Option<(ChatBody, Option<Conversation>)>,
    ) -> Result<Prepared, ApiError> {
        let now = self.inner.clock.now();
        let end_user_id = self.end_user(&app.id, &session_id).await?;
        let chat = match chat {
            None => None,
            Some((body, Some(conversation))) => Some(PreparedChat {
                history: self.history(&conversation.id).await?,
                message_id: id::new(),
                query: body.query,
                conversation: chat::continued(conversation, now),
            }),
            Some((body, None)) => {
                let conversation = chat::opened(&app, &version, &end_user_id, &inputs, &body, now);
                Some(PreparedChat {
                    conversation,
                    message_id: id::new(),
                    query: body.query,
                    history: Vec::new(),
                })
            }
        };
        Ok(Prepared {
            run_id: id::new(),
            task_id: id::new(),
            app,
            version,
            session_id,
            end_user_id,
            inputs,
            files,
            mode,
            chat,
            request_id: asked.request_id.to_owned(),
            trace: asked.trace,
            created_at: now,
        })
    }

    pub(crate) async fn history(&self, conversation_id: &str) -> Result<Vec<Exchange>, ApiError> {
        let messages = self.inner.store.chats().history(conversation_id, MAX_HISTORY).await;
        let messages = messages.map_err(|error| reply::of_store("reading a conversation", error))?;
        let answered = messages
            .into_iter()
            .filter(|message| message.status == MessageStatus::Normal && !message.answer.is_empty());
        Ok(answered.map(|message| Exchange { query: message.query, answer: message.answer }).collect())
    }
}

impl Prepared {
    /// What the engine is given.
    pub(crate) fn run_input(&self) -> RunInput {
        let chat = self.chat.as_ref();
        RunInput {
            run_id: self.run_id.clone(),
            app_id: self.app.id.clone(),
            workflow_id: self.version.id.clone(),
            user_id: self.session_id.clone(),
            inputs: self.inputs.clone(),
            files: self.files.clone(),
            chat: chat.map(|chat| ChatInput {
                query: chat.query.clone(),
                conversation_id: chat.conversation.id.clone(),
                dialogue_count: u64::try_from(chat.conversation.dialogue_count).unwrap_or(1),
                history: chat.history.clone(),
            }),
            conversation_variables: chat
                .and_then(|chat| chat.conversation.variables.as_object().cloned())
                .unwrap_or_default(),
            trace: self.trace,
            started_at: self.created_at,
        }
    }

    /// The run's row at its start.
    pub(crate) fn new_run(&self) -> NewRun {
        NewRun {
            id: self.run_id.clone(),
            app_id: self.app.id.clone(),
            app_name: self.app.name.clone(),
            mode: self.app.mode,
            kind: JobKind::Embedded,
            upstream: None,
            version_id: self.version.id.clone(),
            version: self.version.version.clone(),
            end_user_id: Some(self.end_user_id.clone()),
            session_id: self.session_id.clone(),
            task_id: Some(self.task_id.clone()),
            conversation_id: self.chat.as_ref().map(|chat| chat.conversation.id.clone()),
            request_id: Some(self.request_id.clone()),
            trace_id: Some(format!("{:032x}", self.trace.trace_id)),
            inputs: Value::Object(self.stored_inputs()),
            created_at: self.created_at,
        }
    }

    pub(crate) fn envelope(&self) -> Envelope {
        let (run_id, task_id) = (self.run_id.clone(), self.task_id.clone());
        match &self.chat {
            None => Envelope::Workflow { run_id, task_id },
            Some(chat) => Envelope::Chat {
                conversation_id: chat.conversation.id.clone(),
                message_id: chat.message_id.clone(),
                created_at: self.created_at.unix_seconds(),
                task_id,
                run_id,
            },
        }
    }

    /// Inputs with the system's variables beside them, in Dify's order: what `/v1/workflows/run/{id}` shows.
    fn stored_inputs(&self) -> Map<String, Value> {
        let mut all = self.inputs.clone();
        let mut set = |name: &str, value: Value| all.insert(format!("sys.{name}"), value);
        set("files", Value::Array(self.files.clone()));
        set("user_id", Value::from(self.session_id.as_str()));
        set("app_id", Value::from(self.app.id.as_str()));
        set("workflow_id", Value::from(self.version.id.as_str()));
        set("workflow_run_id", Value::from(self.run_id.as_str()));
        match &self.chat {
            None => set("timestamp", Value::from(self.created_at.unix_seconds())),
            Some(chat) => {
                set("query", Value::from(chat.query.as_str()));
                set("conversation_id", Value::from(chat.conversation.id.as_str()));
                set("dialogue_count", Value::from(chat.conversation.dialogue_count))
            }
        };
        all
    }
}
