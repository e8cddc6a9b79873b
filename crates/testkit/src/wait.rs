//! Waiting for a state, never for a time.

use std::{
    future::Future,
    time::{Duration, Instant},
};

/// Asks `condition` until it gives a value, and fails the test when it has not within `limit`.
pub async fn wait_until<Value, Ask, Answer>(what: &str, limit: Duration, mut condition: Ask) -> Value
where
    Ask: FnMut() -> Answer,
    Answer: Future<Output = Option<Value>>,
{
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
