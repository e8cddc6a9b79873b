//! A TCP proxy that a test can cut, freeze or slow down: what a peer looks like that is gone, or that hangs.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp},
    sync::watch,
    task::JoinSet,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    Open,
    /// Connections are ended, new ones too.
    Cut,
    /// Connections stand and carry nothing.
    Frozen,
    /// So do those on which the word of [`Proxy::that_knows`] was said; others carry everything.
    FrozenWhereSaid,
    /// Whatever passes waits for so long first.
    Slow(Duration),
}

pub struct Proxy {
    pub address: SocketAddr,
    line: watch::Sender<Line>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub async fn start(to: String) -> Proxy {
        Proxy::that_knows("", to).await
    }

    /// One that tells connections apart by a word that was said on them, as `BRPOP`.
    pub async fn that_knows(word: &'static str, to: String) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = listener.local_addr().expect("a bound address");
        let (line, seen) = watch::channel(Line::Open);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(carry(stream, to.clone(), word.as_bytes(), seen.clone()));
            }
        });
        Proxy { address, line, _tasks: tasks }
    }

    pub fn set(&self, line: Line) {
        self.line.send_replace(line);
    }
}

async fn carry(near: TcpStream, to: String, word: &'static [u8], mut line: watch::Receiver<Line>) {
    if *line.borrow() == Line::Cut {
        return;
    }
    let Ok(far) = TcpStream::connect(&to).await else { return };
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    let said = Arc::new(AtomicBool::new(false));
    tokio::select! {
        () = pump(near_in, far_out, word, said.clone(), line.clone()) => {}
        () = pump(far_in, near_out, b"", said, line.clone()) => {}
        _ = line.wait_for(|line| *line == Line::Cut) => {}
    }
}

/// `said` becomes true when the word passes; without a word it never does here.
async fn pump(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    word: &[u8],
    said: Arc<AtomicBool>,
    mut line: watch::Receiver<Line>,
) {
    let mut piece = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        if !word.is_empty() && piece[..read].windows(word.len()).any(|window| window == word) {
            said.store(true, Ordering::SeqCst);
        }
        let passes = |line: &Line| match line {
            Line::Frozen => false,
            Line::FrozenWhereSaid => !said.load(Ordering::SeqCst),
            Line::Open | Line::Cut | Line::Slow(_) => true,
        };
        if line.wait_for(passes).await.is_err() {
            return;
        }
        let slow = match *line.borrow() {
            Line::Slow(wait) => wait,
            _ => Duration::ZERO,
        };
        if !slow.is_zero() {
            tokio::time::sleep(slow).await;
        }
        if to.write_all(&piece[..read]).await.is_err() {
            return;
        }
    }
}
