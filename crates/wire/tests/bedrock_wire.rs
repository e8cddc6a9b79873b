//! What must hold for Bedrock's binary stream and its signatures, whatever comes.

use bytes::Bytes;
use mainstay_wire::llm::{
    Delta,
    bedrock::{
        StreamReader,
        frames::{Corrupt, Decoder, Frame, encode},
        sign::{Credentials, Unsigned, sign},
    },
    gemini,
};
use proptest::prelude::*;
use serde::Deserialize;

const LIMIT: usize = 64 * 1024;

fn frames(pieces: &[&[u8]], limit: usize) -> (Vec<Frame>, Option<Corrupt>, usize) {
    let mut decoder = Decoder::new(limit);
    let mut frames = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(corrupt) => return (frames, Some(corrupt), decoder.held_bytes()),
            }
        }
    }
    (frames, None, decoder.held_bytes())
}

fn deltas(frames: &[Frame]) -> Vec<Delta> {
    let mut reader = StreamReader::default();
    frames.iter().flat_map(|frame| reader.read(Some(frame.event()), frame.payload())).collect()
}

fn pieces<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect()
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let event = prop_oneof![
        Just(("messageStart".to_owned(), r#"{"role":"assistant"}"#.to_owned())),
        "[a-zé\"]{0,8}".prop_map(|text| {
            let text = serde_json::Value::from(text);
            let payload = format!(r#"{{"contentBlockIndex":0,"delta":{{"text":{text}}}}}"#);
            ("contentBlockDelta".to_owned(), payload)
        }),
        Just(("messageStop".to_owned(), r#"{"stopReason":"end_turn"}"#.to_owned())),
        Just(("throttlingException".to_owned(), r#"{"message":"slow down"}"#.to_owned())),
        ("[a-zA-Z:]{0,12}", "\\PC{0,20}"),
    ];
    prop::collection::vec(event, 0..8).prop_map(|events| {
        events.iter().flat_map(|(event, payload)| encode(event, payload.as_bytes())).collect()
    })
}

proptest! {
    #[test]
    fn any_cut_gives_the_same_steps(
        bytes in stream(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let (whole, corrupt, rest) = frames(&[&bytes], LIMIT);
        prop_assert_eq!((corrupt, rest), (None, 0));
        let (cut, ..) = frames(&pieces(&bytes, &cuts), LIMIT);
        prop_assert_eq!(&cut, &whole);
        prop_assert_eq!(deltas(&cut), deltas(&whole));
    }

    #[test]
    fn a_changed_bit_is_found(
        bytes in stream().prop_filter("nothing to change", |bytes| !bytes.is_empty()),
        at in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let (whole, ..) = frames(&[&bytes], LIMIT);
        let mut changed = bytes.clone();
        changed[at.index(bytes.len())] ^= 1 << bit;
        let (read, corrupt, _) = frames(&[&changed], LIMIT);
        prop_assert!(corrupt.is_some());
        // What stands before the change is whole and true.
        prop_assert_eq!(&read[..], &whole[..read.len()]);
    }

    #[test]
    fn any_bytes_are_frames_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        limit in 0..100usize,
    ) {
        let (read, _, held) = frames(&[&bytes], limit);
        let _ = deltas(&read);
        prop_assert!(held <= bytes.len());
    }

    #[test]
    fn any_payload_of_any_event_is_read(event in "[a-zA-Z]{0,12}|contentBlockDelta|contentBlockStart|metadata|\
        messageStop", payload in "\\PC{0,40}|[{}\\[\\]\":,a-z0-9]{0,40}") {
        let _ = StreamReader::default().read(Some(&event), payload.as_bytes());
        let _ = gemini::StreamReader::default().read(None, payload.as_bytes());
        let _ = gemini::read_answer(payload.as_bytes());
    }
}

#[test]
fn a_frame_over_the_limit_is_refused_before_it_is_stored() {
    let frame = encode("contentBlockDelta", &vec![b' '; 5000]);
    let (read, corrupt, held) = frames(&[&frame[..12]], 1000);
    assert_eq!((read.len(), held), (0, 0));
    assert_eq!(corrupt, Some(Corrupt::TooLong { bytes: frame.len(), limit: 1000 }));
}

#[test]
fn nothing_is_read_after_a_corrupt_frame() {
    let mut decoder = Decoder::new(LIMIT);
    decoder.push(b"<html>Service Unavailable</html>");
    assert_eq!(decoder.next_frame(), Err(Corrupt::Prelude));
    decoder.push(&encode("messageStop", b"{}"));
    assert_eq!(decoder.next_frame(), Err(Corrupt::Prelude));
    assert_eq!(decoder.held_bytes(), 0);
}

#[test]
fn lengths_that_cannot_be_are_refused() {
    for (length, headers) in [(0u32, 0u32), (15, 0), (16, 1), (100, u32::MAX)] {
        let mut prelude = [length.to_be_bytes(), headers.to_be_bytes()].concat();
        prelude.extend_from_slice(&crc32fast::hash(&prelude).to_be_bytes());
        prelude.resize(100, 0);
        let (_, corrupt, _) = frames(&[&prelude], LIMIT);
        assert_eq!(corrupt, Some(Corrupt::Length), "{length} {headers}");
    }
}

#[test]
fn a_payload_passes_as_it_came() {
    let (read, ..) = frames(&[&encode("metadata", b"{\"p\": 1}")], LIMIT);
    assert_eq!(read[0].event(), "metadata");
    assert_eq!(read[0].payload(), &Bytes::from_static(b"{\"p\": 1}"));
}

#[derive(Deserialize)]
struct Signed {
    name: String,
    method: String,
    host: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: String,
    at: i64,
    region: String,
    service: String,
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
    authorization: String,
}

/// AWS's published signing test suite, without the cases of services that, as S3, neither normalize a path nor encode it
/// twice; and two calls of Converse that botocore signed.
#[test]
fn signatures_are_those_that_aws_publishes() {
    let rows: Vec<Signed> = include_str!("golden/sigv4/aws.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(rows.len() > 30);
    for row in rows {
        let headers: Vec<(&str, &str)> =
            row.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let unsigned = Unsigned {
            method: &row.method,
            host: &row.host,
            path: &row.path,
            query: &row.query,
            headers: &headers,
            body: row.body.as_bytes(),
            region: &row.region,
            service: &row.service,
        };
        let credentials = Credentials {
            access_key_id: &row.access_key_id,
            secret_access_key: &row.secret_access_key,
            session_token: row.session_token.as_deref(),
        };
        let added = sign(&unsigned, &credentials, row.at);
        let (_, authorization) = added.iter().find(|(name, _)| *name == "authorization").unwrap();
        assert_eq!(authorization, &row.authorization, "{}", row.name);
        let token = added.iter().find(|(name, _)| *name == "x-amz-security-token");
        assert_eq!(token.map(|(_, token)| token), row.session_token.as_ref(), "{}", row.name);
    }
}

proptest! {
    #[test]
    fn anything_can_be_signed(path in "\\PC{0,30}", query in "\\PC{0,30}|[%&=a-f0-9]{0,20}", at in any::<i64>()) {
        let unsigned = Unsigned {
            method: "POST",
            host: "bedrock-runtime.eu-central-1.amazonaws.com",
            path: &path,
            query: &query,
            headers: &[("content-type", "application/json")],
            body: b"{}",
            region: "eu-central-1",
            service: "bedrock",
        };
        let credentials =
            Credentials { access_key_id: "AKIDEXAMPLE", secret_access_key: "secret", session_token: None };
        prop_assert_eq!(sign(&unsigned, &credentials, at).len(), 2);
    }
}
