//! The shared call by itself: who drives it, who is cut off, and what its end lets go of.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::Response;
use http_body_util::BodyExt;
use mainstay_net::{Body, BodyError};
use tokio::sync::mpsc;

use super::{
    Form, Key, MAX_REPLAY_BYTES, Shares,
    shared::{Leader, Next, Reader, Shared},
};

const KEY: Key = Key { hash: [7; 32], form: Form::Chat };

/// Counts what is still held of a body.
struct Held(Arc<AtomicUsize>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// An answer fed by the test.
fn answer() -> (mpsc::Sender<Bytes>, impl Future<Output = Response<Body>> + Send + 'static, Arc<AtomicUsize>)
{
    let (sender, receiver) = mpsc::channel(1024);
    let held = Arc::new(AtomicUsize::new(1));
    let guard = Held(held.clone());
    let pieces = stream::unfold(
        (receiver, guard),
        |(mut receiver, guard): (mpsc::Receiver<Bytes>, Held)| async move {
            Some((receiver.recv().await?, (receiver, guard)))
        },
    );
    let body = mainstay_net::stream(pieces.map(Ok::<_, BodyError>));
    (sender, async move { Response::new(body) }, held)
}

/// A shared call under way, with its first caller's body.
struct Rig {
    shares: Arc<Shares>,
    shared: Arc<Shared>,
    feed: mpsc::Sender<Bytes>,
    first: Body,
    held: Arc<AtomicUsize>,
}

async fn begin() -> Rig {
    let shares = Arc::new(Shares::default());
    let (shared, reader) = Shared::begin(shares.clone(), KEY, "leader");
    shares.under_way.lock().insert(KEY, Arc::downgrade(&shared));
    let (feed, answering, held) = answer();
    let first = Leader::new(reader).answer(answering).await.into_body();
    Rig { shares, shared, feed, first, held }
}

async fn next(reader: &Reader) -> Next {
    poll_fn(|context| reader.poll_next(context)).await
}

fn piece(text: &'static str) -> Next {
    Next::Piece(Bytes::from(text))
}

#[tokio::test]
async fn readers_at_different_places_all_get_everything() {
    let mut rig = begin().await;
    for text in ["a", "b"] {
        rig.feed.send(Bytes::from(text)).await.unwrap();
    }
    assert_eq!(rig.first.frame().await.unwrap().unwrap().into_data().unwrap(), "a");
    let late = Reader::join(&rig.shared).unwrap();
    assert_eq!((next(&late).await, next(&late).await), (piece("a"), piece("b")));
    rig.feed.send(Bytes::from("c")).await.unwrap();
    drop(rig.feed);
    assert_eq!(mainstay_net::collect(rig.first, 100).await.unwrap(), "bc");
    assert_eq!((next(&late).await, next(&late).await), (piece("c"), Next::End));
    assert!(Reader::join(&rig.shared).is_none(), "what is over is not joined");
}

#[tokio::test]
async fn a_reader_who_waits_goes_on_when_the_one_who_drove_left() {
    let rig = begin().await;
    let other = Reader::join(&rig.shared).unwrap();
    let waiting = tokio::spawn(async move { next(&other).await });
    let mut first = rig.first;
    // The first drives last, so the work would wake it and nobody else.
    tokio::task::yield_now().await;
    assert!(futures_util::poll!(first.frame()).is_pending());
    drop(first);
    rig.feed.send(Bytes::from("a")).await.unwrap();
    assert_eq!(waiting.await.unwrap(), piece("a"));
}

#[tokio::test]
async fn the_last_reader_takes_the_work_with_him() {
    let rig = begin().await;
    let other = Reader::join(&rig.shared).unwrap();
    drop((rig.first, rig.shared));
    assert_eq!((rig.held.load(Ordering::SeqCst), rig.shares.len()), (1, 1));
    assert!(futures_util::poll!(std::pin::pin!(next(&other))).is_pending());
    drop(other);
    assert_eq!((rig.held.load(Ordering::SeqCst), rig.shares.len()), (0, 0));
    assert!(rig.feed.is_closed());
}

#[tokio::test]
async fn who_falls_behind_is_cut_off_and_holds_nobody_up() {
    let mut rig = begin().await;
    let slow = Reader::join(&rig.shared).unwrap();
    let large = Bytes::from(vec![b'x'; 10_000]);
    let pieces = 2 * MAX_REPLAY_BYTES / large.len();
    for _ in 0..pieces {
        rig.feed.send(large.clone()).await.unwrap();
        rig.first.frame().await.unwrap().unwrap();
    }
    assert!(Reader::join(&rig.shared).is_none(), "a newcomer would miss the beginning");
    assert_eq!(next(&slow).await, Next::Lost);
    drop(rig.feed);
    assert!(rig.first.frame().await.is_none());
}

#[tokio::test]
async fn one_piece_is_kept_however_large_it_is() {
    let mut rig = begin().await;
    let other = Reader::join(&rig.shared).unwrap();
    let whole = Bytes::from(vec![b'x'; 3 * MAX_REPLAY_BYTES]);
    rig.feed.send(whole.clone()).await.unwrap();
    drop(rig.feed);
    assert_eq!(rig.first.frame().await.unwrap().unwrap().into_data().unwrap(), whole);
    assert_eq!((next(&other).await, next(&other).await), (Next::Piece(whole), Next::End));
}

#[tokio::test]
async fn a_body_that_breaks_breaks_for_all() {
    let shares = Arc::new(Shares::default());
    let (shared, reader) = Shared::begin(shares, KEY, "leader");
    let other = Reader::join(&shared).unwrap();
    let pieces = stream::iter([Ok(Bytes::from("a")), Err(BodyError::other("broken"))]);
    let answering = async move { Response::new(mainstay_net::stream(pieces)) };
    let first = Leader::new(reader).answer(answering).await.into_body();
    assert!(mainstay_net::collect(first, 100).await.is_err());
    assert_eq!((next(&other).await, next(&other).await), (piece("a"), Next::Broken));
}

/// Many readers on several threads, who come and leave: each gets a prefix, and whoever stays gets all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_schedule_loses_a_wake() {
    for round in 0..50 {
        let rig = begin().await;
        let readers: Vec<Reader> = (0..8).map(|_| Reader::join(&rig.shared).unwrap()).collect();
        let tasks: Vec<_> = readers
            .into_iter()
            .enumerate()
            .map(|(number, reader)| {
                let leaves_after = if number % 2 == 0 { usize::MAX } else { (round + number) % 20 };
                tokio::spawn(async move {
                    let mut read = 0;
                    while read < leaves_after && matches!(next(&reader).await, Next::Piece(_)) {
                        read += 1;
                    }
                    (leaves_after == usize::MAX).then_some(read)
                })
            })
            .collect();
        let feed = rig.feed;
        tokio::spawn(async move {
            for _ in 0..40 {
                feed.send(Bytes::from_static(b"x")).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        drop(rig.first);
        for task in tasks {
            let read = tokio::time::timeout(std::time::Duration::from_secs(10), task).await;
            assert!(matches!(read.expect("nobody waits for ever").unwrap(), None | Some(40)));
        }
    }
}

#[tokio::test]
async fn a_thousand_who_read_nothing_hold_one_buffer_each_call_and_nobody_up() {
    let shares = Arc::new(Shares::default());
    let mut leaders = Vec::new();
    let mut followers = Vec::new();
    for number in 0..1000 {
        match shares.enter(KEY, &number.to_string()) {
            super::Entry::Lead(leader) => {
                let (feed, answering, _) = answer();
                leaders.push((feed, leader.answer(answering).await.into_body()));
            }
            super::Entry::Follow(follower) => followers.push(follower),
        }
    }
    assert_eq!((leaders.len(), followers.len()), (4, 996), "256 callers share a call");
    let piece = Bytes::from(vec![b'x'; 4096]);
    for (feed, body) in &mut leaders {
        for _ in 0..200 {
            feed.send(piece.clone()).await.unwrap();
            body.frame().await.unwrap().unwrap();
        }
    }
    let kept: Vec<usize> = followers.iter().map(|follower| follower.kept_bytes()).collect();
    assert!(kept.iter().all(|bytes| *bytes <= MAX_REPLAY_BYTES), "{:?}", kept.iter().max());
}

/// What a reader of a stream gets at its end: text, or a connection that breaks.
async fn last(body: &mut Body) -> Result<String, ()> {
    let mut last = Err(());
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => last = Ok(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()),
            Err(_) => return Err(()),
        }
    }
    last
}

#[tokio::test]
async fn who_falls_behind_is_told_in_the_form_that_he_reads_and_never_inside_an_event() {
    for (form, first, expected) in [
        (Form::Chat, "data: {}\n\n", Some("data: {\"error\":{")),
        (Form::Typed, "data: {}\n\n", Some("event: error\ndata: {\"type\":\"error\"")),
        (Form::Chat, "data: {\"a part of an event", None),
    ] {
        let shares = Arc::new(Shares::default());
        let (shared, reader) = Shared::begin(shares, Key { hash: [7; 32], form }, "leader");
        let quick = Reader::join(&shared).unwrap();
        let (feed, answering, _) = answer();
        let answering = async move {
            let mut response = answering.await;
            response.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
            response
        };
        let mut slow = Leader::new(reader).answer(answering).await.into_body();
        feed.send(Bytes::from(first)).await.unwrap();
        assert_eq!(slow.frame().await.unwrap().unwrap().into_data().unwrap(), first);
        assert_eq!(next(&quick).await, piece(first));
        for _ in 0..30 {
            feed.send(Bytes::from(vec![b'x'; 10_000])).await.unwrap();
            next(&quick).await;
        }
        let told = last(&mut slow).await;
        match expected {
            Some(expected) => assert!(told.as_ref().is_ok_and(|told| told.starts_with(expected)), "{told:?}"),
            None => assert!(told.is_err(), "{told:?}"),
        }
    }
}
