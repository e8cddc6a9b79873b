//! Is everything well? Facts are gathered by a shell; [`decide`] turns them into a [`Report`].

mod answers;
mod decide;
mod keys;
mod provider;
#[cfg(test)]
mod provider_tests;
mod receiver;
mod report;
#[cfg(test)]
mod tests;
mod traffic;
mod trouble;
mod world;

pub(crate) use decide::WORKER_LEFT;
pub use decide::decide;
pub use keys::RefusedKey;
pub use receiver::ReceiverFacts;
pub(crate) use report::second_text;
pub use report::{Component, Group, Report, State};
pub use traffic::{Observer, Role, Traffic};
pub use trouble::{Detour, Trouble};
pub use world::{PeerFacts, ProbeFacts, Read, TargetFacts, Told, WorkerFacts, World};
