//! Judgement and action: is everything well, who has to know, what is done about it, and did it help.
//!
//! Promises: every decision is a pure function of a world and a time ([`health::decide`], [`alert::step`],
//! [`runbook::step`]); every action has a budget, is stored before it is done, is checked afterwards and stands in
//! one timeline; only one control acts, however many run. Refuses to know: the gateway, the engine, SQL, HTTP servers,
//! configuration files. What it needs done in the process around it comes in as [`Ports`].

pub mod alert;
pub mod deep;
pub mod delivery;
pub mod doctor;
mod driver;
mod facade;
pub mod health;
mod incident;
pub mod ingest;
pub mod jobs;
mod leader;
mod lease;
pub mod oncall;
pub mod options;
mod outage;
pub mod overrides;
pub mod ports;
mod probe;
mod procedure;
pub mod queue;
pub mod runbook;
pub mod slo;
mod watch;

pub use driver::Control;
pub use facade::{Acknowledged, ControlError, Facade, RunRefused, RunRequest};
pub use health::{Component, Detour, Group, Observer, Report, State, Told, Trouble};
pub use options::{Options, Receiver};
pub use overrides::{Drained, FailedOver, Freeze, Overrides};
pub use ports::{
    CallbackBody, EngineProbe, OTHER_MODELS, Peers, Ports, ProbeKind, ProviderPeer, Restarted, Served, Slot,
    SlotState, Supervisor, UpstreamPeer,
};
pub use probe::{Asks, Tested};
pub use procedure::{Change, ModelEffect, Operation, Procedure, ProcedureRefused, TestReport};
