use std::sync::Arc;

use mainstay_base::snapshot::{Conditions, Dialect, ModelTarget, Offer, Provider, Strategy, Timeouts};
use proptest::{prelude::*, strategy::Strategy as _};

use super::*;
use crate::simulate::Chance;

fn provider(name: &str) -> Arc<Provider> {
    Arc::new(Provider {
        name: name.into(),
        dialect: Dialect::OpenAi,
        base_url: String::new(),
        keys: Vec::new(),
        timeouts: Timeouts::default(),
        first_token: Duration::from_secs(30),
        speaks_responses: true,
    })
}

fn target(name: &str) -> ModelTarget {
    ModelTarget::new(provider(name), "m")
}

fn model(strategy: Strategy, targets: Vec<ModelTarget>) -> LogicalModel {
    LogicalModel { strategy, ..LogicalModel::ordered("m", targets) }
}

fn abc() -> LogicalModel {
    model(Strategy::Ordered, ["a", "b", "c"].map(target).to_vec())
}

fn seen(index: usize, of: usize, seen: Seen) -> Seen {
    if index == of { seen } else { Seen::default() }
}

fn ordered(model: &LogicalModel, how: impl Fn(usize) -> Seen) -> Plan {
    order(model, &Ask::default(), how, &[], || 0.5)
}

#[test]
fn what_is_worse_stands_later() {
    let until = Micros(9);
    for (first, candidates, why) in [
        (Seen::default(), vec![0, 1, 2], None),
        (Seen { drained: true, ..Seen::default() }, vec![1, 2, 0], Some(Why::Drained)),
        (Seen { busy: true, ..Seen::default() }, vec![1, 2, 0], Some(Why::Busy)),
        (Seen { ejected: true, ..Seen::default() }, vec![1, 2, 0], Some(Why::Ejected)),
        (
            Seen { keys_rest_until: Some(until), ..Seen::default() },
            vec![1, 2, 0],
            Some(Why::KeysRest { until }),
        ),
        (Seen { rate_wait: Some(Duration::ZERO), ..Seen::default() }, vec![0, 1, 2], None),
        (
            Seen { rate_wait: Some(Duration::from_millis(7)), ..Seen::default() },
            vec![1, 2, 0],
            Some(Why::RateLimited { wait_ms: 7 }),
        ),
    ] {
        let plan = ordered(&abc(), |index| seen(index, 0, first));
        assert_eq!((plan.candidates, plan.passed_over, plan.is_last_resort), (candidates, vec![], false));
        assert_eq!(plan.moved, why.map(|why| (0, why)).into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn an_open_breaker_is_passed_over_while_anybody_is_left_even_a_drained_one() {
    let open = |until| Seen { breaker_open_until: Some(Micros(until)), ..Seen::default() };
    let plan = ordered(&abc(), |index| [open(5), open(3), Seen { drained: true, ..Seen::default() }][index]);
    assert_eq!(plan.candidates, [2]);
    assert!(!plan.is_last_resort);
    let plan = ordered(&abc(), |index| [open(5), open(3), open(4)][index]);
    assert_eq!((plan.candidates, plan.is_last_resort), (vec![1], true));
    assert_eq!(plan.moved, [(1, Why::LastResort)]);
    assert_eq!(plan.passed_over.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 2]);
}

#[test]
fn priorities_come_before_strategies() {
    let mut model = abc();
    model.targets[0].priority = 2;
    model.targets[2].priority = 1;
    model.strategy = Strategy::Weighted;
    for seed in 0..50 {
        let mut chance = Chance::new(seed);
        let plan = order(&model, &Ask::default(), |_| Seen::default(), &[], || chance.draw());
        assert_eq!(plan.candidates, [1, 2, 0]);
    }
}

#[test]
fn a_failover_by_hand_goes_first_unless_its_target_stands_back() {
    let failovers = [Failover { from: "a".into(), to: "c".into() }];
    let plan = order(&abc(), &Ask::default(), |_| Seen::default(), &failovers, || 0.5);
    assert_eq!(plan.candidates, [2, 0, 1]);
    assert_eq!(plan.moved, [(2, Why::FailedOver { from: "a".into() })]);
    let drained = |index| seen(index, 2, Seen { drained: true, ..Seen::default() });
    assert_eq!(order(&abc(), &Ask::default(), drained, &failovers, || 0.5).candidates, [0, 1, 2]);
    let unknown =
        [Failover { from: "x".into(), to: "c".into() }, Failover { from: "a".into(), to: "x".into() }];
    assert_eq!(order(&abc(), &Ask::default(), |_| Seen::default(), &unknown, || 0.5).candidates, [0, 1, 2]);
}

#[test]
fn data_of_no_class_goes_to_no_target_that_some_classes_are_kept_from() {
    let offer = Offer { data_classes: vec!["public".into()], ..Offer::default() };
    let chain = model(Strategy::Ordered, vec![ModelTarget { offer, ..target("a") }, target("b")]);
    for (data_class, expected) in [(None, vec![1]), (Some("public"), vec![0, 1]), (Some("secret"), vec![1])] {
        let plan = order(&chain, &Ask { data_class, ..Ask::default() }, |_| Seen::default(), &[], || 0.5);
        assert_eq!(plan.candidates, expected, "{data_class:?}");
    }
}

#[test]
fn a_target_that_cannot_serve_the_call_is_passed_over_and_says_why() {
    let ask = Ask {
        key: "k",
        region: Some("eu"),
        data_class: Some("secret"),
        input_tokens: 1000,
        max_output_tokens: Some(500),
        tools: true,
        vision: true,
        structured_output: true,
        keeps_model: true,
        needs_responses: false,
    };
    let fits = Offer { region: Some("eu".into()), ..Offer::default() };
    let offers = [
        (Offer { region: None, ..fits.clone() }, Why::OtherRegion { has: None }),
        (Offer { region: Some("us".into()), ..fits.clone() }, Why::OtherRegion { has: Some("us".into()) }),
        (
            Offer { data_classes: vec!["public".into()], ..fits.clone() },
            Why::DataClass { may_see: vec!["public".into()] },
        ),
        (Offer { context_tokens: Some(1499), ..fits.clone() }, Why::ContextTooShort { context_tokens: 1499 }),
        (
            Offer { max_output_tokens: Some(499), ..fits.clone() },
            Why::OutputTooShort { max_output_tokens: 499 },
        ),
        (Offer { tools: false, ..fits.clone() }, Why::NoTools),
        (Offer { vision: false, ..fits.clone() }, Why::NoVision),
        (Offer { structured_output: false, ..fits.clone() }, Why::NoStructuredOutput),
    ];
    let whens = [
        (Conditions { keys: vec!["other".into()], ..Conditions::default() }, Why::OtherKeys),
        (
            Conditions { min_input_tokens: Some(1001), ..Conditions::default() },
            Why::InputTooShort { at_least: 1001 },
        ),
        (
            Conditions { max_input_tokens: Some(999), ..Conditions::default() },
            Why::InputTooLong { at_most: 999 },
        ),
    ];
    let offers = offers.into_iter().map(|(offer, why)| (ModelTarget { offer, ..target("a") }, why));
    let whens =
        whens.into_iter().map(|(when, why)| (ModelTarget { when, offer: fits.clone(), ..target("a") }, why));
    for (misfit, why) in offers.chain(whens) {
        let model =
            model(Strategy::Ordered, vec![misfit, ModelTarget { offer: fits.clone(), ..target("b") }]);
        let plan = order(&model, &ask, |_| Seen::default(), &[], || 0.5);
        assert_eq!((plan.candidates, plan.passed_over), (vec![1], vec![(0, why.clone())]));
        let words = serde_json::to_value(&why).unwrap();
        assert!(words["why"].is_string() && !why.to_string().is_empty());
    }
}

/// Everybody who asks for an order gets the same: gateway, explanation and simulator.
#[test]
fn an_answer_longer_than_anybody_gives_is_cut_and_one_that_somebody_gives_is_not() {
    let short = |name: &str, most: u64| {
        let offer = Offer { max_output_tokens: Some(most), tools: name != "blind", ..Offer::default() };
        ModelTarget { offer, ..target(name) }
    };
    let chain = model(Strategy::Ordered, vec![short("a", 100), short("b", 200), short("blind", 900)]);
    let cut = |index: usize, max_output_tokens: u64| (index, Why::AnswerCut { max_output_tokens });
    for (asked, candidates, moved) in [
        (Some(50), vec![0, 1], vec![]),
        (Some(150), vec![1], vec![]),
        (Some(500), vec![0, 1], vec![cut(0, 100), cut(1, 200)]),
        (None, vec![0, 1], vec![]),
    ] {
        let ask = Ask { max_output_tokens: asked, tools: true, ..Ask::default() };
        let plan = order(&chain, &ask, |_| Seen::default(), &[], || 0.5);
        assert_eq!((plan.candidates, plan.moved), (candidates, moved), "{asked:?}");
        assert!(plan.passed_over.contains(&(2, Why::NoTools)), "{asked:?}");
    }
    // A long answer after a probe is worth more than a short one.
    let ask = Ask { max_output_tokens: Some(150), tools: true, ..Ask::default() };
    let open = Seen { breaker_open_until: Some(Micros(9)), ..Seen::default() };
    let plan = order(&chain, &ask, |index| seen(index, 1, open), &[], || 0.5);
    assert_eq!((plan.candidates, plan.is_last_resort), (vec![1], true));
}

#[test]
fn embeddings_stay_with_the_model_that_is_written_first() {
    let other = ModelTarget::new(provider("b"), "other");
    let model = model(Strategy::Ordered, vec![target("a"), other, target("c")]);
    let ask = Ask { keeps_model: true, ..Ask::default() };
    // Also when the first target is out: its vectors are in somebody's index.
    let out = Seen { breaker_open_until: Some(Micros(1)), ..Seen::default() };
    let plan = order(&model, &ask, |index| seen(index, 0, out), &[], || 0.5);
    assert_eq!(plan.candidates, [2]);
    assert_eq!(plan.passed_over[1], (1, Why::OtherModel));
    // And when it may not take this very call.
    let mut model = model;
    model.targets[0].when.keys = vec!["somebody-else".to_owned()];
    let plan = order(&model, &ask, |_| Seen::default(), &[], || 0.5);
    assert_eq!(plan.candidates, [2]);
}

/// The share of 20,000 draws in which each target comes first.
fn firsts(model: &LogicalModel, how: impl Fn(usize) -> Seen + Copy) -> Vec<f64> {
    let (mut chance, draws) = (Chance::new(3), 20_000);
    let mut firsts = vec![0.0; model.targets.len()];
    for _ in 0..draws {
        firsts[order(model, &Ask::default(), how, &[], || chance.draw()).candidates[0]] +=
            1.0 / f64::from(draws);
    }
    firsts
}

fn near(shares: &[f64], expected: &[f64]) -> bool {
    shares.iter().zip(expected).all(|(share, expected)| (share - expected).abs() < 0.015)
}

#[test]
fn weights_are_kept_in_the_first_place_and_in_the_second() {
    let mut model = abc();
    model.strategy = Strategy::Weighted;
    for (target, weight) in model.targets.iter_mut().zip([6, 3, 1]) {
        target.weight = weight;
    }
    let shares = firsts(&model, |_| Seen::default());
    assert!(near(&shares, &[0.6, 0.3, 0.1]), "{shares:?}");
    // Without the first, the others share by their own weights.
    let shares = firsts(&model, |index| seen(index, 0, Seen { busy: true, ..Seen::default() }));
    assert!(near(&shares, &[0.0, 0.75, 0.25]), "{shares:?}");
}

#[test]
fn the_better_of_two_by_chance_is_first_and_the_worst_never() {
    let mut model = abc();
    model.strategy = Strategy::LeastLatency;
    let latency = |index| {
        let mean = Duration::from_millis([300, 100, 200][index]);
        Seen { mean_first_token: Some(mean), ..Seen::default() }
    };
    let shares = firsts(&model, latency);
    assert!(near(&shares, &[0.0, 2.0 / 3.0, 1.0 / 3.0]), "{shares:?}");
    // Six calls in flight make the fast one as dear as seven of it.
    let busy = |index| Seen { in_flight: [0, 6, 0][index], ..latency(index) };
    assert_eq!(firsts(&model, busy)[1], 0.0);
    // The unknown is explored by one call at a time.
    let unknown = |index| if index == 0 { Seen::default() } else { latency(index) };
    assert!(firsts(&model, unknown)[0] > 0.6);
    let explored = |index| if index == 0 { Seen { in_flight: 1, ..Seen::default() } } else { latency(index) };
    assert_eq!(firsts(&model, explored)[0], 0.0);

    model.strategy = Strategy::LeastBusy;
    model.targets[0].weight = 4;
    let shares = firsts(&model, |index| Seen { in_flight: [3, 1, 2][index], ..Seen::default() });
    assert!(near(&shares, &[2.0 / 3.0, 1.0 / 3.0, 0.0]), "{shares:?}");
    // Equals share evenly.
    model.targets[0].weight = 1;
    let shares = firsts(&model, |_| Seen::default());
    assert!(near(&shares, &[1.0 / 3.0; 3]), "{shares:?}");
}

fn any_seen() -> impl proptest::strategy::Strategy<Value = Seen> {
    (any::<[bool; 4]>(), prop::option::of(0_i64..100), 0_u32..5, prop::option::of(0_u64..1000)).prop_map(
        |([drained, ejected, busy, rests], open, in_flight, mean_ms)| Seen {
            drained,
            ejected,
            busy,
            keys_rest_until: rests.then_some(Micros(7)),
            breaker_open_until: open.map(Micros),
            rate_wait: None,
            in_flight,
            mean_first_token: mean_ms.map(Duration::from_millis),
        },
    )
}

proptest! {
    #[test]
    fn every_target_is_either_asked_or_passed_over_and_somebody_is_always_left(
        targets in prop::collection::vec((any_seen(), 0_u32..3, 1_u32..9), 1..7),
        strategy in 0_usize..4,
        failover in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let strategies = [Strategy::Ordered, Strategy::Weighted, Strategy::LeastLatency, Strategy::LeastBusy];
        let of = |(index, (_, priority, weight)): (usize, &(Seen, u32, u32))| {
            ModelTarget { priority: *priority, weight: *weight, ..target(["a", "b", "c"][index % 3]) }
        };
        let model = model(strategies[strategy], targets.iter().enumerate().map(of).collect());
        let failovers = if failover { vec![Failover { from: "a".into(), to: "b".into() }] } else { vec![] };
        let mut chance = Chance::new(seed);
        let plan = order(&model, &Ask::default(), |index| targets[index].0, &failovers, || chance.draw());
        let passed = plan.passed_over.iter().map(|(index, _)| *index);
        let mut all: Vec<usize> = plan.candidates.iter().copied().chain(passed).collect();
        all.sort_unstable();
        prop_assert_eq!(all, (0..targets.len()).collect::<Vec<_>>());
        prop_assert!(!plan.candidates.is_empty());
        let open = |index: &usize| targets[*index].0.breaker_open_until.is_some();
        prop_assert_eq!(plan.candidates.iter().any(open), plan.is_last_resort);
        let drained = plan.candidates.iter().map(|index| targets[*index].0.drained);
        prop_assert!(drained.is_sorted(), "drained ones stand last");
    }
}
