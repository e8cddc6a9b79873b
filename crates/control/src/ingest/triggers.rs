//! Runs that were triggered, and how long they waited in a queue.

use mainstay_base::Micros;
use mainstay_dify::{
    db::Id,
    read::{Source, TriggerRow},
};
use mainstay_store::model::{DifyAdd, DifyItem, DifySeries};
use serde_json::json;

use super::{
    Ingest, IngestError,
    count::{between, class, signature_of},
    step::{Kind, Track, label, look_again},
};

impl Kind for TriggerRow {
    fn track(ingest: &mut Ingest) -> &mut Track {
        &mut ingest.triggers
    }

    fn id(&self) -> Id {
        self.id
    }

    fn is_ended(&self, _: Micros, _: &Ingest) -> bool {
        matches!(self.status.as_str(), "succeeded" | "failed" | "rate_limited")
    }

    async fn items(
        rows: Vec<TriggerRow>,
        ingest: &mut Ingest,
        _: Source<'_>,
        now: Micros,
    ) -> Result<(Vec<DifyItem>, u64), IngestError> {
        Ok((rows.iter().map(|row| ingest.trigger_item(row, now)).collect(), 0))
    }
}

impl Ingest {
    fn trigger_item(&mut self, trigger: &TriggerRow, now: Micros) -> DifyItem {
        let is_ended = trigger.is_ended(now, self);
        let is_failed = matches!(trigger.status.as_str(), "failed" | "rate_limited");
        let class = class(&self.catalogue, is_failed, trigger.error.as_deref());
        let app_id = trigger.app_id.to_string();
        // A worker took it when what it took to run had not begun yet.
        let began = trigger.finished_at.map(|at| Micros(at.0.saturating_sub(trigger.elapsed_us)));
        let wait_us = between(trigger.triggered_at, began);
        let mut adds = Vec::new();
        if is_ended {
            let series = self.series.of(DifySeries {
                kind: "trigger".to_owned(),
                app_id: app_id.clone(),
                mode: self.apps.mode(trigger.app_id, "workflow"),
                origin: label(&trigger.kind),
                node_type: label(&trigger.queue),
                status: label(&trigger.status),
                class: class.to_owned(),
                ..DifySeries::default()
            });
            adds.push(DifyAdd {
                series,
                at: trigger.created_at,
                took_us: Some(trigger.elapsed_us),
                wait_us,
                tokens: 0,
                input_tokens: 0,
                output_tokens: 0,
                price_nanos: 0,
            });
        }
        // As soon as it is there, it is not missed.
        if trigger.kind.contains("schedule") {
            let queued_at = trigger.created_at;
            let firing = self.fired(trigger.app_id, queued_at, began.or(trigger.triggered_at));
            adds.extend(firing.filter(|_| is_ended));
        }
        let body = json!({
            "run": trigger.run_id.map(|id| id.to_string()),
            "workflow": trigger.workflow_id.to_string(),
            "kind": trigger.kind,
            "queue": trigger.queue,
            "took_us": trigger.elapsed_us,
            "wait_us": wait_us,
            "error": trigger.error,
            "signature": if is_failed { signature_of(&self.catalogue, trigger.error.as_deref()) } else { None },
        });
        DifyItem {
            id: trigger.id.to_string(),
            created_at: trigger.created_at,
            app_id,
            status: trigger.status.clone(),
            class: class.to_owned(),
            look_at: (!is_ended).then(|| look_again(trigger.created_at, now)),
            body: body.to_string(),
            adds,
        }
    }
}
