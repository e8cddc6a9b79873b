//! Any bytes, cut anywhere, come out of the decoder unchanged, and the same as when they come in one piece.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mainstay_wire::sse::Decoder;

const MAX_EVENT_BYTES: usize = 512;

fuzz_target!(|data: &[u8]| {
    let Some((seed, stream)) = data.split_first() else { return };
    let whole = decode(&[Bytes::copy_from_slice(stream)]);
    let step = usize::from(*seed).max(1);
    let pieces: Vec<Bytes> = stream.chunks(step).map(Bytes::copy_from_slice).collect();
    let cut = decode(&pieces);
    assert_eq!(whole.concat(), stream, "the relay changed bytes");
    assert_eq!(cut.concat(), stream, "the relay changed bytes when they came in pieces of {step}");
    // An event is given away at its CR, so a LF cut off from it begins the next frame; and an event over the limit
    // is given away in pieces as they come. In both cases the bytes still are the same, the cuts need not be.
    let fits = |frames: &[Vec<u8>]| frames.iter().all(|frame| frame.len() <= MAX_EVENT_BYTES);
    if !stream.contains(&b'\r') && fits(&whole) && fits(&cut) {
        assert_eq!(whole, cut, "pieces of {step} gave other events");
    }
});

fn decode(pieces: &[Bytes]) -> Vec<Vec<u8>> {
    let mut decoder = Decoder::new(MAX_EVENT_BYTES);
    let mut frames = Vec::new();
    for piece in pieces {
        decoder.push(piece.clone());
        while let Some(frame) = decoder.next_frame() {
            let _ = (frame.event(), frame.data_text(), frame.fields().count());
            frames.push(frame.into_raw().to_vec());
        }
        assert!(
            decoder.held_bytes() <= MAX_EVENT_BYTES + piece.len(),
            "the decoder holds more than an event"
        );
    }
    let rest = decoder.finish();
    if !rest.is_empty() {
        frames.push(rest.to_vec());
    }
    frames
}
