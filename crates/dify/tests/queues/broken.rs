//! Messages that no worker can read: which of them end a real worker, and how one is taken out.

use mainstay_dify::{
    celery::{
        Peek,
        act::{self, Action, Done, Refused, Terms, Undo},
    },
    redis::cmd,
};
use mainstay_testkit::{celery::Worker, wait_until};
use mainstay_wire::celery::{NewTask, fingerprint};
use serde_json::{Map, Value, json};

use crate::fixture::{INDEXING, LONG, World, answer, lines, now};

const NO_JSON: &str = "{ this is no message";

/// A message as Dify sends it, with something changed.
fn changed(queue: &str, change: impl FnOnce(&mut Value)) -> String {
    let (id, kwargs) = ("one", Map::new());
    let message = NewTask { task: INDEXING, queue, id, delivery_tag: id, kwargs: &kwargs }.encode();
    let mut message = serde_json::from_slice(&message).unwrap();
    change(&mut message);
    message.to_string()
}

fn remove(object: &str, name: &str) -> impl FnOnce(&mut Value) {
    move |message| drop(message.pointer_mut(object).unwrap().as_object_mut().unwrap().remove(name))
}

async fn put(world: &mut World, queue: &str, message: &str) {
    world.link.ask::<u64>(cmd("LPUSH").arg(queue).arg(message)).await.unwrap();
}

/// What a look says of the message that is next in a queue.
async fn next(world: &mut World, queue: &str) -> Peek {
    let seen = world.look().await;
    seen.queues.into_iter().find(|known| known.name == queue).unwrap().oldest.remove(0)
}

fn worker<'a>(name: &'a str, queues: &'a [&'a str]) -> Worker<'a> {
    Worker { name, pool: "gevent", concurrency: 2, queues, key_prefix: "" }
}

#[tokio::test]
async fn a_worker_throws_away_what_is_no_task_and_ends_by_what_is_no_message() {
    let Some(mut world) = World::start("") else { return };
    let harmless = [
        changed("mail", remove("/headers", "task")),
        // `{ no` in base64.
        changed("mail", |message| message["body"] = "eyBubw==".into()),
    ];
    for message in &harmless {
        put(&mut world, "mail", message).await;
        let peek = next(&mut world, "mail").await;
        assert!(matches!(peek, Peek::Broken { ends_worker: false, .. }), "{peek:?}");
    }
    let Some(mut running) = world.worker(worker("lives", &["mail"])).await else { return };
    world.push("mail", INDEXING, &json!({}), 1).await;
    world
        .until("it did the task that came after them", |seen| {
            let done = answer(seen, "lives@test")?.done;
            done.iter().any(|(task, _)| task == INDEXING).then_some(())
        })
        .await;
    assert!(!running.has_ended());

    let deadly = [
        ("dataset", NO_JSON.to_owned()),
        ("plugin", changed("plugin", remove("", "properties"))),
        // `[]` in base64. The worker gives it back when it ends, so that the next one ends by it as well.
        ("workflow", changed("workflow", |message| message["body"] = "W10=".into())),
    ];
    for (queue, message) in &deadly {
        put(&mut world, queue, message).await;
        let peek = next(&mut world, queue).await;
        assert!(matches!(peek, Peek::Broken { ends_worker: true, .. }), "{peek:?}");
    }
    put(&mut world, "mail", NO_JSON).await;
    let queues = [["dataset"], ["plugin"], ["workflow"]];
    let mut ending = vec![running];
    ending.extend(queues.iter().filter_map(|queues| worker(queues[0], queues).start(&world.broker)));
    wait_until("each worker ends by its message", LONG, || {
        let all = ending.iter_mut().all(|worker| worker.has_ended());
        async move { all.then_some(()) }
    })
    .await;
    let given_back = next(&mut world, "workflow").await;
    assert!(matches!(given_back, Peek::Broken { ends_worker: true, .. }), "{given_back:?}");
}

#[tokio::test]
async fn one_message_that_no_worker_can_read_is_taken_out_into_a_file_and_put_back() {
    let Some(mut world) = World::start("dify:") else { return };
    let folder = tempfile::tempdir().unwrap();
    let terms = Terms { force: false, folder: Some(folder.path().to_owned()) };
    let list = "dify:dataset";
    world.push("dataset", INDEXING, &json!({ "tenant_id": "t" }), 60).await;
    put(&mut world, list, NO_JSON).await;
    world.push("dataset", INDEXING, &json!({ "tenant_id": "t" }), 60).await;
    let whole = || cmd("LRANGE").arg(list).arg(0).arg(-1).clone();
    let before: Vec<String> = world.link.ask(&whole()).await.unwrap();

    let out = |name: &str| Action::Purge { queue: "dataset".to_owned(), message: Some(name.to_owned()) };
    let name = fingerprint(NO_JSON.as_bytes());
    let plan = act::plan(&mut world.observer, out(&name), &terms, now()).await.unwrap();
    assert!(plan.steps[1].changes.contains("120 others stay"), "{plan:?}");
    assert!(plan.warnings[0].contains("not JSON"), "{plan:?}");
    assert_eq!(world.link.ask::<Vec<String>>(&whole()).await.unwrap(), before, "a plan changes nothing");
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);

    let consume = Action::AddConsumer { queue: "retention".to_owned(), worker: None };
    put(&mut world, "dify:retention", NO_JSON).await;
    let refused = act::plan(&mut world.observer, consume, &terms, now()).await.unwrap_err();
    assert!(refused.next().contains(&format!("purge retention --message {name} --yes")), "{refused:?}");

    let done = act::perform(&mut world.observer, plan, &terms, now()).await.unwrap();
    let file = done.file.unwrap();
    assert_eq!(lines(&file).len(), 1);
    let after: Vec<String> = world.link.ask(&whole()).await.unwrap();
    let others: Vec<&String> = before.iter().filter(|message| *message != NO_JSON).collect();
    assert_eq!(after.iter().collect::<Vec<_>>(), others, "nothing else was touched");

    // It is put back only by a word that says what it does.
    let import = Action::Import { file: file.file_name().unwrap().into() };
    assert_eq!(
        done.undo,
        Undo::By(format!("mainstay queue act import {} --yes", file.file_name().unwrap().display()))
    );
    let plan = act::plan(&mut world.observer, import, &terms, now()).await.unwrap();
    assert!(plan.warnings[0].contains("1 of them end the worker"), "{plan:?}");
    act::perform(&mut world.observer, plan, &terms, now()).await.unwrap();
    assert_eq!(world.link.ask::<String>(cmd("LINDEX").arg(list).arg(-1)).await.unwrap(), NO_JSON);

    // And once: neither under its name nor under its new one is it put back again by mistake.
    let again = |file: &std::path::Path| Action::Import { file: file.file_name().unwrap().into() };
    let kept = file.with_added_extension("put-back");
    for (file, can_be_forced) in [(&file, false), (&kept, true)] {
        let refused = act::plan(&mut world.observer, again(file), &terms, now()).await.unwrap_err();
        assert!(refused.to_string().contains("were put back before"), "{refused}");
        assert_eq!(refused.next().contains("force"), can_be_forced, "{refused}");
    }
    let forced = Terms { force: true, ..terms.clone() };
    act::plan(&mut world.observer, again(&kept), &forced, now()).await.unwrap();

    let refusal = async |world: &mut World, name: &str| {
        act::plan(&mut world.observer, out(name), &terms, now()).await.unwrap_err().to_string()
    };
    let readable = refusal(&mut world, &fingerprint(others[0].as_bytes())).await;
    assert!(readable.contains("which workers can read"), "{readable}");
    let unknown = refusal(&mut world, "0000000000000000").await;
    assert!(unknown.contains("no message 0000000000000000"), "{unknown}");
}

/// The guards look again: what a worker took between the plan and the deed leaves no file that would put it back.
#[tokio::test]
async fn a_message_that_was_taken_meanwhile_is_not_taken_out() {
    let Some(mut world) = World::start("") else { return };
    let folder = tempfile::tempdir().unwrap();
    let terms = Terms { force: false, folder: Some(folder.path().to_owned()) };
    put(&mut world, "dataset", NO_JSON).await;
    let name = fingerprint(NO_JSON.as_bytes());
    let out = Action::Purge { queue: "dataset".to_owned(), message: Some(name) };
    let plan = act::plan(&mut world.observer, out, &terms, now()).await.unwrap();
    world.link.ask::<String>(cmd("RPOP").arg("dataset")).await.unwrap();
    let done: Result<Done, Refused> = act::perform(&mut world.observer, plan, &terms, now()).await;
    assert!(done.is_err_and(|refused| refused.to_string().contains("no message")));
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
}
