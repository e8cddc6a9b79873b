//! How who wants to connect is met: the listener, and what takes its place while a provider cannot be reached.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
};

use crate::fault::{Fault, Plan};

/// Connections that fill a listener without room, and how long one may wait before it is full.
const MAX_FILLERS: usize = 8;
const FILL_WAIT: Duration = Duration::from_millis(200);
/// How long closing or opening the listener may take.
pub(crate) const TURN_WAIT: Duration = Duration::from_secs(5);

/// How a provider meets who wants to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Open,
    Refusing,
    Silent,
}

impl Door {
    /// Of several faults, the first counts.
    pub(crate) fn of(plans: &[Plan]) -> Door {
        let door = |plan: &Plan| match plan.fault {
            Fault::Refuse => Some(Door::Refusing),
            Fault::Unreachable => Some(Door::Silent),
            _ => None,
        };
        plans.iter().find_map(door).unwrap_or(Door::Open)
    }
}

/// Until the door is to be open again. The port is held by somebody else meanwhile.
pub(crate) async fn away(address: SocketAddr, is: &watch::Sender<Door>, wanted: &mut watch::Receiver<Door>) {
    loop {
        let door = *wanted.borrow_and_update();
        let full = match door {
            Door::Open => return,
            Door::Refusing => None,
            Door::Silent => full(address).await.ok(),
        };
        is.send_replace(door);
        let _ = wanted.changed().await;
        drop(full);
    }
}

/// A listener that never accepts and has no room for one more, so that the system answers nobody.
async fn full(address: SocketAddr) -> io::Result<(TcpListener, Vec<TcpStream>)> {
    let listener = bound(address)?.listen(0)?;
    let mut waiting = Vec::new();
    while waiting.len() < MAX_FILLERS {
        match tokio::time::timeout(FILL_WAIT, TcpStream::connect(address)).await {
            Ok(connected) => waiting.push(connected?),
            Err(_) => break,
        }
    }
    Ok((listener, waiting))
}

/// A socket that holds its port, and refuses who comes until it listens. A second one may hold the same port, so that it
/// never gets into other hands while the provider is away.
pub(crate) fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}
