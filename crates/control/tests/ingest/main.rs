//! Reads a Dify's tables on the real PostgreSQL that `cargo xtask test` starts, into our own store on both databases.
#![expect(clippy::unwrap_used, reason = "a test that cannot reach its database should fail")]

mod world;

use std::time::Duration;

use mainstay_base::{Clock, Micros};
use mainstay_control::{
    State,
    ingest::{By, IngestError, usage, view},
};
use mainstay_dify::db::Failure;
use mainstay_store::model::DifyFilter;
use mainstay_testkit::wait_until;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::world::{Dice, World};

const SOON: Duration = Duration::from_secs(60);

/// What happens meanwhile must not matter: rows committed long after their time and in any order, runs that end later,
/// a reader that ends in the middle of anything, clocks that differ.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_run_is_counted_once_whatever_comes_late_and_whenever_the_reader_dies() {
    for seed in [1, 2, 3] {
        for store_on_postgres in [false, true] {
            let Some(mut world) = World::start(store_on_postgres).await else { return };
            seeded(&mut world, seed).await;
            world.end().await;
        }
    }
}

async fn seeded(world: &mut World, seed: u64) {
    let mut dice = Dice(seed);
    let mut running = Vec::new();
    let mut held = Vec::new();
    let mut ingest = world.ingest();
    for number in 0..120 {
        let age = f64::from(dice.below(50)) - 3.0;
        let state = ["succeeded", "failed", "running"][dice.below(3) as usize];
        if state == "running" {
            running.push(number);
        }
        let sql = format!("CALL begin_run({number}, {age}, '{state}')");
        match dice.below(4) {
            0 if held.len() < 6 => held.push(world.hold(&sql).await),
            _ => world.run(&sql).await,
        }
        if !held.is_empty() && dice.below(3) == 0 {
            let at = dice.below(u32::try_from(held.len()).unwrap()) as usize;
            held.swap_remove(at).batch_execute("COMMIT").await.unwrap();
        }
        if !running.is_empty() && dice.below(4) == 0 {
            let at = dice.below(u32::try_from(running.len()).unwrap()) as usize;
            world.run(&format!("CALL end_run({})", running[at])).await;
            running.swap_remove(at);
        }
        let patience = Duration::from_millis(u64::from(dice.below(40)));
        match dice.below(4) {
            // The process ends wherever it is, and another begins.
            0 => {
                let _ = timeout(patience, ingest.round()).await;
                drop(ingest);
                ingest = world.ingest();
            }
            1 => world.round(&mut ingest).await,
            _ => {}
        }
    }
    for held in held {
        held.batch_execute("COMMIT").await.unwrap();
    }
    // Those begun in a transaction that was open could not be ended before.
    for number in 0..120 {
        world.run(&format!("CALL end_run({number})")).await;
    }
    let expected = world.expected().await;
    assert_eq!(expected.runs, 120);
    world.read_until(&mut ingest, &expected).await;
    // And once more from the beginning of the overlap: nothing is added.
    let mut again = world.ingest();
    for _ in 0..5 {
        world.round(&mut again).await;
    }
    assert_eq!(world.counted().await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apps_are_told_with_failures_times_tokens_and_cost() {
    let Some(world) = World::start(false).await else { return };
    world.generate(600).await;
    let mut ingest = world.ingest();
    world.read_all(&mut ingest).await;
    let now = Clock::System.now();
    let apps = view::apps(&world.store, "dify", Micros(0), now).await.unwrap();
    assert_eq!(apps.iter().map(|app| app.runs).sum::<i64>(), 600);
    assert_eq!(apps.iter().map(|app| app.failed).sum::<i64>(), 30);
    let worst = &apps[0];
    assert_eq!((worst.name.as_str(), worst.mode.as_str(), worst.runs), ("App 7", "workflow", 30));
    let failures: Vec<(&str, i64)> =
        worst.failures.iter().map(|(class, count)| (class.as_str(), *count)).collect();
    assert_eq!(failures, [("http_request", 15), ("provider_rate_limited", 15)]);
    assert!(worst.p95_ms.unwrap() > worst.p50_ms.unwrap());
    assert_eq!(worst.cost_micros.get("USD"), Some(&(30 * 24)));
    assert!(worst.tokens > 0 && worst.mean_wait_ms.is_some());

    // By model: each fourth run has another, and the price of a call is 24 millionths.
    let by_model = usage(&world.store, "dify", By::Model, None, Micros(0), now).await.unwrap();
    let told: Vec<_> = by_model.iter().map(|row| (row.value.as_str(), row.count, row.failed)).collect();
    assert_eq!(told, [("model-3", 150, 30), ("model-0", 150, 0), ("model-1", 150, 0), ("model-2", 150, 0)]);
    assert_eq!(by_model[0].cost_micros.get("USD"), Some(&(150 * 24)));
    let of_one = usage(&world.store, "dify", By::Node, Some(&worst.app_id), Micros(0), now).await.unwrap();
    assert_eq!(of_one.iter().map(|row| row.count).sum::<i64>(), 30 * 5);
    let by_endpoint = usage(&world.store, "dify", By::Endpoint, None, Micros(0), now).await.unwrap();
    let told: Vec<_> = by_endpoint.iter().map(|row| (row.value.as_str(), row.count)).collect();
    assert_eq!(told, [("service-api", 400), ("web-app", 200)]);

    // Its newest failures, with the row of the catalogue that knows them.
    let filter = DifyFilter {
        kind: "run".to_owned(),
        app_id: Some(worst.app_id.clone()),
        class: Some("provider_rate_limited".to_owned()),
        limit: 3,
        ..DifyFilter::default()
    };
    let latest = view::latest(&world.store, "dify", filter).await.unwrap();
    assert_eq!(latest.len(), 3);
    assert!(latest[0].body.contains("status code 429"), "{}", latest[0].body);

    let (_, reading) = view::reading(&world.store, "dify").await.unwrap().unwrap();
    assert_eq!((reading.release.as_deref(), reading.missing.len()), (Some("1.12.1"), 0));
    assert_eq!((reading.connections, world.connections().await), (1, 1));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zombies_and_documents_that_are_stuck_are_named() {
    let Some(world) = World::start(false).await else { return };
    for (number, age, state) in [(1, 3000.0, "running"), (2, 10.0, "running"), (3, 3000.0, "paused")] {
        world.run(&format!("CALL begin_run({number}, {age}, '{state}')")).await;
    }
    world.run(world::STUCK_DOCUMENT).await;
    let mut ingest = world.ingest_from(Duration::from_secs(4000));
    world.read_all(&mut ingest).await;
    let now = Clock::System.now();
    let limit = Duration::from_secs(1200);
    let zombies = view::zombies(&world.store, "dify", now, limit, 10).await.unwrap();
    assert_eq!(zombies.len(), 1);
    let stuck = view::documents_stuck(&world.store, "dify", now, limit).await.unwrap();
    let names: Vec<(&str, &str)> =
        stuck.iter().map(|document| (document.name.as_str(), document.dataset.as_str())).collect();
    assert_eq!(names, [("handbook.pdf", "Handbook")]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_without_permission_is_left_out_and_the_others_are_read() {
    let Some(world) = World::start(false).await else { return };
    world.generate(40).await;
    world.run(&format!("REVOKE select ON messages, workflow_app_logs FROM {}", world.role)).await;
    let mut ingest = world.ingest();
    world.read_all(&mut ingest).await;
    assert_eq!(world.counted().await.runs, 40);
    let (_, reading) = view::reading(&world.store, "dify").await.unwrap().unwrap();
    assert_eq!(reading.missing.len(), 2);
    assert!(reading.missing.iter().any(|sentence| sentence.contains("our role may not read messages")));
    // Taken away while it reads: one clear failure, and it goes on when it is given back.
    world.run(&format!("REVOKE select ON workflow_runs FROM {}", world.role)).await;
    let failure = ingest.round().await.unwrap_err();
    assert!(matches!(&failure, IngestError::Dify(Failure::Forbidden { .. })), "{failure:?}");
    world.run(&format!("GRANT select ON workflow_runs TO {}", world.role)).await;
    world.run("CALL begin_run(1001, 5, 'succeeded')").await;
    world.read_all(&mut ingest).await;
    assert_eq!(world.counted().await.runs, 41);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retrievals_are_counted_by_whether_they_found_anything() {
    let Some(world) = World::start(false).await else { return };
    world.generate(40).await;
    let mut ingest = world.ingest();
    world.read_all(&mut ingest).await;
    let all = Micros(i64::MAX / 2);
    let totals = world.store.dify().totals("dify", "retrieval", Micros(0), all).await.unwrap();
    let of = |status: &str| -> i64 {
        totals.iter().filter(|total| total.series.status == status).map(|total| total.count).sum()
    };
    assert_eq!((of("found"), of("empty")), (36, 4));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_vanish_and_rows_from_the_future_do_no_harm() {
    let Some(world) = World::start(false).await else { return };
    world.run("CALL begin_run(1, 30, 'running')").await;
    world.run("CALL begin_run(2, -3600, 'succeeded')").await;
    let mut ingest = world.ingest();
    world.read_all(&mut ingest).await;
    assert_eq!(
        world.counted().await.runs,
        0,
        "an hour ahead of the database's clock: read when its time comes"
    );
    world.run(world::DELETE_RUNS).await;
    let filter = || DifyFilter { kind: "run".to_owned(), ..DifyFilter::default() };
    loop {
        world.round(&mut ingest).await;
        let all = view::latest(&world.store, "dify", filter()).await.unwrap();
        if all.iter().all(|run| run.status == "gone") {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(world.counted().await.runs, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_goes_away_is_said_with_a_remedy_and_read_on_when_it_is_back() {
    let Some(world) = World::start(false).await else { return };
    world.generate(40).await;
    let stop = CancellationToken::new();
    let reading = tokio::spawn(world.ingest().run(stop.clone()));
    let (store, clock) = (&world.store, Clock::System);
    let judged = || async {
        let told = view::reading(store, "dify").await.unwrap();
        view::judge(told.as_ref(), clock.now())
    };
    let well_with = |runs| {
        let (world, judged) = (&world, &judged);
        async move {
            wait_until("everything is read", SOON, || async {
                let is_well = judged().await.0 == State::Ok;
                (is_well && world.counted().await.runs == runs).then_some(())
            })
            .await;
        }
    };
    well_with(40).await;
    world.run(&format!("ALTER ROLE {0} NOLOGIN; CALL end_sessions('{0}')", world.role)).await;
    let (_, reason) = wait_until("its failure is told", SOON, || async {
        Some(judged().await).filter(|(state, _)| *state == State::Degraded)
    })
    .await;
    assert!(reason.contains("refuses the role") && reason.contains("s old"), "{reason}");
    world.run(&format!("ALTER ROLE {} LOGIN; CALL begin_run(1001, 5, 'succeeded')", world.role)).await;
    well_with(41).await;
    assert_eq!(world.connections().await, 1);
    stop.cancel();
    timeout(SOON, reading).await.unwrap().unwrap();
    world.end().await;
}
