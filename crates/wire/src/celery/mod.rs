//! What Celery and kombu write into Redis: task messages, remote control ("pidbox") and worker events. Protocol 2, JSON.
//!
//! Promises: any bytes give a value or say what is wrong with them; what is read is bounded in size
//! ([`MAX_MESSAGE_BYTES`]) and, by the JSON reader, in depth; a message whose body cannot be read still tells its task.
//! Refuses to know: Redis, which queues there are, what a task of Dify's means.
//! Sources: kombu 5.5.4 (`transport/virtual/base.py`, `transport/redis.py`, `pidbox.py`), Celery 5.5.3
//! (`app/amqp.py`, `worker/control.py`, `events/`); recorded bytes in the tests.

mod control;
mod event;
mod message;

pub use control::{Reply, Request};
pub use event::{Event, Heartbeat};
pub use message::{Body, Broken, MAX_MESSAGE_BYTES, Message, NewTask, fingerprint, redelivered, unacked};
