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

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_millis(70);

    /// All 2⁸ situations.
    fn situations() -> impl Iterator<Item = Situation> {
        (0_u32..256).map(|bits| {
            let is = |bit: u32| bits & 1 << bit != 0;
            Situation {
                has_begun: is(0),
                may_try: is(1),
                same_target_left: u32::from(is(2)),
                budget_left: is(3),
                other_key: is(4),
                other_target: is(5),
                longer_context: is(6),
                content_filter_falls_over: is(7),
                wait: WAIT,
                wait_fits: true,
            }
        })
    }

    /// The table in words, one column a step: what may follow a class at all, best first.
    fn column(class: Class) -> &'static [Step] {
        const AGAIN: Step = Step::SameTarget { wait: WAIT };
        match class {
            Class::CallerError | Class::HedgeLost | Class::CallerGone => &[Step::Answer],
            Class::ContentFilter => &[Step::OtherTarget, Step::Answer],
            Class::ContextOverflow => &[Step::LongerContext, Step::Answer],
            Class::BadKey | Class::QuotaExhausted => &[Step::OtherKey, Step::OtherTarget, Step::GiveUp],
            Class::RateLimited => &[Step::OtherKey, Step::OtherTarget, AGAIN, Step::GiveUp],
            Class::FirstByteTimeout | Class::FirstTokenTimeout | Class::Stall | Class::TotalTimeout => {
                &[Step::OtherTarget, Step::GiveUp]
            }
            Class::ModelMissing | Class::NotConvertible => &[Step::OtherTarget, Step::GiveUp],
            Class::Dns
            | Class::Connect
            | Class::ConnectTimeout
            | Class::Tls
            | Class::Closed
            | Class::Cut
            | Class::Overloaded
            | Class::ServerError
            | Class::ErrorInside
            | Class::Empty
            | Class::TruncatedJson
            | Class::NotAnAnswer => &[Step::OtherTarget, AGAIN, Step::GiveUp],
        }
    }

    fn is_possible(step: Step, class: Class, situation: &Situation) -> bool {
        let may_try = situation.may_try && !situation.has_begun;
        match step {
            Step::Answer => {
                class.fault() != mainstay_base::Fault::Provider
                    && (may_try || column(class) == [Step::Answer])
            }
            Step::GiveUp => true,
            Step::OtherKey => may_try && situation.other_key,
            Step::OtherTarget => {
                let wanted = class != Class::ContentFilter || situation.content_filter_falls_over;
                may_try && situation.other_target && wanted
            }
            Step::LongerContext => may_try && situation.longer_context,
            Step::SameTarget { .. } => {
                may_try && situation.same_target_left > 0 && situation.budget_left && situation.wait_fits
            }
        }
    }

    #[test]
    fn every_class_in_every_situation_takes_its_best_possible_step() {
        for class in Class::ALL {
            for situation in situations() {
                let best = column(class).iter().copied().find(|step| is_possible(*step, class, &situation));
                assert_eq!(
                    step(class, &situation),
                    best.unwrap_or(Step::GiveUp),
                    "{class:?} in {situation:?}"
                );
            }
        }
    }

    #[test]
    fn a_callers_mistake_never_falls_over() {
        for situation in situations() {
            assert_eq!(step(Class::CallerError, &situation), Step::Answer);
        }
    }

    #[test]
    fn nothing_is_tried_after_content_went_out_or_without_leave() {
        for class in Class::ALL {
            for situation in situations().filter(|situation| situation.has_begun || !situation.may_try) {
                assert!(matches!(step(class, &situation), Step::Answer | Step::GiveUp), "{class:?}");
            }
        }
    }

    #[test]
    fn a_wait_beyond_the_deadline_is_not_begun() {
        for mut situation in situations() {
            situation.wait_fits = false;
            assert!(
                Class::ALL.iter().all(|class| !matches!(step(*class, &situation), Step::SameTarget { .. }))
            );
        }
    }
}
