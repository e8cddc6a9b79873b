//! What follows a failed attempt: the decision table, class × situation → step.

use std::time::Duration;

use mainstay_base::Class;

/// What a call still has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Situation {
    /// Content went to the caller: nothing can be taken back.
    pub has_begun: bool,
    /// Deadline, attempts and cost ceiling allow one more attempt.
    pub may_try: bool,
    /// Tries of the same target that are left.
    pub same_target_left: u32,
    /// The retry budget has one more ([`crate::retry::Budget::can_spend`]).
    pub budget_left: bool,
    /// Another key of the same target is awake and was not tried.
    pub other_key: bool,
    /// Another candidate is left.
    pub other_target: bool,
    /// Another candidate with a larger context is left.
    pub longer_context: bool,
    pub content_filter_falls_over: bool,
    /// The wait before the same target again: jitter, or what the provider asked for.
    pub wait: Duration,
    /// That wait fits into the deadline.
    pub wait_fits: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The failure is the answer: it would be the same anywhere.
    Answer,
    SameTarget {
        wait: Duration,
    },
    OtherKey,
    OtherTarget,
    LongerContext,
    /// Nothing is left to try: the caller gets the last failure.
    GiveUp,
}

/// What a class asks for, whatever the situation: the rows of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// The request is wrong, or nobody waits.
    Nothing,
    /// The target is in trouble that may pass: another one, else the same again.
    TargetAgain,
    /// The target answers wrongly or slowly: another one, not the same.
    Target,
    /// A credential is out: another key, then another target.
    Key,
    /// The same, and the key may come back soon enough.
    KeyAgain,
    Longer,
    /// Another target, if the operator wants that.
    IfFiltered,
}

fn wish(class: Class) -> Wish {
    match class {
        Class::CallerError | Class::HedgeLost | Class::CallerGone => Wish::Nothing,
        Class::Dns
        | Class::Connect
        | Class::ConnectTimeout
        | Class::Tls
        | Class::Closed
        | Class::Overloaded
        | Class::ServerError => Wish::TargetAgain,
        // Empty and broken answers are often a moment's; where no other target is, one more try is worth it.
        Class::Cut | Class::ErrorInside | Class::Empty | Class::TruncatedJson | Class::NotAnAnswer => {
            Wish::TargetAgain
        }
        // What was waited for in vain once took the time of several tries: not there again.
        Class::FirstByteTimeout | Class::FirstTokenTimeout | Class::Stall | Class::TotalTimeout => {
            Wish::Target
        }
        Class::ModelMissing | Class::NotConvertible => Wish::Target,
        Class::RateLimited => Wish::KeyAgain,
        Class::BadKey | Class::QuotaExhausted => Wish::Key,
        Class::ContextOverflow => Wish::Longer,
        Class::ContentFilter => Wish::IfFiltered,
    }
}

/// The one place that decides what follows a failed attempt.
pub fn step(class: Class, situation: &Situation) -> Step {
    let wish = wish(class);
    if wish == Wish::Nothing {
        return Step::Answer;
    }
    if situation.has_begun || !situation.may_try {
        return Step::GiveUp;
    }
    match wish {
        Wish::Nothing => Step::Answer,
        Wish::Target => other_target(situation).unwrap_or(Step::GiveUp),
        Wish::TargetAgain => other_target(situation).or_else(|| again(situation)).unwrap_or(Step::GiveUp),
        Wish::Key => other_key(situation).or_else(|| other_target(situation)).unwrap_or(Step::GiveUp),
        Wish::KeyAgain => {
            let elsewhere = other_key(situation).or_else(|| other_target(situation));
            elsewhere.or_else(|| again(situation)).unwrap_or(Step::GiveUp)
        }
        Wish::Longer if situation.longer_context => Step::LongerContext,
        Wish::IfFiltered if situation.content_filter_falls_over => {
            other_target(situation).unwrap_or(Step::Answer)
        }
        Wish::Longer | Wish::IfFiltered => Step::Answer,
    }
}

fn other_target(situation: &Situation) -> Option<Step> {
    situation.other_target.then_some(Step::OtherTarget)
}

fn other_key(situation: &Situation) -> Option<Step> {
    situation.other_key.then_some(Step::OtherKey)
}

fn again(situation: &Situation) -> Option<Step> {
    let may = situation.same_target_left > 0 && situation.budget_left && situation.wait_fits;
    may.then_some(Step::SameTarget { wait: situation.wait })
}
