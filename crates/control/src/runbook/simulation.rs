//! Thousands of random lives of one component, with the shell's rules around the machine: a new execution for each
//! incident, state stored before effects, a control that dies and forgets what was under way.

use std::time::Duration;

use mainstay_base::Micros;
use mainstay_signal::simulate::Chance;

use super::{BUILT_IN, Definition, Effect, Ending, Event, Facts, Run, Stage, step};
use crate::health::State;

const LIVES: u64 = 3_000;
const STEPS: u64 = 2_400;
const STEP: Duration = Duration::from_secs(1);
/// After this the component gets well by itself and stays so; what is open must then end.
const CALM_STEPS: u64 = 200;

/// How one life treats the component.
struct Character {
    falls_ill_one_in: u64,
    heals_itself_one_in: u64,
    action_helps_one_in: u64,
    action_fails_one_in: u64,
    control_dies_one_in: u64,
    freezes_one_in: u64,
    forbidden_one_in: u64,
}

struct Life {
    definition: &'static Definition,
    seed: u64,
    chance: Chance,
    character: Character,
    now: Micros,
    state: State,
    in_force: bool,
    frozen: bool,
    /// An action or its undoing that is under way: when it answers, and whether it is the undoing.
    under_way: Option<(Micros, bool)>,
    open: Option<Run>,
    past: Vec<Run>,
    /// A page stands until the component was well: nobody acts for this incident any more.
    gave_up: bool,
    acts: Vec<Micros>,
}

impl Life {
    fn new(definition: &'static Definition, seed: u64) -> Life {
        let mut chance = Chance::new(seed);
        let mut pick = |choices: &[u64]| choices[chance.below(choices.len() as u64) as usize];
        let character = Character {
            falls_ill_one_in: pick(&[20, 100, 400]),
            heals_itself_one_in: pick(&[10, 100, 100_000]),
            action_helps_one_in: pick(&[1, 2, 1_000_000]),
            action_fails_one_in: pick(&[2, 10, 1_000_000]),
            control_dies_one_in: pick(&[10, 200, 1_000_000]),
            freezes_one_in: pick(&[50, 1_000_000]),
            forbidden_one_in: pick(&[3, 50, 1_000_000]),
        };
        Life {
            definition,
            seed,
            chance,
            character,
            now: Micros(0),
            state: State::Ok,
            in_force: false,
            frozen: false,
            under_way: None,
            open: None,
            past: Vec::new(),
            gave_up: false,
            acts: Vec::new(),
        }
    }

    fn live(&mut self) {
        for _ in 0..STEPS {
            self.fate();
            self.tick();
        }
        (self.state, self.frozen) = (State::Ok, false);
        self.character.falls_ill_one_in = u64::MAX;
        self.character.action_helps_one_in = 1;
        self.character.control_dies_one_in = u64::MAX;
        self.character.action_fails_one_in = u64::MAX;
        for _ in 0..CALM_STEPS {
            self.tick();
        }
        assert_eq!(self.open, None, "seed {}: an execution never ended", self.seed);
    }

    fn fate(&mut self) {
        let character = &self.character;
        if self.state == State::Ok && self.chance.one_in(character.falls_ill_one_in) {
            self.state = if self.chance.one_in(4) { State::Degraded } else { State::Down };
        } else if self.state != State::Ok && self.chance.one_in(character.heals_itself_one_in) {
            self.state = State::Ok;
        }
        if self.chance.one_in(character.freezes_one_in) {
            self.frozen = !self.frozen;
        }
        if self.chance.one_in(character.control_dies_one_in) {
            // What was stored stays; what was under way may have happened, and its answer is lost.
            if let Some((_, undo)) = self.under_way.take()
                && self.chance.one_in(2)
            {
                self.take_effect(undo);
            }
        }
    }

    fn take_effect(&mut self, undo: bool) {
        let holds = self.definition.hold.is_some();
        self.in_force = holds && !undo;
        // A restart may help; a detour only keeps the harm away.
        if !undo && !holds && self.chance.one_in(self.character.action_helps_one_in) {
            self.state = State::Ok;
        }
        if holds && !undo && self.chance.one_in(self.character.action_helps_one_in) {
            self.state = State::Ok;
        }
    }

    fn tick(&mut self) {
        self.now = self.now + STEP;
        self.gave_up &= self.state != State::Ok;
        if self.open.is_none() && self.state >= self.definition.acts_on && !self.gave_up && !self.frozen {
            self.open = Some(new_run());
        }
        let Some(run) = self.open.take() else { return };
        let event = self.event();
        let recent: Vec<Micros> =
            self.past.iter().chain([&run]).flat_map(|run| run.acted_at.clone()).collect();
        let (after, effects) = step(self.definition, run, &recent, event, self.now);
        for effect in effects {
            match effect {
                Effect::Act => {
                    self.acts.push(self.now);
                    self.start(false);
                }
                Effect::Undo => self.start(true),
                Effect::Page(_) => self.gave_up = true,
                Effect::Note(..) => {}
            }
        }
        self.check_budget();
        match after.stage {
            Stage::Ended(ending) => self.check_ending(ending, after),
            _ => self.open = Some(after),
        }
    }

    fn event(&mut self) -> Event {
        if let Some((at, undo)) = self.under_way.take_if(|(at, _)| *at <= self.now) {
            let _ = at;
            if self.chance.one_in(self.character.action_fails_one_in) {
                return Event::Failed("no".to_owned());
            }
            self.take_effect(undo);
            return Event::Done("yes".to_owned());
        }
        let permitted = match self.chance.one_in(self.character.forbidden_one_in) {
            true => Err("not now".to_owned()),
            false => Ok(()),
        };
        Event::Look(Facts { state: self.state, permitted, frozen: self.frozen, in_force: self.in_force })
    }

    fn start(&mut self, undo: bool) {
        let takes = Duration::from_secs(self.chance.below(15));
        self.under_way = Some((self.now + takes, undo));
    }

    fn check_budget(&self) {
        let budget = self.definition.budget;
        let in_window = self.acts.iter().filter(|at| self.now.since(**at) < budget.window).count();
        assert!(in_window <= budget.tries, "seed {}: {in_window} actions in the window", self.seed);
    }

    fn check_ending(&mut self, ending: Ending, run: Run) {
        match ending {
            Ending::Healthy => assert_eq!(self.state, State::Ok, "seed {}: closed as healthy", self.seed),
            Ending::Paged => assert!(run.paged, "seed {}: ended without anybody knowing", self.seed),
            Ending::TakenOver => assert!(!self.in_force, "seed {}: still in force", self.seed),
            Ending::Described => panic!("seed {}: nobody asked for a dry run", self.seed),
        }
        self.under_way = None;
        self.past.push(run);
    }
}

fn new_run() -> Run {
    Run {
        stage: Stage::Requested,
        component: "c".to_owned(),
        incident: "i".to_owned(),
        actor: "mainstay".to_owned(),
        why: "w".to_owned(),
        by_hand: false,
        dry_run: false,
        acted_at: Vec::new(),
        paged: false,
    }
}

#[test]
fn every_life_keeps_the_budget_and_ends_healthy_or_with_a_page() {
    let (mut actions, mut pages, mut healthy) = (0, 0, 0);
    for seed in 0..LIVES {
        for definition in BUILT_IN {
            let mut life = Life::new(definition, seed);
            life.live();
            actions += life.acts.len();
            pages += life.past.iter().filter(|run| run.stage == Stage::Ended(Ending::Paged)).count();
            healthy += life.past.iter().filter(|run| run.stage == Stage::Ended(Ending::Healthy)).count();
        }
    }
    // Lives in which nothing happens would prove nothing.
    assert!(
        actions > 3_000 && pages > 1_000 && healthy > 1_000,
        "{actions} actions, {pages} pages, {healthy} healthy"
    );
}
