//! The simulator: small worlds of which the answer is known, fidelity, and laws.

mod common;

use std::{sync::Arc, time::Duration};

use mainstay_base::{
    Class, Record, Usd,
    record::{self, Outcome as Ending},
    snapshot::{CallPolicy, Hedge, LogicalModel, ModelRoutes, ModelTarget, Price, Strategy},
};
use mainstay_signal::simulate::{
    Asked, Attempt, Call, Chance, Ended, How, Outcome, Recording, Side, World, compare, run,
};

use common::{Illness, START, Two, call, record, routes, seconds, steady};

fn good(first_token: f64, took: f64) -> Outcome {
    Outcome::good(Some(seconds(first_token)), seconds(took))
}

fn server_error() -> Outcome {
    Outcome::bad(Class::ServerError, seconds(0.1))
}

/// One call a second, each with the attempts given as (provider, outcome) one after the other.
fn recorded(calls: &[&[(&str, Outcome)]]) -> Recording {
    let mut recording = Recording::default();
    for (index, attempts) in calls.iter().enumerate() {
        let mut call = call(START + seconds(index as f64));
        let (mut at, mut told) = (call.at, Vec::new());
        for (provider, outcome) in *attempts {
            let target = recording.target(provider, "m");
            told.push(Attempt { target, at, outcome: *outcome });
            let how = if outcome.class.is_none() { How::Well } else { How::Failed };
            let first_token = outcome.first_token.map(|first_token| at.since(call.at) + first_token);
            call.ended = Ended { how, first_token, took: at.since(call.at) + outcome.took };
            at = at + outcome.took;
        }
        recording.push("m", call, &told);
    }
    recording
}

fn default_routes(providers: &[&str]) -> ModelRoutes {
    routes(providers, CallPolicy::default())
}

#[test]
fn a_replay_of_calls_that_went_well_is_what_was_recorded() {
    let recording = recorded(&[
        &[("a", good(0.3, 1.0))],
        &[("a", good(0.5, 2.0))],
        &[("a", server_error()), ("b", good(0.4, 3.0))],
    ]);
    let policy = default_routes(&["a", "b"]);
    let report = compare(&recording, &policy, &policy, 1);
    assert_eq!(report.recorded.whole, report.baseline.whole);
    assert_eq!(report.baseline, report.changed);
    let whole = &report.baseline.whole;
    assert_eq!((whole.calls, whole.answered, whole.attempts), (3, 3, 4));
    assert_eq!(
        (whole.first_token.p50_ms, whole.first_token.p99_ms, whole.total.p99_ms),
        (Some(500.0), Some(500.0), Some(3100.0))
    );
    assert_eq!(report.baseline.targets["a/m"].failures, 1);
    assert_eq!(report.fidelity.own_share_baseline, Some(1.0));
    assert_eq!(report.fidelity.success_share, Some(0.0));
    assert!(report.fidelity.is_faithful, "{:?}", report.fidelity);
}

#[test]
fn a_target_without_records_is_named_and_its_calls_are_not_answered() {
    let recording = recorded(&[&[("a", good(0.3, 1.0))], &[("a", server_error())]]);
    let report = compare(&recording, &default_routes(&["a"]), &default_routes(&["a", "new"]), 1);
    assert_eq!(report.changed.unknown_targets, ["new/m"]);
    let whole = &report.changed.whole;
    assert_eq!((whole.answered, whole.failed, whole.unanswerable), (1, 0, 1));
    let report = compare(&recording, &default_routes(&["a"]), &ModelRoutes::default(), 1);
    assert_eq!(report.changed.whole.unanswerable, 2, "the changed policy does not have the model");
}

#[test]
fn another_order_draws_what_it_has_no_own_record_of_from_calls_near_in_time() {
    let recording = recorded(&[&[("a", server_error()), ("b", good(0.2, 0.5))], &[("a", good(0.4, 1.0))]]);
    let report = compare(&recording, &default_routes(&["a", "b"]), &default_routes(&["b", "a"]), 1);
    let whole = &report.changed.whole;
    assert_eq!((whole.answered, whole.attempts, whole.first_token.p99_ms), (2, 2, Some(200.0)));
    assert_eq!(report.fidelity.own_share_changed, Some(0.5));
    assert_eq!(whole.target_shares["b/m"], 1.0);
}

#[test]
fn a_shorter_limit_makes_a_slow_answer_a_failure_and_the_next_target_is_asked() {
    let recording = recorded(&[&[("a", good(6.0, 7.0))], &[("b", good(0.2, 0.5))]]);
    let both = default_routes(&["a", "b"]);
    let mut changed = both.clone();
    let model = changed.models.get_mut("m").map(Arc::make_mut).unwrap();
    let provider = Arc::make_mut(&mut model.targets[0].provider);
    provider.first_token = seconds(2.0);
    let report = compare(&recording, &both, &changed, 1);
    assert_eq!(report.baseline.whole.first_token.p99_ms, Some(6000.0));
    assert_eq!(report.changed.whole.first_token.p99_ms, Some(2200.0));
}

#[test]
fn a_deadline_ends_a_call_and_a_ceiling_keeps_it_from_another_attempt() {
    let recording = recorded(&[&[("a", server_error()), ("b", good(0.2, 5.0))]]);
    let both = default_routes(&["a", "b"]);
    let with = |policy| routes(&["a", "b"], policy);
    let deadline = with(CallPolicy { deadline: seconds(3.0), ..CallPolicy::default() });
    assert_eq!(compare(&recording, &both, &deadline, 1).changed.whole.failed, 1);

    let price = Price { input: Usd(2_000_000), output: Usd(5_000_000), cached_input: None };
    let priced = |max_cost| {
        let mut routes = with(CallPolicy { max_cost, ..CallPolicy::default() });
        let model = routes.models.get_mut("m").map(Arc::make_mut).unwrap();
        model.targets.iter_mut().for_each(|target| target.price = Some(price));
        routes
    };
    // 500 tokens in for $2 a million, 200 out for $5: $0.002.
    let report = compare(&recording, &priced(Some(Usd(2_000))), &priced(Some(Usd(1_999))), 1);
    assert_eq!((report.baseline.whole.answered, report.baseline.whole.cost), (1, Usd(2_000)));
    assert_eq!(report.changed.whole.failed, 1);
}

#[test]
fn a_bound_that_was_the_policys_own_may_be_widened_and_a_callers_may_not() {
    let with = |deadline| routes(&["a"], CallPolicy { deadline, ..CallPolicy::default() });
    let (current, changed) = (with(seconds(3.0)), with(seconds(30.0)));
    for (granted, answered) in [(3.0, 1), (2.0, 0)] {
        let mut recording = Recording::default();
        let target = recording.target("a", "m");
        // Another call's record says that the target takes 5 s.
        for (at, deadline, took) in [(0.0, Some(seconds(granted)), None), (1.0, None, Some(good(0.5, 5.0)))] {
            let call = Call { deadline, ..call(START + seconds(at)) };
            let attempt = took.map(|outcome| Attempt { target, at: call.at, outcome });
            recording.push("m", call, attempt.as_slice());
        }
        let whole = compare(&recording, &current, &changed, 1).changed.whole;
        assert_eq!(whole.answered, 1 + answered, "{granted}");
    }
}

#[test]
fn a_callers_mistake_is_one_at_every_target_and_nobodys_failure() {
    let wrong = Outcome::bad(Class::CallerError, seconds(0.05));
    let recording = recorded(&[&[("a", wrong)], &[("b", good(0.2, 0.5))]]);
    let whole = compare(&recording, &default_routes(&["a"]), &default_routes(&["b"]), 1).changed.whole;
    assert_eq!((whole.callers_doing, whole.answered, whole.success_share), (1, 1, Some(1.0)));
}

#[test]
fn records_of_the_model_path_are_read_and_others_left_out() {
    let attempt = |upstream: &str, class: Option<Class>, first_token_us| record::Attempt {
        upstream: upstream.into(),
        model: Some("m".into()),
        class,
        error: class.map(|class| class.as_str().to_owned()),
        started_us: if class.is_some() { 1_000 } else { 90_000 },
        took_us: 80_000,
        first_token_us,
        cost: Some(Usd(3)),
        ..record::Attempt::default()
    };
    let told = Record {
        opened_at: START,
        model: Some("fast".into()),
        streamed: true,
        outcome: Ending::Ok,
        first_token_us: Some(100_000),
        took_us: 170_000,
        attempts: vec![attempt("a", Some(Class::Overloaded), None), attempt("b", None, Some(10_000))],
        ..Record::blank(record::Path::Model)
    };
    let mut recording = Recording::default();
    assert!(recording.add(&told.clone().into()));
    assert!(!recording.add(&Record { attempts: Vec::new(), ..told.clone() }.into()));
    assert!(!recording.add(&Record { model: None, ..told.clone() }.into()));
    assert!(recording.add(&Record { outcome: Ending::CallerGone, ..told.clone() }.into()));
    let report = compare(&recording, &ModelRoutes::default(), &ModelRoutes::default(), 1);
    let figures = &report.recorded.models["fast"];
    assert_eq!((figures.answered, figures.callers_doing, figures.attempts, figures.cost), (1, 1, 4, Usd(12)));
    assert_eq!(figures.first_token.p50_ms, Some(100.0));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["recorded"]["models"]["fast"]["first_token"]["p50_ms"], 100.0);
}

/// One recorded call to `m`, answered by `a` unless it found nobody, and another of which `b` is known.
fn needing(needs: Option<record::Needs>, found: bool) -> Recording {
    let attempt = |upstream: &str| record::Attempt {
        upstream: upstream.into(),
        model: Some("m".into()),
        took_us: 80_000,
        ..record::Attempt::default()
    };
    let told = |key: &str, upstream: &str, needs: Option<record::Needs>| Record {
        opened_at: START,
        model: Some("m".into()),
        key: Some(key.into()),
        outcome: Ending::Ok,
        took_us: 90_000,
        attempts: vec![attempt(upstream)],
        needs,
        ..Record::blank(record::Path::Model)
    };
    let nobody = |told: Record| Record { outcome: Ending::Failed, attempts: Vec::new(), ..told };
    let mut recording = Recording::default();
    assert!(recording.add(&told("other", "b", Some(record::Needs::default())).into()));
    let asked = told("ann", "a", needs);
    assert!(recording.add(&if found { asked } else { nobody(asked) }.into()));
    recording
}

#[test]
fn the_conditions_of_a_changed_chain_are_tried_on_what_calls_needed() {
    let needs = |change: fn(&mut record::Needs)| {
        let mut needs = record::Needs { input_tokens: 500, ..record::Needs::default() };
        change(&mut needs);
        Some(needs)
    };
    type Change = fn(&mut ModelTarget);
    // What one call needed, what the first target cannot, and whether the call then passes it over.
    let cases: [(&str, Option<record::Needs>, Change, bool); 18] = [
        ("tools", needs(|needs| needs.tools = true), |a| a.offer.tools = false, true),
        ("no tools", needs(|_| {}), |a| a.offer.tools = false, false),
        ("images", needs(|needs| needs.vision = true), |a| a.offer.vision = false, true),
        ("no images", needs(|_| {}), |a| a.offer.vision = false, false),
        ("json", needs(|needs| needs.structured_output = true), |a| a.offer.structured_output = false, true),
        ("no json", needs(|_| {}), |a| a.offer.structured_output = false, false),
        (
            "a region",
            needs(|needs| needs.region = Some("eu".into())),
            |a| a.offer.region = Some("us".into()),
            true,
        ),
        (
            "its region",
            needs(|needs| needs.region = Some("eu".into())),
            |a| a.offer.region = Some("eu".into()),
            false,
        ),
        ("no region", needs(|_| {}), |a| a.offer.region = Some("us".into()), false),
        (
            "a class",
            needs(|needs| needs.data_class = Some("secret".into())),
            |a| a.offer.data_classes = vec!["public".into()],
            true,
        ),
        ("no class", needs(|_| {}), |a| a.offer.data_classes = vec!["public".into()], true),
        (
            "its class",
            needs(|needs| needs.data_class = Some("public".into())),
            |a| a.offer.data_classes = vec!["public".into()],
            false,
        ),
        ("too long", needs(|_| {}), |a| a.offer.context_tokens = Some(400), true),
        ("long enough", needs(|_| {}), |a| a.offer.context_tokens = Some(500), false),
        (
            "too long with its answer",
            needs(|needs| needs.max_output_tokens = Some(200)),
            |a| a.offer.context_tokens = Some(600),
            true,
        ),
        ("another key", needs(|_| {}), |a| a.when.keys = vec!["bob".into()], true),
        ("too short", needs(|_| {}), |a| a.when.min_input_tokens = Some(501), true),
        // Recorded by an older version: taken for one that every target may serve.
        ("unknown", None, |a| (a.offer.tools, a.offer.data_classes) = (false, vec!["public".into()]), false),
    ];
    let current = default_routes(&["a", "b"]);
    for (name, needs, change, passes_over) in cases {
        let mut changed = current.clone();
        let model = changed.models.get_mut("m").map(Arc::make_mut).unwrap();
        change(&mut model.targets[0]);
        // The other call goes nowhere else: it needs nothing, and its key is not asked for.
        model.targets[1].when.keys = vec!["ann".into()];
        model.targets[1].offer.region = Some("eu".into());
        let report = compare(&needing(needs, true), &current, &changed, 1);
        let attempts_at_b = report.changed.targets["b/m"].attempts;
        assert_eq!(attempts_at_b, u64::from(passes_over), "{name}");
    }
}

#[test]
fn an_answer_longer_than_anybody_gives_is_foretold_as_the_gateway_gives_it() {
    let needs = record::Needs { max_output_tokens: Some(5_000), ..record::Needs::default() };
    let recording = needing(Some(needs), true);
    let mut current = default_routes(&["a"]);
    let model = current.models.get_mut("m").map(Arc::make_mut).unwrap();
    model.targets[0].offer.max_output_tokens = Some(100);
    let whole = compare(&recording, &current, &current, 1).baseline.whole;
    assert_eq!((whole.answered, whole.failed), (2, 0), "cut, and answered");
}

#[test]
fn a_call_that_nobody_could_serve_is_served_where_a_change_lets_somebody() {
    let needs = record::Needs { tools: true, ..record::Needs::default() };
    let recording = needing(Some(needs), false);
    let mut current = default_routes(&["b"]);
    let model = current.models.get_mut("m").map(Arc::make_mut).unwrap();
    model.targets[0].offer.tools = false;
    let report = compare(&recording, &current, &default_routes(&["b"]), 1);
    let answered = |side: &Side| (side.whole.answered, side.whole.failed);
    assert_eq!((answered(&report.recorded), answered(&report.baseline)), ((1, 1), (1, 1)));
    assert_eq!(answered(&report.changed), (2, 0));
}

#[test]
fn a_name_without_a_route_goes_where_such_names_go() {
    let recording = recorded(&[&[("a", good(0.3, 1.0))]]);
    let others =
        |name| ModelRoutes { other_models_to: vec![common::provider(name)], ..ModelRoutes::default() };
    let report = compare(&recording, &others("a"), &others("new"), 1);
    assert_eq!(report.baseline.whole.answered, 1);
    assert_eq!(
        (report.changed.whole.unanswerable, &report.changed.unknown_targets[..]),
        (1, &["new/m".to_owned()][..])
    );
}

/// A day with illnesses, recorded by the real state machines.
fn bad_day(illness: Illness, a_second: f64, seed: u64, policy: &ModelRoutes) -> Recording {
    let mut world = Two { illness, both: false, from: START + seconds(60.0), to: START + seconds(120.0) };
    record(&steady(a_second, seconds(180.0), seed), policy, &mut world, &["a", "b"], seed).0
}

const ILLNESSES: [Illness; 4] =
    [Illness::Fails(1.0), Illness::Fails(0.5), Illness::Fails(0.1), Illness::Stalls];

#[test]
fn the_replay_of_what_was_in_force_is_close_to_what_happened() {
    let ordered = default_routes(&["a", "b"]);
    // By chance: half of the replayed calls go elsewhere than they went, and are drawn.
    let mut weighted = ordered.clone();
    weighted.models.values_mut().for_each(|model| Arc::make_mut(model).strategy = Strategy::Weighted);
    let hedged = routes(&["a", "b"], CallPolicy { hedge: Some(Hedge::default()), ..CallPolicy::default() });
    for (illness, policy) in ILLNESSES
        .into_iter()
        .flat_map(|illness| [(illness, &ordered), (illness, &weighted), (illness, &hedged)])
    {
        for seed in 0..3 {
            let recording = bad_day(illness, 20.0, seed, policy);
            let report = compare(&recording, policy, policy, seed + 1000);
            let fidelity = &report.fidelity;
            println!("{illness:?} {fidelity:?}");
            let within = |figure: Option<f64>, bound: f64| figure.is_some_and(|figure| figure.abs() <= bound);
            assert!(within(fidelity.success_share, 0.005), "{illness:?} {fidelity:?}");
            assert!(within(fidelity.attempts_per_call, 0.03), "{illness:?} {fidelity:?}");
            assert!(
                within(fidelity.first_token_p50, 0.05) && within(fidelity.first_token_p95, 0.05),
                "{illness:?} {fidelity:?}"
            );
            assert!(
                within(fidelity.total_p50, 0.05) && within(fidelity.total_p95, 0.05),
                "{illness:?} {fidelity:?}"
            );
        }
    }
}

/// The broken twin: another policy than the one that was in force is not faithful, and the self-check says so.
#[test]
fn the_self_check_tells_a_policy_that_was_not_in_force() {
    let recording = bad_day(Illness::Fails(0.5), 20.0, 1, &default_routes(&["a", "b"]));
    let alone = routes(&["a"], CallPolicy { max_attempts: 1, ..CallPolicy::default() });
    let report = compare(&recording, &alone, &alone, 1);
    assert!(report.fidelity.success_share.unwrap() < -0.1, "{:?}", report.fidelity);
    assert!(!report.fidelity.is_faithful, "{:?}", report.fidelity);
}

/// Two healthy providers, one of which is slower; what is foretold is held against the truth.
struct FastAndSlow;

impl World for FastAndSlow {
    fn target(&self, provider: &str, _model: &str) -> Option<usize> {
        ["a", "b"].iter().position(|name| *name == provider)
    }

    fn outcome(&mut self, asked: &Asked) -> Outcome {
        let mut chance = Chance::new(asked.chance.to_bits());
        let usual = if asked.target == 0 { 0.8 } else { 0.3 };
        // A long tail: exponential.
        let first_token = usual * (0.3 - (1.0 - chance.draw()).ln());
        if chance.draw() < 0.03 { server_error() } else { good(first_token, first_token + chance.draw()) }
    }
}

#[test]
fn what_is_foretold_of_a_change_is_what_the_change_brings() {
    let model = |strategy, order: &[&str], policy| {
        let routes = routes(order, policy);
        let model = LogicalModel { strategy, ..(*routes.models["m"]).clone() };
        ModelRoutes { models: [("m".to_owned(), Arc::new(model))].into(), ..routes }
    };
    let plain = CallPolicy::default;
    let current = model(Strategy::Weighted, &["a", "b"], plain());
    let arrivals = steady(20.0, seconds(600.0), 5);
    let (recording, _) = record(&arrivals, &current, &mut FastAndSlow, &["a", "b"], 5);
    let hedged = || CallPolicy { hedge: Some(Hedge::default()), ..CallPolicy::default() };
    for (name, changed) in [
        ("b first", model(Strategy::Ordered, &["b", "a"], plain())),
        ("least latency", model(Strategy::LeastLatency, &["a", "b"], plain())),
        ("hedged", model(Strategy::Ordered, &["a", "b"], hedged())),
        ("a alone", model(Strategy::Ordered, &["a"], plain())),
    ] {
        let foretold = compare(&recording, &current, &changed, 9).changed.whole;
        let truth = run(&arrivals, &changed, &mut FastAndSlow, 77, &mut ()).whole;
        let off =
            |foretold: Option<f64>, truth: Option<f64>| (foretold.unwrap() / truth.unwrap() - 1.0).abs();
        let offs = [
            off(foretold.success_share, truth.success_share),
            off(foretold.attempts_per_call, truth.attempts_per_call),
            off(foretold.first_token.p50_ms, truth.first_token.p50_ms),
            off(foretold.first_token.p95_ms, truth.first_token.p95_ms),
        ];
        println!("{name}: success, attempts, p50, p95 off by {offs:.4?}");
        assert!(offs[0] < 0.005 && offs[1] < 0.02 && offs[2] < 0.05 && offs[3] < 0.15, "{name}: {offs:?}");
    }
}

#[test]
fn more_leave_is_never_worse() {
    for illness in ILLNESSES {
        for seed in 0..2 {
            let current = default_routes(&["a", "b"]);
            let recording = bad_day(illness, 10.0, seed, &current);
            let success = |changed: &ModelRoutes| {
                compare(&recording, &current, changed, 3).changed.whole.success_share.unwrap()
            };
            let laws = [
                ("another target", default_routes(&["a"]), default_routes(&["a", "b"])),
                (
                    "more attempts",
                    routes(&["a", "b"], CallPolicy { max_attempts: 1, ..CallPolicy::default() }),
                    routes(&["a", "b"], CallPolicy::default()),
                ),
                (
                    "a longer deadline",
                    routes(&["a", "b"], CallPolicy { deadline: seconds(2.0), ..CallPolicy::default() }),
                    routes(&["a", "b"], CallPolicy { deadline: seconds(20.0), ..CallPolicy::default() }),
                ),
            ];
            for (name, less, more) in laws {
                let (less, more) = (success(&less), success(&more));
                assert!(more >= less - 0.002, "{name} under {illness:?}: {less} and then {more}");
            }
        }
    }
}

#[test]
fn the_same_seed_tells_the_same() {
    let current = default_routes(&["a", "b"]);
    let recording = bad_day(Illness::Fails(0.5), 10.0, 2, &current);
    let changed = default_routes(&["b", "a"]);
    let report = compare(&recording, &current, &changed, 4);
    assert_eq!(report, compare(&recording, &current, &changed, 4));
    assert_ne!(report.changed, compare(&recording, &current, &changed, 5).changed);
}

#[test]
fn a_long_recording_is_replayed_at_a_steady_pace() {
    let policy = default_routes(&["a", "b"]);
    let recording = bad_day(Illness::Fails(1.0), 200.0, 1, &policy);
    let begun = std::time::Instant::now();
    let report = compare(&recording, &policy, &policy, 1);
    let a_call = begun.elapsed() / 2 / u32::try_from(report.recorded.whole.calls).unwrap();
    println!("{} calls, {a_call:?} a call", report.recorded.whole.calls);
    assert!(a_call < Duration::from_millis(1));
    assert_eq!(recording.calls().len(), 36_000);
}
