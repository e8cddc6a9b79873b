//! What is counted for service levels, and the documents about them.

use std::{sync::Arc, time::Duration};

use mainstay_base::Blame;
use mainstay_store::model::{Finish, RunStatus, SLI_SLOTS, Sketch, SliBatch, SliCounts, SliRow, SliSeries};
use serde_json::json;

use crate::fixture::{LEASE, START, new_job, new_run, on_each, result};

fn row(time: i64, series: i64, good: i64, bad: i64) -> SliRow {
    let mut counts = SliCounts { good, ..SliCounts::default() };
    counts.blamed[Blame::Provider.index()] = bad;
    counts.blamed[Blame::Client.index()] = 9;
    (0..good).for_each(|number| counts.took.add(1_000 * number));
    let mut slots = [(0, 0); SLI_SLOTS];
    slots[2] = (u32::try_from(good).unwrap(), u32::try_from(bad).unwrap());
    SliRow { time, series, counts, slots }
}

#[tokio::test]
async fn runs_that_are_answered_later_are_added_up_when_they_end_and_hours_from_their_minutes() {
    on_each(|fixture| async move {
        let (slis, jobs, runs) = (fixture.store.slis(), fixture.store.jobs(), fixture.store.runs());
        let until = START + Duration::from_secs(60);
        for _ in 0..2 {
            jobs.submit(new_job()).await.unwrap();
        }
        let waited_for = new_run("app-1");
        runs.insert(waited_for.clone()).await.unwrap();
        runs.finish(&waited_for.id, result(RunStatus::Succeeded)).await.unwrap();
        assert_eq!(slis.ended(START, until, true).await.unwrap(), [], "none of them has ended");
        for job in jobs.claim("worker", 9, LEASE).await.unwrap() {
            let done = Finish::Done(result(RunStatus::Succeeded));
            jobs.finish(&job.id, job.epoch, done).await.unwrap();
        }
        let ended = slis.ended(START, until, true).await.unwrap();
        assert_eq!((ended.len(), ended[0].count, ended[0].is_embedded), (1, 2, true));
        assert_eq!(slis.ended(START, until, false).await.unwrap(), ended);
        assert_eq!(slis.ended(until, until + Duration::from_secs(60), true).await.unwrap(), []);

        let minute = START.0 / 60_000_000;
        let batch = |good| SliBatch {
            instance: "answered-later".to_owned(),
            minutes: [row(minute, 7, good, 2), row(minute + 1, 7, 1, 0)].into(),
            ..SliBatch::default()
        };
        slis.put_ended(batch(3)).await.unwrap();
        slis.put_ended(batch(5)).await.unwrap();
        let mut sum = SliCounts::default();
        let hours = slis.hours(minute / 60, (minute + 1) / 60 + 1).await.unwrap();
        hours.iter().for_each(|row| sum.add(&row.counts));
        assert_eq!((sum.good, sum.bad()), (6, 2));
    })
    .await;
}

#[tokio::test]
async fn counts_are_written_again_whole_and_each_process_has_its_own() {
    on_each(|fixture| async move {
        let slis = fixture.store.slis();
        let series = SliSeries {
            path: "app".to_owned(),
            mode: "workflow".to_owned(),
            endpoint: "workflows/run".to_owned(),
            ..SliSeries::default()
        };
        let series = Arc::new(series.numbered());
        let minute = START.0 / 60_000_000;
        let batch = |instance: &str, good| SliBatch {
            instance: instance.to_owned(),
            series: [series.clone()].into(),
            minutes: (0..25).map(|back| row(minute - back, series.id, good, 2)).collect(),
            hours: [row(minute / 60, series.id, good * 25, 50)].into(),
        };
        slis.put(batch("one", 3)).await.unwrap();
        slis.put(batch("one", 7)).await.unwrap();
        slis.put(batch("one", 7)).await.unwrap();
        slis.put(batch("two", 1)).await.unwrap();
        assert_eq!(slis.series().await.unwrap(), [(*series).clone()]);
        let rows = slis.minutes(minute - 1, minute + 1).await.unwrap();
        assert_eq!(rows.len(), 4);
        let mut sum = SliCounts::default();
        rows.iter().for_each(|row| sum.add(&row.counts));
        assert_eq!((sum.good, sum.bad(), sum.took.count()), (16, 8, 16));
        assert!(rows.contains(&row(minute, series.id, 7, 2)), "{rows:?}");
        let hours = slis.hours(minute / 60, minute / 60 + 1).await.unwrap();
        assert_eq!(hours.iter().map(|row| row.counts.good).sum::<i64>(), 200);

        fixture.clock.advance(Duration::from_secs(60));
        slis.put(SliBatch {
            instance: "one".to_owned(),
            minutes: [row(minute - 9, series.id, 8, 2)].into(),
            ..SliBatch::default()
        })
        .await
        .unwrap();
        let (_, changed) = slis.changed(Duration::from_secs(30)).await.unwrap();
        assert_eq!(changed, [minute - 9], "what came late is found");

        let old = mainstay_base::Micros((minute - 20) * 60_000_000);
        assert!(!slis.sweep(old, old).await.unwrap());
        let left = slis.minutes(0, i64::MAX).await.unwrap();
        assert_eq!(left.iter().map(|row| row.time).min(), Some(minute - 20));
        assert_eq!(Sketch::default().count(), 0);
    })
    .await;
}

#[tokio::test]
async fn documents_change_all_or_none_and_each_change_is_kept() {
    on_each(|fixture| async move {
        let slos = fixture.store.slos();
        let (one, two) = (json!({ "target": 99.0 }), json!({ "target": 99.9 }));
        let put = async |documents: Vec<_>, before, why| {
            slos.put(documents, before, "ann", why, START).await.unwrap()
        };
        assert!(put(vec![("a".to_owned(), Some(one.clone()), 0)], vec![None], "first").await);
        let both = vec![("b".to_owned(), Some(one.clone()), 0), ("a".to_owned(), Some(two.clone()), 0)];
        assert!(!put(both.clone(), vec![None, None], "too late").await, "somebody was faster");
        assert_eq!(slos.list().await.unwrap().len(), 1, "and nothing of it is stored");
        assert!(put(vec![("a".to_owned(), Some(two.clone()), 1)], vec![Some(one.clone())], "better").await);
        assert!(put(vec![("a".to_owned(), None, 2)], vec![Some(two.clone())], "gone").await);
        let [row] = &slos.list().await.unwrap()[..] else { panic!("one row") };
        assert_eq!((row.body.as_ref(), row.revision), (None, 3));
        let changes = slos.changes(Some("a"), 10).await.unwrap();
        let told: Vec<_> = changes.iter().map(|change| (change.revision, change.why.as_str())).collect();
        assert_eq!(told, [(3, "gone"), (2, "better"), (1, "first")]);
        assert_eq!((changes[0].before.clone(), changes[0].after.clone()), (Some(two), None));
        assert_eq!(slos.changes(None, 10).await.unwrap().len(), 3);

        slos.tell(vec![("a".to_owned(), json!({ "state": "ok" }))], START).await.unwrap();
        slos.tell(vec![("a".to_owned(), json!({ "state": "at_risk" }))], START).await.unwrap();
        let states = slos.states().await.unwrap();
        assert_eq!(states[0].body, json!({ "state": "at_risk" }));
        slos.forget(vec!["a".to_owned()]).await.unwrap();
        assert!(slos.states().await.unwrap().is_empty());
    })
    .await;
}
