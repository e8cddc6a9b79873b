//! A TCP proxy that a test can cut or freeze: what a store looks like that is gone, or that hangs.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp},
    sync::watch,
    task::JoinSet,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Open,
    /// Connections are ended, new ones too.
    Cut,
    /// Connections stand and carry nothing.
    Frozen,
    /// Whatever passes waits for so long first.
    Slow(Duration),
}

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    line: watch::Sender<Line>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn start(to: String) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (line, seen) = watch::channel(Line::Open);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(carry(stream, to.clone(), seen.clone()));
            }
        });
        Proxy { address, line, _tasks: tasks }
    }

    pub(crate) fn set(&self, line: Line) {
        self.line.send_replace(line);
    }
}

async fn carry(near: TcpStream, to: String, mut line: watch::Receiver<Line>) {
    if *line.borrow() == Line::Cut {
        return;
    }
    let Ok(far) = TcpStream::connect(&to).await else { return };
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    tokio::select! {
        () = pump(near_in, far_out, line.clone()) => {}
        () = pump(far_in, near_out, line.clone()) => {}
        _ = line.wait_for(|line| *line == Line::Cut) => {}
    }
}

async fn pump(mut from: tcp::OwnedReadHalf, mut to: tcp::OwnedWriteHalf, mut line: watch::Receiver<Line>) {
    let mut piece = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        if line.wait_for(|line| *line != Line::Frozen).await.is_err() {
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
