//! What is wrong with Dify's queues and workers, judged from looks over time.
//!
//! Promises: judgement ([`Judge`]) is pure, its time that of the look; a verdict needs its cause to stand for a while ([`Limits`]), so that a
//! busy and healthy deployment gives none; each names queue, worker, task and app as far as they are known, with what
//! was asked and answered, and one line that can be done. [`Watch`] looks
//! and acts; judgement refuses to know Redis, the database, and what is done about it.

mod ages;
mod beat;
mod feed;
mod limits;
mod messages;
mod queues;
mod rows;
mod taking;
mod view;
mod watch;
mod workers;

use std::{collections::BTreeMap, time::Duration};

use mainstay_base::{Evidence, Finding, Micros, Severity, finding::Subject};
use mainstay_dify::celery::Seen;
use serde::Serialize;

/// What is seen and done, as `dify` and `signal` have it, for those who show it.
pub use mainstay_dify::celery::{
    Answer, Peek, Running, TenantList, Unacked, Worker,
    act::{Action, Done, MARK as MARKED_FAILED, Plan, Refused, Step, Undo},
};
pub use mainstay_signal::forecast::{Drain, Rates};

pub use feed::{Source, ask};
pub use limits::Limits;
pub use rows::{Rows, RunningRun, WaitingDocuments};
pub use view::{QueueView, Share};
pub use watch::{Acted, LOOK_EVERY, Latest, NotActed, Watch};

use ages::Ages;
use beat::Beat;

/// Remembers what it needs between looks, in bounded memory: what it has not seen for a while is forgotten.
#[derive(Clone, Debug, Default)]
pub struct Judge {
    limits: Limits,
    /// Since when a cause stands, by verdict and subject.
    since: BTreeMap<String, Micros>,
    queues: BTreeMap<String, Ages>,
    beat: Beat,
    began: Option<Micros>,
    last: Option<Micros>,
}

/// What one look came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Verdicts {
    /// The worst first.
    pub findings: Vec<Finding>,
    /// Every queue that is in use, the longest first.
    pub queues: Vec<QueueView>,
}

impl Judge {
    pub fn new(limits: Limits) -> Judge {
        Judge { limits, ..Judge::default() }
    }

    /// Judges one look; `rows` is what the database tells, as far as it was asked.
    pub fn step(&mut self, seen: &Seen, rows: &Rows) -> Verdicts {
        let now = seen.at;
        // After a gap, as of a machine that slept, nothing is known to have stood in between.
        if self.last.is_none_or(|last| now < last || now.since(last) > self.limits.longest_gap) {
            *self = Judge::new(self.limits);
        }
        self.began.get_or_insert(now);
        self.last = Some(now);
        self.remember(seen);
        let mut bench = Bench {
            limits: self.limits,
            since: &mut self.since,
            now,
            kept: Vec::new(),
            findings: Vec::new(),
        };
        workers::judge(&mut bench, seen);
        queues::judge(&mut bench, seen, &self.queues);
        self.beat.judge(&mut bench, seen);
        rows::judge(&mut bench, seen, rows);
        missed(&mut bench, seen);
        let Bench { kept, mut findings, .. } = bench;
        self.since.retain(|key, _| kept.contains(key));
        findings.sort_by(|one, other| other.severity.cmp(&one.severity).then_with(|| one.id.cmp(&other.id)));
        Verdicts { findings, queues: view::queues(seen, &self.queues) }
    }

    fn remember(&mut self, seen: &Seen) {
        // Empty ones too, so that what comes next is known to be new.
        for queue in &seen.queues {
            self.queues.entry(queue.name.clone()).or_default().take(queue, seen);
        }
        self.queues.retain(|name, _| seen.queues.iter().any(|queue| queue.name == *name));
    }
}

/// Where verdicts are spoken: what stands how long, and what was found.
struct Bench<'a> {
    limits: Limits,
    since: &'a mut BTreeMap<String, Micros>,
    now: Micros,
    kept: Vec<String>,
    findings: Vec<Finding>,
}

impl Bench<'_> {
    /// How long a cause stands; to be asked at each look at which it stands, and at no other.
    fn stands(&mut self, key: String) -> Duration {
        let since = *self.since.entry(key.clone()).or_insert(self.now);
        self.kept.push(key);
        self.now.since(since)
    }

    /// Whether a cause stands for this long.
    fn stands_for(&mut self, key: String, wanted: Duration) -> bool {
        self.stands(key) >= wanted
    }

    fn find(&mut self, finding: Finding) {
        self.findings.push(finding);
    }
}

/// What could not be looked at is a finding too: nobody is told that all is well because nothing was seen.
fn missed(bench: &mut Bench<'_>, seen: &Seen) {
    for missed in &seen.missed {
        bench.find(Finding {
            id: "queue-look-incomplete".to_owned(),
            severity: Severity::Warning,
            component: "broker".to_owned(),
            subject: Subject::default(),
            what: format!("{} could not be read", missed.what),
            cause: missed.why.clone(),
            remedy: missed.remedy.clone(),
            evidence: vec![Evidence::new(missed.what.clone(), missed.why.clone())],
        });
    }
}

/// A duration as people say it.
fn worded(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}

#[cfg(test)]
mod tests;
