//! By what a record is counted, and how its series is found without an allocation.

use std::hash::Hasher;

use mainstay_base::{AppMode, Blame, Record, record::Path};
use mainstay_store::model::SliSeries;

use super::super::endpoint;

/// Longest label.
pub(super) const LABEL_CHARS: usize = 120;
pub(super) const OTHER: &str = "other";

/// What a record is counted by, borrowed from it.
#[derive(Clone, Copy)]
pub(super) struct Labels<'a> {
    path: &'static str,
    app_id: &'a str,
    app: &'a str,
    endpoint: &'static str,
    model: &'a str,
    provider: &'a str,
    version: &'a str,
}

impl<'a> Labels<'a> {
    pub(super) fn of(record: &'a Record, blame: Option<Blame>) -> Labels<'a> {
        let (endpoint, version) = endpoint::of(&record.method, &record.target);
        let text = |field: &'a Option<String>| label(field.as_deref().unwrap_or_default());
        let (path, model, provider) = match record.path {
            Path::App => ("app", "", ""),
            Path::Model => {
                let last = record.attempts.last().map(|attempt| attempt.upstream.as_str());
                let provider = label(record.upstream.as_deref().or(last).unwrap_or_default());
                // A name that nobody answered to is the caller's word.
                let is_word = provider.is_empty() && blame == Some(Blame::Client);
                ("model", if is_word { "" } else { text(&record.model) }, provider)
            }
        };
        let version = if blame == Some(Blame::Client) { "" } else { label(version) };
        Labels {
            path,
            app_id: text(&record.app_id),
            app: text(&record.app),
            endpoint,
            model,
            provider,
            version,
        }
    }

    /// FNV-1a of 64 bits; the name of an app goes with its id.
    pub(super) fn hash(&self) -> u64 {
        let Labels { path, app_id, app: _, endpoint, model, provider, version } = *self;
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for label in [path, app_id, endpoint, model, provider, version] {
            for byte in label.bytes().chain([0xff]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        // The map takes the upper bits too.
        hash ^ (hash >> 29)
    }

    /// With what is open-ended left out.
    pub(super) fn together(self) -> Labels<'static> {
        Labels {
            path: self.path,
            app_id: OTHER,
            app: OTHER,
            endpoint: self.endpoint,
            model: OTHER,
            provider: OTHER,
            version: "",
        }
    }

    pub(super) fn series(&self, mode_of: &dyn Fn(&str) -> Option<AppMode>) -> SliSeries {
        let Labels { path, app_id, app, endpoint, model, provider, version } = *self;
        SliSeries {
            id: 0,
            path: path.to_owned(),
            app_id: app_id.to_owned(),
            app: app.to_owned(),
            mode: if path == "app" {
                mode_of(app_id).map_or("", AppMode::as_str).to_owned()
            } else {
                String::new()
            },
            endpoint: endpoint.to_owned(),
            model: model.to_owned(),
            provider: provider.to_owned(),
            version: version.to_owned(),
        }
    }

    /// The name of an app goes with its id, and so does its mode.
    pub(super) fn are_of(&self, series: &SliSeries) -> bool {
        let Labels { path, app_id, app: _, endpoint, model, provider, version } = *self;
        let SliSeries { id: _, path: of_path, app_id: of_app, endpoint: of_endpoint, .. } = series;
        (path, app_id, endpoint) == (of_path, of_app, of_endpoint)
            && (model, provider, version) == (&*series.model, &*series.provider, &*series.version)
    }
}

/// What is kept of a word: PostgreSQL cannot keep a NUL.
fn label(text: &str) -> &str {
    if text.contains('\0') {
        return OTHER;
    }
    match text.char_indices().nth(LABEL_CHARS) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

/// Keys are hashes already.
#[derive(Default)]
pub(super) struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) | u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
