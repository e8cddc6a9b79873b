//! `mainstay queue` and `/api/queue`: over a running instance, straight from a Dify, and where there is none.

use mainstay_dify::{
    deployment::{Redis, RedisAt, Tls},
    redis::{Link, Waits, cmd},
};
use mainstay_testkit::{celery::Broker, wait_until};
use mainstay_wire::celery::NewTask;
use serde_json::{Value, json};

use crate::support::{Home, Process, SOON, wait_for_instance};

fn configure(home: &Home, broker: &Broker) {
    let Broker { host, port, database, .. } = broker;
    home.configure(&format!(
        r#"
[workers]
count = 0
[dify.broker]
host = "{host}"
port = {port}
database = {database}
"#
    ));
}

async fn push(broker: &Broker, queue: &str, count: usize) -> Link {
    let redis = Redis {
        at: RedisAt::Server { host: broker.host.clone(), port: broker.port },
        user: None,
        password: None,
        database: broker.database,
        tls: Tls::Off,
        key_prefix: String::new(),
    };
    let mut link = Link::new(&redis, Waits { connect: SOON, response: SOON });
    let kwargs = json!({ "app_id": "app-1" }).as_object().unwrap().clone();
    for number in 0..count {
        let id = format!("{queue}-{number}");
        let message =
            NewTask { task: "tasks.x", queue, id: &id, delivery_tag: &id, kwargs: &kwargs }.encode();
        link.ask::<u64>(cmd("LPUSH").arg(queue).arg(message)).await.unwrap();
    }
    link
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_are_listed_judged_and_acted_on_with_a_record_in_the_timeline() {
    let Some(broker) = Broker::start() else { return };
    let home = Home::new();
    configure(&home, &broker);
    let mut link = push(&broker, "mail", 3).await;
    let process = Process::start(home.command(&["serve", "--migrate"]));
    wait_for_instance(&home, &process).await;
    let list = wait_until("the queue is seen", SOON, || async {
        let answer = home.admin().get("/api/queue").await.json();
        let queues = answer["queues"].as_array()?.clone();
        queues.into_iter().find(|queue| queue["name"] == "mail" && queue["waiting"] == 3)
    })
    .await;
    assert_eq!(list["subjects"][0], json!({ "name": "app app-1", "count": 3 }));
    let shown = home.run(&["queue", "list"]);
    assert!(shown.out.contains("mail") && shown.out.contains("nobody"), "{shown:?}");
    let forecast = home.run(&["queue", "drain-forecast", "mail", "--json"]).json();
    assert_eq!(forecast["queues"].as_array().map(Vec::len), Some(1));
    let tasks = home.run(&["queue", "tasks", "--queue", "mail"]);
    assert!(tasks.out.contains("tasks.x") && tasks.out.contains("app app-1"), "{tasks:?}");
    let workers = home.run(&["queue", "workers"]);
    assert!(workers.out.contains("no worker was heard"), "{workers:?}");

    // A plan changes nothing; what is done has an actor, a record and an undo that works.
    let plan = home.run(&["queue", "act", "purge", "mail"]);
    assert_eq!(plan.code, 0, "{plan:?}");
    assert!(plan.out.contains("dry run: nothing was done") && plan.out.contains("undo: "), "{plan:?}");
    let length = || cmd("LLEN").arg("mail").clone();
    assert_eq!(link.ask::<u64>(&length()).await.unwrap(), 3);
    let done =
        home.run(&["queue", "act", "purge", "mail", "--yes", "--why", "before the upgrade", "--json"]).json();
    assert_eq!(link.ask::<u64>(&length()).await.unwrap(), 0);
    let undo: Vec<&str> = done["done"]["undo"]["by"].as_str().unwrap().split(' ').skip(1).collect();
    assert!(std::path::Path::new(done["done"]["file"].as_str().unwrap()).exists());
    let back = home.run(&undo);
    assert_eq!((back.code, link.ask::<u64>(&length()).await.unwrap()), (0, 3), "{back:?}");
    let timeline = home.admin().get("/api/timeline").await.text;
    for wanted in ["queue.asked", "queue.done", "before the upgrade"] {
        assert!(timeline.contains(wanted), "{wanted} is not in {timeline}");
    }
    let refused = home.run(&["queue", "act", "shutdown", "nobody@here", "--yes"]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("there is no worker `nobody@here`"), "{refused:?}");
    let unknown = home.admin().post("/api/queue/act", json!({ "action": { "action": "explode" } })).await;
    assert_eq!(unknown.status, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_instance_queues_are_read_straight_from_a_dify_and_actions_are_written_into_a_file() {
    let Some(broker) = Broker::start() else { return };
    let home = Home::new();
    configure(&home, &broker);
    let mut link = push(&broker, "mail", 2).await;
    let list = home.run(&["queue", "list", "--config", "mainstay.toml", "--json"]);
    assert_eq!(list.code, 1, "{list:?}");
    let list = list.json();
    assert_eq!(list["queues"][0]["name"], "mail");
    let ids: Vec<&Value> =
        list["findings"].as_array().unwrap().iter().map(|finding| &finding["id"]).collect();
    assert_eq!(ids, ["no-worker"]);
    let act = home.run(&["queue", "act", "purge", "mail", "--yes"]);
    assert_eq!(act.code, 3, "{act:?}");
    let here = ["--config", "mainstay.toml"];
    let purge = [&["queue", "act", "purge", "mail"][..], &here].concat();
    let plan = home.run(&purge);
    assert!(plan.out.contains("dry run: nothing was done"), "{plan:?}");
    let undo = "import FILE --config mainstay.toml --folder mainstay-queue --yes, with";
    assert!(plan.out.contains(undo), "the way back can be typed: {plan:?}");
    assert!(!home.path("mainstay-queue").exists(), "a dry run leaves nothing");
    let done = home.run(&[&purge[..], &["--yes", "--why", "before the upgrade", "--json"]].concat()).json();
    let journal = std::fs::read_to_string(done["journal"].as_str().unwrap()).unwrap();
    let kinds: Vec<Value> = journal.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        (&kinds[0]["kind"], &kinds[1]["kind"]),
        (&json!("queue.asked"), &json!("queue.done")),
        "{journal}"
    );
    assert_eq!(kinds[0]["detail"]["why"], "before the upgrade");
    let length = || cmd("LLEN").arg("mail").clone();
    assert_eq!(link.ask::<u64>(&length()).await.unwrap(), 0);
    let undo: Vec<&str> = done["done"]["undo"]["by"].as_str().unwrap().split(' ').skip(1).collect();
    let back = home.run(&undo);
    assert_eq!((back.code, link.ask::<u64>(&length()).await.unwrap()), (0, 2), "{back:?}");
    assert!(back.out.contains("written down in"), "{back:?}");
    home.write("a-file", "");
    let nowhere = home.run(&[&purge[..], &["--yes", "--folder", "a-file"]].concat());
    assert!(nowhere.code == 1 && nowhere.err.contains("cannot write to"), "{nowhere:?}");
    assert_eq!(link.ask::<u64>(&length()).await.unwrap(), 2, "what cannot be written down is not done");
    home.write("away.toml", "[dify.broker]\nhost = \"127.0.0.1\"\nport = 1\n");
    let away = home.run(&["queue", "list", "--config", "away.toml"]);
    assert_eq!(away.code, 3, "{away:?}");
    assert!(away.err.contains("cannot be reached"), "{away:?}");
}

/// A broker that is named and cannot be read is not said to be missing.
#[test]
fn a_broker_that_is_no_redis_is_told_as_that() {
    let home = Home::new();
    let nobody = "http://127.0.0.1:1";
    home.write(
        ".env",
        &format!(
            "CELERY_BROKER_URL=amqp://dify:hunter2-rabbit@rabbit:5672//\nDB_HOST=127.0.0.1\nDB_PORT=1\nREDIS_HOST=127.0.0.1\n\
             REDIS_PORT=1\nPLUGIN_DIFY_INNER_API_URL={nobody}\nPLUGIN_DAEMON_URL={nobody}\nWEAVIATE_ENDPOINT={nobody}\n\
             CODE_EXECUTION_ENDPOINT={nobody}\nSSRF_PROXY_HTTP_URL={nobody}\nSANDBOX_API_KEY=another-one\n"
        ),
    );
    let list = home.run(&["queue", "list", "--dify-env", ".env"]);
    assert!(list.code == 2 && list.err.contains("names a RabbitMQ"), "{list:?}");
    let doctor = home.run(&["doctor", "--dify-env", ".env"]);
    assert_eq!(doctor.code, 3, "{doctor:?}");
    assert!(doctor.out.contains("broker is not looked at: CELERY_BROKER_URL names a RabbitMQ"), "{doctor:?}");
    assert!(doctor.out.contains("[keys-differ]"), "what only the files tell is told: {doctor:?}");
    assert!(!format!("{doctor:?}{list:?}").contains("hunter2"), "{doctor:?}");
    // Who has no instance is told of the other way.
    let list = home.run(&["queue", "list"]);
    assert!(list.code == 3 && list.err.contains("--dify-env"), "{list:?}");
}
