//! A Redis of our own for the tests of queues: the system's binary, a private folder, a private port.

use std::{
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use crate::command::{exists, install};

/// How long a start may take.
const START_WAIT: Duration = Duration::from_secs(20);

/// A running server, stopped and removed when dropped.
pub(crate) struct Redis {
    server: Child,
    folder: PathBuf,
    port: u16,
}

impl Redis {
    /// Installs what is missing and starts an empty server on loopback.
    pub(crate) fn start() -> anyhow::Result<Redis> {
        if !exists("redis-server") {
            install(&["redis-server"])?;
        }
        let folder = std::env::temp_dir().join(format!("mainstay-redis-{}", std::process::id()));
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr())?.port();
        let mut command = Command::new("redis-server");
        // The tests share it, each with databases of its own; nothing of it outlives them.
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--databases", "1024"]);
        command.args(["--save", "", "--appendonly", "no", "--daemonize", "no", "--loglevel", "warning"]);
        let server = command.arg("--dir").arg(&folder).stdout(Stdio::null()).spawn();
        let mut redis = Redis { server: server.context("cannot start redis-server")?, folder, port };
        redis.wait()?;
        Ok(redis)
    }

    /// The URL for `TEST_REDIS_URL`, without a database.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + START_WAIT;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if let Some(status) = self.server.try_wait()? {
                bail!("redis-server ended at once ({status})");
            }
            if Instant::now() > until {
                bail!("redis-server does not listen after {} s", START_WAIT.as_secs());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
