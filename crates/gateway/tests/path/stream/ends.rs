//! However a stream ends, its caller is told the truth, and so are the books.

use std::time::Duration;

use bytes::Bytes;
use mainstay_base::{Class, Usd, record::Outcome, snapshot::CallPolicy};

use super::{
    DONE, OPENING, Player, STOP, Script, Step, USAGE, WITH_USAGE, asking, last_event, said, send, setup,
};

#[tokio::test]
async fn a_stream_passes_as_it_came_and_its_usage_is_booked() {
    let stream = [OPENING, &said("hello"), STOP, USAGE, DONE].concat();
    let player = Player::streaming(vec![send(&stream)]).await;
    let mut rig = setup(&[&player], CallPolicy::default()).start().await;
    assert_eq!(rig.got(asking(&rig, WITH_USAGE)).await.text(), stream);
    let record = rig.only_record().await;
    assert_eq!((record.outcome, record.streamed, record.status), (Outcome::Ok, true, 200));
    assert_eq!(
        (record.input_tokens, record.output_tokens, record.total_tokens),
        (Some(30), Some(10), Some(40))
    );
    assert_eq!((record.cost, record.events, record.bytes_out), (Some(Usd(40)), 4, stream.len() as u64));
    assert!(record.first_token_us.unwrap() <= record.first_byte_us.unwrap());
    let [attempt] = record.attempts.as_slice() else { panic!("{:?}", record.attempts) };
    assert_eq!((attempt.class, attempt.output_tokens, attempt.is_cost_estimated), (None, Some(10), false));
    assert_eq!(rig.gateway.stats().settled, 1);

    // Who did not ask for the usage does not get it; the books have it all the same.
    assert_eq!(rig.got(asking(&rig, "")).await.text(), stream.replace(USAGE, ""));
    assert_eq!(rig.record().await.output_tokens, Some(10));
    let asked = String::from_utf8(player.server.requests()[1].body().to_vec()).unwrap();
    assert!(asked.contains("\"include_usage\":true"), "{asked}");
}

#[tokio::test]
async fn a_cut_ends_with_the_usage_so_far_and_one_error() {
    let before = [OPENING.to_owned(), said("hello, this is it")].concat();
    for (steps, class, status) in [
        (vec![send(&before), Step::Gate, send(&STOP[..40]), Step::Cut], Class::Cut, "upstream"),
        (vec![send(&before), Step::Gate], Class::Cut, "upstream"),
        (vec![send(&before), Step::Gate, Step::Silence], Class::Stall, "unavailable"),
    ] {
        let player = Player::streaming(steps).await;
        player.open_gate();
        let mut setup = setup(&[&player], CallPolicy::default());
        shorten_idle(&mut setup);
        let mut rig = setup.start().await;
        let got = rig.got(asking(&rig, WITH_USAGE)).await;
        let rest = got.text().strip_prefix(&before).unwrap_or_else(|| panic!("{}", got.text()));
        let (usage, error) = rest.split_once("\n\n").unwrap();
        let usage = last_event(usage);
        assert_eq!(usage["usage"]["mainstay_estimated"], true);
        assert_eq!(usage["usage"]["completion_tokens"], 5);
        let error = last_event(error);
        assert_eq!(
            (&error["error"]["code"], &error["error"]["type"]),
            (&class.as_str().into(), &"upstream_error".into())
        );
        assert!(
            !rest.contains("[DONE]") && rest.ends_with("\n\n") && rest.matches("\n\n").count() == 2,
            "{rest}"
        );
        let record = rig.only_record().await;
        assert_eq!((record.outcome, record.kind.unwrap().as_str()), (Outcome::Cut, status));
        assert_eq!(record.attempts[0].class, Some(class));
        assert_eq!((record.output_tokens, record.attempts[0].is_cost_estimated), (Some(5), true));
        assert_eq!(record.cost, record.total_tokens.map(|tokens| Usd(tokens as i64)));
        assert_eq!(rig.gateway.stats().settled_early, 1);
    }
}

fn shorten_idle(setup: &mut crate::rig::Setup) {
    for model in setup.snapshot.model.models.values_mut() {
        let model = std::sync::Arc::make_mut(model);
        for target in &mut model.targets {
            std::sync::Arc::make_mut(&mut target.provider).timeouts.idle = Duration::from_millis(150);
        }
    }
}

#[tokio::test]
async fn an_error_inside_is_told_in_our_words() {
    let error = "data: {\"error\":{\"message\":\"sk-p0 spent\",\"type\":\"server_error\",\"code\":\"server_error\"}}\n\n";
    let before = [OPENING.to_owned(), said("hel")].concat();
    let player = Player::streaming(vec![send(&before), Step::Gate, send([error, DONE].concat())]).await;
    player.open_gate();
    let mut rig = setup(&[&player], CallPolicy::default()).start().await;
    let got = rig.got(asking(&rig, "")).await;
    let error = got.text().strip_prefix(&before).unwrap();
    assert!(
        error.starts_with("data: {\"error\":") && !error.contains("sk-p0") && !error.contains("DONE"),
        "{error}"
    );
    let record = rig.only_record().await;
    assert_eq!(record.outcome, Outcome::Cut);
    assert!(record.error.unwrap().contains("in band"));
}

#[tokio::test]
async fn an_end_without_its_last_word_gets_one() {
    let stream = [OPENING, &said("hello"), STOP].concat();
    for steps in [vec![send(&stream)], vec![send(&stream), Step::Gate, Step::Cut]] {
        let player = Player::streaming(steps).await;
        player.open_gate();
        let mut rig = setup(&[&player], CallPolicy::default()).start().await;
        assert_eq!(rig.got(asking(&rig, "")).await.text(), [&stream, DONE].concat());
        let record = rig.only_record().await;
        assert_eq!((record.outcome, record.attempts[0].is_cost_estimated), (Outcome::Ok, true));
    }
}

#[tokio::test]
async fn a_provider_that_never_hangs_up_does_not_hold_its_caller() {
    let stream = [OPENING, &said("hello"), STOP, DONE].concat();
    let player = Player::streaming(vec![send(&stream), Step::Silence]).await;
    let mut rig = setup(&[&player], CallPolicy::default()).start().await;
    let begun = std::time::Instant::now();
    assert_eq!(rig.got(asking(&rig, "")).await.text(), stream);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(rig.only_record().await.outcome, Outcome::Ok);
    player.nobody_listens().await;
}

/// The property over sockets; `stream::tests::cuts` has it a hundred thousand times without.
#[tokio::test]
async fn a_hundred_cuts_anywhere_lose_nothing_and_double_nothing() {
    let events =
        [OPENING.to_owned(), said("Hel"), said("lo "), said("wörld 🦀"), STOP.to_owned(), DONE.to_owned()];
    let stream = events.concat();
    let cuts: Vec<usize> = (0..100).map(|number| number * 7919 % stream.len()).collect();
    let scripts = cuts.iter().enumerate().map(|(number, at)| {
        let bytes = Bytes::copy_from_slice(&stream.as_bytes()[..*at]);
        let size = [1 << 20, 97, 31, 11][number % 4];
        let pieces = bytes.chunks(size).map(|piece| Step::Send(bytes.slice_ref(piece)));
        Script::Stream(pieces.chain([Step::Cut]).collect())
    });
    let player = Player::start(scripts.collect()).await;
    let mut setup = setup(&[&player], CallPolicy { max_attempts: 1, ..CallPolicy::default() });
    // A hundred failures in a row would open it.
    setup.snapshot.model.breaker.consecutive = u32::MAX;
    setup.snapshot.model.breaker.min_calls = u32::MAX;
    let rig = setup.start().await;
    for at in cuts {
        let got = rig.got(asking(&rig, "")).await;
        let mut whole = String::new();
        let mut count = 0;
        for event in &events {
            if whole.len() + event.len() > at {
                break;
            }
            whole.push_str(event);
            count += 1;
        }
        match count {
            // What a cut connection did not deliver any more is less, never other.
            0 | 1 => assert!(got.status == 502, "cut at {at}: {}", got.text()),
            2..=4 => {
                let shown = got.text().split("data: {\"error\"").next().unwrap();
                assert!(
                    whole.starts_with(shown) && got.status == 200 || got.status == 502,
                    "cut at {at}: {}",
                    got.text()
                );
                assert_eq!(got.text().matches("\"error\"").count(), 1, "cut at {at}");
            }
            _ => {
                let is_whole = got.text() == events.concat();
                let is_cut = got.text().matches("{\"error\"").count() == 1;
                assert!(is_whole != is_cut, "cut at {at}: {}", got.text());
            }
        }
    }
}
