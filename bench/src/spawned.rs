//! Child processes of a benchmark: started until they say or show that they listen, and killed with their children.

use std::{
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use crate::process;

/// A child process and where it listens; killed when dropped.
pub struct Spawned {
    pub child: Child,
    pub address: String,
}

impl Spawned {
    /// Starts a process that prints a line of `ready` and its address when it listens. `word` is what comes before the
    /// address in that line, as `app=http://`; without it the rest of the line is the address.
    pub fn start(command: &mut Command, ready: &str, word: Option<&str>) -> anyhow::Result<Spawned> {
        let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start a process")?;
        let mut lines = BufReader::new(child.stdout.take().context("no pipe")?).lines();
        let line = match expect_line(&mut lines, ready) {
            Ok(line) => line,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(error);
            }
        };
        let found = word.and_then(|word| line.split_whitespace().find_map(|part| part.strip_prefix(word)));
        let address = found.unwrap_or(line.trim()).to_owned();
        // What it prints later is read and thrown away, so that it never blocks on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Spawned { child, address })
    }

    /// Starts a process that listens on `port` of this machine within `limit`, silent or not.
    pub fn listening(
        command: &mut Command,
        port: u16,
        log: &Path,
        limit: Duration,
    ) -> anyhow::Result<Spawned> {
        let log = std::fs::File::create(log).context("cannot make a log file")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start a process")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut spawned = Spawned { child, address: address.to_string() };
        let deadline = Instant::now() + limit;
        while TcpStream::connect(address).is_err() {
            if let Some(status) = spawned.child.try_wait()? {
                bail!("it ended with {status} before it listened");
            }
            anyhow::ensure!(Instant::now() < deadline, "it does not listen within {limit:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(spawned)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        // Some serve from children that outlive a killed parent and would hold our caller's pipe. The parent ends first:
        // it would start others for them.
        let below = process::tree(self.child.id()).into_iter().skip(1);
        let _ = self.child.kill();
        for pid in below {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
        }
        let _ = self.child.wait();
    }
}

/// The rest of the first line that begins with `start`.
pub fn expect_line(
    lines: &mut impl Iterator<Item = std::io::Result<String>>,
    start: &str,
) -> anyhow::Result<String> {
    for line in lines {
        if let Some(rest) = line?.strip_prefix(start) {
            return Ok(rest.to_owned());
        }
    }
    bail!("a process ended without saying `{start}`")
}

/// A port that was free a moment ago, for peers that cannot be told to take a free one.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
