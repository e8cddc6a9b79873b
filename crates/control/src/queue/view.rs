//! Queues as they are shown: length, consumers, age, rates, when they will be empty, and whose tasks they hold.

use std::collections::BTreeMap;

use mainstay_dify::celery::{About, Peek, Queue, Seen};
use mainstay_signal::forecast::{Drain, Rates};
use serde::{Deserialize, Serialize};

use super::{ages::Ages, workers::consumes};

/// Tasks and subjects listed of one queue.
const MAX_SHARES: usize = 10;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueView {
    pub name: String,
    pub waiting: u64,
    /// By priority step.
    pub by_step: [u64; 4],
    /// Workers that consume it by their own word and answered the last question.
    pub consumers: Vec<String>,
    /// How long the oldest message waits; with `oldest_is_at_least` it may be longer.
    pub oldest_s: Option<f64>,
    pub oldest_is_at_least: bool,
    pub rates: Option<Rates>,
    pub drain: Drain,
    /// What a message that comes now waits about, in seconds.
    pub wait_s: Option<f64>,
    /// Of the messages that were looked at.
    pub sampled: u64,
    pub tasks: Vec<Share>,
    /// Apps, else knowledge bases, else workspaces.
    pub subjects: Vec<Share>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    pub name: String,
    pub count: u64,
}

pub(super) fn queues(seen: &Seen, ages: &BTreeMap<String, Ages>) -> Vec<QueueView> {
    let mut views: Vec<QueueView> =
        seen.queues.iter().map(|queue| view(seen, queue, ages.get(&queue.name))).collect();
    views.retain(|view| view.waiting > 0 || !view.consumers.is_empty() || seen.bound.contains(&view.name));
    views.sort_by(|one, other| other.waiting.cmp(&one.waiting).then_with(|| one.name.cmp(&other.name)));
    views
}

fn view(seen: &Seen, queue: &Queue, ages: Option<&Ages>) -> QueueView {
    let rates = ages.and_then(|ages| ages.history.rates());
    let service = rates.and_then(|rates| rates.service).filter(|service| *service > 0.0);
    let oldest = ages.and_then(|ages| ages.oldest(seen.at));
    let peeks = || queue.oldest.iter().chain(&queue.newest);
    let consumers =
        seen.workers.iter().filter(|worker| worker.silent_rounds == 0 && consumes(worker, &queue.name));
    QueueView {
        name: queue.name.clone(),
        waiting: queue.length(),
        by_step: queue.waiting,
        consumers: consumers.map(|worker| worker.name.clone()).collect(),
        oldest_s: oldest.map(|(age, _)| age.as_secs_f64()),
        oldest_is_at_least: oldest.is_some_and(|(_, at_least)| at_least),
        drain: ages.map_or(Drain::Empty, |ages| ages.history.drain()),
        wait_s: service.map(|service| queue.length() as f64 / service),
        rates,
        sampled: peeks().count() as u64,
        tasks: shares(peeks().filter_map(|peek| peek.task().map(str::to_owned))),
        subjects: shares(peeks().filter_map(|peek| match peek {
            Peek::Task { about, .. } => whose(about),
            Peek::Broken { .. } | Peek::TooLarge { .. } => None,
        })),
    }
}

fn whose(about: &About) -> Option<String> {
    let About { app, dataset, tenant, .. } = about;
    let named = |kind: &str, id: &Option<String>| id.as_ref().map(|id| format!("{kind} {id}"));
    named("app", app).or_else(|| named("knowledge base", dataset)).or_else(|| named("workspace", tenant))
}

fn shares(names: impl Iterator<Item = String>) -> Vec<Share> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    let mut shares: Vec<Share> = counts.into_iter().map(|(name, count)| Share { name, count }).collect();
    shares.sort_by(|one, other| other.count.cmp(&one.count).then_with(|| one.name.cmp(&other.name)));
    shares.truncate(MAX_SHARES);
    shares
}
