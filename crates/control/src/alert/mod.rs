//! Who has to know. One alert for each component in trouble: it waits a little before it fires, grows worse with its
//! component, can be acknowledged, and resolves when the component has been well for a while.

mod notice;
mod rule;
mod step;

pub(crate) use notice::{Notice, deliveries};
pub use rule::{RULES, Rule, is_rule, name_of, rule_for, severity_of};
pub use step::{Alert, Effect, Input, Phase, step};
