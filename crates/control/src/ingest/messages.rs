//! Answers of chats, and what was said of them.

use std::time::Duration;

use mainstay_base::Micros;
use mainstay_dify::{
    db::Id,
    read::{MessageRow, Source},
    schema::Capability,
};
use mainstay_store::model::{DifyAdd, DifyBatch, DifyFilter, DifyItem, DifySeries};
use serde_json::json;
use tokio::time::Instant;

use super::{
    Ingest, IngestError,
    count::{class, signature_of},
    step::{Kind, Track, label, look_again},
};

/// Feedback has no index on its time: it is asked for by message, for as many of the newest.
const FEEDBACK_EVERY: Duration = Duration::from_secs(300);
const FEEDBACK_MESSAGES: u32 = 1000;
const FEEDBACK_TOGETHER: usize = 250;

impl Kind for MessageRow {
    fn track(ingest: &mut Ingest) -> &mut Track {
        &mut ingest.messages
    }

    fn id(&self) -> Id {
        self.id
    }

    /// A message is written when it is asked, without an answer. Nothing says that it never will have one.
    fn is_ended(&self, now: Micros, ingest: &Ingest) -> bool {
        self.has_answer || self.status == "error" || now.since(self.created_at) > ingest.options.longest_run
    }

    async fn items(
        rows: Vec<MessageRow>,
        ingest: &mut Ingest,
        _: Source<'_>,
        now: Micros,
    ) -> Result<(Vec<DifyItem>, u64), IngestError> {
        Ok((rows.iter().map(|row| ingest.message_item(row, now)).collect(), 0))
    }
}

impl Ingest {
    fn message_item(&mut self, message: &MessageRow, now: Micros) -> DifyItem {
        let is_ended = message.is_ended(now, self);
        let is_failed = message.status == "error";
        let class = class(&self.catalogue, is_failed, message.error.as_deref());
        let app_id = message.app_id.to_string();
        // What a chatflow used is counted with the nodes of its run.
        let counts = message.run_id.is_none();
        let used = |amount: i64| if counts { amount } else { 0 };
        let mut adds = Vec::new();
        if is_ended {
            let series = self.series.of(DifySeries {
                kind: "message".to_owned(),
                app_id: app_id.clone(),
                mode: self.apps.mode(message.app_id, "chat"),
                origin: label(&message.invoke_from),
                provider: label(&message.provider),
                model: label(&message.model),
                status: label(&message.status),
                class: class.to_owned(),
                currency: if counts { label(&message.currency) } else { String::new() },
                ..DifySeries::default()
            });
            adds.push(DifyAdd {
                series,
                at: message.created_at,
                took_us: Some(message.latency_us),
                wait_us: None,
                tokens: used(message.input_tokens.saturating_add(message.output_tokens)),
                input_tokens: used(message.input_tokens),
                output_tokens: used(message.output_tokens),
                price_nanos: used(message.price_nanos),
            });
        }
        let body = json!({
            "run": message.run_id.map(|id| id.to_string()),
            "model": message.model,
            "provider": message.provider,
            "origin": message.invoke_from,
            "took_us": message.latency_us,
            "input_tokens": message.input_tokens,
            "output_tokens": message.output_tokens,
            "error": message.error,
            "signature": if is_failed { signature_of(&self.catalogue, message.error.as_deref()) } else { None },
        });
        DifyItem {
            id: message.id.to_string(),
            created_at: message.created_at,
            app_id,
            status: message.status.clone(),
            class: class.to_owned(),
            look_at: (!is_ended).then(|| look_again(message.created_at, now)),
            body: body.to_string(),
            adds,
        }
    }

    /// Likes and dislikes of the newest messages.
    pub(super) async fn read_feedback(&mut self, source: Source<'_>) -> Result<(), IngestError> {
        let can = source.schema.can(Capability::Feedback) && source.schema.can(Capability::Messages);
        if !can || Instant::now() < self.next_feedback_at {
            return Ok(());
        }
        self.next_feedback_at = Instant::now() + FEEDBACK_EVERY;
        let filter =
            DifyFilter { kind: "message".to_owned(), limit: FEEDBACK_MESSAGES, ..DifyFilter::default() };
        let newest = self.store.dify().list(&self.options.source, filter).await?;
        let ids: Vec<Id> = newest.iter().filter_map(|message| message.id.parse().ok()).collect();
        for some in ids.chunks(FEEDBACK_TOGETHER) {
            let rows = source.feedback(some, FEEDBACK_TOGETHER * 2).await?;
            if rows.is_empty() {
                continue;
            }
            let mut items = Vec::with_capacity(rows.len());
            for row in rows {
                let series = self.series.of(DifySeries {
                    kind: "feedback".to_owned(),
                    app_id: row.app_id.to_string(),
                    mode: self.apps.mode(row.app_id, "chat"),
                    origin: label(&row.source),
                    status: label(&row.rating),
                    ..DifySeries::default()
                });
                let add = DifyAdd {
                    series,
                    at: row.created_at,
                    took_us: None,
                    wait_us: None,
                    tokens: 0,
                    input_tokens: 0,
                    output_tokens: 0,
                    price_nanos: 0,
                };
                items.push(DifyItem {
                    id: row.id.to_string(),
                    created_at: row.created_at,
                    app_id: row.app_id.to_string(),
                    status: row.rating,
                    class: String::new(),
                    look_at: None,
                    body: json!({ "message": row.message_id.to_string(), "source": row.source }).to_string(),
                    adds: vec![add],
                });
            }
            self.keep_others("feedback", items).await?;
        }
        Ok(())
    }

    /// Keeps items of a kind that no table is read along for.
    pub(super) async fn keep_others(
        &mut self,
        kind: &'static str,
        items: Vec<DifyItem>,
    ) -> Result<(), IngestError> {
        let series = self.series.new_ones();
        let after = self.store.dify().cursor(&self.options.source, kind).await?.sequence;
        let batch = DifyBatch {
            source: self.options.source.clone(),
            kind,
            after,
            next: None,
            items: items.into(),
            series: series.clone().into(),
        };
        self.store.dify().take(batch).await?.ok_or(IngestError::Overtaken)?;
        self.series.known(&series);
        Ok(())
    }
}
