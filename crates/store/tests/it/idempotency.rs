//! One run for each idempotency key.

use std::collections::BTreeSet;

use mainstay_store::model::{Idempotency, NewJob, Submitted};
use tokio::task::JoinSet;

use crate::fixture::{new_job, on_each};

fn keyed(scope: &str, key: &str, body: &str) -> NewJob {
    let idempotency =
        Idempotency { scope: scope.to_owned(), key: key.to_owned(), body_hash: body.to_owned() };
    NewJob { idempotency: Some(idempotency), ..new_job() }
}

#[tokio::test]
async fn a_key_gives_the_same_run_for_the_same_body_and_a_conflict_for_another() {
    on_each(|fixture| async move {
        let jobs = fixture.store.jobs();
        let first = keyed("app-1", "k", "hash-a");
        let first_id = first.run.id.clone();
        assert_eq!(jobs.submit(first).await.unwrap(), Submitted::New);
        let Submitted::Same(run) = jobs.submit(keyed("app-1", "k", "hash-a")).await.unwrap() else {
            panic!("the same key and body give the same run")
        };
        assert_eq!(run.summary.id, first_id);
        let other = keyed("app-1", "k", "hash-b");
        let other_id = other.run.id.clone();
        assert_eq!(jobs.submit(other).await.unwrap(), Submitted::Conflict);
        assert_eq!(fixture.store.runs().get(&other_id).await.unwrap(), None, "nothing was stored");
        assert_eq!(jobs.submit(keyed("app-2", "k", "hash-b")).await.unwrap(), Submitted::New);
        assert_eq!(jobs.stats().await.unwrap().queued, 2);
    })
    .await;
}

#[tokio::test]
async fn callers_at_the_same_time_with_one_key_get_one_run() {
    on_each(|fixture| async move {
        let mut callers = JoinSet::new();
        for number in 0..24 {
            let store = if number % 2 == 0 { fixture.store.clone() } else { fixture.another().await };
            callers.spawn(async move {
                let job = keyed("app-1", "k", "hash");
                let id = job.run.id.clone();
                match store.jobs().submit(job).await.unwrap() {
                    Submitted::New => id,
                    Submitted::Same(run) => run.summary.id,
                    Submitted::Conflict => panic!("the bodies are the same"),
                }
            });
        }
        let ids: BTreeSet<String> = callers.join_all().await.into_iter().collect();
        assert_eq!(ids.len(), 1);
        assert_eq!(fixture.store.jobs().stats().await.unwrap().queued, 1);
    })
    .await;
}

#[tokio::test]
async fn a_submission_that_cannot_be_stored_does_not_hurt_those_it_waited_with() {
    on_each(|fixture| async move {
        let twice = new_job();
        let mut callers = JoinSet::new();
        for number in 0..40 {
            let job = if number % 20 == 7 { twice.clone() } else { new_job() };
            let jobs = fixture.store.jobs();
            callers.spawn(async move { jobs.submit(job).await.is_ok() });
        }
        let stored = callers.join_all().await.into_iter().filter(|stored| *stored).count();
        assert_eq!(stored, 39, "all but the second run of the same id");
        assert_eq!(fixture.store.jobs().stats().await.unwrap().queued, 39);
    })
    .await;
}
