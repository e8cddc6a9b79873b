//! Who is let in, and what callers are told: `[[admin.token]]`, `[callbacks]`.

use std::net::SocketAddr;

use mainstay_base::Secret;
use mainstay_wire::webhook;

use super::{allowed, named};
use crate::config::{
    AdminToken, Callbacks, Reach,
    reader::Reader,
    secrets::{self, Follow},
};

pub(super) fn admin(reader: Reader<'_>, listener: SocketAddr, follow: Follow) -> Vec<AdminToken> {
    let tokens = named(reader.sections("token"), "name", |reader, name| {
        Some(AdminToken { name, token: secrets::required(reader, "token", follow)? })
    });
    if tokens.is_empty() && !listener.ip().is_loopback() {
        reader.report("token", format!("is missing: {listener} can be reached from other machines"));
    }
    reader.done();
    tokens
}

pub(super) fn callbacks(reader: Reader<'_>, follow: Follow) -> Callbacks {
    let secret = webhook_secret(&reader, follow);
    let reach = Reach { any: false, allow: allowed(&reader, "allow") };
    reader.done();
    Callbacks { secret, reach }
}

pub(super) fn webhook_secret(reader: &Reader<'_>, follow: Follow) -> Option<Secret> {
    let secret = secrets::read(reader, "secret", follow)?;
    if follow == Follow::Yes
        && let Err(error) = webhook::Key::parse(secret.expose())
    {
        reader.report("secret", error.to_string());
    }
    Some(secret)
}
