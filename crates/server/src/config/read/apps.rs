//! Whom the app path stands in front of: `[[upstream]]`, `[[app]]`, `[app_path]`.

use std::sync::Arc;

use mainstay_base::{
    AppMode,
    snapshot::{Target, Timeouts, Upstream},
};

use super::{EMBEDDED, http_url, timeouts};
use crate::config::{
    App,
    reader::Reader,
    secrets::{self, Follow},
};

pub(super) fn upstream(reader: &Reader<'_>, name: String) -> Option<Arc<Upstream>> {
    if name == EMBEDDED {
        reader.report("name", format!("{EMBEDDED} is the name of the embedded engine"));
    }
    reader.require("base_url");
    let base_url = reader.parsed("base_url", |text| {
        let url = http_url(text)?;
        match url.ends_with("/v1") {
            true => Err("ends in /v1; give the address without it, as http://dify-api:5001".to_owned()),
            false => Ok(url),
        }
    });
    let timeouts = timeouts(reader, Timeouts::default());
    Some(Arc::new(Upstream { name, target: Target::Http { base_url: base_url? }, timeouts }))
}

pub(super) fn app(
    reader: &Reader<'_>,
    name: String,
    upstreams: &[Arc<Upstream>],
    follow: Follow,
) -> Option<App> {
    reader.require("upstream");
    let upstream = reader.parsed("upstream", |text| find_upstream(upstreams, text));
    let key = secrets::required(reader, "key", follow);
    reader.require("mode");
    let mode = reader.parsed("mode", |text| {
        let modes = AppMode::ALL.map(AppMode::as_str).join(", ");
        AppMode::parse(text).ok_or_else(|| format!("is none of {modes}"))
    });
    let durable = reader.flag("durable").unwrap_or(true);
    let idempotent = reader.flag("idempotent").unwrap_or(false);
    let standby = reader.text("standby");
    Some(App { name, upstream: upstream?, key: key?, mode: mode?, durable, idempotent, standby })
}

pub(super) fn app_path(reader: Reader<'_>, upstreams: &[Arc<Upstream>]) -> Option<Arc<Upstream>> {
    let upstream = reader.parsed("unknown_keys_to", |text| find_upstream(upstreams, text));
    reader.done();
    upstream
}

fn find_upstream(upstreams: &[Arc<Upstream>], name: &str) -> Result<Arc<Upstream>, String> {
    let found = upstreams.iter().find(|upstream| upstream.name == name);
    found.cloned().ok_or_else(|| format!("names the upstream {name}, which is not (rightly) declared"))
}
