//! `[model.policy]`, `[model.route.policy]`, `[model.breaker]`, `[model.ejection]`: every number within sane bounds.

use std::{ops::RangeInclusive, time::Duration};

use mainstay_base::snapshot::{
    Breaker, CallPolicy, Drain, Ejection, Hedge, OnCut, PreCommit, Retry, SingleFlight,
};

use super::{count, size};
use crate::config::reader::Reader;

const HOUR: Duration = Duration::from_secs(60 * 60);
const MAX_WAIT: Duration = Duration::from_secs(10 * 60);
/// A single call that costs more is a mistake in the file.
const MAX_COST_DOLLARS: f64 = 10_000.0;
const MIB: u64 = 1024 * 1024;

/// What is not written is as in `base`: the defaults, or the policy of all routes.
pub(super) fn policy(reader: Reader<'_>, base: &CallPolicy) -> CallPolicy {
    let deadline = reader.span("deadline", Duration::from_secs(1)..=24 * HOUR).unwrap_or(base.deadline);
    let answer_within = reader.span("answer_within", ms(100)..=24 * HOUR);
    if answer_within.is_some_and(|within| within > deadline) {
        reader.report("answer_within", "is longer than deadline");
    }
    let policy = CallPolicy {
        deadline,
        // Who shortens the deadline alone means the first byte too.
        answer_within: answer_within.unwrap_or(base.answer_within).min(deadline),
        max_cost: reader.dollars("max_cost", MAX_COST_DOLLARS).or(base.max_cost),
        max_attempts: count(&reader, "max_attempts", 1..=32).unwrap_or(base.max_attempts),
        retry: retry(reader.section("retry"), base.retry),
        hedge: hedge(reader.section("hedge"), base.hedge),
        pre_commit: pre_commit(reader.section("pre_commit"), base.pre_commit),
        on_cut: reader
            .choice("on_cut", &[("end", OnCut::End), ("continue", OnCut::Continue)])
            .unwrap_or(base.on_cut),
        content_filter_falls_over: reader
            .flag("content_filter_falls_over")
            .unwrap_or(base.content_filter_falls_over),
        single_flight: reader.choice("single_flight", SINGLE_FLIGHT).unwrap_or(base.single_flight),
        drain: drain(reader.section("drain"), base.drain),
    };
    reader.done();
    policy
}

const SINGLE_FLIGHT: &[(&str, SingleFlight)] =
    &[("off", SingleFlight::Off), ("deterministic", SingleFlight::Deterministic), ("all", SingleFlight::All)];

fn retry(reader: Reader<'_>, base: Retry) -> Retry {
    let retry = Retry {
        same_target: count(&reader, "same_target", 0..=10).unwrap_or(base.same_target),
        base: reader.span("base", ms(1)..=Duration::from_secs(60)).unwrap_or(base.base),
        cap: reader.span("cap", ms(1)..=MAX_WAIT).unwrap_or(base.cap),
        ratio: reader.share("ratio").unwrap_or(base.ratio),
        burst: reader.decimal("burst", 0.0..=1000.0).unwrap_or(base.burst),
    };
    if retry.cap < retry.base {
        reader.report("cap", "is shorter than retry.base");
    }
    reader.done();
    retry
}

/// Off unless `enabled`; a route may turn off what is on for all.
fn hedge(reader: Reader<'_>, base: Option<Hedge>) -> Option<Hedge> {
    let known = base.unwrap_or_default();
    let enabled = reader.flag("enabled");
    let hedge = Hedge {
        after_quantile: reader.decimal("after_quantile", 0.5..=0.999).unwrap_or(known.after_quantile),
        at_least: reader.span("at_least", Duration::ZERO..=MAX_WAIT).unwrap_or(known.at_least),
        ratio: reader.share("ratio").unwrap_or(known.ratio),
    };
    let is_on = enabled.unwrap_or(base.is_some());
    let unused = ["after_quantile", "at_least", "ratio"].into_iter().find(|key| reader.is_given(key));
    if let Some(key) = unused.filter(|_| !is_on && enabled.is_none()) {
        reader.findings().warn(reader.path(key), "has no effect: hedge.enabled is false");
    }
    reader.done();
    is_on.then_some(hedge)
}

fn pre_commit(reader: Reader<'_>, base: PreCommit) -> PreCommit {
    let policy = PreCommit {
        max_events: size(&reader, "max_events", 1..=10_000).unwrap_or(base.max_events),
        max_bytes: size(&reader, "max_bytes", 1024..=16 * MIB).unwrap_or(base.max_bytes),
        max_wait: reader.span("max_wait", ms(10)..=MAX_WAIT).unwrap_or(base.max_wait),
        min_chars: size(&reader, "min_chars", 1..=100_000).unwrap_or(base.min_chars),
    };
    reader.done();
    policy
}

fn drain(reader: Reader<'_>, base: Drain) -> Drain {
    let drain = Drain {
        max_wait: reader.span("max_wait", Duration::ZERO..=MAX_WAIT).unwrap_or(base.max_wait),
        max_bytes: reader.number("max_bytes", 0..=1024 * MIB).unwrap_or(base.max_bytes),
        max_at_once: size(&reader, "max_at_once", 0..=100_000).unwrap_or(base.max_at_once),
    };
    reader.done();
    drain
}

/// Nothing opens or ejects at a share of 0: then every call would.
const SOME_SHARE: RangeInclusive<f64> = 0.01..=1.0;

pub(super) fn breaker(reader: Reader<'_>) -> Breaker {
    let base = Breaker::default();
    let breaker = Breaker {
        window: reader.span("window", Duration::from_secs(1)..=MAX_WAIT).unwrap_or(base.window),
        min_calls: count(&reader, "min_calls", 1..=100_000).unwrap_or(base.min_calls),
        failure_share: reader.decimal("failure_share", SOME_SHARE).unwrap_or(base.failure_share),
        consecutive: count(&reader, "consecutive", 1..=10_000).unwrap_or(base.consecutive),
        slow_call: reader.span("slow_call", ms(1)..=HOUR).unwrap_or(base.slow_call),
        slow_share: reader.decimal("slow_share", SOME_SHARE).unwrap_or(base.slow_share),
        open_for: reader.span("open_for", ms(100)..=MAX_WAIT).unwrap_or(base.open_for),
        max_open: reader.span("max_open", ms(100)..=HOUR).unwrap_or(base.max_open),
        probes: count(&reader, "probes", 1..=100).unwrap_or(base.probes),
    };
    if breaker.max_open < breaker.open_for {
        reader.report("max_open", "is shorter than open_for");
    }
    reader.done();
    breaker
}

pub(super) fn ejection(reader: Reader<'_>) -> Ejection {
    let base = Ejection::default();
    let ejection = Ejection {
        excess: reader.decimal("excess", SOME_SHARE).unwrap_or(base.excess),
        min_calls: count(&reader, "min_calls", 1..=100_000).unwrap_or(base.min_calls),
        eject_for: reader.span("eject_for", Duration::from_secs(1)..=HOUR).unwrap_or(base.eject_for),
        max_share: reader.share("max_share").unwrap_or(base.max_share),
    };
    reader.done();
    ejection
}

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}
