//! What is done about it. A runbook is data ([`Definition`]); its execution is a pure state machine ([`step`]) whose
//! every action has a budget, is stored before it is done, and is checked afterwards.

mod definition;
mod guard;
mod shell;
#[cfg(test)]
mod simulation;
mod step;
#[cfg(test)]
mod tests;

pub use definition::{Action, BUILT_IN, Budget, Definition, Hold, Verify, automatic_for, find};
pub use guard::{left_alone, may_detour};
pub(crate) use guard::{stand_ins, worded};
pub(crate) use shell::{Request, Shell, World, requested};
pub use step::{Effect, Ending, Event, Facts, Run, Stage, step};
