//! What a look sees, and what it leaves.

use std::time::Duration;

use mainstay_dify::{
    celery::{Observer, Options, Peek, act},
    redis::cmd,
};
use mainstay_testkit::celery::{Broker, Worker};
use serde_json::json;

use crate::fixture::{INDEXING, PATIENT, World, answer, now};

#[tokio::test]
async fn queues_workers_tasks_and_heartbeats_are_seen_and_nothing_is_left_behind() {
    let Some(mut world) = World::start("dify:") else { return };
    let worker = Worker {
        name: "indexer",
        pool: "threads",
        concurrency: 1,
        queues: &["priority_dataset"],
        key_prefix: "dify:",
    };
    let Some(worker) = world.worker(worker).await else { return };
    let kwargs = json!({ "tenant_id": "t1", "dataset_id": "d1", "document_ids": ["doc"], "seconds": 30 });
    world.push("priority_dataset", INDEXING, &kwargs, 5).await;
    world.push("mail", "tasks.mail_invite_member_task.send", &json!({}), 2).await;
    let seen = world
        .until("one runs, one is reserved, the worker was heard", |seen| {
            let answer = answer(seen, &worker.name)?;
            let heard = seen.workers.iter().any(|there| there.heard.is_some());
            (heard && answer.active.len() == 1 && answer.reserved.len() == 1).then(|| seen.clone())
        })
        .await;
    let queue = seen.queues.iter().find(|queue| queue.name == "priority_dataset").unwrap();
    assert_eq!(queue.waiting, [3, 0, 0, 0]);
    assert_eq!(queue.tail().and_then(Peek::id), Some("priority_dataset-2"), "taken next");
    let said = answer(&seen, &worker.name).unwrap();
    assert_eq!((said.pool.as_deref(), said.concurrency, said.prefetch), (Some("threads"), Some(1), Some(1)));
    assert_eq!(said.queues, Some(vec!["priority_dataset".to_owned()]));
    let running = &said.active[0];
    assert_eq!((running.id.as_str(), running.task.as_str()), ("priority_dataset-0", INDEXING));
    assert_eq!(running.about.tenant.as_deref(), Some("t1"));
    assert!(running.started_at.is_some_and(|at| now().since(at) < Duration::from_secs(60)));
    assert_eq!(seen.unacked.count, 1, "the reserved one");
    assert_eq!(seen.unacked.oldest[0].message.id(), Some("priority_dataset-1"));
    assert_eq!(seen.listeners, Some(1));
    // Names are walked once a minute; one who begins now finds what the worker declared.
    let bound = Observer::new(&world.deployment, Options { waits: PATIENT, ..Options::default() })
        .unwrap()
        .observe(now())
        .await
        .unwrap()
        .bound;
    assert!(bound.contains("priority_dataset") && !bound.contains("celeryev"), "{bound:?}");
    assert!(seen.missed.is_empty(), "{:?}", seen.missed);
    let left: Vec<String> = world.link.ask(cmd("KEYS").arg("*mainstay*")).await.unwrap();
    assert_eq!(left, [""; 0]);
    let bindings: Vec<String> =
        world.link.ask(cmd("SMEMBERS").arg("dify:_kombu.binding.reply.celery.pidbox")).await.unwrap();
    assert!(bindings.iter().all(|binding| !binding.starts_with("mainstay-")), "{bindings:?}");
    world.look().await;
}

#[tokio::test]
async fn a_look_that_is_cancelled_takes_its_address_away_and_one_that_was_killed_is_swept() {
    let Some(mut world) = World::start("") else { return };
    let bindings = "_kombu.binding.reply.celery.pidbox";
    // Somebody who never answers keeps the look waiting.
    let channel = format!("/{}.celery.pidbox", world.broker.database);
    let redis = world.deployment.broker.clone().unwrap();
    let _deaf =
        mainstay_dify::redis::Listener::subscribe(&redis, Default::default(), &channel).await.unwrap();
    let options = Options { remote_wait: Duration::from_secs(60), waits: PATIENT, ..Options::default() };
    let mut observer = Observer::new(&world.deployment, options).unwrap();
    let waiting = tokio::spawn(async move { observer.observe(now()).await });
    let link = tokio::sync::Mutex::new(&mut world.link);
    let count = || async { link.lock().await.ask::<u64>(cmd("SCARD").arg(bindings)).await.unwrap() };
    let is = |wanted: u64| {
        mainstay_testkit::wait_until("so many addresses", crate::fixture::LONG, move || async move {
            (count().await == wanted).then_some(())
        })
    };
    is(1).await;
    waiting.abort();
    is(0).await;
    // One of two minutes ago and more, and one that may still be waited for.
    let key = |age_s: u64| {
        let seconds = now().unix_seconds() as u64 - age_s;
        let made = uuid::Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, 0));
        format!("mainstay-{made}\u{6}\u{16}\u{6}\u{16}mainstay-{made}.reply.celery.pidbox")
    };
    let (old, young) = (key(600), key(5));
    link.lock().await.ask::<u64>(cmd("SADD").arg(bindings).arg(&old).arg(&young).arg("other")).await.unwrap();
    let options = Options { remote_wait: Duration::from_millis(100), waits: PATIENT, ..Options::default() };
    Observer::new(&world.deployment, options).unwrap().observe(now()).await.unwrap();
    let mut left: Vec<String> = link.lock().await.ask(cmd("SMEMBERS").arg(bindings)).await.unwrap();
    left.sort();
    assert_eq!(left, [young, "other".to_owned()]);
}

#[tokio::test]
async fn a_huge_queue_a_huge_message_and_broken_ones_are_looked_at_without_fetching_them() {
    let Some(mut world) = Broker::alone().and_then(|broker| World::over(broker, "")) else { return };
    let fill = "for i = 1, 1000 do local t = {} for j = 1, 1000 do t[j] = 'x' end redis.call('LPUSH', 'dataset', unpack(t)) end";
    world.link.ask::<()>(cmd("EVAL").arg(fill).arg(0)).await.unwrap();
    let large = "redis.call('LPUSH', 'mail', string.rep('x', 100 * 1024 * 1024)) redis.call('RPUSH', 'mail', '{\"headers\":{}}')";
    world.link.ask::<()>(cmd("EVAL").arg(large).arg(0)).await.unwrap();
    world.push("workflow", "tasks.async_workflow_tasks.execute_workflow_team", &json!({}), 1).await;
    world
        .link
        .ask::<u64>(cmd("SET").arg("plugin").arg("a key of another type"))
        .await
        .map(drop)
        .unwrap_or(());
    let seen = world.look().await;
    let queue = |name: &str| seen.queues.iter().find(|queue| queue.name == name).unwrap().clone();
    assert_eq!(queue("dataset").length(), 1_000_000);
    assert_eq!(queue("dataset").oldest.len(), 8);
    assert!(matches!(queue("dataset").oldest[0], Peek::Broken { .. }));
    let mail = queue("mail");
    let ends: Vec<&Peek> = mail.oldest.iter().chain(&mail.newest).collect();
    assert!(matches!(ends[..], [Peek::Broken { .. }, Peek::TooLarge { bytes: 104_857_600 }]), "{ends:?}");
    assert_eq!(
        queue("workflow").tail().and_then(Peek::id),
        Some("workflow-0"),
        "others are seen all the same"
    );
    assert_eq!(queue("plugin").length(), 0);
    // It is measured again a minute later only: Redis copies what it measures.
    let again = world.look().await;
    let mail = again.queues.iter().find(|queue| queue.name == "mail").unwrap();
    assert!(mail.length() == 2 && mail.oldest.is_empty());
}

#[tokio::test]
async fn lists_of_workspaces_are_seen_with_their_flags() {
    let Some(mut world) = World::start("") else { return };
    let list = "tenant_self_document_indexing_task_queue:t1";
    world.link.ask::<u64>(cmd("LPUSH").arg(list).arg("__WRAPPER__:{}")).await.unwrap();
    world
        .link
        .ask::<()>(cmd("SETEX").arg("tenant_document_indexing_task:t1").arg(3_600).arg(1))
        .await
        .unwrap();
    let seen = world.look().await;
    assert_eq!(seen.tenants.len(), 1);
    let tenant = &seen.tenants[0];
    assert_eq!((tenant.kind.as_str(), tenant.tenant.as_str()), ("document_indexing", "t1"));
    assert_eq!((tenant.waiting, tenant.flag), (1, true));
}

/// Names that would drive a terminal or a shell, a thousand lists of workspaces, and a hundred thousand messages.
#[tokio::test]
async fn hostile_names_and_many_lists_are_looked_at_within_bounds() {
    let Some(mut world) = World::start("") else { return };
    let fill = "for i = 1, 1200 do redis.call('LPUSH', 'tenant_self_document_indexing_task_queue:t' .. i, 'x') end
        for i = 1, 100 do local t = {} for j = 1, 1000 do t[j] = 'x' end redis.call('LPUSH', 'dataset', unpack(t)) end";
    world.link.ask::<()>(cmd("EVAL").arg(fill).arg(0)).await.unwrap();
    let name = "q\u{1b}[31m; rm -rf $HOME 'x";
    world.link.ask::<u64>(cmd("SADD").arg(format!("_kombu.binding.{name}")).arg("x")).await.unwrap();
    let no_text = b"_kombu.binding.\xff\xfe".as_slice();
    world.link.ask::<u64>(cmd("SADD").arg(no_text).arg("x")).await.unwrap();
    world.link.ask::<u64>(cmd("LPUSH").arg(name).arg("{}")).await.unwrap();
    let seen = world.look().await;
    assert!(seen.queues.iter().any(|queue| queue.name == name && queue.length() == 1));
    let dataset = seen.queues.iter().find(|queue| queue.name == "dataset").unwrap();
    assert_eq!((dataset.length(), dataset.oldest.len() + dataset.newest.len()), (100_000, 16));
    assert_eq!(seen.tenants.len(), 1_000);
    let beyond = seen.missed.iter().any(|missed| missed.what == "lists of workspaces beyond 1000");
    assert!(beyond, "{:?}", seen.missed);
    // What is printed as a command is one word for a shell.
    let terms = act::Terms { force: true, folder: Some("unused".into()) };
    let add = act::Action::AddConsumer { queue: name.to_owned(), worker: None };
    let plan = act::plan(&mut world.observer, add, &terms, now()).await.unwrap();
    let undo = r"mainstay queue act cancel-consumer 'q#[31m; rm -rf $HOME '\''x' --force --yes";
    let undo = undo.replace('#', "\u{1b}");
    assert_eq!(plan.undo, act::Undo::By(undo));
}
