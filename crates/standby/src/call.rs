//! One call of the Service API and where it leads.

use bytes::Bytes;
use http::{HeaderMap, Method, Response, header};
use mainstay_base::TraceParent;
use mainstay_net::Body;
use mainstay_wire::dify::{ApiError, request};
use serde_json::Value;

use crate::Standby;

/// The largest JSON body. The gateway may have a smaller limit of its own.
pub const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;
/// The largest upload: Dify's 15 MB for a document, and room for the form around it.
pub const MAX_UPLOAD_BYTES: usize = 16 * 1024 * 1024;

/// A request that the gateway has admitted for one app.
#[derive(Clone, Debug)]
pub struct ServiceCall {
    pub app_id: String,
    pub method: Method,
    /// With its version part: `/v1/workflows/run`.
    pub path: String,
    pub query: Option<String>,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub request_id: String,
    pub trace: TraceParent,
}

impl ServiceCall {
    pub(crate) fn json(&self) -> Result<Value, ApiError> {
        request::object(self.content_type(), &self.body)
    }

    pub(crate) fn content_type(&self) -> Option<&str> {
        self.headers.get(header::CONTENT_TYPE)?.to_str().ok()
    }

    /// Decoded query parameters.
    pub(crate) fn query_pairs(&self) -> Vec<(String, String)> {
        let query = self.query.as_deref().unwrap_or_default();
        url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
    }
}

/// The endpoints of the Service API that an app's key opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route<'a> {
    RunWorkflow,
    RunVersion(&'a str),
    RunDetail(&'a str),
    StopWorkflow(&'a str),
    Logs,
    Chat,
    StopChat(&'a str),
    Messages,
    Feedback(&'a str),
    Suggested,
    Feedbacks,
    Conversations,
    Conversation(&'a str),
    ConversationName(&'a str),
    ConversationVariables(&'a str),
    Info,
    Parameters,
    Meta,
    Site,
    Upload,
}

impl Standby {
    pub(crate) async fn dispatch(&self, call: ServiceCall) -> Result<Response<Body>, ApiError> {
        let path = call.path.clone();
        let route = route(&call.method, &path)?;
        let limit = if route == Route::Upload { MAX_UPLOAD_BYTES } else { MAX_BODY_BYTES };
        if call.body.len() > limit {
            return Err(ApiError::too_large());
        }
        match route {
            Route::RunWorkflow => Box::pin(self.run_workflow(call, None)).await,
            Route::RunVersion(version) => Box::pin(self.run_workflow(call, Some(version))).await,
            Route::RunDetail(run_id) => self.run_detail(&call, run_id).await,
            Route::StopWorkflow(task_id) => self.stop_workflow(&call, task_id).await,
            Route::Logs => self.logs(&call).await,
            Route::Chat => Box::pin(self.send_message(call)).await,
            Route::StopChat(task_id) => self.stop_chat(&call, task_id).await,
            Route::Messages => self.messages(&call).await,
            Route::Feedback(message_id) => self.feedback(&call, message_id).await,
            Route::Suggested => self.suggested(&call).await,
            Route::Feedbacks => self.feedbacks(&call).await,
            Route::Conversations => self.conversations(&call).await,
            Route::Conversation(id) => self.delete_conversation(&call, id).await,
            Route::ConversationName(id) => self.rename_conversation(&call, id).await,
            Route::ConversationVariables(id) => self.conversation_variables(&call, id).await,
            Route::Info => self.info(&call).await,
            Route::Parameters => self.parameters(&call).await,
            Route::Meta => self.meta(&call).await,
            Route::Site => self.site(&call).await,
            Route::Upload => self.upload(call).await,
        }
    }
}

fn route<'a>(method: &Method, path: &'a str) -> Result<Route<'a>, ApiError> {
    let rest = path.strip_prefix("/v1/").ok_or_else(ApiError::unknown_path)?;
    let segments: Vec<&str> = rest.splitn(MAX_SEGMENTS + 1, '/').collect();
    let (allowed, route) = match segments[..] {
        ["workflows", "run"] => (Method::POST, Route::RunWorkflow),
        ["workflows", "logs"] => (Method::GET, Route::Logs),
        ["workflows", "run", id] => (Method::GET, Route::RunDetail(id)),
        ["workflows", id, "run"] => (Method::POST, Route::RunVersion(id)),
        ["workflows", "tasks", id, "stop"] => (Method::POST, Route::StopWorkflow(id)),
        ["chat-messages"] => (Method::POST, Route::Chat),
        ["chat-messages", id, "stop"] => (Method::POST, Route::StopChat(id)),
        ["messages"] => (Method::GET, Route::Messages),
        ["messages", id, "feedbacks"] => (Method::POST, Route::Feedback(uuid(id)?)),
        ["messages", id, "suggested"] => {
            uuid(id)?;
            (Method::GET, Route::Suggested)
        }
        ["app", "feedbacks"] => (Method::GET, Route::Feedbacks),
        ["conversations"] => (Method::GET, Route::Conversations),
        ["conversations", id] => (Method::DELETE, Route::Conversation(uuid(id)?)),
        ["conversations", id, "name"] => (Method::POST, Route::ConversationName(uuid(id)?)),
        ["conversations", id, "variables"] => (Method::GET, Route::ConversationVariables(uuid(id)?)),
        ["info"] => (Method::GET, Route::Info),
        ["parameters"] => (Method::GET, Route::Parameters),
        ["meta"] => (Method::GET, Route::Meta),
        ["site"] => (Method::GET, Route::Site),
        ["files", "upload"] => (Method::POST, Route::Upload),
        _ => return Err(ApiError::unknown_path()),
    };
    let is_allowed = *method == allowed || (*method == Method::HEAD && allowed == Method::GET);
    if is_allowed { Ok(route) } else { Err(ApiError::method_not_allowed()) }
}

/// No path of the Service API has more parts.
const MAX_SEGMENTS: usize = 5;

/// Dify's router takes only UUIDs here; anything else is a path it does not know.
fn uuid(id: &str) -> Result<&str, ApiError> {
    if mainstay_base::id::is_uuid(id) { Ok(id) } else { Err(ApiError::unknown_path()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_methods_lead_where_they_lead_in_dify() {
        let id = "6747a4fe-799e-4469-aaed-d9ac03dded60";
        let message = format!("/v1/messages/{id}/feedbacks");
        for (method, path, expected) in [
            (Method::POST, "/v1/workflows/run", Ok(Route::RunWorkflow)),
            (Method::GET, "/v1/workflows/run/abc", Ok(Route::RunDetail("abc"))),
            (Method::POST, "/v1/workflows/abc/run", Ok(Route::RunVersion("abc"))),
            (Method::HEAD, "/v1/info", Ok(Route::Info)),
            (Method::POST, message.as_str(), Ok(Route::Feedback(id))),
            (Method::GET, "/v1/workflows/run", Err(405)),
            (Method::POST, "/v1/messages/abc/feedbacks", Err(404)),
            (Method::GET, "/v1/datasets", Err(404)),
            (Method::GET, "/v1/info/", Err(404)),
            (Method::GET, "/v1/a/b/c/d/e/f/g", Err(404)),
            (Method::GET, "/v2/info", Err(404)),
            (Method::GET, "", Err(404)),
        ] {
            assert_eq!(route(&method, path).map_err(|error| error.status), expected, "{method} {path}");
        }
    }
}
