//! The process that executes queued runs: reads its orders, works, and ends when its standard input closes.

use std::{sync::Arc, time::Duration};

use mainstay_base::Clock;
use mainstay_control::jobs::{Worker, WorkerOptions, WorkerPorts};
use mainstay_net::{Client, ClientOptions};
use mainstay_store::{Options, Store};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Stdin},
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    adapters::JobPort,
    embedded,
    failure::{Exit, Failure, chain},
    logging,
    orders::{MAX_ORDERS_BYTES, Orders},
};

/// Attempts are stopped this long before their lease ends, or a quarter of a short lease.
const LONGEST_MARGIN: Duration = Duration::from_secs(1);
/// How often a lease is renewed within its time.
const BEATS_A_LEASE: u32 = 4;

pub(crate) async fn run() -> Result<Exit, Failure> {
    let mut stdin = BufReader::new(tokio::io::stdin());
    let orders = read_orders(&mut stdin).await?;
    logging::install(orders.log_json, &orders.log_filter);
    let clock = Clock::System;
    let store = Store::open(Options { url: orders.store_url.clone(), clock: clock.clone() })
        .await
        .map_err(|error| Failure::unreachable("the worker cannot open the store", chain(&error), ""))?;
    let client = Client::new(ClientOptions::default())
        .map_err(|error| Failure::problem("the worker cannot set up an HTTP client", chain(&error), ""))?;
    let (_, standby) = embedded::build(&orders, &store, &client, &clock);
    let ports = WorkerPorts { store, handler: Arc::new(JobPort { standby }), clock };
    let worker = Worker::new(ports, options(&orders));
    work(worker, stdin).await
}

async fn read_orders(stdin: &mut BufReader<Stdin>) -> Result<Orders, Failure> {
    let next = "workers are started by mainstay serve and mainstay demo, not by hand";
    let mut line = String::new();
    let read = stdin.take(MAX_ORDERS_BYTES).read_line(&mut line).await;
    match read
        .map_err(|error| error.to_string())
        .and_then(|_| Orders::parse(&line).map_err(|error| error.to_string()))
    {
        Ok(orders) => Ok(orders),
        Err(cause) => Err(Failure::usage("the worker got no orders on its standard input", cause, next)),
    }
}

fn options(orders: &Orders) -> WorkerOptions {
    let pid = i64::from(std::process::id());
    let mut options = WorkerOptions::new(&orders.worker_id, i64::from(orders.slot), pid, &orders.host);
    options.concurrency = orders.concurrency;
    options.lease = Duration::from_millis(orders.lease_ms);
    options.margin = (options.lease / BEATS_A_LEASE).min(LONGEST_MARGIN);
    options.beat = options.beat.min(options.lease / BEATS_A_LEASE);
    options.drain = Duration::from_millis(orders.grace_ms);
    options
}

/// Until SIGTERM (drains) or the end of standard input (the parent is gone: ends at once, and what it ran is taken
/// over by others under a new epoch).
async fn work(worker: Worker, stdin: BufReader<Stdin>) -> Result<Exit, Failure> {
    let fail = |error| Failure::problem("the worker cannot listen for signals", error, "");
    let mut terminate = signal(SignalKind::terminate()).map_err(fail)?;
    // A terminal sends SIGINT to the whole group; the parent decides when its workers end.
    let mut interrupt = signal(SignalKind::interrupt()).map_err(fail)?;
    let shutdown = CancellationToken::new();
    let mut working = tokio::spawn(worker.run(shutdown.clone()));
    let mut orphaned = std::pin::pin!(closed(stdin));
    loop {
        tokio::select! {
            _ = terminate.recv() => shutdown.cancel(),
            _ = interrupt.recv() => {}
            () = &mut orphaned => {
                warn!("the parent process is gone; this worker ends at once");
                return Ok(Exit::Good);
            }
            ended = &mut working => {
                return match ended {
                    Ok(stats) => {
                        info!(?stats, "worker ends");
                        Ok(Exit::Good)
                    }
                    Err(error) => Err(Failure::problem("the worker stopped working", error, "please report it")),
                };
            }
        }
    }
}

/// Returns when standard input has ended; whatever else comes there is not for us.
async fn closed(mut stdin: BufReader<Stdin>) {
    let mut rest = [0_u8; 64];
    while matches!(stdin.read(&mut rest).await, Ok(1..)) {}
}
