//! A mail server: in plain text or encrypted, with or without a login, that answers as it is told.

use std::{net::SocketAddr, sync::Arc};

use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// What was said for one message: commands and the message itself, line by line.
pub type Said = Vec<String>;

const MAX_LINE_BYTES: usize = 64 * 1024;

/// How a server is encrypted.
#[derive(Clone, Default)]
pub enum Encryption {
    #[default]
    None,
    /// From the first byte.
    Tls(Arc<ServerConfig>),
    /// After `STARTTLS`, which it offers.
    Starttls(Arc<ServerConfig>),
}

#[derive(Clone, Default)]
pub struct SmtpOptions {
    pub encryption: Encryption,
    /// The base64 of `\0user\0password`; with it nobody writes who has not logged in.
    pub login: Option<&'static str>,
    /// Answers to commands that begin so, before the usual ones; `.` is the whole message.
    pub answers: Vec<(&'static str, &'static str)>,
}

/// A server that lives as long as this value.
pub struct SmtpServer {
    pub address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    _accepting: JoinSet<()>,
}

#[derive(Default)]
struct Seen {
    messages: Vec<Said>,
    in_clear: Said,
}

impl SmtpServer {
    /// In plain text. `after_data` is the answer to a whole message, as `250 taken` or `451 try again`.
    pub async fn start(after_data: &'static str) -> SmtpServer {
        SmtpServer::start_with(SmtpOptions { answers: vec![(".", after_data)], ..SmtpOptions::default() })
            .await
    }

    pub async fn start_with(options: SmtpOptions) -> SmtpServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = listener.local_addr().expect("a bound address");
        let seen = Arc::<Mutex<Seen>>::default();
        let mut accepting = JoinSet::new();
        let session = Session { options: Arc::new(options), seen: seen.clone() };
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(session.clone().serve(stream));
            }
        });
        SmtpServer { address, seen, _accepting: accepting }
    }

    /// Messages seen so far, refused ones too.
    pub fn messages(&self) -> Vec<Said> {
        self.seen.lock().messages.clone()
    }

    /// Everything that anybody said before it was encrypted.
    pub fn in_clear(&self) -> Said {
        self.seen.lock().in_clear.clone()
    }
}

/// Whether a conversation is over, or goes on encrypted.
#[derive(PartialEq)]
enum End {
    Closed,
    Encrypt,
}

#[derive(Clone)]
struct Session {
    options: Arc<SmtpOptions>,
    seen: Arc<Mutex<Seen>>,
}

impl Session {
    async fn serve(self, stream: TcpStream) {
        match self.options.encryption.clone() {
            Encryption::None => {
                self.talk(stream, Some("220 testkit"), false).await;
            }
            Encryption::Tls(config) => {
                let Ok(stream) = TlsAcceptor::from(config).accept(stream).await else { return };
                self.talk(stream, Some("220 testkit"), true).await;
            }
            Encryption::Starttls(config) => {
                let mut stream = stream;
                if self.talk(&mut stream, Some("220 testkit"), false).await == End::Encrypt
                    && let Ok(stream) = TlsAcceptor::from(config).accept(stream).await
                {
                    self.talk(stream, None, true).await;
                }
            }
        }
    }

    async fn talk<S>(&self, stream: S, greeting: Option<&str>, is_encrypted: bool) -> End
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut stream = BufReader::new(stream);
        let (mut said, mut is_data, mut is_in) = (Said::new(), false, self.options.login.is_none());
        if let Some(greeting) = greeting
            && write(&mut stream, greeting).await.is_none()
        {
            return End::Closed;
        }
        while let Some(line) = read_line(&mut stream).await {
            if !is_encrypted {
                self.seen.lock().in_clear.push(line.clone());
            }
            let told = self.options.answers.iter().find(|(begins, _)| match *begins {
                "." => is_data && line == ".",
                begins => !is_data && line.starts_with(begins),
            });
            let answer = match (is_data, line.as_str()) {
                (true, ".") => {
                    is_data = false;
                    self.seen.lock().messages.push(std::mem::take(&mut said));
                    "250 taken"
                }
                (true, _) => "",
                (false, "DATA") => {
                    is_data = told.is_none();
                    "354 go on"
                }
                (false, "QUIT") => "221 bye",
                (false, "STARTTLS") => "220 go on",
                (false, line) if line.starts_with("EHLO") => self.offers(is_encrypted),
                (false, line) if line.starts_with("AUTH PLAIN ") => {
                    is_in = Some(&line["AUTH PLAIN ".len()..]) == self.options.login;
                    if is_in { "235 welcome" } else { "535 5.7.8 wrong name or password" }
                }
                (false, _) if !is_in => "530 5.7.0 log in first",
                (false, _) => "250 ok",
            };
            let answer = told.map_or(answer, |(_, answer)| answer);
            said.push(line.clone());
            if !answer.is_empty() && write(&mut stream, answer).await.is_none() {
                return End::Closed;
            }
            if line == "STARTTLS" && answer.starts_with("220") {
                return End::Encrypt;
            }
        }
        End::Closed
    }

    fn offers(&self, is_encrypted: bool) -> &'static str {
        let offers_tls = matches!(self.options.encryption, Encryption::Starttls(_)) && !is_encrypted;
        match (offers_tls, self.options.login.is_some()) {
            (true, _) => "250-testkit\r\n250 STARTTLS",
            (false, true) => "250-testkit\r\n250 AUTH PLAIN",
            (false, false) => "250 testkit",
        }
    }
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), line: &str) -> Option<()> {
    stream.write_all(format!("{line}\r\n").as_bytes()).await.ok()?;
    stream.flush().await.ok()
}

/// A line without its end; byte by byte, so that nothing of what follows is taken from whoever reads next.
async fn read_line(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut line = Vec::new();
    while line.len() < MAX_LINE_BYTES {
        match stream.read_u8().await.ok()? {
            b'\n' => return Some(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned()),
            byte => line.push(byte),
        }
    }
    None
}
