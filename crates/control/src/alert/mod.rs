//! Who has to know. One alert for each component in trouble: it waits a little before it fires, grows worse with its
//! component, can be acknowledged, and resolves when the component has been well for a while. Who is told of it, and with
//! which others, is decided apart: by routes, silences, what explains it, and who is on call.

pub(crate) mod dispatch;
pub(crate) mod inhibit;
mod lint;
mod matcher;
mod ops;
mod plan;
mod rule;
mod send;
pub(crate) mod shadow;
mod step;
mod view;

pub(crate) use dispatch::told_severity;
pub use dispatch::{Group, Member};
pub(crate) use inhibit::{FAULT, FAULT_PROVIDER, PASSING};
pub use lint::{GAPS_AHEAD, Remark, lint};
pub use mainstay_wire::notify::{Escalation, Notice, What};
pub use matcher::{Labels, MAX_MATCHERS, Matcher, all_fit, parse_all};
pub use ops::{MAX_SPAN, NewOverride, NewSilence, NotDone, ON_CALL, Roster, SHADOWS, SILENCES};
pub use plan::{
    AFTER_INHIBITION, DEFAULT_ROUTE, GROUP_INTERVAL, GROUP_WAIT, Grouping, Inhibition, Person, Plan, Policy,
    REPEAT, Reach, Route, Step, Target, To,
};
pub use rule::{RULES, Rule, is_rule, name_of, rule_for, severity_of};
pub(crate) use send::{deliveries, reach};
pub use shadow::Shadow;
pub(crate) use step::escalate;
pub use step::{Alert, Effect, Input, Phase, step};
pub use view::{AcknowledgedGroup, GroupDetail, GroupView, Next, Told};
