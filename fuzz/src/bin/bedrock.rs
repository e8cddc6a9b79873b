//! Any bytes, cut anywhere, are the same frames and the same steps as in one piece; and a frame that is right in itself
//! is read whatever its payload.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_wire::llm::{
    Delta,
    bedrock::{
        self, StreamReader,
        frames::{Corrupt, Decoder, encode},
    },
};

const MAX_FRAME_BYTES: usize = 4096;

fuzz_target!(|data: &[u8]| {
    let Some((seed, stream)) = data.split_first() else { return };
    let _ = bedrock::read_answer(stream);
    let step = usize::from(*seed).max(1);
    assert_eq!(read(stream, stream.len().max(1)), read(stream, step), "pieces of {step} read otherwise");

    // The fuzzer does not guess checksums: the same bytes as the payload of a frame that is right.
    let events =
        ["messageStart", "contentBlockStart", "contentBlockDelta", "messageStop", "metadata", "xException"];
    let framed = encode(events[usize::from(*seed) % events.len()], stream);
    if framed.len() <= MAX_FRAME_BYTES {
        let (deltas, corrupt) = read(&framed, step);
        assert_eq!(corrupt, None);
        assert!(!deltas.is_empty(), "the first frame says something, if only that the answer begins");
    }
});

fn read(stream: &[u8], step: usize) -> (Vec<Delta>, Option<Corrupt>) {
    let mut decoder = Decoder::new(MAX_FRAME_BYTES);
    let mut reader = StreamReader::default();
    let mut deltas = Vec::new();
    for piece in stream.chunks(step) {
        decoder.push(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => deltas.extend(reader.read(Some(frame.event()), frame.payload())),
                Ok(None) => break,
                Err(corrupt) => return (deltas, Some(corrupt)),
            }
        }
        assert!(decoder.held_bytes() <= MAX_FRAME_BYTES + piece.len(), "the decoder holds more than a frame");
    }
    (deltas, None)
}
