//! Several processes on one database, and a database that goes away.

use std::collections::BTreeSet;

use mainstay_base::Clock;
use mainstay_store::{
    Options, Store,
    model::{Finish, Finished, RunStatus},
};
use tokio::task::JoinSet;

use crate::fixture::{LEASE, START, new_job, on_each, result};

#[tokio::test]
async fn stores_that_share_a_database_see_and_do_not_disturb_each_other() {
    on_each(|fixture| async move {
        const STORES: usize = 3;
        const RUNS: usize = 60;
        let mut processes = JoinSet::new();
        for number in 0..STORES {
            let store = fixture.another().await;
            processes.spawn(async move {
                let mut ended = Vec::new();
                for _ in 0..RUNS {
                    store.jobs().submit(new_job()).await.unwrap();
                    for job in store.jobs().claim(&format!("worker-{number}"), 3, LEASE).await.unwrap() {
                        let done = Finish::Done(result(RunStatus::Succeeded));
                        let outcome = store.jobs().finish(&job.id, job.epoch, done).await.unwrap();
                        assert_eq!(outcome, Finished::Stored);
                        ended.push(job.id);
                    }
                }
                ended
            });
        }
        let mut ended: Vec<String> = processes.join_all().await.into_iter().flatten().collect();
        for job in fixture.store.jobs().claim("last", 256, LEASE).await.unwrap() {
            ended.push(job.id);
        }
        let distinct: BTreeSet<&String> = ended.iter().collect();
        assert_eq!((ended.len(), distinct.len()), (STORES * RUNS, STORES * RUNS));
    })
    .await;
}

#[tokio::test]
async fn work_goes_on_after_every_connection_was_cut() {
    on_each(|fixture| async move {
        let store = fixture.store.clone();
        for _ in 0..3 {
            store.jobs().submit(new_job()).await.unwrap();
            store.ping().await.unwrap();
            fixture.cut_connections().await;
        }
        assert_eq!(store.jobs().claim("worker-1", 9, LEASE).await.unwrap().len(), 3);
    })
    .await;
}

#[tokio::test]
async fn leases_are_timed_by_the_database_when_the_clock_is_the_systems() {
    on_each(|fixture| async move {
        let options = Options { clock: Clock::System, ..fixture.options.clone() };
        let store = Store::open(options).await.unwrap();
        store.jobs().submit(new_job()).await.unwrap();
        let before = Clock::System.now();
        let job = store.jobs().claim("worker-1", 1, LEASE).await.unwrap().remove(0);
        let after = Clock::System.now();
        // The server of the tests runs on this machine, so that its clock is ours.
        assert!(before + LEASE <= job.lease_until && job.lease_until <= after + LEASE);
        assert!(before > START || fixture.is_postgres());
    })
    .await;
}
