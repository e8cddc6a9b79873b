//! No byte is lost and none comes twice, wherever a stream is cut and however it arrives: 100,000 seeded cuts.

use bytes::Bytes;
use mainstay_base::snapshot::Dialect;

use super::{
    End, Seen, WANTED, body,
    fixtures::{Fixture, Kind, Laid, anthropic, bedrock, gemini, openai},
    on_a_runtime, seen,
};
use crate::path::stream::Wanted;

const CUTS: u64 = 100_000;
const THREADS: u64 = 2;
const WORDS: [&[&str]; 2] =
    [&["Hel", "lo ", "wörld", "\n\n", "🦀"], &["{\"error\":1}", "data: [DONE]\n\n", "x"]];

/// A stream and what a caller has of it after each number of whole events.
struct Case {
    fixture: Fixture,
    laid: Laid,
    include_usage: bool,
    /// Bytes after so many whole events, without an end.
    prefixes: Vec<Vec<u8>>,
}

/// One seed's choice.
struct Cut<'a> {
    case: &'a Case,
    at: usize,
    end: End,
    chunks: Vec<Bytes>,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for words in WORDS {
        for line_end in ["\n", "\r\n"] {
            for include_usage in [false, true] {
                for fixture in [openai(words), anthropic(words), gemini(words), bedrock(words)] {
                    let laid = fixture.laid(line_end);
                    let prefixes = prefixes(&fixture, &laid, include_usage);
                    cases.push(Case { fixture, laid, include_usage, prefixes });
                }
            }
        }
    }
    cases
}

/// For the same dialect: the events themselves. For others: what the events give when they come one by one, uncut.
fn prefixes(fixture: &Fixture, laid: &Laid, include_usage: bool) -> Vec<Vec<u8>> {
    if fixture.dialect != Dialect::OpenAi {
        return on_a_runtime(converted_prefixes(fixture, laid));
    }
    let mut so_far = Vec::new();
    let mut prefixes = vec![Vec::new()];
    for event in &fixture.events {
        let is_shown = match event.kind {
            Kind::Silent | Kind::Done => false,
            Kind::Usage => include_usage,
            Kind::Opening | Kind::Content | Kind::Finish => true,
        };
        if is_shown {
            so_far.extend_from_slice(format!("{}\n\n", event.text).as_bytes());
        }
        prefixes.push(so_far.clone());
    }
    prefixes
}

async fn converted_prefixes(fixture: &Fixture, laid: &Laid) -> Vec<Vec<u8>> {
    let starts = std::iter::once(0).chain(laid.whole_at.iter().copied());
    let pieces: Vec<Bytes> =
        starts.zip(&laid.whole_at).map(|(from, to)| Bytes::copy_from_slice(&laid.bytes[from..*to])).collect();
    let mut reading = crate::path::stream::Reading::new(&fixture.dialect, &WANTED, body(pieces, End::Polite));
    let mut prefixes = vec![Vec::new()];
    while prefixes.len() <= fixture.events.len() {
        let mut so_far = prefixes.last().cloned().unwrap();
        if let Some(piece) = reading.next().await.unwrap() {
            so_far.extend_from_slice(&piece.bytes);
        }
        prefixes.push(so_far);
    }
    prefixes
}

impl Cut<'_> {
    /// Events that came whole before the cut.
    fn whole_events(&self) -> usize {
        let ends = match self.end {
            End::Lost => &self.case.laid.whole_at,
            End::Polite => &self.case.laid.said_at,
        };
        // What comes after the provider's last word is not looked at.
        ends.iter().filter(|end| **end <= self.at).count()
    }

    fn has(&self, kind: Kind) -> bool {
        self.case.fixture.events[..self.whole_events()].iter().any(|event| event.kind == kind)
    }

    /// The first content was whole only because nothing came after it: then it is known to be all there is before
    /// anything of it went out.
    fn comes_with_its_end(&self) -> bool {
        let first = self.case.fixture.events.iter().position(|event| event.kind == Kind::Content);
        first
            .is_some_and(|first| self.whole_events() == first + 1 && self.at < self.case.laid.whole_at[first])
    }
}

/// What is wrong with what a caller saw, if anything.
fn fault(cut: &Cut<'_>, seen: &Seen) -> Option<String> {
    let has_content = cut.has(Kind::Content) || cut.has(Kind::Finish);
    if !has_content || cut.comes_with_its_end() && !cut.has(Kind::Finish) {
        let is_silent = seen.is_unproved && seen.bytes.is_empty();
        return (!is_silent).then(|| "something was shown of a stream without content".to_owned());
    }
    let expected = &cut.case.prefixes[cut.whole_events()];
    let Some(tail) = seen.bytes.strip_prefix(expected.as_slice()) else {
        return Some(format!(
            "not the whole events before the cut: {}",
            String::from_utf8_lossy(&seen.bytes)
        ));
    };
    let tail = std::str::from_utf8(tail).ok()?;
    let mut frames: Vec<&str> = tail.split_terminator("\n\n").collect();
    let shows_own_usage =
        cut.case.include_usage && !(cut.has(Kind::Usage) && cut.case.fixture.dialect == Dialect::OpenAi);
    if shows_own_usage && !frames.is_empty() && !frames.remove(0).contains("\"usage\":{") {
        return Some(format!("no usage before the end: {tail}"));
    }
    let is_complete = cut.has(Kind::Finish);
    let is_right = match frames.as_slice() {
        ["data: [DONE]"] => is_complete,
        [error] => !is_complete && error.starts_with("data: {\"error\":{"),
        _ => false,
    };
    (!is_right || !tail.ends_with("\n\n")).then(|| format!("a wrong end: {tail}"))
}

/// The splitmix64 generator: small, and the same everywhere.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

fn cut(cases: &[Case], seed: u64) -> Cut<'_> {
    let mut chance = Chance(seed);
    let case = &cases[chance.below(cases.len())];
    let at = chance.below(case.laid.bytes.len() + 1);
    let end = if chance.below(2) == 0 { End::Lost } else { End::Polite };
    // Byte by byte is the slowest, and one in sixteen finds as much.
    let most = if chance.below(16) == 0 { 1 } else { [20, 100, 300, 5000][chance.below(4)] };
    let bytes = Bytes::copy_from_slice(&case.laid.bytes[..at]);
    let mut chunks = Vec::new();
    let mut from = 0;
    while from < at {
        let to = at.min(from + 1 + chance.below(most));
        chunks.push(bytes.slice(from..to));
        from = to;
    }
    Cut { case, at, end, chunks }
}

async fn mainstays(cut: &Cut<'_>) -> Seen {
    let wanted = Wanted { include_usage: cut.case.include_usage, ..WANTED };
    seen(&cut.case.fixture.dialect, &wanted, body(cut.chunks.clone(), cut.end)).await
}

#[test]
fn a_hundred_thousand_cuts_lose_nothing_and_double_nothing() {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let cases = cases();
                on_a_runtime(async {
                    for seed in (thread..CUTS).step_by(THREADS as usize) {
                        let cut = cut(&cases, seed);
                        let seen = mainstays(&cut).await;
                        if let Some(fault) = fault(&cut, &seen) {
                            panic!(
                                "seed {seed}, {:?}, {:?} at {}: {fault}",
                                cut.case.fixture.dialect, cut.end, cut.at
                            );
                        }
                    }
                });
            });
        }
    });
}

/// Relays as many proxies do: bytes as they come, and the end that suits it.
fn twin(cut: &Cut<'_>, real: Seen, mistake: Mistake) -> Seen {
    let error = "data: {\"error\":{}}\n\n";
    let bytes = match mistake {
        Mistake::PassesPartsOfEvents => {
            let raw = cut.chunks.concat();
            [String::from_utf8_lossy(&raw).replace("\r\n", "\n").as_bytes(), error.as_bytes()].concat()
        }
        Mistake::EndsCutsInOrder => {
            String::from_utf8_lossy(&real.bytes).replace("data: {\"error\"", "data: {\"x\"").into_bytes()
        }
        Mistake::ForgetsTheHeldEvents => {
            let first = real.bytes.windows(2).position(|pair| pair == b"\n\n").map_or(0, |at| at + 2);
            real.bytes[first..].to_vec()
        }
        Mistake::SaysTheLastTwice => [real.bytes.as_slice(), real.bytes.as_slice()].concat(),
    };
    Seen { bytes, ..real }
}

#[derive(Clone, Copy, Debug)]
enum Mistake {
    PassesPartsOfEvents,
    EndsCutsInOrder,
    ForgetsTheHeldEvents,
    SaysTheLastTwice,
}

#[test]
fn each_broken_twin_is_caught() {
    let cases = cases();
    for mistake in [
        Mistake::PassesPartsOfEvents,
        Mistake::EndsCutsInOrder,
        Mistake::ForgetsTheHeldEvents,
        Mistake::SaysTheLastTwice,
    ] {
        let caught = (0..200).any(|seed| {
            let cut = cut(&cases, seed);
            let seen = twin(&cut, on_a_runtime(mainstays(&cut)), mistake);
            !seen.bytes.is_empty() && fault(&cut, &seen).is_some()
        });
        assert!(caught, "{mistake:?} was not noticed");
    }
}
