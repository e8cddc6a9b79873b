//! Starts worker processes, notices their ends, and starts new ones in their place.
//!
//! Promises: a restart gives its answer only when the old process is gone; the leases of a process that was seen to
//! end are given back at once; only processes started here are ever signalled, by the id of a child not yet waited
//! for. Refuses to know when a restart is wise: that is control's.

use std::{
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use mainstay_base::{Clock, id};
use mainstay_control::{Restarted, Slot, SlotState};
use mainstay_store::Store;
use parking_lot::Mutex;
use tokio::{
    io::AsyncWriteExt,
    process::{Child, ChildStdin, Command},
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::orders::Orders;

/// A crashed worker is started again after this pause, unless control asks for it sooner; each further crash doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A process that lived so long has started well: the next crash is a new story.
const SETTLED: Duration = Duration::from_secs(120);
/// How long a process may take to end by itself when a restart was asked for. A stopped one never does.
const RESTART_GRACE: Duration = Duration::from_secs(1);
/// How long the system may take to end a killed process.
const KILL_WAIT: Duration = Duration::from_secs(5);
/// Restarts that may wait for one slot; one is made at a time.
const MAX_ASKED: usize = 4;
/// Taking orders is reading one line.
const ORDERS_WAIT: Duration = Duration::from_secs(10);

/// The worker processes of this host.
#[derive(Clone)]
pub(crate) struct Supervisor {
    slots: Arc<[Handle]>,
}

struct Handle {
    view: Arc<Mutex<Slot>>,
    asks: mpsc::Sender<Ask>,
}

struct Ask {
    reason: String,
    answer: oneshot::Sender<Result<Restarted, String>>,
}

/// What the supervisor needs to start a worker.
#[derive(Clone)]
pub(crate) struct Spec {
    /// What every worker is told; its slot and id are filled in for each process. A process that runs is told of new
    /// ones.
    pub(crate) orders: watch::Receiver<Arc<Orders>>,
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    /// How long a worker may finish what it runs when the instance ends.
    pub(crate) grace: Duration,
}

impl Supervisor {
    pub(crate) fn start(
        count: u32,
        spec: &Spec,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Supervisor {
        let mut slots = Vec::new();
        for number in 0..count {
            let view = Arc::new(Mutex::new(Slot {
                slot: number,
                pid: None,
                state: SlotState::Exited("not started yet".to_owned()),
                started_at: spec.clock.now(),
                restarts: 0,
            }));
            let (asks, asked) = mpsc::channel(MAX_ASKED);
            let keeper =
                Keeper { number, view: Arc::clone(&view), asked, spec: spec.clone(), stop: stop.clone() };
            tasks.spawn(keeper.run());
            slots.push(Handle { view, asks });
        }
        Supervisor { slots: slots.into() }
    }
}

impl mainstay_control::Supervisor for Supervisor {
    fn list(&self) -> Vec<Slot> {
        self.slots.iter().map(|slot| slot.view.lock().clone()).collect()
    }

    fn restart(&self, slot: u32, reason: String) -> BoxFuture<'static, Result<Restarted, String>> {
        let asks = self
            .slots
            .iter()
            .find(|handle| handle.view.lock().slot == slot)
            .map(|handle| handle.asks.clone());
        Box::pin(async move {
            let asks = asks.ok_or_else(|| format!("there is no worker {slot}"))?;
            let (answer, answered) = oneshot::channel();
            let ask = Ask { reason, answer };
            asks.try_send(ask)
                .map_err(|_| format!("worker {slot} is being restarted or the instance is ending"))?;
            answered.await.unwrap_or_else(|_| Err("the instance is ending".to_owned()))
        })
    }
}

/// Keeps one slot filled.
struct Keeper {
    number: u32,
    view: Arc<Mutex<Slot>>,
    asked: mpsc::Receiver<Ask>,
    spec: Spec,
    stop: CancellationToken,
}

struct Process {
    child: Child,
    /// Holds its standard input: the worker ends when that closes, however we end.
    teller: Teller,
    worker_id: String,
    pid: Option<u32>,
    since: Instant,
}

enum End {
    /// By itself: a crash, in words.
    Died(String),
    Asked(Ask),
    Stop,
}

impl Keeper {
    async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        let mut asked: Option<(Ask, Option<u32>)> = None;
        loop {
            let spawned = self.spawn().await;
            if let Some((Ask { reason: _, answer }, old_pid)) = asked.take() {
                let restarted = spawned.as_ref().map(|process| Restarted { old_pid, new_pid: process.pid });
                // Whoever asked may have given up waiting.
                let _ = answer.send(restarted.map_err(Clone::clone));
            }
            let died = match spawned {
                Ok(process) => {
                    let (since, pid) = (process.since, process.pid);
                    let end = self.watch(process).await;
                    if since.elapsed() > SETTLED {
                        pause = FIRST_PAUSE;
                    }
                    match end {
                        End::Stop => return,
                        End::Asked(ask) => {
                            self.view.lock().restarts += 1;
                            asked = Some((ask, pid));
                            continue;
                        }
                        End::Died(how) => how,
                    }
                }
                Err(error) => error,
            };
            warn!(worker.slot = self.number, "worker {} ended: {died}; next start in {pause:?}", self.number);
            self.ended(died);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => return,
                ask = self.asked.recv() => asked = ask.map(|ask| (ask, None)),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            self.view.lock().restarts += 1;
        }
    }

    /// Until the process has ended, for whatever reason. Its leases are free then.
    async fn watch(&mut self, mut process: Process) -> End {
        let end = tokio::select! {
            status = process.child.wait() => End::Died(match status {
                Ok(status) => words(status),
                Err(error) => format!("cannot be waited for: {error}"),
            }),
            () = self.stop.cancelled() => End::Stop,
            Some(ask) = self.asked.recv() => {
                info!(worker.slot = self.number, "restarting worker {}: {}", self.number, ask.reason);
                End::Asked(ask)
            }
        };
        let worker_id = process.worker_id.clone();
        match &end {
            End::Died(_) => {}
            End::Asked(_) => finish(process, RESTART_GRACE).await,
            End::Stop => finish(process, self.spec.grace).await,
        }
        self.ended("ended by the supervisor".to_owned());
        match self.spec.store.jobs().release_owner(&worker_id).await {
            Ok(0) => {}
            Ok(count) => info!(
                worker.slot = self.number,
                "{count} runs of worker {} go back to the queue", self.number
            ),
            // The leases run out by themselves.
            Err(error) => warn!(%error, "cannot release the leases of worker {}", self.number),
        }
        if let Err(error) = self.spec.store.workers().remove(&worker_id).await {
            warn!(%error, "cannot remove the row of worker {}", self.number);
        }
        end
    }

    async fn spawn(&self) -> Result<Process, String> {
        let worker_id = id::new();
        let mut told = self.spec.orders.clone();
        let orders = Orders {
            slot: self.number,
            worker_id: worker_id.clone(),
            ..told.borrow_and_update().as_ref().clone()
        };
        let executable =
            std::env::current_exe().map_err(|error| format!("own executable not found: {error}"))?;
        let mut child = Command::new(executable)
            .arg("worker")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot be started: {error}"))?;
        let pid = child.id();
        let mut stdin = child.stdin.take().ok_or("has no standard input")?;
        let written = tokio::time::timeout(ORDERS_WAIT, stdin.write_all(orders.line().as_bytes())).await;
        if !matches!(written, Ok(Ok(()))) {
            let _ = child.kill().await;
            return Err("ended or hung before it had read its orders".to_owned());
        }
        let mut view = self.view.lock();
        view.pid = pid;
        view.state = SlotState::Running;
        view.started_at = self.spec.clock.now();
        info!(worker.slot = self.number, worker.pid = pid, "worker {} started", self.number);
        let teller = Teller(tokio::spawn(tell(told, stdin)));
        Ok(Process { child, teller, worker_id, pid, since: Instant::now() })
    }

    fn ended(&self, how: String) {
        let mut view = self.view.lock();
        view.pid = None;
        view.state = SlotState::Exited(how);
    }
}

/// The task that tells a process of new orders; ended with it.
struct Teller(tokio::task::JoinHandle<()>);

impl Drop for Teller {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Passes on new orders until it is aborted. A process that reads nothing (a stopped one) finds the newest when it does.
async fn tell(mut orders: watch::Receiver<Arc<Orders>>, mut stdin: ChildStdin) {
    while orders.changed().await.is_ok() {
        let line = orders.borrow_and_update().line();
        // One that has ended is noticed by whoever waits for it.
        let _ = stdin.write_all(line.as_bytes()).await;
    }
    // Nobody gives orders any more; the worker works on.
    let _held_open = stdin;
    std::future::pending::<()>().await;
}

/// Asks the process to end, and ends it when it does not.
async fn finish(mut process: Process, grace: Duration) {
    if let Some(pid) = process.child.id().and_then(|pid| i32::try_from(pid).ok())
        && let Some(pid) = rustix::process::Pid::from_raw(pid)
    {
        // The child was not waited for, so the id is still its own.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    if tokio::time::timeout(grace, process.child.wait()).await.is_err() {
        let _ = process.child.start_kill();
        if tokio::time::timeout(KILL_WAIT, process.child.wait()).await.is_err() {
            warn!(worker.pid = process.pid, "a killed worker has not ended within {KILL_WAIT:?}");
        }
    }
    drop(process.teller);
}

fn words(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match status.signal() {
        Some(signal) => format!("signal {signal}"),
        None => format!("exit status {}", status.code().unwrap_or(-1)),
    }
}
