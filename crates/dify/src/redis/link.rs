//! The one connection for commands.

use std::{collections::BTreeMap, time::Duration};

use ::redis::{
    AsyncConnectionConfig, Client, Cmd, FromRedisValue, Pipeline, RedisResult, Value,
    aio::MultiplexedConnection, cmd,
};
use tokio::time::timeout;

use super::{Error, address};
use crate::deployment::Redis;

/// More commands than this are not sent at once: a larger pipeline is refused, its maker cuts it.
pub const MAX_COMMANDS_AT_ONCE: usize = 1_000;

/// How long to wait for what. Connecting includes resolving the name, TLS and the login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    pub connect: Duration,
    pub response: Duration,
}

impl Default for Waits {
    fn default() -> Waits {
        Waits { connect: Duration::from_secs(3), response: Duration::from_secs(3) }
    }
}

/// A connection to one Redis, made when it is first needed, forgotten when it failed, made anew by the next command.
/// Commands are asked one after the other.
pub struct Link {
    redis: Redis,
    waits: Waits,
    connection: Option<(MultiplexedConnection, String)>,
}

impl Link {
    /// Connects to nothing yet.
    pub fn new(redis: &Redis, waits: Waits) -> Link {
        Link { redis: redis.clone(), waits, connection: None }
    }

    /// Connects now, so that a wrong address or password is told here.
    pub async fn connect(redis: &Redis, waits: Waits) -> Result<Link, Error> {
        let mut link = Link::new(redis, waits);
        link.connected().await?;
        Ok(link)
    }

    /// The answer to one command.
    pub async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, Error> {
        let wait = self.waits.response;
        let (connection, at) = self.connected().await?;
        let answer = timeout(wait, command.query_async(connection)).await;
        let result = settle(answer, at, wait);
        self.forget_when_broken(result)
    }

    /// The answers to several commands, one for one; an error among them spoils no other.
    pub async fn ask_all(&mut self, commands: &mut Pipeline) -> Result<Vec<Result<Value, Error>>, Error> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        if commands.len() > MAX_COMMANDS_AT_ONCE {
            let reason = format!("{} commands at once; {MAX_COMMANDS_AT_ONCE} are allowed", commands.len());
            return Err(Error::Answered { at: self.at(), reason });
        }
        let wait = self.waits.response;
        let (connection, at) = self.connected().await?;
        let asked = commands.ignore_errors().query_async::<Vec<RedisResult<Value>>>(connection);
        let result = settle(timeout(wait, asked).await, at, wait).map(|answers| {
            let each = answers.into_iter();
            each.map(|answer| answer.map_err(|error| Error::of(&error, at, 0))).collect::<Vec<_>>()
        });
        self.forget_when_broken(result)
    }

    /// Commands that are sent when they are asked for, or at the latest when the answer is dropped, as it is by a
    /// caller that was cancelled.
    pub async fn later(&mut self, commands: Pipeline) -> Result<Later, Error> {
        let wait = self.waits.response;
        let (connection, at) = self.connected().await?;
        Ok(Later { connection: connection.clone(), at: at.to_owned(), commands: Some(commands), wait })
    }

    pub async fn ping(&mut self) -> Result<(), Error> {
        self.ask::<Value>(&cmd("PING")).await.map(drop)
    }

    /// The lines of `INFO`, by name.
    pub async fn info(&mut self) -> Result<BTreeMap<String, String>, Error> {
        let text: String = self.ask(&cmd("INFO")).await?;
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        Ok(lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
    }

    /// The key as it is in Redis: with the deployment's prefix.
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.redis.key_prefix)
    }

    /// What stands before every key; empty before Dify 1.14.
    pub fn prefix(&self) -> &str {
        &self.redis.key_prefix
    }

    /// The number of the database; channels of Celery begin with it.
    pub fn database(&self) -> u32 {
        self.redis.database
    }

    /// How the server is called in messages: the address it has now, or the sentinels'.
    pub fn at(&self) -> String {
        self.connection.as_ref().map_or_else(|| address::name(&self.redis), |(_, at)| at.clone())
    }

    async fn connected(&mut self) -> Result<(&mut MultiplexedConnection, &str), Error> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let (client, at) = address::client(&self.redis, self.waits).await?;
                (dial(&client, &at, self.waits).await?, at)
            }
        };
        let (connection, at) = self.connection.insert(connection);
        Ok((connection, at))
    }

    fn forget_when_broken<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if result.as_ref().is_err_and(Error::ends_connection) {
            self.connection = None;
        }
        result
    }
}

/// See [`Link::later`].
#[must_use]
pub struct Later {
    connection: MultiplexedConnection,
    at: String,
    commands: Option<Pipeline>,
    wait: Duration,
}

impl Later {
    /// Sends them now.
    pub async fn now(mut self) -> Result<(), Error> {
        let Some(commands) = self.commands.take() else { return Ok(()) };
        let sent = commands.query_async::<Value>(&mut self.connection);
        settle(timeout(self.wait, sent).await, &self.at, self.wait).map(drop)
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        let (Some(commands), Ok(runtime)) = (self.commands.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let (mut connection, wait) = (self.connection.clone(), self.wait);
        // Ends by itself within the wait; when the process ends first, the next one sweeps.
        runtime.spawn(async move {
            let _ = timeout(wait, commands.query_async::<Value>(&mut connection)).await;
        });
    }
}

/// Connects and logs in within the wait.
pub(super) async fn dial(client: &Client, at: &str, waits: Waits) -> Result<MultiplexedConnection, Error> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(waits.connect))
        .set_response_timeout(Some(waits.response));
    let wait_ms = waits.connect.as_millis() as u64;
    match timeout(waits.connect, client.get_multiplexed_async_connection_with_config(&config)).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(match Error::of(&error, at, wait_ms) {
            Error::TimedOut { at, waited_ms, .. } => Error::TimedOut { at, what: "the login", waited_ms },
            other => other,
        }),
        Err(_) => Err(Error::TimedOut { at: at.to_owned(), what: "the login", waited_ms: wait_ms }),
    }
}

fn settle<T>(
    answer: Result<RedisResult<T>, tokio::time::error::Elapsed>,
    at: &str,
    wait: Duration,
) -> Result<T, Error> {
    let waited_ms = wait.as_millis() as u64;
    match answer {
        Ok(result) => result.map_err(|error| Error::of(&error, at, waited_ms)),
        Err(_) => Err(Error::TimedOut { at: at.to_owned(), what: "a command", waited_ms }),
    }
}
