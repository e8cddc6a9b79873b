//! Tables that are read along their time: runs, messages and trigger logs. Each is read by a page after a position, by
//! ids, and by positions alone, which is how rows are found that were committed behind the position.

use mainstay_base::Micros;

use super::{Cursor, MAX_ERROR, Source, id, limit, seconds, time};
use crate::{
    db::{Failure, Id, Row, Value},
    schema::Schema,
};

/// A table with an index on its time.
pub trait Timed: Sized {
    const TABLE: &'static str;
    /// In the order that [`Timed::read`] takes them.
    fn columns(schema: &Schema) -> String;
    fn read(row: &Row) -> Result<Self, Failure>;
    fn cursor(&self) -> Cursor;
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunRow {
    pub id: Id,
    pub tenant_id: Id,
    pub app_id: Id,
    pub workflow_id: Id,
    /// `workflow`, `chat`, `rag-pipeline`.
    pub kind: String,
    /// `app-run`, `debugging`, `webhook`, `schedule`, …
    pub triggered_from: String,
    pub version: String,
    pub status: String,
    pub error: Option<String>,
    pub elapsed_us: i64,
    pub tokens: i64,
    pub steps: i64,
    pub exceptions: i64,
    pub created_at: Micros,
    pub finished_at: Option<Micros>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct MessageRow {
    pub id: Id,
    pub app_id: Id,
    pub run_id: Option<Id>,
    pub provider: String,
    pub model: String,
    pub input_tokens: i64,
    pub output_tokens: i64,
    pub latency_us: i64,
    /// Billionths of a unit of the currency.
    pub price_nanos: i64,
    pub currency: String,
    pub status: String,
    pub error: Option<String>,
    pub invoke_from: String,
    pub has_answer: bool,
    pub created_at: Micros,
    pub updated_at: Micros,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct TriggerRow {
    pub id: Id,
    pub app_id: Id,
    pub workflow_id: Id,
    pub run_id: Option<Id>,
    /// `trigger-webhook`, `trigger-schedule`, `trigger-plugin`.
    pub kind: String,
    pub queue: String,
    pub status: String,
    pub error: Option<String>,
    pub elapsed_us: i64,
    pub created_at: Micros,
    pub triggered_at: Option<Micros>,
    pub finished_at: Option<Micros>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct FeedbackRow {
    pub id: Id,
    pub app_id: Id,
    pub message_id: Id,
    /// `like` or `dislike`.
    pub rating: String,
    /// `user` or `admin`.
    pub source: String,
    pub created_at: Micros,
}

impl Source<'_> {
    /// What stands after a position and before a time, in order.
    pub async fn page<T: Timed>(&self, after: Cursor, until: Micros, rows: usize) -> Result<Vec<T>, Failure> {
        let sql = format!(
            "SELECT {} FROM {} WHERE (created_at, id) > ($1, $2) AND created_at < $3 \
             ORDER BY created_at, id LIMIT $4",
            T::columns(self.schema),
            T::TABLE
        );
        let values =
            [Value::Time(after.at), Value::Id(after.id), Value::Time(until), Value::Int(limit(rows))];
        self.rows(&sql, &values, rows).await?.iter().map(T::read).collect()
    }

    /// As [`Source::page`], the positions alone: the index answers it.
    pub async fn positions<T: Timed>(
        &self,
        after: Cursor,
        until: Cursor,
        rows: usize,
    ) -> Result<Vec<Cursor>, Failure> {
        let sql = format!(
            "SELECT created_at, id FROM {} WHERE (created_at, id) > ($1, $2) AND (created_at, id) <= ($3, $4) \
             ORDER BY created_at, id LIMIT $5",
            T::TABLE
        );
        let values = [
            Value::Time(after.at),
            Value::Id(after.id),
            Value::Time(until.at),
            Value::Id(until.id),
            Value::Int(limit(rows)),
        ];
        let position = |row: &Row| Ok(Cursor { at: time(row, 0)?, id: id(row, 1)? });
        self.rows(&sql, &values, rows).await?.iter().map(position).collect()
    }

    /// Those of these rows that are there, in no order.
    pub async fn by_ids<T: Timed>(&self, ids: &[Id]) -> Result<Vec<T>, Failure> {
        let sql = format!("SELECT {} FROM {} WHERE id = ANY($1) LIMIT $2", T::columns(self.schema), T::TABLE);
        let values = [Value::Ids(ids), Value::Int(limit(ids.len()))];
        self.rows(&sql, &values, ids.len()).await?.iter().map(T::read).collect()
    }

    /// What was said of these messages.
    pub async fn feedback(&self, messages: &[Id], rows: usize) -> Result<Vec<FeedbackRow>, Failure> {
        const SQL: &str = "SELECT id, app_id, message_id, rating, from_source, created_at FROM message_feedbacks \
             WHERE message_id = ANY($1) LIMIT $2";
        let read = |row: &Row| {
            Ok(FeedbackRow {
                id: id(row, 0)?,
                app_id: id(row, 1)?,
                message_id: id(row, 2)?,
                rating: row.word(3)?,
                source: row.word(4)?,
                created_at: time(row, 5)?,
            })
        };
        let values = [Value::Ids(messages), Value::Int(limit(rows))];
        self.rows(SQL, &values, rows).await?.iter().map(read).collect()
    }
}

impl Timed for RunRow {
    const TABLE: &'static str = "workflow_runs";

    fn columns(schema: &Schema) -> String {
        let exceptions = schema.or_null("workflow_runs", "exceptions_count", "integer");
        format!(
            "id, tenant_id, app_id, workflow_id, type, triggered_from, version, status, left(error, {MAX_ERROR}), \
             elapsed_time, total_tokens, total_steps, {exceptions}, created_at, finished_at"
        )
    }

    fn read(row: &Row) -> Result<RunRow, Failure> {
        Ok(RunRow {
            id: id(row, 0)?,
            tenant_id: id(row, 1)?,
            app_id: id(row, 2)?,
            workflow_id: id(row, 3)?,
            kind: row.word(4)?,
            triggered_from: row.word(5)?,
            version: row.word(6)?,
            status: row.word(7)?,
            error: error(row, 8)?,
            elapsed_us: seconds(row, 9)?,
            tokens: row.int(10)?.unwrap_or(0),
            steps: row.int(11)?.unwrap_or(0),
            exceptions: row.int(12)?.unwrap_or(0),
            created_at: time(row, 13)?,
            finished_at: row.time(14)?,
        })
    }

    fn cursor(&self) -> Cursor {
        Cursor { at: self.created_at, id: self.id }
    }
}

impl Timed for MessageRow {
    const TABLE: &'static str = "messages";

    fn columns(schema: &Schema) -> String {
        let optional = |column, kind| schema.or_null("messages", column, kind);
        format!(
            "id, app_id, {}, {}, {}, message_tokens, answer_tokens, provider_response_latency, total_price::text, \
             currency, status, left(error, {MAX_ERROR}), {}, octet_length(answer) > 0, created_at, updated_at",
            optional("workflow_run_id", "uuid"),
            optional("model_provider", "text"),
            optional("model_id", "text"),
            optional("invoke_from", "text"),
        )
    }

    fn read(row: &Row) -> Result<MessageRow, Failure> {
        Ok(MessageRow {
            id: id(row, 0)?,
            app_id: id(row, 1)?,
            run_id: row.id(2)?,
            provider: row.word(3)?,
            model: row.word(4)?,
            input_tokens: row.int(5)?.unwrap_or(0),
            output_tokens: row.int(6)?.unwrap_or(0),
            latency_us: seconds(row, 7)?,
            price_nanos: row.text(8)?.and_then(super::usage::nanos).unwrap_or(0),
            currency: row.word(9)?,
            status: row.word(10)?,
            error: error(row, 11)?,
            invoke_from: row.word(12)?,
            has_answer: row.bool(13)?.unwrap_or(false),
            created_at: time(row, 14)?,
            updated_at: time(row, 15)?,
        })
    }

    fn cursor(&self) -> Cursor {
        Cursor { at: self.created_at, id: self.id }
    }
}

impl Timed for TriggerRow {
    const TABLE: &'static str = "workflow_trigger_logs";

    fn columns(_: &Schema) -> String {
        format!(
            "id, app_id, workflow_id, workflow_run_id, trigger_type, queue_name, status, left(error, {MAX_ERROR}), \
             elapsed_time, created_at, triggered_at, finished_at"
        )
    }

    fn read(row: &Row) -> Result<TriggerRow, Failure> {
        Ok(TriggerRow {
            id: id(row, 0)?,
            app_id: id(row, 1)?,
            workflow_id: id(row, 2)?,
            run_id: row.id(3)?,
            kind: row.word(4)?,
            queue: row.word(5)?,
            status: row.word(6)?,
            error: error(row, 7)?,
            elapsed_us: seconds(row, 8)?,
            created_at: time(row, 9)?,
            triggered_at: row.time(10)?,
            finished_at: row.time(11)?,
        })
    }

    fn cursor(&self) -> Cursor {
        Cursor { at: self.created_at, id: self.id }
    }
}

fn error(row: &Row, column: usize) -> Result<Option<String>, Failure> {
    Ok(row.text(column)?.filter(|text| !text.is_empty()).map(str::to_owned))
}
