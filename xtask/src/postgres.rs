//! A PostgreSQL of our own for the store's contract suite: the system's binaries, a private folder, a private port.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

use crate::command::{self, install, is_root, output, run};

/// A running server, stopped and removed when dropped.
pub(crate) struct Postgres {
    binaries: PathBuf,
    folder: PathBuf,
    port: u16,
}

impl Postgres {
    /// Installs what is missing, makes a fresh cluster and starts it on loopback.
    pub(crate) fn start() -> anyhow::Result<Postgres> {
        Postgres::start_with("")
    }

    /// With settings of the server, as `-c name=value`.
    pub(crate) fn start_with(settings: &str) -> anyhow::Result<Postgres> {
        let binaries = match find_binaries() {
            Some(found) => found,
            None => {
                install(&["postgresql"])?;
                find_binaries().context("the package postgresql was installed, but initdb is not found")?
            }
        };
        let folder = std::env::temp_dir().join(format!("mainstay-postgres-{}", std::process::id()));
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        if is_root() {
            // PostgreSQL refuses to run as root; Debian's package brings this user.
            run(Command::new("chown").arg("postgres").arg(&folder))?;
        }
        let server = Postgres { binaries, folder, port: free_port()? };
        server.initialize()?;
        server.boot(settings)?;
        Ok(server)
    }

    /// The URL for `TEST_DATABASE_URL`.
    pub(crate) fn url(&self) -> String {
        format!("postgres://mainstay@127.0.0.1:{}/postgres", self.port)
    }

    fn initialize(&self) -> anyhow::Result<()> {
        let data = self.folder.join("data");
        let mut initdb = self.program("initdb");
        initdb.args([
            "--username=mainstay",
            "--auth=trust",
            "--no-sync",
            "--encoding=UTF8",
            "--locale=C",
            "--pgdata",
        ]);
        output(initdb.arg(&data))?;
        // Everybody is trusted but members of this role: a password can only be wrong where one is asked for.
        let rules = data.join("pg_hba.conf");
        let trusting = std::fs::read_to_string(&rules).context("cannot read pg_hba.conf")?;
        let asked = "host all +needs_password 127.0.0.1/32 scram-sha-256\n";
        std::fs::write(&rules, format!("{asked}{trusting}")).context("cannot write pg_hba.conf")
    }

    fn boot(&self, settings: &str) -> anyhow::Result<()> {
        // The suite kills processes, not machines: fsync would only make it slow.
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off -c max_connections=200 {settings}",
            self.port
        );
        let mut control = self.program("pg_ctl");
        control.arg("--pgdata").arg(self.folder.join("data")).arg("--log").arg(self.folder.join("log"));
        run(control.args(["--wait", "--timeout=60", "--options", &options, "start"]))
    }

    fn program(&self, name: &str) -> Command {
        let path = self.binaries.join(name);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(path);
            command
        } else {
            Command::new(path)
        };
        command.current_dir(&self.folder);
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let mut control = self.program("pg_ctl");
        control.arg("--pgdata").arg(self.folder.join("data")).args(["--mode=immediate", "--wait", "stop"]);
        if let Err(error) = output(&mut control) {
            eprintln!("cannot stop PostgreSQL in {}: {error:#}", self.folder.display());
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn find_binaries() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versions.map(|entry| entry.path().join("bin")).collect();
    folders.sort();
    let packaged = folders.into_iter().rev().find(|folder| folder.join("initdb").exists());
    packaged.or_else(|| command::exists("initdb").then(|| on_path("initdb"))?)
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).find(|folder| Path::new(folder).join(program).exists())
}

fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot find a free port on loopback")?;
    match listener.local_addr()?.port() {
        0 => bail!("the system gave no port"),
        port => Ok(port),
    }
}
