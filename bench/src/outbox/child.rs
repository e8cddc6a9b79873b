//! The product's deliverer in a process of its own, to be killed.

use std::{path::Path, process::Stdio, sync::Arc};

use anyhow::{Context, bail};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use mainstay_base::{Clock, Micros, Secret};
use mainstay_control::{CallbackBody, Receiver, delivery::deliver_until};
use mainstay_net::{Client, ClientOptions};
use mainstay_store::{Store, StoreError};
use mainstay_wire::notify::Channel;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, Command},
};
use tokio_util::sync::CancellationToken;

use super::RECEIVER;

/// The first argument of a process that only delivers.
pub const DELIVER: &str = "deliver";

/// How the receiver is told, and so how it can tell a repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// By `webhook-id`.
    Webhook,
    /// PagerDuty's: by `dedup_key`.
    Incident,
    /// Slack's: people read it twice.
    Chat,
}

impl Dialect {
    pub const ALL: [Dialect; 3] = [Dialect::Webhook, Dialect::Incident, Dialect::Chat];

    pub fn as_str(self) -> &'static str {
        match self {
            Dialect::Webhook => "webhook",
            Dialect::Incident => "pagerduty",
            Dialect::Chat => "slack",
        }
    }

    fn receiver(self, address: &str) -> Receiver {
        let url = Secret::new(address);
        let channel = match self {
            Dialect::Webhook => Channel::Webhook { url, secret: None },
            Dialect::Incident => {
                Channel::Pagerduty { url: address.to_owned(), routing_key: Secret::new("key") }
            }
            Dialect::Chat => Channel::Slack { url },
        };
        Receiver { channel, ..Receiver::webhook(RECEIVER, address, None) }
    }
}

/// A process that delivers until it is killed, or this value is dropped.
pub(super) struct Deliverer {
    child: Child,
    clock: ChildStdin,
}

impl Deliverer {
    /// `program` is one whose `main` hands over to [`deliver`] when its first argument is [`DELIVER`].
    pub(super) fn start(
        program: &Path,
        store: &str,
        address: &str,
        dialect: Dialect,
        now: Micros,
    ) -> anyhow::Result<Deliverer> {
        let mut child = Command::new(program)
            .args([DELIVER, store, address, dialect.as_str(), &now.0.to_string()])
            .stdin(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start a deliverer")?;
        let clock = child.stdin.take().context("no pipe")?;
        Ok(Deliverer { child, clock })
    }

    /// Its clock goes on to `now`.
    pub(super) async fn tick(&mut self, now: Micros) -> anyhow::Result<()> {
        Ok(self.clock.write_all(format!("{}\n", now.0).as_bytes()).await?)
    }

    /// By SIGKILL; returns when it is gone.
    pub(super) async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }
}

struct NoCallbacks;

impl CallbackBody for NoCallbacks {
    fn body(&self, _: String) -> BoxFuture<'static, Result<Option<Bytes>, StoreError>> {
        Box::pin(async { Ok(None) })
    }
}

/// The whole of such a process: `arguments` are those after [`DELIVER`]. Lines of its standard input are its clock; it ends
/// with them.
pub async fn deliver(arguments: &[String]) -> anyhow::Result<()> {
    let [store, address, dialect, now] = arguments else { bail!("give store, address, dialect and time") };
    let dialect = Dialect::ALL.into_iter().find(|known| known.as_str() == dialect).context("a dialect")?;
    let clock = Clock::manual(Micros(now.parse()?));
    let options = mainstay_store::Options { url: store.clone(), clock: clock.clone() };
    let mut control = mainstay_control::Options::new("bench", "here");
    control.receivers.push(dialect.receiver(address));
    let sending = tokio::spawn(deliver_until(
        CancellationToken::new(),
        Store::open(options).await?,
        Client::new(ClientOptions::default())?,
        clock.clone(),
        Arc::new(NoCallbacks),
        control,
    ));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        clock.advance(Micros(line.parse()?).since(clock.now()));
    }
    sending.abort();
    Ok(())
}
