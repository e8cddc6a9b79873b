//! A mail server that takes every message, or refuses it, in plain text.

use std::{net::SocketAddr, sync::Arc};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// What was said for one message: commands and the message itself, line by line.
pub type Said = Vec<String>;

/// A server that lives as long as this value.
pub struct SmtpServer {
    pub address: SocketAddr,
    messages: Arc<Mutex<Vec<Said>>>,
    _accepting: JoinSet<()>,
}

impl SmtpServer {
    /// `after_data` is the answer to a whole message, as `250 taken` or `451 try again`.
    pub async fn start(after_data: &'static str) -> SmtpServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = listener.local_addr().expect("a bound address");
        let messages = Arc::new(Mutex::new(Vec::new()));
        let seen = messages.clone();
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, seen.clone(), after_data));
            }
        });
        SmtpServer { address, messages, _accepting: accepting }
    }

    /// Messages seen so far, refused ones too.
    pub fn messages(&self) -> Vec<Said> {
        self.messages.lock().clone()
    }
}

async fn serve(stream: TcpStream, seen: Arc<Mutex<Vec<Said>>>, after_data: &'static str) {
    let (reading, mut writing) = stream.into_split();
    let mut lines = BufReader::new(reading).lines();
    let (mut said, mut is_data) = (Said::new(), false);
    if writing.write_all(b"220 testkit\r\n").await.is_err() {
        return;
    }
    while let Ok(Some(line)) = lines.next_line().await {
        let answer = match (is_data, line.as_str()) {
            (true, ".") => {
                is_data = false;
                seen.lock().push(std::mem::take(&mut said));
                Some(after_data)
            }
            (true, _) => None,
            (false, "DATA") => {
                is_data = true;
                Some("354 go on")
            }
            (false, "QUIT") => Some("221 bye"),
            (false, _) => Some("250 ok"),
        };
        said.push(line);
        let Some(answer) = answer else { continue };
        if writing.write_all(format!("{answer}\r\n").as_bytes()).await.is_err() {
            return;
        }
    }
}
