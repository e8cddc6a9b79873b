//! Looks at queues and workers, and actions on them, against a real Redis and real Celery workers with Dify's names; and
//! against peers that answer wrongly, slowly or not at all.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up should fail")]

mod actions;
mod broken;
#[path = "../database/fixture.rs"]
#[expect(dead_code, reason = "the tests of the database use more of it")]
mod database;
mod fixture;
mod hostile;
mod look;
mod runs;
