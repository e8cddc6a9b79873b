//! Streams: relayed byte for byte, cut truthfully, at each reader's own pace.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::BodyExt;
use mainstay_base::record::Outcome;
use mainstay_testkit::{
    HttpServer,
    http_server::streamed,
    raw::{RawServer, Step},
    wait_until,
};
use tokio::sync::mpsc;

use crate::rig::{PATIENCE, Setup, cut_after, read_until, upstream};

const WORKFLOW: &[u8] = include_bytes!("../fixtures/workflow_llm.sse");
const WORKFLOW_FAILED: &[u8] = include_bytes!("../fixtures/workflow_failed.sse");
const WORKFLOW_LARGE: &[u8] = include_bytes!("../fixtures/workflow_knowledge.sse");
const CHATFLOW: &[u8] = include_bytes!("../fixtures/chatflow.sse");
const CHATFLOW_FAILED: &[u8] = include_bytes!("../fixtures/chatflow_failed.sse");

/// A Dify that streams these bytes in pieces of `size`.
async fn dify(bytes: &'static [u8], size: usize) -> HttpServer {
    HttpServer::start(move |_| async move {
        let pieces = bytes.chunks(size).map(|piece| Ok(Bytes::from_static(piece)));
        streamed(200, "text/event-stream; charset=utf-8", stream::iter(pieces))
    })
    .await
}

#[tokio::test]
async fn recorded_streams_pass_byte_for_byte_in_any_pieces() {
    for bytes in [WORKFLOW, WORKFLOW_FAILED, WORKFLOW_LARGE, CHATFLOW, CHATFLOW_FAILED] {
        for size in [1, 7, 300, 100_000] {
            let dify = dify(bytes, size).await;
            let mut rig = Setup::app(vec![upstream("dify", &dify.url())]).start().await;
            let got = rig.run("{}").await;
            assert!(got.body == bytes, "pieces of {size}");
            let record = rig.only_record().await;
            assert_eq!((record.bytes_out, record.streamed), (bytes.len() as u64, true));
        }
    }
}

#[tokio::test]
async fn a_record_knows_what_the_stream_said() {
    for (bytes, outcome, run_status, tokens) in [
        (WORKFLOW, Outcome::Ok, "succeeded", Some((None, Some(20)))),
        (WORKFLOW_FAILED, Outcome::Ok, "failed", None),
        (CHATFLOW, Outcome::Ok, "succeeded", Some((Some(8), Some(36)))),
        (CHATFLOW_FAILED, Outcome::Failed, "failed", None),
    ] {
        let dify = dify(bytes, 500).await;
        let mut rig = Setup::app(vec![upstream("dify", &dify.url())]).start().await;
        rig.run("{}").await;
        let record = rig.only_record().await;
        let text = std::str::from_utf8(bytes).unwrap();
        assert!(
            text.contains(record.run_id.as_deref().unwrap())
                && text.contains(record.task_id.as_deref().unwrap())
        );
        assert_eq!((record.outcome, record.run_status.as_deref()), (outcome, Some(run_status)));
        assert_eq!(record.events as usize, text.matches("\n\n").count());
        if let Some((output, total)) = tokens {
            assert_eq!((record.output_tokens, record.total_tokens), (output, total));
            assert!(record.first_token_us.unwrap() >= record.first_byte_us.unwrap());
        } else {
            assert_eq!(record.first_token_us, None);
            assert!(record.error.unwrap().contains(if outcome == Outcome::Ok {
                "overloaded"
            } else {
                "credentials"
            }));
        }
    }
}

#[tokio::test]
async fn a_cut_stream_ends_with_whole_events_and_says_so() {
    let whole_events = 4;
    let boundary = end_of_event(WORKFLOW, whole_events);
    for cut_at in [boundary, boundary + 1, boundary + 150] {
        let dify = cut_after(&WORKFLOW[..cut_at]).await;
        let mut rig = Setup::app(vec![upstream("dify", &dify.url())]).start().await;
        let got = rig.run("{}").await;
        let (events, last) = got.body.split_at(boundary);
        assert_eq!(events, &WORKFLOW[..boundary], "cut at {cut_at}");
        let last: serde_json::Value =
            serde_json::from_slice(last.strip_prefix(b"data: ").unwrap().strip_suffix(b"\n\n").unwrap())
                .unwrap();
        assert_eq!((last["event"].as_str(), last["status"].as_u64()), (Some("error"), Some(502)));
        assert_eq!(last["code"], "bad_gateway");
        assert_eq!(last["workflow_run_id"], "126f5998-9b5e-427d-92e7-27f998b2e73a");
        assert_eq!(last["task_id"], "60fb51ec-3c01-4205-9390-f50aabd5bf40");
        let record = rig.only_record().await;
        assert_eq!((record.outcome, record.kind.unwrap().as_str()), (Outcome::Cut, "upstream"));
        assert_eq!(record.events, whole_events as u64);
        assert_eq!(rig.gateway.stats().settled_early, 1);
    }
}

fn end_of_event(bytes: &[u8], number: usize) -> usize {
    let text = std::str::from_utf8(bytes).unwrap();
    text.match_indices("\n\n").nth(number - 1).unwrap().0 + 2
}

#[tokio::test]
async fn a_stream_that_falls_silent_is_given_up_as_504() {
    let event = "data: {\"event\":\"workflow_started\",\"task_id\":\"t\"}\n\n";
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    let silent = RawServer::start(vec![Step::Send(format!("{head}{event}").into_bytes()), Step::Hang]).await;
    let mut one = (*upstream("dify", &silent.url())).clone();
    one.timeouts.idle = Duration::from_millis(100);
    let mut rig = Setup::app(vec![one.into()]).start().await;
    let got = rig.run("{}").await;
    let last = got.text().strip_prefix(event).unwrap();
    assert!(last.contains("\"code\":\"gateway_timeout\",\"status\":504"), "{last}");
    assert!(last.contains("\"task_id\":\"t\""), "{last}");
    assert_eq!(rig.only_record().await.outcome, Outcome::Cut);
}

#[tokio::test]
async fn an_end_inside_an_event_is_a_cut_even_when_it_is_polite() {
    let dify = dify(&WORKFLOW[..700], 700).await;
    let mut rig = Setup::app(vec![upstream("dify", &dify.url())]).start().await;
    let got = rig.run("{}").await;
    assert!(got.text().ends_with("\n\n") && got.text().contains("\"event\":\"error\""));
    assert_eq!(rig.only_record().await.outcome, Outcome::Cut);
}

#[tokio::test]
async fn a_last_event_without_its_blank_line_still_passes() {
    let dify = dify(WORKFLOW.strip_suffix(b"\n\n").unwrap(), 400).await;
    let mut rig = Setup::app(vec![upstream("dify", &dify.url())]).start().await;
    assert!(rig.run("{}").await.body == WORKFLOW[..WORKFLOW.len() - 2]);
    assert_eq!(rig.only_record().await.outcome, Outcome::Ok);
}

#[tokio::test]
async fn an_event_over_the_limit_passes_in_pieces() {
    let mut setup = {
        let dify = dify(WORKFLOW_LARGE, 1000).await;
        let setup = Setup::app(vec![upstream("dify", &dify.url())]);
        // The peer must outlive this block.
        Box::leak(Box::new(dify));
        setup
    };
    setup.limits.max_event_bytes = 600;
    let mut rig = setup.start().await;
    assert!(rig.run("{}").await.body == WORKFLOW_LARGE);
    assert_eq!(rig.only_record().await.outcome, Outcome::Ok);
}

#[tokio::test]
async fn an_event_leaves_when_it_came_and_not_with_the_next() {
    let (send, receive) = mpsc::channel::<std::io::Result<Bytes>>(4);
    let receive = std::sync::Mutex::new(Some(receive));
    let dify = HttpServer::start(move |_| {
        let receive = receive.lock().unwrap().take().unwrap();
        let pieces =
            stream::unfold(receive, |mut receive| async move { Some((receive.recv().await?, receive)) });
        async move { streamed(200, "text/event-stream", pieces) }
    })
    .await;
    let rig = Setup::app(vec![upstream("dify", &dify.url())]).start().await;
    let run = rig.app_request(http::Method::POST, "/v1/workflows/run", "{}");
    send.send(Ok(Bytes::from_static(b"data: {\"event\":\"a\"}\n\n"))).await.unwrap();
    let mut body = rig.send(run).await.into_body();
    for name in ["a", "b", "c"] {
        let frame = tokio::time::timeout(PATIENCE, body.frame()).await.unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), format!("data: {{\"event\":\"{name}\"}}\n\n"));
        // The next is sent only now, so the one before cannot have waited for it.
        let next = char::from(name.as_bytes()[0] + 1);
        send.send(Ok(Bytes::from(format!("data: {{\"event\":\"{next}\"}}\n\n")))).await.unwrap();
    }
}

/// Endless events of 1 KiB, and how many of them were taken.
async fn endless() -> (HttpServer, std::sync::Arc<std::sync::atomic::AtomicU64>) {
    let taken = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counter = taken.clone();
    let server = HttpServer::start(move |_| {
        let counter = counter.clone();
        let pieces = stream::repeat_with(move || {
            counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Ok(Bytes::from(format!("data: {{\"event\":\"text_chunk\",\"x\":\"{}\"}}\n\n", "x".repeat(1000))))
        });
        async move { streamed(200, "text/event-stream", pieces) }
    })
    .await;
    (server, taken)
}

#[tokio::test]
async fn a_slow_reader_holds_its_own_upstream_and_nobody_else() {
    let (dify, taken) = endless().await;
    let rig = Setup::app(vec![upstream("dify", &dify.url())]).start().await;
    let slow = rig.raw_run().await;
    let mut before = 0;
    // It stops by itself: sockets and buffers are full, and nothing is held besides.
    wait_until("the slow reader's upstream stands still", PATIENCE, || {
        let now = taken.load(std::sync::atomic::Ordering::SeqCst);
        let is_still = now > 0 && now == std::mem::replace(&mut before, now);
        async move { is_still.then_some(()) }
    })
    .await;
    let stopped_at = taken.load(std::sync::atomic::Ordering::SeqCst);
    assert!(stopped_at < 64 * 1024, "{stopped_at} KiB went into a reader that reads nothing");

    let mut quick = rig.raw_run().await;
    let text = read_until(&mut quick, |text| text.matches("data: ").count() > 200).await;
    assert!(text.matches("data: ").count() > 200);
    drop(slow);
}

#[tokio::test]
async fn a_reader_that_stalls_for_too_long_is_disconnected() {
    let (dify, _) = endless().await;
    let mut setup = Setup::app(vec![upstream("dify", &dify.url())]);
    setup.listen.write_stall = Duration::from_millis(100);
    let mut rig = setup.start().await;
    let _stalled = rig.raw_run().await;
    let record = rig.only_record().await;
    assert_eq!(record.outcome, Outcome::CallerGone);
    assert_eq!(rig.gateway.stats().settled_early, 1);
}

#[tokio::test]
async fn a_caller_that_leaves_ends_its_upstream() {
    let (gone, mut left) = mpsc::channel::<()>(1);
    let dify = HttpServer::start(move |_| {
        let gone = gone.clone();
        // Dropped with the answer's body, when the gateway hangs up.
        let pieces = stream::unfold((gone, 0), |(gone, number)| async move {
            if number > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Some((Ok(Bytes::from_static(b"event: ping\n\n")), (gone, number + 1)))
        });
        async move { streamed(200, "text/event-stream", pieces) }
    })
    .await;
    let mut rig = Setup::app(vec![upstream("dify", &dify.url())]).start().await;
    let mut stream = rig.raw_run().await;
    read_until(&mut stream, |text| text.contains("event: ping")).await;
    drop(stream);
    let record = rig.only_record().await;
    assert_eq!((record.outcome, record.status), (Outcome::CallerGone, 200));
    drop(rig);
    // Only the server's own sender is left once the stream is gone.
    wait_until("the upstream's stream was dropped", PATIENCE, || {
        let strong = left.sender_strong_count();
        async move { (strong <= 1).then_some(()) }
    })
    .await;
    left.close();
}

#[tokio::test]
async fn nobody_else_is_asked_after_the_first_byte() {
    let broken = cut_after(b"data: {\"event\":\"ping\"}\n\n").await;
    let twin = dify(WORKFLOW, 1000).await;
    let mut rig =
        Setup::app(vec![upstream("broken", &broken.url()), upstream("twin", &twin.url())]).start().await;
    let got = rig.run("{}").await;
    assert!(got.text().contains("\"event\":\"error\""));
    assert!(twin.requests().is_empty());
    assert_eq!(rig.only_record().await.outcome, Outcome::Cut);
}
