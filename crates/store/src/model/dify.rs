//! What was read of a Dify: items, and what is counted of them.

use std::sync::Arc;

use mainstay_base::Micros;

/// One run, message, trigger or feedback. Its place among others of its kind is (`created_at`, `id`), which never change.
#[derive(Clone, Debug, PartialEq)]
pub struct DifyItem {
    pub id: String,
    pub created_at: Micros,
    pub app_id: String,
    /// Dify's word.
    pub status: String,
    /// What kind of failure it is; empty for none.
    pub class: String,
    /// When to look again at one that is not at its end; `None`: it is, and is counted.
    pub look_at: Option<Micros>,
    /// JSON.
    pub body: String,
    /// What it adds to minutes, once, when it has come to its end.
    pub adds: Vec<DifyAdd>,
}

/// Labels of what is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct DifySeries {
    /// Made from the labels by who counts: the same labels, the same number.
    pub id: i64,
    /// `run`, `node`, `message`, `trigger`, `feedback`.
    pub kind: String,
    pub app_id: String,
    pub mode: String,
    /// The endpoint or what else made it: `service-api`, `web-app`, `debugging`, `webhook`.
    pub origin: String,
    pub version: String,
    pub node_type: String,
    pub provider: String,
    pub model: String,
    pub status: String,
    pub class: String,
    pub currency: String,
}

impl DifySeries {
    /// With the number that its labels make.
    pub fn numbered(mut self) -> DifySeries {
        let labels = [
            &self.kind,
            &self.app_id,
            &self.mode,
            &self.origin,
            &self.version,
            &self.node_type,
            &self.provider,
            &self.model,
            &self.status,
            &self.class,
            &self.currency,
        ];
        let mut hasher = blake3::Hasher::new();
        for label in labels {
            hasher.update(label.as_bytes()).update(&[0]);
        }
        let mut number = [0; 8];
        number.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        self.id = i64::from_be_bytes(number);
        self
    }
}

/// What one item adds to one minute of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct DifyAdd {
    pub series: Arc<DifySeries>,
    pub at: Micros,
    pub took_us: Option<i64>,
    pub wait_us: Option<i64>,
    pub tokens: i64,
    pub input_tokens: i64,
    pub output_tokens: i64,
    pub price_nanos: i64,
}

/// How far a kind was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DifyCursor {
    /// Grows with each batch; 0: none was taken.
    pub sequence: i64,
    pub at: Micros,
    pub id: String,
    pub updated_at: Micros,
}

#[derive(Clone, Debug)]
pub struct DifyBatch {
    pub source: String,
    pub kind: &'static str,
    /// The sequence that this batch was read after.
    pub after: i64,
    /// Where reading goes on; `None`: where it did.
    pub next: Option<(Micros, String)>,
    pub items: Arc<[DifyItem]>,
    /// Series that may not be known yet.
    pub series: Arc<[Arc<DifySeries>]>,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DifyTaken {
    pub sequence: i64,
    /// Items that were not known.
    pub new: u64,
    /// Items that came to their end, and are counted now.
    pub counted: u64,
}

/// A series over a span of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DifyTotal {
    pub series: DifySeries,
    pub count: i64,
    pub took_us: i64,
    pub waits: i64,
    pub wait_us: i64,
    pub tokens: i64,
    pub input_tokens: i64,
    pub output_tokens: i64,
    pub price_nanos: i64,
    pub sketch: Sketch,
}

/// What was counted of a series in one minute or hour.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DifyCounted {
    /// Minutes or hours since 1970.
    pub time: i64,
    pub series: i64,
    pub count: i64,
    pub took: Sketch,
    /// Of those whose wait is known and was counted by this version.
    pub wait: Sketch,
}

/// Which items to list, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DifyFilter {
    pub kind: String,
    pub app_id: Option<String>,
    pub class: Option<String>,
    /// Of every class, but for none.
    pub failed_only: bool,
    pub since: Option<Micros>,
    /// 0: as many as one list gives.
    pub limit: u32,
}

/// An item as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DifyListed {
    pub kind: String,
    pub id: String,
    pub created_at: Micros,
    pub app_id: String,
    pub status: String,
    pub class: String,
    pub is_open: bool,
    pub body: String,
}

/// Something that has no history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DifyState {
    pub name: String,
    pub at: Micros,
    pub body: String,
}

/// Durations in buckets of which each is 2^(1/20) times as wide as the one before: whatever is merged, a quantile is at
/// most 1.8 % away from the true one, between 64 µs and 38 hours. It has at most 621 buckets, 10 KB; durations within one
/// power of ten, as those of one app are, fill at most 67 of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sketch {
    /// (bucket, count), ascending by bucket.
    buckets: Vec<(u16, i64)>,
}

const PER_OCTAVE: f64 = 20.0;
/// As powers of two, in microseconds.
const SHORTEST: f64 = 6.0;
const LONGEST: f64 = 37.0;
/// Before the buckets, since they are so narrow; what was written before has [`COARSE`] to a power of two, and no mark.
const MARK: &str = "20;";
const COARSE: u16 = 4;

impl Sketch {
    pub fn add(&mut self, took_us: i64) {
        self.put(bucket(took_us), 1);
    }

    pub fn merge(&mut self, other: &Sketch) {
        for (bucket, count) in &other.buckets {
            self.put(*bucket, *count);
        }
    }

    pub fn count(&self) -> i64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// How many took no longer than this; the bucket in which it lies counts when its middle does.
    pub fn at_most(&self, took_us: i64) -> i64 {
        let within = self.buckets.iter().take_while(|(bucket, _)| middle(*bucket) <= took_us);
        within.map(|(_, count)| count).sum()
    }

    /// In microseconds; `None` of nothing. `share` is 0.95 for the 95th percentile.
    pub fn quantile(&self, share: f64) -> Option<i64> {
        let count = self.count();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            reason = "counts are below 2^52"
        )]
        let rank = ((count as f64 * share).ceil() as i64).max(1);
        let mut seen = 0;
        let found = self.buckets.iter().find(|(_, count)| {
            seen += count;
            seen >= rank
        });
        found.map(|(bucket, _)| middle(*bucket))
    }

    /// `20;412:3,413:9`; nothing of nothing.
    pub(crate) fn text(&self) -> String {
        if self.buckets.is_empty() {
            return String::new();
        }
        let parts: Vec<String> =
            self.buckets.iter().map(|(bucket, count)| format!("{bucket}:{count}")).collect();
        format!("{MARK}{}", parts.join(","))
    }

    pub(crate) fn parse(text: &str) -> Option<Sketch> {
        let mut sketch = Sketch::default();
        let (text, place): (&str, fn(u16) -> Option<u16>) = match text.strip_prefix(MARK) {
            Some(text) => (text, Some),
            None => (text, narrow),
        };
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (bucket, count) = part.split_once(':')?;
            sketch.put(place(bucket.parse().ok()?)?, count.parse().ok()?);
        }
        Some(sketch)
    }

    fn put(&mut self, bucket: u16, count: i64) {
        match self.buckets.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(at) => self.buckets[at].1 += count,
            Err(at) => self.buckets.insert(at, (bucket, count)),
        }
    }
}

fn bucket(took_us: i64) -> u16 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the logarithm of a positive i64 is between 0 and 63"
    )]
    let bucket = ((took_us.max(1) as f64).log2().clamp(SHORTEST, LONGEST) * PER_OCTAVE).floor() as u16;
    bucket
}

/// The one in the middle of a wide one.
fn narrow(coarse: u16) -> Option<u16> {
    let each = 5;
    debug_assert_eq!(f64::from(COARSE * each), PER_OCTAVE);
    coarse.checked_mul(each)?.checked_add(each / 2)
}

/// The geometric middle.
fn middle(bucket: u16) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "buckets come from positive i64")]
    let middle = ((f64::from(bucket) + 0.5) / PER_OCTAVE).exp2().round() as i64;
    middle
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_within_two_percent_of_the_true_one_and_merging_changes_nothing() {
        let mut seed: u64 = 7;
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            i64::try_from(seed >> 33).unwrap_or(0) % 1_000_000 * (1 + i64::try_from(seed >> 60).unwrap_or(0))
                + 10
        };
        let mut all = Vec::new();
        let (mut whole, mut parts) = (Sketch::default(), Sketch::default());
        for _ in 0..50 {
            let mut part = Sketch::default();
            for _ in 0..200 {
                let took = next();
                all.push(took);
                whole.add(took);
                part.add(took);
            }
            parts.merge(&Sketch::parse(&part.text()).unwrap());
        }
        assert_eq!(whole, parts);
        all.sort_unstable();
        for share in [0.01, 0.5, 0.9, 0.95, 0.99, 1.0] {
            let rank = (all.len() as f64 * share).ceil() as usize;
            let (exact, told) = (all[rank - 1] as f64, whole.quantile(share).unwrap() as f64);
            assert!((told / exact - 1.0).abs() <= 0.0176, "{share}: {told} for {exact}");
        }
        assert_eq!(Sketch::default().quantile(0.5), None);
        let median = whole.quantile(0.5).unwrap();
        assert!(whole.at_most(median) >= whole.count() / 2 && whole.at_most(median - 1) <= whole.count() / 2);
        assert_eq!((whole.at_most(0), whole.at_most(i64::MAX)), (0, whole.count()));
    }

    #[test]
    fn a_threshold_is_judged_to_within_two_percent() {
        for threshold in [700, 30_000, 1_000_000, 30_000_000, 86_400_000_000] {
            let of = |took: f64| {
                let mut sketch = Sketch::default();
                sketch.add((threshold as f64 * took) as i64);
                sketch.at_most(threshold)
            };
            assert_eq!((of(0.982), of(1.018)), (1, 0), "{threshold}");
        }
    }

    #[test]
    fn what_was_kept_in_wide_buckets_is_read_and_any_sketch_is_bounded() {
        let old = Sketch::parse("80:3,81:9").unwrap();
        assert_eq!((old.count(), old.quantile(0.2)), (12, Some(middle(402))));
        let wide = (80.5_f64 / 4.0).exp2();
        assert!((old.quantile(0.2).unwrap() as f64 / wide - 1.0).abs() < 0.001);
        assert_eq!(Sketch::parse(&old.text()), Some(old));
        assert_eq!(Sketch::parse(""), Some(Sketch::default()));
        for wrong in ["20;a:1", "20;1", "1:x", "60000:1", "21;1:1"] {
            assert_eq!(Sketch::parse(wrong), None, "{wrong}");
        }
        let mut all = Sketch::default();
        (0..63_000).for_each(|step| all.add((f64::from(step) / 1_000.0).exp2() as i64));
        assert_eq!(all.buckets.len(), 621);
    }
}
