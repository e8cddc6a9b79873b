//! The process that executes queued runs: reads its orders, works, and ends when its standard input closes.

use std::{sync::Arc, time::Duration};

use mainstay_base::Clock;
use mainstay_control::jobs::{Worker, WorkerOptions, WorkerPorts};
use mainstay_net::{Client, ClientOptions};
use mainstay_standby::Standby;
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
    let ports = WorkerPorts { store, handler: Arc::new(JobPort { standby: standby.clone() }), clock };
    let worker = Worker::new(ports, options(&orders));
    work(worker, standby, stdin).await
}

async fn read_orders(stdin: &mut BufReader<Stdin>) -> Result<Orders, Failure> {
    let next = "workers are started by mainstay serve and mainstay demo, not by hand";
    let cause = match next_orders(stdin).await {
        Ok(Some(Ok(orders))) => return Ok(orders),
        Ok(Some(Err(error))) => error.to_string(),
        Ok(None) => "it is empty".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(Failure::usage("the worker got no orders on its standard input", cause, next))
}

/// `None`: nothing comes any more.
async fn next_orders(
    stdin: &mut BufReader<Stdin>,
) -> std::io::Result<Option<Result<Orders, serde_json::Error>>> {
    let mut line = String::new();
    let read = stdin.take(MAX_ORDERS_BYTES).read_line(&mut line).await?;
    Ok((read > 0).then(|| Orders::parse(&line)))
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
async fn work(worker: Worker, standby: Standby, stdin: BufReader<Stdin>) -> Result<Exit, Failure> {
    let fail = |error| Failure::problem("the worker cannot listen for signals", error, "");
    let mut terminate = signal(SignalKind::terminate()).map_err(fail)?;
    // A terminal sends SIGINT to the whole group; the parent decides when its workers end.
    let mut interrupt = signal(SignalKind::interrupt()).map_err(fail)?;
    let shutdown = CancellationToken::new();
    let mut working = tokio::spawn(worker.run(shutdown.clone()));
    let mut orphaned = std::pin::pin!(follow(standby, stdin));
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

/// Takes new orders until standard input ends: what begins from then on follows them. Only a part of them can change
/// while the process runs: the real Difys and their apps.
async fn follow(standby: Standby, mut stdin: BufReader<Stdin>) {
    while let Ok(Some(orders)) = next_orders(&mut stdin).await {
        match orders {
            Ok(orders) => standby.set_upstreams(embedded::upstreams(&orders)),
            Err(error) => warn!(%error, "orders that cannot be read are not followed"),
        }
    }
}
