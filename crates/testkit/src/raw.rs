//! A TCP peer that reads a request's head and then does exactly what its script says.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// One thing a raw peer does.
#[derive(Clone, Debug)]
pub enum Step {
    Send(Vec<u8>),
    Wait(Duration),
    /// Close with a FIN, as after a crash of a polite process.
    Close,
    /// Keep the connection open and say nothing more.
    Hang,
}

/// Plays `script` for every connection, for as long as the value lives.
pub struct RawServer {
    pub address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl RawServer {
    pub async fn start(script: Vec<Step>) -> RawServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = listener.local_addr().expect("a bound address");
        let script = Arc::new(script);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(play(stream, script.clone()));
            }
        });
        RawServer { address, _tasks: tasks }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn play(mut stream: TcpStream, script: Arc<Vec<Step>>) {
    if read_head(&mut stream).await.is_err() {
        return;
    }
    for step in script.iter() {
        match step {
            Step::Send(bytes) => {
                if stream.write_all(bytes).await.is_err() || stream.flush().await.is_err() {
                    return;
                }
            }
            Step::Wait(duration) => tokio::time::sleep(*duration).await,
            Step::Close => return,
            Step::Hang => std::future::pending().await,
        }
    }
}

async fn read_head(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let read = stream.read_buf(&mut head).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}
