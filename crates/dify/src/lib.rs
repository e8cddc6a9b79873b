//! Everything that knows a Dify deployment: where its parts are, how its tables look in each version, what is in its
//! queues, whether its components are well.
//!
//! Promises: each read is bounded in rows and in time, and writes nothing; there is at most one connection to each
//! database; what a version does not have is left out and said, never guessed. A write is a function of its own, which
//! says what it would do before it does it, and refuses on a schema that it does not know.
//! Refuses to know: our own store, what is made of the findings, and who is told.

pub mod celery;
pub mod db;
pub mod deployment;
pub mod discovery;
pub mod facts;
pub mod probe;
pub mod read;
pub mod redis;
pub mod schema;
pub mod signature;

pub use deployment::Deployment;
