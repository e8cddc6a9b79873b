//! One execution of a runbook as a state machine. Pure.
//!
//! Requested → acting → verifying → ended; an action that stays in force goes acting → holding → undoing → watching →
//! ended. Whatever happens, an execution acts at most as often as its budget allows, and ends healthy or with a page.

use mainstay_base::Micros;
use serde::{Deserialize, Serialize};

use super::{Budget, Definition};
use crate::health::State;

/// What is kept of an execution, as JSON in its row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub stage: Stage,
    /// The component it works on (`worker:0`).
    pub component: String,
    /// Under which id its story stands in the timeline.
    pub incident: String,
    pub actor: String,
    pub why: String,
    /// Started by a person: the first action is not refused by the budget, the freeze or good health.
    pub by_hand: bool,
    /// Says what it would do, and ends.
    pub dry_run: bool,
    /// When it acted.
    pub acted_at: Vec<Micros>,
    /// Whoever is on call was told to come.
    pub paged: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Requested,
    /// The action is under way.
    Acting {
        until: Micros,
    },
    Verifying {
        well_since: Option<Micros>,
        until: Micros,
    },
    /// The action is in force; waiting for the component to get well.
    Holding {
        since: Micros,
        well_since: Option<Micros>,
    },
    Undoing {
        until: Micros,
        /// Since when the action was in force.
        since: Micros,
    },
    /// The action is undone; does the component stay well?
    Watching {
        well_since: Option<Micros>,
        until: Micros,
    },
    Ended(Ending),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The component is well.
    Healthy,
    /// It could or may not do more; a person was called.
    Paged,
    /// A dry run.
    Described,
    /// A person undid its action.
    TakenOver,
}

impl Stage {
    /// The word for the row's `state`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Stage::Requested => "requested",
            Stage::Acting { .. } => "acting",
            Stage::Verifying { .. } => "verifying",
            Stage::Holding { .. } => "holding",
            Stage::Undoing { .. } => "undoing",
            Stage::Watching { .. } => "watching",
            Stage::Ended(Ending::Healthy) => "healthy",
            Stage::Ended(Ending::Paged) => "paged",
            Stage::Ended(Ending::Described) => "dry_run",
            Stage::Ended(Ending::TakenOver) => "taken_over",
        }
    }

    pub fn is_ended(&self) -> bool {
        matches!(self, Stage::Ended(_))
    }
}

/// What one look at the world found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub state: State,
    /// Whether acting is safe now; if not, why.
    pub permitted: Result<(), String>,
    pub frozen: bool,
    /// Whether an action that stays in force is in force.
    pub in_force: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Look(Facts),
    /// The action or its undoing was done; in words.
    Done(String),
    Failed(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Act,
    Undo,
    /// Tell whoever is on call.
    Page(String),
    /// A line of the story: its kind and its text.
    Note(&'static str, String),
}

/// One step. `recent` are the times of all actions of this runbook on this component, this execution's included.
pub fn step(
    definition: &Definition,
    run: Run,
    recent: &[Micros],
    event: Event,
    now: Micros,
) -> (Run, Vec<Effect>) {
    let mut machine = Machine { definition, run, recent, now, effects: Vec::new() };
    match event {
        Event::Look(facts) => machine.look(&facts),
        Event::Done(text) => machine.done(text),
        Event::Failed(why) => machine.failed(&why),
    }
    (machine.run, machine.effects)
}

struct Machine<'a> {
    definition: &'a Definition,
    run: Run,
    recent: &'a [Micros],
    now: Micros,
    effects: Vec<Effect>,
}

impl Machine<'_> {
    fn look(&mut self, facts: &Facts) {
        let (now, verify) = (self.now, self.definition.verify);
        match self.run.stage.clone() {
            Stage::Requested if self.run.dry_run => self.describe(facts),
            Stage::Requested if self.run.by_hand => self.act_by_hand(facts),
            Stage::Requested if facts.state == State::Ok => {
                self.end(Ending::Healthy, "well again before anything was done");
            }
            Stage::Requested => self.act_or_page(facts, "the alert fired"),
            Stage::Acting { until } if now >= until => {
                let why = format!("no answer within {} s", self.definition.act_within.as_secs());
                self.act_or_page(facts, &why);
            }
            Stage::Acting { .. } => {}
            Stage::Verifying { well_since, until } => {
                let well_since = self.well_since(facts, well_since);
                if self.well_for(well_since) >= Some(verify.well_for) {
                    self.end(Ending::Healthy, "verified: well again");
                } else if well_since.is_none() && now >= until {
                    let why = format!("not well within {} s after the action", verify.within.as_secs());
                    self.act_or_page(facts, &why);
                } else {
                    self.run.stage = Stage::Verifying { well_since, until };
                }
            }
            Stage::Holding { since, well_since } => self.hold(facts, since, well_since),
            Stage::Undoing { until, since } if now >= until => {
                self.note("undo_failed", "no answer in time; it stays in force for now".to_owned());
                self.run.stage = Stage::Holding { since, well_since: None };
            }
            Stage::Undoing { .. } => {}
            Stage::Watching { well_since, until } => {
                let well_since = self.well_since(facts, well_since);
                if self.well_for(well_since) >= Some(verify.well_for) {
                    self.end(Ending::Healthy, "verified: stays well");
                } else if facts.state.is_trouble() || (well_since.is_none() && now >= until) {
                    self.act_or_page(facts, "in trouble again after the action was undone");
                } else {
                    self.run.stage = Stage::Watching { well_since, until };
                }
            }
            Stage::Ended(_) => {}
        }
    }

    fn done(&mut self, text: String) {
        let (now, verify) = (self.now, self.definition.verify);
        match self.run.stage {
            Stage::Acting { .. } => {
                self.note("action_done", text);
                self.run.stage = match self.definition.hold {
                    None => Stage::Verifying { well_since: None, until: now + verify.within },
                    Some(_) => Stage::Holding { since: now, well_since: None },
                };
            }
            Stage::Undoing { .. } => {
                self.note("action_undone", text);
                self.run.stage = Stage::Watching { well_since: None, until: now + verify.within };
            }
            // An answer that came after its deadline: what it did is found out by looking.
            _ => {}
        }
    }

    fn failed(&mut self, why: &str) {
        match self.run.stage.clone() {
            Stage::Acting { .. } => {
                self.note("action_failed", why.to_owned());
                // The next look decides, so that it does so on facts: the deadline is now.
                self.run.stage = Stage::Acting { until: self.now };
            }
            Stage::Undoing { since, .. } => {
                self.note("undo_failed", format!("{why}; it stays in force for now"));
                self.run.stage = Stage::Holding { since, well_since: None };
            }
            _ => {}
        }
    }

    fn describe(&mut self, facts: &Facts) {
        let would = match (&facts.permitted, self.budget_left()) {
            (Err(why), _) => format!("would do nothing: {why}"),
            (Ok(()), false) => format!("would page: {}", spent(self.definition.budget)),
            (Ok(()), true) => format!("would act: {}", self.definition.title),
        };
        self.end(
            Ending::Described,
            &format!("dry run: {would}; {} is {}", self.run.component, facts.state.as_str()),
        );
    }

    fn act_by_hand(&mut self, facts: &Facts) {
        match &facts.permitted {
            Ok(()) => self.act("ordered by hand"),
            Err(why) => self.end(Ending::Paged, &format!("refused: {why}")),
        }
    }

    /// Acts if it may; if not, calls a person and ends.
    fn act_or_page(&mut self, facts: &Facts, because: &str) {
        let refusal = match &facts.permitted {
            Err(why) => Some(why.clone()),
            Ok(()) if facts.frozen => Some("automatic action is frozen".to_owned()),
            Ok(()) if !self.budget_left() => Some(spent(self.definition.budget)),
            Ok(()) => None,
        };
        match refusal {
            None => self.act(because),
            Some(why) => {
                self.page(&format!("{because}; {why}"));
                self.end(Ending::Paged, "a person has to look");
            }
        }
    }

    fn act(&mut self, because: &str) {
        self.run.acted_at.push(self.now);
        self.run.stage = Stage::Acting { until: self.now + self.definition.act_within };
        let number = self.run.acted_at.len();
        self.note("action", format!("{}, try {number}: {because}", self.definition.title));
        self.effects.push(Effect::Act);
    }

    fn hold(&mut self, facts: &Facts, since: Micros, well_since: Option<Micros>) {
        let Some(hold) = self.definition.hold else {
            return self.end(Ending::Healthy, "nothing is in force");
        };
        if !facts.in_force {
            return self.end(Ending::TakenOver, "the action is not in force any more: somebody undid it");
        }
        let well_since = self.well_since(facts, well_since);
        if self.well_for(well_since) >= Some(hold.well_for) {
            self.note("action", format!("undo: well for {} s", hold.well_for.as_secs()));
            self.run.stage = Stage::Undoing { until: self.now + self.definition.act_within, since };
            self.effects.push(Effect::Undo);
            return;
        }
        if !self.run.paged && self.now.since(since) >= hold.page_after {
            self.page(&format!(
                "not well for {} min; the action stays in force",
                hold.page_after.as_secs() / 60
            ));
        }
        self.run.stage = Stage::Holding { since, well_since };
    }

    fn well_since(&self, facts: &Facts, before: Option<Micros>) -> Option<Micros> {
        (facts.state == State::Ok).then(|| before.unwrap_or(self.now))
    }

    fn well_for(&self, well_since: Option<Micros>) -> Option<std::time::Duration> {
        well_since.map(|since| self.now.since(since))
    }

    fn budget_left(&self) -> bool {
        let Budget { tries, window } = self.definition.budget;
        let in_window = |at: &&Micros| self.now.since(**at) < window;
        self.recent.iter().filter(in_window).count() < tries
    }

    fn page(&mut self, why: &str) {
        self.run.paged = true;
        self.effects.push(Effect::Page(why.to_owned()));
    }

    fn note(&mut self, kind: &'static str, text: String) {
        self.effects.push(Effect::Note(kind, text));
    }

    fn end(&mut self, ending: Ending, text: &str) {
        self.run.stage = Stage::Ended(ending);
        let kind = if ending == Ending::Healthy { "verified" } else { "runbook_ended" };
        self.note(kind, text.to_owned());
    }
}

fn spent(budget: Budget) -> String {
    let Budget { tries, window } = budget;
    format!("the budget of {tries} tries in {} min is spent", window.as_secs() / 60)
}
