//! The endpoints that start no run: what there is to read, and small changes.

mod about;
mod conversations;
mod messages;
pub(crate) mod runs;
