//! The embedded engine: runs Dify apps of mode `workflow` and `advanced-chat`.
//!
//! [`check`] compiles an app's DSL into a [`Plan`] once and names everything it cannot run; [`Engine::run`] executes a
//! plan, sends [`Event`]s to a [`Sink`] in Dify's order and returns a [`RunOutcome`]. It promises that no input,
//! template or peer makes a run panic, outlive its [`Limits`] or grow without bound. It refuses to know where runs are
//! stored, who called, and what Dify's envelopes look like.

mod compile;
mod condition;
mod engine;
mod event;
mod fields;
mod input;
mod jinja;
mod limits;
mod model;
mod node;
mod outcome;
mod plan;
mod pool;
mod problem;
mod python;
mod run;
mod segment;
mod selector;
mod sink;
mod template;
mod usage;

pub use compile::check;
pub use engine::{Engine, ModelEndpoint, Ports};
pub use event::{Event, IterationStarted, NodeStarted};
pub use fields::Fields;
pub use input::{ChatInput, Exchange, RunInput};
pub use limits::Limits;
pub use outcome::{IterationPlace, NodeExecution, NodeStatus, RunOutcome, RunStatus};
pub use plan::Plan;
pub use problem::Problem;
pub use sink::Sink;
pub use usage::Usage;
