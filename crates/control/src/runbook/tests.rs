//! Single executions, step by step.

use std::{sync::Arc, time::Duration};

use mainstay_base::{
    Micros,
    snapshot::{Dialect, Provider, Timeouts},
};

use super::{Definition, Effect, Ending, Event, Facts, Run, Stage, find, may_detour, step};
use crate::{
    health::{Component, Group, Report, State},
    overrides::{Drained, Overrides},
    ports::{Peers, ProbeKind, ProviderPeer, Served},
};

fn restart() -> &'static Definition {
    find("restart-service").unwrap()
}

fn detour() -> &'static Definition {
    find("provider-detour").unwrap()
}

fn new_run() -> Run {
    Run {
        stage: Stage::Requested,
        component: "worker:0".to_owned(),
        incident: "i".to_owned(),
        actor: "mainstay".to_owned(),
        why: "silent".to_owned(),
        by_hand: false,
        dry_run: false,
        acted_at: Vec::new(),
        paged: false,
    }
}

fn facts(state: State) -> Facts {
    Facts { state, permitted: Ok(()), frozen: false, in_force: true }
}

/// One execution as the shell would drive it.
struct Execution {
    definition: &'static Definition,
    run: Run,
    earlier: Vec<Micros>,
    now: Micros,
    acts: usize,
    undos: usize,
    pages: usize,
}

impl Execution {
    fn new(definition: &'static Definition, run: Run) -> Execution {
        Execution { definition, run, earlier: Vec::new(), now: Micros(0), acts: 0, undos: 0, pages: 0 }
    }

    fn event(&mut self, event: Event) -> &Stage {
        let recent: Vec<Micros> = self.earlier.iter().chain(&self.run.acted_at).copied().collect();
        let (run, effects) = step(self.definition, self.run.clone(), &recent, event, self.now);
        for effect in effects {
            match effect {
                Effect::Act => self.acts += 1,
                Effect::Undo => self.undos += 1,
                Effect::Page(_) => self.pages += 1,
                Effect::Note(_, text) => assert!(!text.is_empty()),
            }
        }
        self.run = run;
        &self.run.stage
    }

    fn look(&mut self, state: State) -> &Stage {
        self.event(Event::Look(facts(state)))
    }

    fn done(&mut self) -> &Stage {
        self.event(Event::Done("done".to_owned()))
    }

    fn wait(&mut self, seconds: u64) -> &mut Execution {
        self.now = self.now + Duration::from_secs(seconds);
        self
    }
}

#[test]
fn a_restart_that_helps_is_verified_and_closed() {
    let mut execution = Execution::new(restart(), new_run());
    assert!(matches!(execution.look(State::Down), Stage::Acting { .. }));
    execution.wait(1).done();
    execution.wait(1).look(State::Unknown);
    execution.wait(1).look(State::Ok);
    assert!(!execution.wait(1).look(State::Ok).is_ended(), "well, but not for long enough");
    assert_eq!(*execution.wait(1).look(State::Ok), Stage::Ended(Ending::Healthy));
    assert_eq!((execution.acts, execution.pages), (1, 0));
}

#[test]
fn a_restart_that_does_not_help_is_tried_once_more_and_then_a_person_is_called() {
    let mut execution = Execution::new(restart(), new_run());
    for _ in 0..2 {
        execution.look(State::Down);
        execution.wait(1).done();
        execution.wait(30);
    }
    assert_eq!(*execution.look(State::Down), Stage::Ended(Ending::Paged));
    assert_eq!((execution.acts, execution.pages), (2, 1));
    assert!(execution.run.paged);
}

#[test]
fn a_restart_that_fails_or_never_answers_counts_as_a_try() {
    for fails in [true, false] {
        let mut execution = Execution::new(restart(), new_run());
        for _ in 0..3 {
            execution.look(State::Down);
            if fails {
                execution.event(Event::Failed("no such process".to_owned()));
            } else {
                execution.wait(11);
            }
        }
        assert_eq!(execution.run.stage, Stage::Ended(Ending::Paged), "fails: {fails}");
        assert_eq!((execution.acts, execution.pages), (2, 1), "fails: {fails}");
    }
}

#[test]
fn tries_of_earlier_executions_count_until_the_window_has_passed() {
    for (minutes_ago, expected) in [(1, 0), (9, 0), (11, 1)] {
        let mut execution = Execution::new(restart(), new_run());
        execution.now = Micros(0) + Duration::from_secs(3600);
        let at = execution.now - Duration::from_secs(minutes_ago * 60);
        execution.earlier = vec![at, at];
        execution.look(State::Down);
        assert_eq!(execution.acts, expected, "{minutes_ago} minutes ago");
        assert_eq!(execution.pages, 1 - expected, "{minutes_ago} minutes ago");
    }
}

#[test]
fn what_is_well_frozen_or_forbidden_is_left_alone() {
    let forbidden = Facts { permitted: Err("the store is down".to_owned()), ..facts(State::Down) };
    let frozen = Facts { frozen: true, ..facts(State::Down) };
    for (what, facts, ending, pages) in [
        ("well again", facts(State::Ok), Ending::Healthy, 0),
        ("forbidden", forbidden, Ending::Paged, 1),
        ("frozen", frozen, Ending::Paged, 1),
    ] {
        let mut execution = Execution::new(restart(), new_run());
        execution.event(Event::Look(facts));
        assert_eq!(execution.run.stage, Stage::Ended(ending), "{what}");
        assert_eq!((execution.acts, execution.pages), (0, pages), "{what}");
    }
}

#[test]
fn a_dry_run_says_what_it_would_do_and_does_nothing() {
    let forbidden = Facts { permitted: Err("not ours".to_owned()), ..facts(State::Down) };
    for (what, earlier, facts, says) in [
        ("may act", vec![], facts(State::Down), "would act"),
        ("budget spent", vec![Micros(0); 2], facts(State::Down), "would page"),
        ("forbidden", vec![], forbidden, "would do nothing: not ours"),
    ] {
        let run = Run { dry_run: true, by_hand: true, ..new_run() };
        let (run, effects) = step(restart(), run, &earlier, Event::Look(facts), Micros(0));
        assert_eq!(run.stage, Stage::Ended(Ending::Described), "{what}");
        let [Effect::Note(_, text)] = effects.as_slice() else { panic!("{what}: {effects:?}") };
        assert!(text.contains(says), "{what}: {text}");
    }
}

#[test]
fn a_person_may_act_when_the_machine_may_not_but_never_unsafely() {
    let frozen_and_well = Facts { frozen: true, ..facts(State::Ok) };
    let by_hand = Run { by_hand: true, ..new_run() };
    let mut execution = Execution::new(restart(), by_hand.clone());
    execution.earlier = vec![Micros(0); 5];
    execution.event(Event::Look(frozen_and_well));
    assert_eq!(execution.acts, 1);

    let forbidden = Facts { permitted: Err("not ours".to_owned()), ..facts(State::Down) };
    let mut execution = Execution::new(restart(), by_hand);
    execution.event(Event::Look(forbidden));
    assert_eq!((execution.acts, execution.run.stage.is_ended()), (0, true));
}

#[test]
fn a_detour_holds_until_the_provider_is_well_then_undoes_itself_and_watches() {
    let mut execution = Execution::new(detour(), new_run());
    execution.look(State::Down);
    assert!(matches!(execution.wait(1).done(), Stage::Holding { .. }));
    for _ in 0..20 {
        execution.wait(5).look(State::Down);
    }
    execution.wait(1).look(State::Ok);
    execution.wait(4).look(State::Down);
    assert_eq!(execution.undos, 0, "well for a moment only");
    execution.wait(1).look(State::Ok);
    assert!(matches!(execution.wait(8).look(State::Ok), Stage::Undoing { .. }));
    assert!(matches!(execution.wait(1).done(), Stage::Watching { .. }));
    execution.wait(1).look(State::Ok);
    assert_eq!(*execution.wait(3).look(State::Ok), Stage::Ended(Ending::Healthy));
    assert_eq!((execution.acts, execution.undos, execution.pages), (1, 1, 0));
}

#[test]
fn a_provider_that_fails_again_is_taken_out_again_until_the_budget_is_spent() {
    let mut execution = Execution::new(detour(), new_run());
    execution.look(State::Down);
    for _ in 0..3 {
        execution.wait(1).done();
        execution.wait(1).look(State::Ok);
        execution.wait(8).look(State::Ok);
        execution.wait(1).done();
        execution.wait(1).look(State::Down);
    }
    assert_eq!((execution.acts, execution.undos, execution.pages), (3, 3, 1));
    assert_eq!(execution.run.stage, Stage::Ended(Ending::Paged));
}

#[test]
fn a_detour_that_lasts_pages_once_and_still_ends_well() {
    let mut execution = Execution::new(detour(), new_run());
    execution.look(State::Down);
    execution.wait(1).done();
    for _ in 0..100 {
        execution.wait(60).look(State::Down);
    }
    assert_eq!(execution.pages, 1);
    execution.wait(1).look(State::Ok);
    execution.wait(8).look(State::Ok);
    execution.wait(1).done();
    execution.wait(1).look(State::Ok);
    assert_eq!(*execution.wait(3).look(State::Ok), Stage::Ended(Ending::Healthy));
}

#[test]
fn a_provider_that_a_person_put_back_is_the_persons() {
    let mut execution = Execution::new(detour(), new_run());
    execution.look(State::Down);
    execution.wait(1).done();
    execution.wait(1).event(Event::Look(Facts { in_force: false, ..facts(State::Down) }));
    assert_eq!(execution.run.stage, Stage::Ended(Ending::TakenOver));
}

#[test]
fn an_undo_that_fails_is_tried_again_later() {
    for fails in [true, false] {
        let mut execution = Execution::new(detour(), new_run());
        execution.look(State::Down);
        execution.wait(1).done();
        execution.wait(1).look(State::Ok);
        execution.wait(8).look(State::Ok);
        if fails {
            execution.event(Event::Failed("the store is away".to_owned()));
        } else {
            execution.wait(11).look(State::Ok);
        }
        assert!(matches!(execution.run.stage, Stage::Holding { .. }), "fails: {fails}");
        execution.wait(1).look(State::Ok);
        execution.wait(8).look(State::Ok);
        assert_eq!(execution.undos, 2, "fails: {fails}");
    }
}

fn provider(name: &str, models: &[&str]) -> ProviderPeer {
    let provider = Provider {
        name: name.to_owned(),
        dialect: Dialect::OpenAi,
        base_url: String::new(),
        keys: Vec::new(),
        timeouts: Timeouts::default(),
        first_token: Duration::from_secs(60),
        speaks_responses: true,
    };
    let served = |model: &&str| Served { model: (*model).to_owned(), target: None, price: None };
    ProviderPeer {
        provider: Arc::new(provider),
        serves: models.iter().map(served).collect(),
        probe: ProbeKind::Models,
    }
}

#[test]
fn a_detour_never_leaves_a_model_without_a_provider() {
    let peers = Peers {
        upstreams: Vec::new(),
        providers: vec![
            provider("a", &["gpt", "*"]),
            provider("b", &["gpt", "*"]),
            provider("alone", &["gpt", "rare"]),
            provider("idle", &[]),
        ],
    };
    let report = |down: &[&str]| {
        let components = peers.providers.iter().map(|peer| Component {
            id: format!("provider:{}", peer.name()),
            group: Group::Provider,
            name: peer.name().to_owned(),
            state: if down.contains(&peer.name()) { State::Down } else { State::Ok },
            reason: String::new(),
            since: Micros(0),
            last_check: None,
            trouble: None,
            finding: None,
            labels: std::collections::BTreeMap::new(),
        });
        Report { components: components.collect(), ..Report::unknown(Micros(0)) }
    };
    let drained = |names: &[&str]| {
        let reason = String::new();
        let drained = Drained { reason, since: Micros(0), execution_id: None, by: "kim".to_owned() };
        let drained = names.iter().map(|name| ((*name).to_owned(), drained.clone())).collect();
        Overrides { revision: 1, drained, ..Overrides::default() }
    };
    for (what, subject, down, out, refusal) in [
        ("another is well", "a", &["a"][..], &[][..], None),
        ("the other is down too", "a", &["a", "b", "alone"], &[], Some("model gpt")),
        ("the others for a model are out", "a", &["a"], &["b", "alone"], Some("model gpt")),
        ("only unrouted names would suffer", "a", &["a", "b"], &[], Some("models without a route")),
        ("the only one for a model", "alone", &["alone"], &[], Some("model rare")),
        ("serves nothing", "idle", &["idle"], &[], None),
        ("not configured", "gone", &[], &[], Some("not in the configuration")),
    ] {
        let found = may_detour(subject, &peers, &drained(out), &report(down));
        match (found, refusal) {
            (Ok(()), None) => {}
            (Err(why), Some(says)) => assert!(why.contains(says), "{what}: {why}"),
            (found, _) => panic!("{what}: {found:?}"),
        }
    }
}
