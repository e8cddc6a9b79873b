//! Query parameters with Dify's checks.

use serde_json::Value;

use super::{ApiError, validation::Report};

/// Query parameters of `GET /v1/workflows/logs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogQuery {
    pub keyword: Option<String>,
    pub status: Option<String>,
    pub created_at_before: Option<String>,
    pub created_at_after: Option<String>,
    pub end_user_session_id: Option<String>,
    pub account: Option<String>,
    pub page: u32,
    pub limit: u32,
}

impl LogQuery {
    /// `pairs` are the decoded query parameters; of a repeated one the first counts, as in Flask.
    pub fn read(pairs: &[(String, String)]) -> Result<LogQuery, ApiError> {
        let mut report = Report::of("WorkflowLogQuery");
        let status = first(pairs, "status");
        if let Some(status) = status.as_ref().filter(|status| !LOG_STATUSES.contains(&status.as_str())) {
            let message = "Input should be 'succeeded', 'failed' or 'stopped'";
            report.add("status", message, "literal_error", &Value::from(status.as_str()));
        }
        let page = whole(pairs, "page", 1, 1, 99_999, &mut report);
        let limit = whole(pairs, "limit", 20, 1, 100, &mut report);
        report.finish()?;
        Ok(LogQuery {
            keyword: first(pairs, "keyword").filter(|word| !word.is_empty()),
            status,
            created_at_before: first(pairs, "created_at__before"),
            created_at_after: first(pairs, "created_at__after"),
            end_user_session_id: first(pairs, "created_by_end_user_session_id"),
            account: first(pairs, "created_by_account"),
            page,
            limit,
        })
    }
}

const LOG_STATUSES: [&str; 3] = ["succeeded", "failed", "stopped"];

/// Query parameters of the lists that scroll: conversations, messages, conversation variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrollQuery {
    /// `last_id` or `first_id`.
    pub cursor: Option<String>,
    pub conversation_id: Option<String>,
    pub limit: u32,
    pub sort_by: Option<String>,
}

/// The lists that scroll, each with its model's name in Dify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scroll {
    Conversations,
    Messages,
    Variables,
}

impl ScrollQuery {
    pub fn read(kind: Scroll, pairs: &[(String, String)]) -> Result<ScrollQuery, ApiError> {
        let (model, cursor_name) = match kind {
            Scroll::Conversations => ("ConversationListQuery", "last_id"),
            Scroll::Messages => ("MessageListQuery", "first_id"),
            Scroll::Variables => ("ConversationVariablesQuery", "last_id"),
        };
        let mut report = Report::of(model);
        let conversation_id = first(pairs, "conversation_id").filter(|_| kind == Scroll::Messages);
        if kind == Scroll::Messages {
            match &conversation_id {
                None => report.missing("conversation_id", &as_object(pairs)),
                Some(id) => uuid_or_empty("conversation_id", id, &mut report),
            }
        }
        let cursor = first(pairs, cursor_name).filter(|id| !id.is_empty());
        if let Some(id) = &cursor {
            uuid_or_empty(cursor_name, id, &mut report);
        }
        let limit = whole(pairs, "limit", 20, 1, 100, &mut report);
        let sort_by = first(pairs, "sort_by").filter(|_| kind == Scroll::Conversations);
        if let Some(order) = sort_by.as_ref().filter(|order| !SORTS.contains(&order.as_str())) {
            let message = "Input should be 'created_at', '-created_at', 'updated_at' or '-updated_at'";
            report.add("sort_by", message, "literal_error", &Value::from(order.as_str()));
        }
        report.finish()?;
        Ok(ScrollQuery { cursor, conversation_id, limit, sort_by })
    }
}

const SORTS: [&str; 4] = ["created_at", "-created_at", "updated_at", "-updated_at"];

fn whole(
    pairs: &[(String, String)],
    field: &str,
    default: u32,
    least: u32,
    most: u32,
    report: &mut Report,
) -> u32 {
    let Some(text) = first(pairs, field) else { return default };
    let value = Value::from(text.as_str());
    match text.trim().parse::<i128>() {
        Err(_) => {
            let message = "Input should be a valid integer, unable to parse string as an integer";
            report.add(field, message, "int_parsing", &value);
        }
        Ok(number) if number < i128::from(least) => {
            let message = format!("Input should be greater than or equal to {least}");
            report.add(field, &message, "greater_than_equal", &value);
        }
        Ok(number) if number > i128::from(most) => {
            let message = format!("Input should be less than or equal to {most}");
            report.add(field, &message, "less_than_equal", &value);
        }
        Ok(number) => return u32::try_from(number).unwrap_or(default),
    }
    default
}

fn uuid_or_empty(field: &str, text: &str, report: &mut Report) {
    if !text.is_empty() && uuid::Uuid::try_parse(text).is_err() {
        let message = format!("Value error, {text} is not a valid uuid.");
        report.add(field, &message, "value_error", &Value::from(text));
    }
}

/// Without NUL, which PostgreSQL refuses in any text.
fn first(pairs: &[(String, String)], name: &str) -> Option<String> {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.replace('\0', ""))
}

fn as_object(pairs: &[(String, String)]) -> Value {
    Value::Object(pairs.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_queries_have_no_nul() {
        let pairs = [("keyword".to_owned(), "a\0b".to_owned())];
        assert_eq!(LogQuery::read(&pairs).unwrap().keyword.as_deref(), Some("ab"));
    }

    #[test]
    fn numbers_in_queries_keep_to_their_bounds() {
        let pairs = |page: &str| vec![("page".to_owned(), page.to_owned())];
        assert_eq!(LogQuery::read(&pairs("3")).unwrap().page, 3);
        for bad in ["0", "100000", "x", "1.5", "", "-170141183460469231731687303715884105729"] {
            assert_eq!(LogQuery::read(&pairs(bad)).unwrap_err().status, 400, "{bad}");
        }
    }
}
