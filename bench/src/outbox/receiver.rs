//! The receiver of a schedule: what it has seen, and which fault each notice meets.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, ensure};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};

/// Faults of one schedule; after them everything is well, so that it ends.
pub(super) const MAX_FAULTS: u32 = 6;
const MAX_REQUEST_BYTES: usize = 64 * 1024;
/// How a repeat begins that a chat is told of.
const MARK: &str = "(may be a repeat)";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// The deliverer dies while it waits for the answer.
    KillBefore,
    /// The answer is on its way; the deliverer dies all the same.
    KillAfter,
    /// Taken, and the answer is lost.
    Cut,
    /// Not taken at all.
    Refuse,
}

/// What the receiver knows.
#[derive(Default)]
pub(super) struct Seen {
    /// Each notice, by its key.
    pub(super) notices: BTreeMap<String, Arrived>,
    pub(super) random: u64,
    pub(super) faults: u32,
    pub(super) kills: u64,
    pub(super) cuts: u64,
}

/// One notice.
#[derive(Default)]
pub(super) struct Arrived {
    pub(super) times: u64,
    /// What its receiver tells repeats by: each `webhook-id`, or the key by which incidents are one.
    pub(super) ids: BTreeSet<String>,
    /// Times after the first that nothing marks as a repeat, for a receiver that has no such id.
    pub(super) unmarked: u64,
}

impl Arrived {
    /// How often people see it who were to see it once.
    pub(super) fn seen_again(&self) -> u64 {
        if self.ids.is_empty() { self.unmarked } else { self.ids.len() as u64 - 1 }
    }
}

/// A notice as it came.
struct Came {
    key: String,
    id: Option<String>,
    is_marked: bool,
}

impl Seen {
    fn draw(&mut self) -> Fault {
        let drawn = splitmix(&mut self.random) % 10;
        let fault = match drawn {
            0 => Fault::KillBefore,
            1 => Fault::KillAfter,
            2 => Fault::Cut,
            3 => Fault::Refuse,
            _ => return Fault::None,
        };
        if self.faults >= MAX_FAULTS {
            return Fault::None;
        }
        self.faults += 1;
        match fault {
            Fault::KillBefore | Fault::KillAfter => self.kills += 1,
            Fault::Cut | Fault::Refuse | Fault::None => self.cuts += 1,
        }
        fault
    }
}

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

pub(super) async fn receive(listener: TcpListener, seen: Arc<Mutex<Seen>>, kill: mpsc::Sender<()>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(connection(stream, seen.clone(), kill.clone()));
    }
}

/// Requests of one connection, until a fault ends it.
async fn connection(
    mut stream: TcpStream,
    seen: Arc<Mutex<Seen>>,
    kill: mpsc::Sender<()>,
) -> anyhow::Result<()> {
    let mut read = Vec::new();
    loop {
        let came = came(request(&mut stream, &mut read).await?)?;
        let fault = {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let fault = seen.draw();
            if fault != Fault::Refuse {
                let notice = seen.notices.entry(came.key).or_default();
                notice.unmarked += u64::from(notice.times > 0 && !came.is_marked);
                notice.times += 1;
                notice.ids.extend(came.id);
            }
            fault
        };
        match fault {
            Fault::KillBefore => {
                let _ = kill.send(()).await;
                return std::future::pending().await;
            }
            Fault::Cut => return Ok(()),
            Fault::Refuse => {
                stream.write_all(b"HTTP/1.1 503 busy\r\ncontent-length: 0\r\n\r\n").await?;
            }
            Fault::None | Fault::KillAfter => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
                if fault == Fault::KillAfter {
                    let _ = kill.send(()).await;
                }
            }
        }
    }
}

/// A webhook by its id, an incident by its key, and what a chat shows by its title, whose last word is the key.
fn came((id, body): (Option<String>, Vec<u8>)) -> anyhow::Result<Came> {
    let value: Value = serde_json::from_slice(&body)?;
    if let Some(key) = value["dedup_key"].as_str() {
        return Ok(Came { key: key.to_owned(), id: Some(key.to_owned()), is_marked: false });
    }
    if let Some(text) = value["text"].as_str() {
        let key = text.split_whitespace().last().context("a key")?.to_owned();
        return Ok(Came { key, id: None, is_marked: text.starts_with(MARK) });
    }
    let data = if value["data"].is_object() { &value["data"] } else { &value };
    let key = data["key"].as_str().context("a key")?.to_owned();
    Ok(Came { key, id, is_marked: false })
}

async fn request(stream: &mut TcpStream, read: &mut Vec<u8>) -> anyhow::Result<(Option<String>, Vec<u8>)> {
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
            let field = |name: &str| {
                head.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
            };
            let length: usize = field("content-length:").context("a length")?.parse()?;
            if read.len() >= end + 4 + length {
                let id = field("webhook-id:");
                let body = read[end + 4..end + 4 + length].to_vec();
                read.drain(..end + 4 + length);
                return Ok((id, body));
            }
        }
        ensure!(read.len() <= MAX_REQUEST_BYTES, "a request that is too long");
        ensure!(stream.read_buf(read).await? > 0, "closed");
    }
}
