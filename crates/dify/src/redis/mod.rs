//! A Redis of Dify's: one connection, every wait by name, errors by their cause.
//!
//! Promises: nothing waits longer than its [`Waits`] say, whatever the other side does; there is one connection at a time,
//! made when it is first needed and made anew after it failed; a key gets the deployment's prefix in one place.
//! Refuses to know: what the keys mean.

mod address;
mod error;
mod link;
mod listen;

pub use error::Error;
pub use link::{Later, Link, MAX_COMMANDS_AT_ONCE, Waits};
pub use listen::{Listener, MAX_HEARD, Message};

/// What a command answered, and what makes commands; re-exported so that only this crate names the library.
pub use ::redis::{Cmd, FromRedisValue, Pipeline, Value, cmd, from_redis_value, pipe};
