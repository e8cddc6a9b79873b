//! Streams as Dify's OpenAI-compatible plugin reads them: cut at LF LF, comments skipped, anything that is not JSON
//! taken for the end, usage from the last chunk that has some.

use mainstay_base::snapshot::CallPolicy;

use super::{DONE, OPENING, Player, STOP, Step, USAGE, WITH_USAGE, asking, said, send, setup};

/// What the plugin makes of a stream.
#[derive(Debug, Default, PartialEq)]
struct Read {
    text: String,
    total_tokens: Option<u64>,
    finish: Option<String>,
    /// It raised.
    error: Option<String>,
    /// It met something that is not JSON, and took it for the end.
    gave_up: bool,
}

fn plugin_reads(stream: &str) -> Read {
    let mut read = Read::default();
    for piece in stream.split("\n\n").map(str::trim).filter(|piece| !piece.is_empty()) {
        if piece.starts_with(':') {
            continue;
        }
        let data = piece.strip_prefix("data:").unwrap_or(piece).trim_start();
        if data == "[DONE]" {
            continue;
        }
        let Ok(chunk) = serde_json::from_str::<serde_json::Value>(data) else {
            read.gave_up = true;
            return read;
        };
        if !chunk["error"].is_null() && chunk["choices"].is_null() {
            read.error = Some(chunk["error"]["code"].to_string());
            return read;
        }
        read.total_tokens = chunk["usage"]["total_tokens"].as_u64().or(read.total_tokens);
        let choice = &chunk["choices"][0];
        read.text.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
        read.finish = choice["finish_reason"].as_str().map(str::to_owned).or(read.finish);
    }
    read
}

#[tokio::test]
async fn the_plugin_reads_whatever_a_provider_sends() {
    let plain = [OPENING, &said("Hel"), &said("lo\n\n"), STOP, USAGE, DONE].concat();
    let whole = Read {
        text: "Hello\n\n".to_owned(),
        total_tokens: Some(40),
        finish: Some("stop".to_owned()),
        ..Read::default()
    };
    for stream in [
        plain.clone(),
        plain.replace('\n', "\r\n"),
        format!(": OPENROUTER PROCESSING\n\n{}", plain.replace(STOP, &format!(": ping\n\n{STOP}"))),
        plain.replace("data: {", "event: chunk\ndata: {"),
        plain.replace(STOP, &format!("data: ping\n\n{STOP}")),
        plain.replace(DONE, ""),
    ] {
        for size in [7, 100_000] {
            let pieces = stream.as_bytes().chunks(size).map(|piece| Step::Send(piece.to_vec().into()));
            let player = Player::streaming(pieces.collect()).await;
            let rig = setup(&[&player], CallPolicy::default()).start().await;
            let got = rig.got(asking(&rig, WITH_USAGE)).await;
            assert_eq!(plugin_reads(got.text()), whole, "pieces of {size} of {stream:?}");
        }
    }
}

#[tokio::test]
async fn the_plugin_raises_at_a_cut_and_always_has_usage() {
    let begun = [OPENING, &said("Hel")].concat();
    let player = Player::streaming(vec![send(&begun), Step::Gate, send(&STOP[..30]), Step::Cut]).await;
    player.open_gate();
    let rig = setup(&[&player], CallPolicy::default()).start().await;
    let read = plugin_reads(rig.got(asking(&rig, WITH_USAGE)).await.text());
    assert_eq!((read.error.as_deref(), read.gave_up), (Some("\"cut\""), false));
    assert!(read.total_tokens.is_some());

    let silent = Player::streaming(vec![send([&begun, STOP, DONE].concat())]).await;
    let rig = setup(&[&silent], CallPolicy::default()).start().await;
    let read = plugin_reads(rig.got(asking(&rig, WITH_USAGE)).await.text());
    assert!(read.total_tokens.is_some() && read.error.is_none(), "{read:?}");
}
