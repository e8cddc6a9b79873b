//! AWS Signature Version 4, as headers.
//!
//! The published crate for it (`aws-sigv4`) brings a runtime with it, so these are two hundred lines of our own, proved
//! by AWS's own test suite. What is not here: signatures in the query, chunked bodies, S3's exception from encoding a
//! path twice.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::super::percent;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Whose signature it is.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    pub access_key_id: &'a str,
    pub secret_access_key: &'a str,
    /// Of temporary credentials.
    pub session_token: Option<&'a str>,
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Credentials({})", self.access_key_id)
    }
}

/// What is signed: exactly what goes out.
#[derive(Clone, Copy, Debug)]
pub struct Unsigned<'a> {
    pub method: &'a str,
    /// With the port where it is not the scheme's own: what the `host` header says.
    pub host: &'a str,
    /// As in the request line, percent-encoded.
    pub path: &'a str,
    /// As in the request line, without `?`; empty when there is none.
    pub query: &'a str,
    /// Further headers that are signed, as `content-type`; not `host`, and none of those that [`sign`] gives.
    pub headers: &'a [(&'a str, &'a str)],
    pub body: &'a [u8],
    pub region: &'a str,
    pub service: &'a str,
}

/// The headers to add: `x-amz-date`, `x-amz-security-token` (with temporary credentials), `authorization`. `at` is in
/// Unix seconds.
pub fn sign(request: &Unsigned<'_>, credentials: &Credentials<'_>, at: i64) -> Vec<(&'static str, String)> {
    let stamp = jiff::Timestamp::from_second(at).unwrap_or_default().strftime("%Y%m%dT%H%M%SZ").to_string();
    let mut added = vec![("x-amz-date", stamp.clone())];
    if let Some(token) = credentials.session_token {
        added.push(("x-amz-security-token", token.to_owned()));
    }
    let headers = canonical_headers(request, &added);
    let names = headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");

    let day = stamp.get(..8).unwrap_or_default();
    let scope = format!("{day}/{}/{}/aws4_request", request.region, request.service);
    let hashed = hex(&Sha256::digest(canonical_request(request, &headers, &names)));
    let to_sign = format!("{ALGORITHM}\n{stamp}\n{scope}\n{hashed}");

    let secret = format!("AWS4{}", credentials.secret_access_key);
    let key = [day, request.region, request.service, "aws4_request"]
        .into_iter()
        .fold(secret.into_bytes(), |key, word| code(&key, word.as_bytes()));
    let signature = hex(&code(&key, to_sign.as_bytes()));
    added.push((
        "authorization",
        format!(
            "{ALGORITHM} Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            credentials.access_key_id
        ),
    ));
    added
}

fn canonical_request(request: &Unsigned<'_>, headers: &[(String, String)], names: &str) -> String {
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let body = hex(&Sha256::digest(request.body));
    let (path, query) = (canonical_path(request.path), canonical_query(request.query));
    format!("{}\n{path}\n{query}\n{lines}\n{names}\n{body}", request.method)
}

/// By name; values of one name in their order, joined; runs of spaces as one.
fn canonical_headers(request: &Unsigned<'_>, added: &[(&'static str, String)]) -> Vec<(String, String)> {
    let ours = added.iter().map(|(name, value)| (*name, value.as_str()));
    let all = [("host", request.host)].into_iter().chain(request.headers.iter().copied()).chain(ours);
    let mut headers: Vec<(String, String)> = all
        .map(|(name, value)| {
            (name.to_ascii_lowercase(), value.split_whitespace().collect::<Vec<_>>().join(" "))
        })
        .collect();
    headers.sort_by(|(one, _), (other, _)| one.cmp(other));
    headers.dedup_by(|(name, value), (earlier, values)| {
        let is_same = name == earlier;
        if is_same {
            values.push(',');
            values.push_str(value);
        }
        is_same
    });
    headers
}

/// Without `.`, `..` and doubled slashes, and encoded once more than it is sent, as every service but S3 wants it.
fn canonical_path(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let end = if path.ends_with('/') && !segments.is_empty() { "/" } else { "" };
    format!("/{}{end}", percent::path(&segments.join("/")))
}

/// Sorted, and every name with a `=`.
fn canonical_query(query: &str) -> String {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let mut pairs: Vec<(String, String)> = pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent::again(name), percent::again(value))
        })
        .collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

#[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
fn code(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut code = Hmac::<Sha256>::new_from_slice(key).expect("any length is a key");
    code.update(message);
    code.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_not_printed() {
        let credentials = Credentials {
            access_key_id: "AKIDEXAMPLE",
            secret_access_key: "wJalrXUtnFEMI",
            session_token: Some("AQoDYXdz"),
        };
        assert_eq!(format!("{credentials:?}"), "Credentials(AKIDEXAMPLE)");
    }
}
