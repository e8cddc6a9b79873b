//! Recorded messages of a Dify 1.12.1 with Celery 5.5.3, and bytes that are none.

use mainstay_wire::celery::{
    Broken, Event, MAX_MESSAGE_BYTES, Message, NewTask, Reply, Request, redelivered, unacked,
};
use serde_json::{Value, json};

const INDEXING: &[u8] = include_bytes!("fixtures/celery/document_indexing.json");
const REFRESH: &[u8] = include_bytes!("fixtures/celery/trigger_refresh.json");
const HEARTBEAT: &[u8] = include_bytes!("fixtures/celery/heartbeat.json");
const PING: &[u8] = include_bytes!("fixtures/celery/ping_request.json");
const PONG: &[u8] = include_bytes!("fixtures/celery/ping_reply.json");
const STATS: &[u8] = include_bytes!("fixtures/celery/stats_reply.json");

#[test]
fn a_recorded_message_tells_its_task_queue_and_arguments() {
    let message = Message::parse(INDEXING).unwrap();
    assert_eq!(message.task, "tasks.document_indexing_task.priority_document_indexing_task");
    assert_eq!(message.routing_key, "priority_dataset");
    assert_eq!(message.id, "e3afab0b-1517-4f9a-9568-e00a12ecab1d");
    assert_eq!(message.delivery_tag, "f75cab0e-d2a6-485b-bc34-86245bf1ce1d");
    assert_eq!((message.priority, message.retries, message.redelivered), (0, 0, false));
    let body = message.body.unwrap();
    assert_eq!(body.kwargs["document_ids"], json!(["96b60fd9-f5aa-4e58-8910-1143a2f7ff39"]));
    let empty = Message::parse(REFRESH).unwrap().body.unwrap();
    assert!(empty.args.is_empty() && empty.kwargs.is_empty());
}

#[test]
fn what_is_given_back_from_unacked_is_the_same_message_marked_as_redelivered() {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let field = format!(r#"[{}, "", "priority_dataset"]"#, text(INDEXING));
    let held = unacked(field.as_bytes()).unwrap();
    let given_back = redelivered(field.as_bytes()).unwrap();
    let again = Message::parse(&given_back).unwrap();
    assert!(again.redelivered && !held.redelivered);
    assert_eq!(Message { redelivered: false, ..again }, held);
    let mut value: Value = serde_json::from_slice(&given_back).unwrap();
    value["headers"].as_object_mut().unwrap().remove("redelivered");
    value["properties"]["delivery_info"].as_object_mut().unwrap().remove("redelivered");
    assert_eq!(value, serde_json::from_slice::<Value>(INDEXING).unwrap(), "nothing else was changed");
}

#[test]
fn a_heartbeat_and_the_answers_of_remote_control_are_read() {
    let Event::Heartbeat(heartbeat) = Event::parse(HEARTBEAT).unwrap() else { panic!("it is one") };
    assert_eq!((heartbeat.worker.as_str(), heartbeat.processed), ("celery@dify-worker-1", 16));
    assert_eq!((heartbeat.every_s, heartbeat.active, heartbeat.pid), (2.0, 0, Some(15_057)));
    let pong = Reply::parse(PONG).unwrap();
    assert_eq!(pong.value, json!({ "ok": "pong" }));
    assert_eq!(pong.ticket.as_deref(), Some("855fb78a-d3d1-4f64-b4f0-00c20aa673d0"));
    let stats = Reply::parse(STATS).unwrap();
    assert_eq!(stats.value["pool"]["max-concurrency"], 4);
    assert_eq!(stats.refusal(), None);
}

#[test]
fn a_question_is_written_as_celery_writes_it() {
    let decoded = |bytes: &[u8]| {
        let mut value: Value = serde_json::from_slice(bytes).unwrap();
        let body = value["body"].as_str().unwrap().to_owned();
        value["body"] = Value::Null;
        value["properties"]["delivery_tag"] = Value::Null;
        let body = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, body).unwrap();
        (value, serde_json::from_slice::<Value>(&body).unwrap())
    };
    let ours = Request {
        method: "ping",
        arguments: json!({}),
        destination: None,
        ticket: "855fb78a-d3d1-4f64-b4f0-00c20aa673d0",
        reply_key: "492a9f3c-fd59-31ab-b771-63523dae8de1",
        expires_at: 1_795_394_330.415_229,
    };
    assert_eq!(decoded(&ours.encode()), decoded(PING));
}

#[test]
fn bytes_that_are_no_message_say_what_is_wrong() {
    let broken = |bytes: &[u8]| Message::parse(bytes).unwrap_err().to_string();
    assert!(broken(b"").starts_with("it is not JSON"));
    assert!(broken(b"\xff\xfe").starts_with("it is not JSON"));
    assert_eq!(broken(b"[1]"), "it has no properties");
    assert_eq!(broken(b"{}"), "it has no properties");
    let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    assert!(broken(&deep).starts_with("it is not JSON"));
    let large = vec![b' '; MAX_MESSAGE_BYTES + 1];
    assert_eq!(Message::parse(&large), Err(Broken::TooLarge(MAX_MESSAGE_BYTES + 1)));
}

/// What a real worker does with each is tried in the tests of `dify`.
#[test]
fn a_message_that_lacks_something_is_told_from_one_that_ends_the_worker() {
    for (part, why, ends_worker) in [
        ("/properties", "it has no properties", true),
        ("/properties/delivery_info", "it has no delivery info", true),
        ("/properties/delivery_info/routing_key", "it has no delivery info", true),
        ("/properties/delivery_tag", "it has no delivery tag", true),
        ("/headers/task", "it has no task name", false),
        ("/headers/id", "it has no task id", true),
    ] {
        let mut value: Value = serde_json::from_slice(INDEXING).unwrap();
        let (object, name) = part.rsplit_once('/').unwrap();
        value.pointer_mut(object).unwrap().as_object_mut().unwrap().remove(name);
        if name == "id" {
            value["properties"].as_object_mut().unwrap().remove("correlation_id");
        }
        let broken = Message::parse(value.to_string().as_bytes()).unwrap_err();
        assert_eq!((broken.to_string().as_str(), broken.ends_worker()), (why, ends_worker));
    }
    assert!(Message::parse(b"{ this is no message").unwrap_err().ends_worker());
}

#[test]
fn a_message_with_a_broken_body_still_tells_its_task() {
    let mut value: Value = serde_json::from_slice(INDEXING).unwrap();
    for (body, why, ends_worker) in [
        (json!("%%%"), "its body is not base64", true),
        // Texts in base64: `{ no`, `[]`, `[5,{},{}]`, and nothing.
        (json!("eyBubw=="), "its body is not JSON", false),
        (json!("W10="), "its body is not [args, kwargs, embed]", true),
        (json!("WzUse30se31d"), "its body is not a list", false),
        (json!(""), "its body is empty", true),
        (json!(null), "its body is no text", true),
    ] {
        value["body"] = body;
        let message = Message::parse(value.to_string().as_bytes()).unwrap();
        assert_eq!(message.routing_key, "priority_dataset");
        let broken = message.body.unwrap_err();
        assert!(broken.to_string().starts_with(why), "{why}");
        assert_eq!(broken.ends_worker(), ends_worker, "{why}");
    }
}

#[test]
fn a_new_task_is_written_as_dify_writes_it() {
    let recorded = Message::parse(INDEXING).unwrap();
    let kwargs = &recorded.body.as_ref().unwrap().kwargs;
    let (id, delivery_tag) = (recorded.id.as_str(), recorded.delivery_tag.as_str());
    let ours =
        NewTask { task: &recorded.task, queue: &recorded.routing_key, id, delivery_tag, kwargs }.encode();
    let mut value: Value = serde_json::from_slice(&ours).unwrap();
    let mut wanted: Value = serde_json::from_slice(INDEXING).unwrap();
    for free in ["/headers/origin", "/headers/kwargsrepr", "/properties/reply_to"] {
        *value.pointer_mut(free).unwrap() = Value::Null;
        *wanted.pointer_mut(free).unwrap() = Value::Null;
    }
    let body = |value: &mut Value| {
        let text = value["body"].take();
        let bytes =
            base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text.as_str().unwrap());
        serde_json::from_slice::<Value>(&bytes.unwrap()).unwrap()
    };
    assert_eq!(body(&mut value), body(&mut wanted));
    assert_eq!(value, wanted);
}
