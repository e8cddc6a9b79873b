//! The one connection that hears what is published; Redis keeps it apart from commands.

use std::time::Duration;

use ::redis::aio::PubSub;
use futures_util::StreamExt;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Error, Waits, address};
use crate::deployment::Redis;

/// No more messages than this are taken from one call of [`Listener::hear`].
pub const MAX_HEARD: usize = 1_000;

/// What was published: the channel without the deployment's prefix, and the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub channel: String,
    pub payload: Vec<u8>,
}

/// Hears the channels that match one pattern, from when it was made.
pub struct Listener {
    subscription: PubSub,
    prefix: String,
    at: String,
}

impl Listener {
    /// `pattern` is without the deployment's prefix.
    pub async fn subscribe(redis: &Redis, waits: Waits, pattern: &str) -> Result<Listener, Error> {
        let (client, at) = address::client(redis, waits).await?;
        let wait_ms = waits.connect.as_millis() as u64;
        let pattern = format!("{}{pattern}", redis.key_prefix);
        let subscribed = timeout(waits.connect, async {
            let mut subscription = client.get_async_pubsub().await?;
            subscription.psubscribe(pattern).await?;
            Ok(subscription)
        });
        match subscribed.await {
            Ok(Ok(subscription)) => Ok(Listener { subscription, prefix: redis.key_prefix.clone(), at }),
            Ok(Err(error)) => Err(Error::of(&error, &at, wait_ms)),
            Err(_) => Err(Error::TimedOut { at, what: "a subscription", waited_ms: wait_ms }),
        }
    }

    /// What came within this long; ends early when [`MAX_HEARD`] came. An error when the connection is gone.
    pub async fn hear(&mut self, within: Duration) -> Result<Vec<Message>, Error> {
        let until = Instant::now() + within;
        let mut heard = Vec::new();
        let mut messages = self.subscription.on_message();
        while heard.len() < MAX_HEARD {
            match timeout_at(until, messages.next()).await {
                Ok(Some(message)) => {
                    let channel = message.get_channel_name();
                    let channel = channel.strip_prefix(&self.prefix).unwrap_or(channel).to_owned();
                    heard.push(Message { channel, payload: message.get_payload_bytes().to_vec() });
                }
                Ok(None) => {
                    let reason = "the connection was closed".to_owned();
                    return Err(Error::Unreachable { at: self.at.clone(), reason });
                }
                Err(_) => break,
            }
        }
        Ok(heard)
    }
}
