//! Runs with their nodes.

use std::collections::HashMap;

use mainstay_base::Micros;
use mainstay_dify::{
    db::{Failure, Id},
    read::{NodeRow, Nodes, RunRow, Source},
    schema::Capability,
};
use mainstay_store::model::{DifyAdd, DifyItem, DifySeries};
use serde_json::json;
use tokio::time::Instant;

use super::{
    Ingest, IngestError,
    count::{between, class, signature_of},
    step::{Kind, Track, label, look_again},
};

/// Nodes of a run that are kept one by one: those that failed, then the longest.
const KEPT_NODES: usize = 30;

impl Kind for RunRow {
    fn track(ingest: &mut Ingest) -> &mut Track {
        &mut ingest.runs
    }

    fn id(&self) -> Id {
        self.id
    }

    fn is_ended(&self, _: Micros, _: &Ingest) -> bool {
        !matches!(self.status.as_str(), "running" | "paused" | "scheduled" | "pending")
    }

    async fn items(
        rows: Vec<RunRow>,
        ingest: &mut Ingest,
        source: Source<'_>,
        now: Micros,
    ) -> Result<(Vec<DifyItem>, u64), IngestError> {
        // Nodes are read once, when their run has ended.
        let ended: Vec<Id> = rows.iter().filter(|run| run.is_ended(now, ingest)).map(|run| run.id).collect();
        let (mut nodes, read) = ingest.nodes(source, &ended).await?;
        let mut origins = HashMap::new();
        let mut more = read;
        for some in ended.chunks(500) {
            let found = source.origins(some).await?;
            more += found.len() as u64;
            origins.extend(found);
        }
        let items = rows.into_iter().map(|run| {
            let nodes = nodes.remove(&run.id).unwrap_or_default();
            let origin = origins.remove(&run.id);
            ingest.run_item(&run, &nodes, origin, now)
        });
        Ok((items.collect(), more))
    }
}

impl Ingest {
    /// By run, in as many questions as it takes.
    async fn nodes(
        &mut self,
        source: Source<'_>,
        runs: &[Id],
    ) -> Result<(HashMap<Id, Vec<NodeRow>>, u64), IngestError> {
        let mut by_run: HashMap<Id, Vec<NodeRow>> = HashMap::with_capacity(runs.len());
        let (mut read, mut from) = (0, 0);
        if !source.schema.can(Capability::Nodes) {
            return Ok((by_run, 0));
        }
        while from < runs.len() {
            let some = &runs[from..(from + self.node_pace.rows()).min(runs.len())];
            let began = Instant::now();
            let Nodes { rows, unreadable, is_cut } = match source.nodes(some).await {
                Err(Failure::TooSlow { .. }) if some.len() > 1 => {
                    self.node_pace.too_slow();
                    if some.len() > self.node_pace.rows() {
                        continue;
                    }
                    self.singly(source, some).await?
                }
                answer => answer?,
            };
            if is_cut && some.len() > 1 {
                // A page of very large runs.
                self.node_pace.too_slow();
                if some.len() > self.node_pace.rows() {
                    continue;
                }
            }
            self.node_pace.took(began.elapsed(), some.len() == self.node_pace.rows());
            self.meter.unreadable += unreadable;
            read += rows.len() as u64;
            for row in rows {
                by_run.entry(row.run_id).or_default().push(row);
            }
            from += some.len();
        }
        Ok((by_run, read))
    }

    /// Run by run. One whose nodes cannot be read in time is kept without them.
    async fn singly(&mut self, source: Source<'_>, runs: &[Id]) -> Result<Nodes, IngestError> {
        let mut all = Nodes::default();
        for run in runs {
            match source.nodes(std::slice::from_ref(run)).await {
                Ok(Nodes { rows, unreadable, .. }) => {
                    all.rows.extend(rows);
                    all.unreadable += unreadable;
                }
                Err(Failure::TooSlow { .. }) => all.unreadable += 1,
                Err(failure) => return Err(failure.into()),
            }
        }
        Ok(all)
    }

    fn run_item(&mut self, run: &RunRow, nodes: &[NodeRow], origin: Option<String>, now: Micros) -> DifyItem {
        let is_ended = run.is_ended(now, self);
        let is_failed = matches!(run.status.as_str(), "failed" | "partial-succeeded");
        let class = class(&self.catalogue, is_failed, run.error.as_deref());
        let app_id = run.app_id.to_string();
        let took_us = if run.elapsed_us > 0 {
            Some(run.elapsed_us)
        } else {
            between(Some(run.created_at), run.finished_at)
        };
        let first_node_at = nodes.iter().map(|node| node.created_at).min();
        let wait_us = between(Some(run.created_at), first_node_at);
        // The endpoint where Dify logs it; else what made it run.
        let origin = origin.unwrap_or_else(|| run.triggered_from.clone());
        let mut adds = Vec::new();
        if is_ended {
            let series = self.series.of(DifySeries {
                kind: "run".to_owned(),
                app_id: app_id.clone(),
                mode: self.apps.mode(run.app_id, &run.kind),
                origin: label(&origin),
                version: label(&run.version),
                status: label(&run.status),
                class: class.to_owned(),
                ..DifySeries::default()
            });
            adds.push(DifyAdd {
                series,
                at: run.created_at,
                took_us,
                wait_us,
                tokens: run.tokens,
                input_tokens: 0,
                output_tokens: 0,
                price_nanos: 0,
            });
            adds.extend(nodes.iter().map(|node| self.node_add(run, node)));
            adds.extend(nodes.iter().filter_map(|node| self.retrieval_add(run, &origin, node)));
        }
        let body = json!({
            "tenant": run.tenant_id.to_string(),
            "workflow": run.workflow_id.to_string(),
            "kind": run.kind,
            "version": run.version,
            "origin": origin,
            "took_us": took_us,
            "wait_us": wait_us,
            "tokens": run.tokens,
            "steps": run.steps,
            "exceptions": run.exceptions,
            "finished_at": run.finished_at,
            "error": run.error,
            "signature": if is_failed { signature_of(&self.catalogue, run.error.as_deref()) } else { None },
            "nodes": kept(nodes),
        });
        DifyItem {
            id: run.id.to_string(),
            created_at: run.created_at,
            app_id,
            status: run.status.clone(),
            class: class.to_owned(),
            look_at: (!is_ended).then(|| look_again(run.created_at, now)),
            body: body.to_string(),
            adds,
        }
    }

    fn node_add(&mut self, run: &RunRow, node: &NodeRow) -> DifyAdd {
        let is_failed = matches!(node.status.as_str(), "failed" | "exception");
        let model = node.model.as_ref();
        let series = self.series.of(DifySeries {
            kind: "node".to_owned(),
            app_id: run.app_id.to_string(),
            mode: self.apps.mode(run.app_id, &run.kind),
            version: label(&run.version),
            node_type: label(&node.kind),
            provider: model.map(|model| label(&model.provider)).unwrap_or_default(),
            model: model.map(|model| label(&model.name)).unwrap_or_default(),
            status: label(&node.status),
            class: class(&self.catalogue, is_failed, node.error.as_deref()).to_owned(),
            currency: label(&node.usage.currency),
            ..DifySeries::default()
        });
        DifyAdd {
            series,
            at: node.created_at,
            took_us: Some(node.elapsed_us),
            wait_us: None,
            tokens: node.usage.total_tokens,
            input_tokens: node.usage.input_tokens,
            output_tokens: node.usage.output_tokens,
            price_nanos: node.usage.price_nanos,
        }
    }

    /// A retrieval of knowledge is counted once more, by whether it found anything.
    fn retrieval_add(&mut self, run: &RunRow, origin: &str, node: &NodeRow) -> Option<DifyAdd> {
        let status = if node.found? { "found" } else { "empty" };
        let series = self.series.of(DifySeries {
            kind: "retrieval".to_owned(),
            app_id: run.app_id.to_string(),
            mode: self.apps.mode(run.app_id, &run.kind),
            origin: label(origin),
            version: label(&run.version),
            status: status.to_owned(),
            ..DifySeries::default()
        });
        Some(DifyAdd {
            series,
            at: node.created_at,
            took_us: Some(node.elapsed_us),
            wait_us: None,
            tokens: 0,
            input_tokens: 0,
            output_tokens: 0,
            price_nanos: 0,
        })
    }
}

/// The nodes that tell most: id, type, status, microseconds, tokens; and the error of one that failed.
fn kept(nodes: &[NodeRow]) -> Vec<serde_json::Value> {
    let mut nodes: Vec<&NodeRow> = nodes.iter().collect();
    if nodes.len() > KEPT_NODES {
        nodes.sort_by_key(|node| (node.error.is_none(), -node.elapsed_us));
        nodes.truncate(KEPT_NODES);
    }
    nodes.sort_by_key(|node| node.created_at);
    let short = |text: &String| text.chars().take(300).collect::<String>();
    let row = |node: &NodeRow| match &node.error {
        None => json!([node.node_id, node.kind, node.status, node.elapsed_us, node.usage.total_tokens]),
        Some(error) => {
            json!([
                node.node_id,
                node.kind,
                node.status,
                node.elapsed_us,
                node.usage.total_tokens,
                short(error)
            ])
        }
    };
    nodes.into_iter().map(row).collect()
}
