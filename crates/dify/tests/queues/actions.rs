//! Each action changes what the workers or the broker really are; a plan changes nothing.

use std::path::Path;

use mainstay_dify::{
    celery::{
        Observer, Options,
        act::{self, Action, Refused, Terms, Undo},
    },
    redis::cmd,
};
use mainstay_testkit::celery::Worker;
use serde_json::json;

use crate::fixture::{INDEXING, PATIENT, WORKFLOW, World, answer, lines, now};

fn terms(folder: &Path) -> Terms {
    Terms { force: false, folder: Some(folder.to_owned()) }
}

/// Plans, then performs.
async fn run(world: &mut World, action: Action, terms: &Terms) -> Result<act::Done, Refused> {
    let plan = act::plan(&mut world.observer, action, terms, now()).await?;
    act::perform(&mut world.observer, plan, terms, now()).await
}

async fn refusal(world: &mut World, action: Action, terms: &Terms) -> String {
    act::plan(&mut world.observer, action, terms, now()).await.unwrap_err().to_string()
}

#[tokio::test]
async fn actions_change_what_a_worker_is() {
    let Some(mut world) = World::start("") else { return };
    let queues = ["priority_dataset", "workflow"];
    let worker = Worker { name: "w", pool: "gevent", concurrency: 2, queues: &queues, key_prefix: "" };
    let Some(mut running) = world.worker(worker).await else { return };
    let (worker, terms) = (running.name.clone(), terms(Path::new("unused")));

    let grow = Action::GrowPool { worker: worker.clone(), by: 3 };
    let plan = act::plan(&mut world.observer, grow, &terms, now()).await.unwrap();
    assert_eq!(answer(&world.look().await, &worker).unwrap().concurrency, Some(2), "a plan changes nothing");
    // The pool goes on telling two places, so that its guard has to be passed.
    assert_eq!(plan.undo, Undo::By(format!("mainstay queue act shrink-pool {worker} --by 3 --force --yes")));
    act::perform(&mut world.observer, plan, &terms, now()).await.unwrap();
    // Its stats go on saying 2; what it does says 5.
    world.push("workflow", WORKFLOW, &json!({ "seconds": 3 }), 6).await;
    let active = |wanted: usize| {
        let worker = worker.clone();
        move |seen: &_| answer(seen, &worker).filter(|answer| answer.active.len() == wanted)
    };
    world.until("it runs 5 at a time", active(5)).await;
    let forced = Terms { force: true, ..terms.clone() };
    let shrink = Action::ShrinkPool { worker: worker.clone(), by: 4 };
    let none_left = refusal(&mut world, shrink.clone(), &terms).await;
    assert!(none_left.contains("none would be left"), "{none_left}");
    run(&mut world, shrink, &forced).await.unwrap();
    world.push("workflow", WORKFLOW, &json!({ "seconds": 1 }), 3).await;
    world.until("it runs 1 at a time", active(1)).await;
    let scale =
        refusal(&mut world, Action::Autoscale { worker: worker.clone(), max: 4, min: 1 }, &terms).await;
    assert!(scale.contains("not started with --autoscale"), "{scale}");

    let consumes = |queue: &'static str, wanted: bool| {
        let worker = worker.clone();
        move |seen: &_| {
            let queues = answer(seen, &worker)?.queues?;
            (queues.iter().any(|name| name == queue) == wanted).then_some(())
        }
    };
    let add = Action::AddConsumer { queue: "mail".to_owned(), worker: Some(worker.clone()) };
    let added = run(&mut world, add, &terms).await.unwrap();
    // Nobody consumed it before, so that the way back has to pass its guard.
    let undo = format!("mainstay queue act cancel-consumer mail --worker {worker} --force --yes");
    assert_eq!(added.undo, Undo::By(undo));
    world.until("it consumes mail", consumes("mail", true)).await;
    let cancel =
        |queue: &str| Action::CancelConsumer { queue: queue.to_owned(), worker: Some(worker.clone()) };
    let alone = refusal(&mut world, cancel("workflow"), &terms).await;
    assert!(alone.contains("nobody else consumes workflow"), "{alone}");
    run(&mut world, cancel("workflow"), &forced).await.unwrap();
    world.until("it consumes no workflows", consumes("workflow", false)).await;
    let unknown = Action::GrowPool { worker: "nobody@here".to_owned(), by: 1 };
    assert!(refusal(&mut world, unknown, &terms).await.contains("there is no worker"));

    // A task that was revoked is taken and not run. The rate is set by its own words only; Celery keeps it to itself.
    let limit = Action::RateLimit { task: INDEXING.to_owned(), rate: "10/m".to_owned(), worker: None };
    let limited = run(&mut world, limit, &terms).await.unwrap();
    assert_eq!(limited.said, [(worker.clone(), "new rate limit set successfully".to_owned())]);
    let revoke = Action::Revoke { task_id: "priority_dataset-0".to_owned(), terminate: false };
    run(&mut world, revoke, &terms).await.unwrap();
    world.push("priority_dataset", INDEXING, &json!({}), 1).await;
    let taken = |seen: &mainstay_dify::celery::Seen| {
        let queue = seen.queues.iter().find(|queue| queue.name == "priority_dataset")?;
        let answer = answer(seen, &worker)?;
        let held = answer.active.iter().chain(&answer.reserved).any(|task| task.task == INDEXING);
        (queue.length() == 0 && !held).then_some(answer)
    };
    let done = world.until("it is taken", taken).await.done;
    assert!(done.iter().all(|(task, _)| task != INDEXING), "and not run: {done:?}");

    run(&mut world, Action::Shutdown { worker: worker.clone() }, &forced).await.unwrap();
    mainstay_testkit::wait_until("it ends", crate::fixture::LONG, || {
        let ended = running.has_ended();
        async move { ended.then_some(()) }
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_sizes_its_pool_gets_another_range_and_threads_cannot_grow() {
    let Some(mut world) = World::start("") else { return };
    let queues = ["workflow"];
    let auto =
        Worker { name: "auto", pool: "gevent+autoscale", concurrency: 3, queues: &queues, key_prefix: "" };
    let Some(_auto) = world.worker(auto).await else { return };
    let fixed = Worker { name: "fixed", pool: "threads", concurrency: 1, queues: &["mail"], key_prefix: "" };
    let Some(_fixed) = world.worker(fixed).await else { return };
    let terms = terms(Path::new("unused"));
    let range = |max, min| Action::Autoscale { worker: "auto@test".to_owned(), max, min };
    let has = |range: (u64, u64)| {
        move |seen: &_| answer(seen, "auto@test").filter(|answer| answer.autoscale == Some(range))
    };
    let plan = act::plan(&mut world.observer, range(6, 2), &terms, now()).await.unwrap();
    let undo = "mainstay queue act autoscale auto@test --max 3 --min 1 --yes";
    assert_eq!(plan.undo, Undo::By(undo.to_owned()));
    act::perform(&mut world.observer, plan, &terms, now()).await.unwrap();
    world.until("it has the range", has((6, 2))).await;
    run(&mut world, range(3, 1), &terms).await.unwrap();
    world.until("it has the old one", has((3, 1))).await;
    for (action, wanted) in [
        (range(1, 2), "is no range"),
        (Action::GrowPool { worker: "auto@test".to_owned(), by: 1 }, "sizes its pool by itself"),
        (Action::GrowPool { worker: "fixed@test".to_owned(), by: 1 }, "cannot change its size"),
    ] {
        let refused = refusal(&mut world, action, &terms).await;
        assert!(refused.contains(wanted), "{refused}");
    }
    // A task that runs is ended, and its place is free again.
    world.push("workflow", WORKFLOW, &json!({ "seconds": 300 }), 1).await;
    let active = |wanted: usize| {
        move |seen: &_| answer(seen, "auto@test").filter(|answer| answer.active.len() == wanted)
    };
    world.until("it runs", active(1)).await;
    let revoke = Action::Revoke { task_id: "workflow-0".to_owned(), terminate: true };
    let done = run(&mut world, revoke, &terms).await.unwrap();
    assert!(matches!(done.undo, Undo::Irreversible(_)));
    world.until("it is ended", active(0)).await;
}

#[tokio::test]
async fn a_purge_writes_every_message_to_a_file_that_can_be_put_back_in_order() {
    let Some(mut world) = World::start("dify:") else { return };
    let folder = tempfile::tempdir().unwrap();
    let terms = terms(folder.path());
    world.push("dataset", INDEXING, &json!({ "tenant_id": "t" }), 450).await;
    world
        .link
        .ask::<u64>(cmd("LPUSH").arg("dify:dataset\u{6}\u{16}9").arg(b"\xff no text".as_slice()))
        .await
        .unwrap();
    let before: Vec<Vec<u8>> =
        world.link.ask(cmd("LRANGE").arg("dify:dataset").arg(0).arg(-1)).await.unwrap();
    let done =
        run(&mut world, Action::Purge { queue: "dataset".to_owned(), message: None }, &terms).await.unwrap();
    let file = done.file.unwrap();
    assert_eq!(lines(&file).len(), 451);
    let keys: Vec<String> = world.link.ask(cmd("KEYS").arg("*")).await.unwrap();
    assert_eq!(keys, [""; 0], "nothing is left in the broker");
    let empty =
        refusal(&mut world, Action::Purge { queue: "dataset".to_owned(), message: None }, &terms).await;
    assert_eq!(empty, "dataset is empty");

    world.push("dataset", INDEXING, &json!({ "later": true }), 1).await;
    let name = Path::new(file.file_name().unwrap()).to_owned();
    run(&mut world, Action::Import { file: name }, &terms).await.unwrap();
    let after: Vec<Vec<u8>> = world.link.ask(cmd("LRANGE").arg("dify:dataset").arg(1).arg(-1)).await.unwrap();
    assert_eq!(after, before, "behind what came meanwhile, in the old order");
    let other: Vec<u8> = world.link.ask(cmd("LINDEX").arg("dify:dataset\u{6}\u{16}9").arg(0)).await.unwrap();
    assert_eq!(other, b"\xff no text");
    std::fs::write(folder.path().join("broken.jsonl"), "{}\n").unwrap();
    let broken = refusal(&mut world, Action::Import { file: "broken.jsonl".into() }, &terms).await;
    assert!(broken.starts_with("line 1"), "{broken}");
}

#[tokio::test]
async fn what_a_dead_worker_held_goes_back_and_what_a_living_one_holds_does_not() {
    let Some(mut world) = World::start("") else { return };
    let terms = terms(Path::new("unused"));
    let holder = Worker {
        name: "holder",
        pool: "threads",
        concurrency: 1,
        queues: &["priority_dataset"],
        key_prefix: "",
    };
    let Some(mut holder) = world.worker(holder).await else { return };
    let lives = Worker { name: "lives", pool: "threads", concurrency: 1, queues: &["mail"], key_prefix: "" };
    let Some(_lives) = world.worker(lives).await else { return };
    world.push("priority_dataset", INDEXING, &json!({ "seconds": 60 }), 2).await;
    let tag = world
        .until("one is reserved", |seen| seen.unacked.oldest.first().map(|message| message.tag.clone()))
        .await;
    let requeue = Action::Requeue { tag };
    world
        .until("the worker tells of it", |seen| answer(seen, "holder@test")?.reserved.first().map(drop))
        .await;
    let lives = refusal(&mut world, requeue.clone(), &terms).await;
    assert!(lives.contains("it would run twice"), "{lives}");
    holder.kill();
    world.until("one listens", |seen| (seen.listeners == Some(1)).then_some(())).await;
    let young = refusal(&mut world, requeue.clone(), &terms).await;
    assert!(young.contains("less than a minute ago"), "{young}");
    // Who asks only now knows nothing of limits that were taken off since, by which one that lives may hold it back.
    let options = Options { waits: PATIENT, ..Options::default() };
    let mut late = Observer::new(&world.deployment, options).unwrap();
    let refused = act::plan(&mut late, requeue.clone(), &terms, now()).await.unwrap_err().to_string();
    assert!(refused.contains("lives@test was there when it was delivered"), "{refused}");
    let forced = Terms { force: true, ..terms };
    run(&mut world, requeue.clone(), &forced).await.unwrap();
    let seen = world.look().await;
    let queue = seen.queues.iter().find(|queue| queue.name == "priority_dataset").unwrap();
    assert_eq!((queue.length(), seen.unacked.count), (1, 0));
    assert_eq!(queue.tail().and_then(|peek| peek.id()), Some("priority_dataset-1"));
    assert!(refusal(&mut world, requeue, &forced).await.contains("no message is held"));
}

#[tokio::test]
async fn a_stuck_list_is_sent_on_and_old_slots_are_freed() {
    let Some(mut world) = World::start("") else { return };
    let terms = terms(Path::new("unused"));
    let list = "tenant_self_document_indexing_task_queue:t1";
    let element = r#"__WRAPPER__:{"tenant_id": "t1", "dataset_id": "d", "document_ids": ["a", "b"]}"#;
    world.link.ask::<u64>(cmd("LPUSH").arg(list).arg(element).arg("__WRAPPER__:{}")).await.unwrap();
    let redispatch = Action::Redispatch { kind: "document_indexing".to_owned(), tenant: "t1".to_owned() };
    let done = run(&mut world, redispatch.clone(), &terms).await.unwrap();
    assert!(done.text.contains("2 documents"), "{}", done.text);
    let seen = world.look().await;
    let queue = seen.queues.iter().find(|queue| queue.name == "dataset").unwrap();
    let task = queue.tail().and_then(|peek| peek.task());
    assert_eq!(task, Some("tasks.document_indexing_task.normal_document_indexing_task"));
    assert_eq!((seen.tenants[0].waiting, seen.tenants[0].flag), (1, true));
    let waits = refusal(&mut world, redispatch, &terms).await;
    assert!(waits.contains("waits in dataset"), "{waits}");

    let slots = "dify:rate_limit:app:active_requests";
    let (old, young) = (now().unix_seconds() - 3_600, now().unix_seconds() - 5);
    let mut set = cmd("HSET");
    set.arg(slots).arg("old").arg(format!("{old}.5")).arg("young").arg(format!("{young}.5"));
    world.link.ask::<u64>(&set).await.unwrap();
    run(&mut world, Action::ClearSlots { app: "app".to_owned() }, &terms).await.unwrap();
    let left: Vec<String> = world.link.ask(cmd("HKEYS").arg(slots)).await.unwrap();
    assert_eq!(left, ["young"]);
}
