//! A real Redis and real Celery workers, where `cargo xtask test` prepared them (`TEST_REDIS_URL`, `TEST_CELERY_PYTHON`).

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Databases of the server that the tests share; the first counts them.
const DATABASES: u32 = 1_024;

/// A database of its own in the shared Redis, or a server of its own; empty.
#[derive(Debug)]
pub struct Broker {
    pub host: String,
    pub port: u16,
    pub database: u32,
    server: Option<Child>,
}

impl Broker {
    /// `None` where no server was given: the test has nothing to prove then.
    #[expect(clippy::disallowed_methods, reason = "the test command says where its Redis is")]
    pub fn start() -> Option<Broker> {
        let url = std::env::var("TEST_REDIS_URL").ok().filter(|url| !url.is_empty())?;
        let place = url.trim_start_matches("redis://").trim_end_matches('/');
        let (host, port) = place.split_once(':').expect("TEST_REDIS_URL is redis://host:port");
        let port = port.parse().expect("a port");
        let answer = inline(host, port, "INCR mainstay:tests");
        let count: u32 = answer.trim_start_matches(':').trim().parse().expect("a count");
        let database = 1 + count % (DATABASES - 1);
        inline(host, port, &format!("select {database}\r\nflushdb"));
        Some(Broker { host: host.to_owned(), port, database, server: None })
    }

    /// A server that no other test feels when this one makes it sweat.
    #[expect(clippy::disallowed_methods, reason = "the test command says whether there is a Redis")]
    pub fn alone() -> Option<Broker> {
        std::env::var("TEST_REDIS_URL").ok().filter(|url| !url.is_empty())?;
        let host = "127.0.0.1".to_owned();
        let free = TcpListener::bind((host.as_str(), 0)).and_then(|listener| listener.local_addr());
        let port = free.expect("a loopback port").port();
        let mut command = Command::new("redis-server");
        command.args(["--bind", &host, "--port", &port.to_string(), "--save", "", "--appendonly", "no"]);
        command.args(["--daemonize", "no"]).stdin(Stdio::null()).stdout(Stdio::null());
        let mut server = command.spawn().expect("redis-server");
        while TcpStream::connect((host.as_str(), port)).is_err() {
            let ended = server.try_wait().expect("a process of ours");
            assert!(ended.is_none(), "redis-server ended at once");
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(Broker { host, port, database: 0, server: Some(server) })
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The same database, reached by way of a proxy.
    pub fn through(&self, proxy: SocketAddr) -> Broker {
        Broker { host: proxy.ip().to_string(), port: proxy.port(), database: self.database, server: None }
    }

    pub fn url(&self) -> String {
        format!("redis://{}:{}/{}", self.host, self.port, self.database)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// Sends commands as text and gives what came first.
fn inline(host: &str, port: u16, commands: &str) -> String {
    let mut stream = TcpStream::connect((host, port)).expect("the Redis of TEST_REDIS_URL");
    stream.write_all(format!("{commands}\r\nQUIT\r\n").as_bytes()).expect("a command sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer.lines().next().unwrap_or_default().to_owned()
}

/// How a worker is started.
#[derive(Clone, Debug)]
pub struct Worker<'a> {
    /// Before the `@`.
    pub name: &'a str,
    /// `gevent` or `threads`; with `+autoscale` it sizes its pool by itself, from one place up.
    pub pool: &'a str,
    pub concurrency: u32,
    pub queues: &'a [&'a str],
    pub key_prefix: &'a str,
}

/// A worker process, killed when dropped.
pub struct RunningWorker {
    process: Child,
    /// As Celery calls it.
    pub name: String,
}

impl Worker<'_> {
    /// `None` where no Celery was prepared. It answers a second or two later.
    pub fn start(&self, broker: &Broker) -> Option<RunningWorker> {
        let python = std::env::var_os("TEST_CELERY_PYTHON").filter(|path| !path.is_empty())?;
        let name = format!("{}@test", self.name);
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut command = Command::new(python);
        command.current_dir(folder).args([
            "-m",
            "celery",
            "-A",
            "celery_app",
            "worker",
            "--loglevel",
            "ERROR",
        ]);
        let places = self.concurrency.to_string();
        match self.pool.strip_suffix("+autoscale") {
            Some(pool) => command.args(["-P", pool, "--autoscale", &format!("{places},1")]),
            None => command.args(["-P", self.pool, "-c", &places]),
        };
        command.args(["-n", &name]);
        command.args(["-Q", &self.queues.join(","), "--prefetch-multiplier=1", "--without-mingle"]);
        command.env("TEST_BROKER_URL", broker.url()).env("TEST_KEY_PREFIX", self.key_prefix);
        command.env("PYTHONDONTWRITEBYTECODE", "1").env("C_FORCE_ROOT", "1");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Some(RunningWorker { process: command.spawn().expect("a worker started"), name })
    }
}

impl RunningWorker {
    /// Stops its process where it stands; its connections stay open.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    /// Ends it at once, as the kernel does when memory runs out.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    pub fn has_ended(&mut self) -> bool {
        self.process.try_wait().expect("a process of ours").is_some()
    }

    fn signal(&self, signal: &str) {
        let pid = self.process.id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill {signal} {pid}");
    }
}

impl Drop for RunningWorker {
    fn drop(&mut self) {
        self.kill();
    }
}
