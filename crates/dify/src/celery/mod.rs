//! Dify's queues and workers, over Redis alone: how much waits and since when, who works on what, who is alive.
//!
//! Promises: a look ([`Observer::observe`]) writes nothing but the address of its own replies, which it takes away again,
//! and asks workers at most once in [`Options::remote_every`]; every list is bounded, no queue is read whole, and an
//! element larger than [`MAX_PEEK_BYTES`] stays in Redis. What could not be read is told in [`Seen::missed`].
//! Refuses to know: what is wrong; `control::queue` judges [`Seen`] values over time.
//!
//! Celery writes no time of sending into a message. How long the oldest one waits is therefore found by watching ids: the
//! id at the tail, and since when it was seen somewhere in the queue.

mod about;
pub mod act;
mod heartbeat;
mod keys;
mod names;
mod observer;
mod peek;
mod remote;
mod script;
mod seen;
mod tenant;
mod unacked;

pub use about::{About, about};
pub use keys::{KNOWN_QUEUES, PRIORITY_STEPS};
pub use observer::{Observer, Options};
pub use peek::MAX_PEEK_BYTES;
pub use seen::{
    Answer, Heard, Missed, Peek, Queue, RateLimit, Running, Seen, TenantList, Unacked, UnackedMessage, Worker,
};
