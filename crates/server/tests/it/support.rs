//! Processes of the binary, the folders they live in, and calls to them.

use std::{
    io::{BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use mainstay_base::snapshot::Timeouts;
use mainstay_net::{AddressRule, Client, ClientOptions};
use mainstay_testkit::wait_until;
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

/// How long a debug build on a busy machine may take to be ready.
pub(crate) const READY: Duration = Duration::from_secs(60);
/// For anything that follows from an action.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A folder that stands for a user's machine: its state, its configuration, its data.
pub(crate) struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    pub(crate) fn new() -> Home {
        Home { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// `mainstay.toml`: free ports, few words, and the rest.
    pub(crate) fn configure(&self, rest: &str) {
        let listeners =
            "[listeners]\nadmin = \"127.0.0.1:0\"\napp = \"127.0.0.1:0\"\nmodel = \"127.0.0.1:0\"\n";
        self.write("mainstay.toml", &format!("{listeners}[log]\nfilter = \"warn\"\n{rest}"));
    }

    /// The binary with nothing of this machine's environment but what it needs to run.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.folder.path())
            .env("XDG_STATE_HOME", self.path("state"))
            .env("TMPDIR", self.folder.path())
            .current_dir(self.folder.path());
        command
    }

    /// Runs a command to its end; one that does not end is killed, which shows in its exit code.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = self.command(arguments);
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        let (ended, watched) = mpsc::channel::<()>();
        let watcher = std::thread::spawn(move || {
            if watched.recv_timeout(SOON) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        });
        let output = child.wait_with_output().unwrap();
        drop(ended);
        watcher.join().unwrap();
        Ran::of(output)
    }

    pub(crate) fn address(&self, listener: &str) -> String {
        self.instance().unwrap()[listener].as_str().unwrap().to_owned()
    }

    pub(crate) fn admin(&self) -> Caller {
        Caller::new(&self.address("admin"), &self.address("token"))
    }

    pub(crate) fn instance(&self) -> Option<Value> {
        serde_json::from_slice(&std::fs::read(self.path("state/mainstay/instance.json")).ok()?).ok()
    }
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    fn of(output: Output) -> Ran {
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }
}

/// A running process in a group of its own, killed with its group when dropped.
pub(crate) struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
    pub(crate) err: Arc<Mutex<String>>,
}

impl Process {
    pub(crate) fn start(mut command: Command) -> Process {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::sync_channel(1024);
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let err = Arc::new(Mutex::new(String::new()));
        let (mut stderr, told) = (child.stderr.take().unwrap(), Arc::clone(&err));
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(read @ 1..) = stderr.read(&mut piece) {
                told.lock().push_str(&String::from_utf8_lossy(&piece[..read]));
            }
        });
        Process { child, lines, err }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line of standard output.
    pub(crate) fn line(&mut self, within: Duration) -> String {
        match self.lines.recv_timeout(within) {
            Ok(line) => line,
            Err(_) => panic!("no line within {within:?}; standard error: {}", self.err.lock()),
        }
    }

    /// Whatever else comes on standard output until it closes.
    pub(crate) fn other_lines(&mut self) -> Vec<String> {
        self.lines.iter().collect()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// SIGKILL for the process and all its workers at once.
    pub(crate) fn kill_group(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        let _ = kill_process_group(pid, Signal::KILL);
        let _ = self.child.wait();
    }

    pub(crate) fn wait(&mut self, within: Duration) -> i32 {
        let until = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < until, "still running after {within:?}: {}", self.err.lock());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_group();
        if std::thread::panicking() {
            let err = self.err.lock();
            let tail = err.len().saturating_sub(8_000);
            let tail = (tail..err.len()).find(|index| err.is_char_boundary(*index)).unwrap_or(0);
            println!("standard error of process {}: …{}", self.child.id(), &err[tail..]);
        }
    }
}

/// Waits until the instance of this home answers and is ready.
pub(crate) async fn wait_for_instance(home: &Home, process: &Process) {
    let pid = process.pid();
    wait_until("the instance is ready", READY, || async {
        let found = home.instance().filter(|instance| instance["pid"] == pid)?;
        let admin = Caller::new(found["admin"].as_str()?, "");
        let ready = admin.send("GET", "/readyz", None, &[]).await.ok()?;
        (ready.status == 200).then_some(())
    })
    .await;
}

/// What the ready line of the demo says.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    pub(crate) admin: String,
    pub(crate) app: String,
    pub(crate) model: String,
    pub(crate) token: String,
    pub(crate) app_key: String,
    pub(crate) model_key: String,
}

impl Ready {
    pub(crate) fn parse(line: &str) -> Ready {
        let rest = line.strip_prefix("mainstay ready ").unwrap_or_else(|| panic!("no ready line: {line}"));
        let field = |name: &str| {
            let found = rest.split(' ').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
            found.unwrap_or_else(|| panic!("no {name} in {line}")).to_owned()
        };
        Ready {
            admin: field("admin"),
            app: field("app"),
            model: field("model"),
            token: field("token"),
            app_key: field("app_key"),
            model_key: field("model_key"),
        }
    }
}

/// A caller with a key.
#[derive(Clone)]
pub(crate) struct Caller {
    client: Client,
    base_url: String,
    key: String,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The `data` of each event of a stream.
    pub(crate) fn events(&self) -> Vec<Value> {
        self.text
            .split("\n\n")
            .filter_map(|frame| frame.strip_prefix("data: "))
            .map(|data| serde_json::from_str(data).unwrap())
            .collect()
    }
}

impl Caller {
    pub(crate) fn new(base_url: &str, key: &str) -> Caller {
        let client = Client::new(ClientOptions::default()).unwrap();
        Caller { client, base_url: base_url.to_owned(), key: key.to_owned() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None, &[]).await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, Some(body), &[]).await.unwrap()
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Result<Answer, String> {
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base_url))
            .header("authorization", format!("Bearer {}", self.key));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                mainstay_net::full(body.to_string())
            }
            None => mainstay_net::empty(),
        };
        let timeouts = Timeouts { first_byte: SOON, idle: SOON, total: 2 * SOON, ..Timeouts::default() };
        let request = request.body(body).unwrap();
        let answer = self
            .client
            .send(request, &timeouts, AddressRule::Any)
            .await
            .map_err(|error| error.to_string())?;
        let (head, body) = answer.into_parts();
        let bytes = mainstay_net::collect(body, 64 << 20).await.map_err(|error| error.to_string())?;
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, text })
    }
}

/// Starts a demo on free ports and waits until it is ready.
pub(crate) fn demo(home: &Home, more: &[&str]) -> (Process, Ready) {
    let mut arguments =
        vec!["demo", "--admin", "127.0.0.1:0", "--app", "127.0.0.1:0", "--model", "127.0.0.1:0"];
    arguments.extend(more);
    let mut process = Process::start(home.command(&arguments));
    let ready = Ready::parse(&process.line(READY));
    (process, ready)
}

pub(crate) fn quote(quantity: u32, mode: &str) -> Value {
    json!({"inputs": {"item": " Chair ", "quantity": quantity}, "response_mode": mode, "user": "tester"})
}

pub(crate) fn exists(path: &Path) -> bool {
    path.try_exists().unwrap_or(false)
}
