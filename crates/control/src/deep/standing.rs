//! When a state is believed. Pure.

use mainstay_dify::probe::{Report, State};
use serde::{Deserialize, Serialize};

/// Looks in a row that contradict what stands before it gives way.
const CONVINCED: u32 = 2;

/// What is believed of one component.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Standing {
    pub(super) report: Option<Report>,
    /// Looks in a row that said another state.
    doubts: u32,
}

impl Standing {
    /// Takes the report of one look. One blip changes nothing, in neither direction; the first look is believed when it is
    /// not trouble.
    pub(super) fn take(&mut self, report: Report) {
        let agrees = match &self.report {
            Some(stands) => stands.state == report.state,
            None => !is_trouble(report.state),
        };
        self.doubts = if agrees { 0 } else { self.doubts + 1 };
        if agrees || self.doubts >= CONVINCED {
            self.report = Some(report);
            self.doubts = 0;
        }
    }

    /// The last look is still out: it says what it said, once more.
    pub(super) fn take_again(&mut self, last: Option<&Report>) {
        if let (true, Some(last)) = (self.is_in_doubt(), last) {
            self.take(last.clone());
        }
    }

    /// Whether the last look said something else than what stands.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.doubts > 0
    }

    pub(super) fn is_in_trouble(&self) -> bool {
        self.report.as_ref().is_some_and(|report| is_trouble(report.state))
    }
}

fn is_trouble(state: State) -> bool {
    matches!(state, State::Degraded | State::Down)
}
