//! Signed webhooks in the form of the Standard Webhooks specification: <https://www.standardwebhooks.com>.
//!
//! A call carries `webhook-id` (the same for every repeat of a delivery), `webhook-timestamp` (of this try) and
//! `webhook-signature`: `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`. Any library that follows the
//! specification verifies what [`Key::sign`] makes. The clock and the transport are the caller's.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

pub const HEADER_ID: &str = "webhook-id";
pub const HEADER_TIMESTAMP: &str = "webhook-timestamp";
pub const HEADER_SIGNATURE: &str = "webhook-signature";

/// How far a timestamp may lie from the receiver's clock, either way. The specification's libraries use the same.
pub const TOLERANCE_SECONDS: i64 = 5 * 60;

/// Signatures in one header beyond this many are not looked at; two are usual while a secret is changed.
const MAX_SIGNATURES: usize = 16;
/// The specification asks for 24 to 64 bytes of key.
const MIN_KEY_BYTES: usize = 24;
const MAX_KEY_BYTES: usize = 64;

const PREFIX: &str = "whsec_";
const VERSION: &str = "v1";

/// A signing secret. Neither printed nor serialized.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("a webhook secret is `whsec_` and base64; this one is not base64")]
    NotBase64,
    #[error(
        "a webhook secret holds 24 to 64 bytes; this one holds {bytes}; make one with `openssl rand -base64 32`"
    )]
    Length { bytes: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    #[error("webhook-timestamp is not whole Unix seconds")]
    Timestamp,
    #[error("webhook-timestamp is too old")]
    TooOld,
    #[error("webhook-timestamp is in the future")]
    TooNew,
    #[error("no signature matches")]
    Signature,
}

/// The three headers of a call, as they were received.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    pub id: &'a str,
    pub timestamp: &'a str,
    pub signature: &'a str,
}

impl Key {
    /// Reads `whsec_<base64>`; the prefix may be missing, as in the specification's own libraries.
    pub fn parse(secret: &str) -> Result<Key, KeyError> {
        let secret = secret.trim();
        let encoded = secret.strip_prefix(PREFIX).unwrap_or(secret);
        let bytes = BASE64.decode(encoded).map_err(|_| KeyError::NotBase64)?;
        if !(MIN_KEY_BYTES..=MAX_KEY_BYTES).contains(&bytes.len()) {
            return Err(KeyError::Length { bytes: bytes.len() });
        }
        Hmac::new_from_slice(&bytes).map(Key).map_err(|_| KeyError::Length { bytes: bytes.len() })
    }

    /// The value of `webhook-signature` for one try of a delivery.
    pub fn sign(&self, id: &str, timestamp_seconds: i64, body: &[u8]) -> String {
        let code = self.code(id, &timestamp_seconds.to_string(), body);
        format!("{VERSION},{}", BASE64.encode(code))
    }

    /// Checks a received call against this key and the receiver's clock, in time that does not depend on the secret.
    pub fn verify(&self, headers: Headers<'_>, body: &[u8], now_seconds: i64) -> Result<(), VerifyError> {
        let Headers { id, timestamp, signature } = headers;
        let sent_at: i64 = timestamp.parse().map_err(|_| VerifyError::Timestamp)?;
        if sent_at < now_seconds.saturating_sub(TOLERANCE_SECONDS) {
            return Err(VerifyError::TooOld);
        }
        if sent_at > now_seconds.saturating_add(TOLERANCE_SECONDS) {
            return Err(VerifyError::TooNew);
        }
        let expected = self.code(id, timestamp, body);
        let is_expected = |signature: &str| {
            let code = signature.strip_prefix("v1,").and_then(|code| BASE64.decode(code).ok());
            code.is_some_and(|code| bool::from(code.ct_eq(&expected)))
        };
        let matches = signature.split(' ').take(MAX_SIGNATURES).any(is_expected);
        if matches { Ok(()) } else { Err(VerifyError::Signature) }
    }

    fn code(&self, id: &str, timestamp: &str, body: &[u8]) -> [u8; 32] {
        let mut code = self.0.clone();
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            code.update(part);
        }
        code.finalize().into_bytes().into()
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Key(…)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // The example that the specification's own libraries are tested with.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const AT: i64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn verify(signature: &str, timestamp: &str, body: &[u8], now: i64) -> Result<(), VerifyError> {
        let key = Key::parse(SECRET).unwrap();
        key.verify(Headers { id: ID, timestamp, signature }, body, now)
    }

    #[test]
    fn the_published_example_is_signed_to_the_byte() {
        assert_eq!(Key::parse(SECRET).unwrap().sign(ID, AT, BODY), SIGNATURE);
        let without_prefix = SECRET.strip_prefix("whsec_").unwrap();
        assert_eq!(Key::parse(without_prefix).unwrap().sign(ID, AT, BODY), SIGNATURE);
    }

    #[test]
    fn calls_are_accepted_and_refused_by_table() {
        let at = AT.to_string();
        let wrong = format!("v1,{}", BASE64.encode([7u8; 32]));
        let two = format!("{wrong} {SIGNATURE}");
        let other_version = SIGNATURE.replace("v1,", "v1a,");
        for (what, signature, timestamp, body, now, expected) in [
            ("the example", SIGNATURE, at.as_str(), BODY, AT, Ok(())),
            ("one of two signatures", &two, &at, BODY, AT, Ok(())),
            ("the edge of the tolerance", SIGNATURE, &at, BODY, AT + TOLERANCE_SECONDS, Ok(())),
            ("one second older", SIGNATURE, &at, BODY, AT + TOLERANCE_SECONDS + 1, Err(VerifyError::TooOld)),
            ("one second newer", SIGNATURE, &at, BODY, AT - TOLERANCE_SECONDS - 1, Err(VerifyError::TooNew)),
            ("another body", SIGNATURE, &at, b"{}".as_slice(), AT, Err(VerifyError::Signature)),
            ("another time", SIGNATURE, "1614265331", BODY, AT, Err(VerifyError::Signature)),
            ("another version", &other_version, &at, BODY, AT, Err(VerifyError::Signature)),
            ("a wrong code", &wrong, &at, BODY, AT, Err(VerifyError::Signature)),
            ("a cut code", "v1,g0hM9SsE", &at, BODY, AT, Err(VerifyError::Signature)),
            ("no signature", "", &at, BODY, AT, Err(VerifyError::Signature)),
            ("a fractional time", SIGNATURE, "1614265330.0", BODY, AT, Err(VerifyError::Timestamp)),
        ] {
            assert_eq!(verify(signature, timestamp, body, now), expected, "{what}");
        }
    }

    #[test]
    fn a_secret_that_is_no_key_says_why() {
        assert_eq!(Key::parse("whsec_!!!").unwrap_err(), KeyError::NotBase64);
        assert_eq!(Key::parse("whsec_aGVsbG8=").unwrap_err(), KeyError::Length { bytes: 5 });
        assert_eq!(Key::parse("").unwrap_err(), KeyError::Length { bytes: 0 });
        let long = BASE64.encode([1u8; 65]);
        assert_eq!(Key::parse(&long).unwrap_err(), KeyError::Length { bytes: 65 });
    }

    #[test]
    fn a_key_is_not_printed() {
        assert_eq!(format!("{:?}", Key::parse(SECRET).unwrap()), "Key(…)");
    }

    proptest! {
        #[test]
        fn what_is_signed_verifies_and_any_change_of_a_byte_does_not(
            key in proptest::collection::vec(any::<u8>(), MIN_KEY_BYTES..=MAX_KEY_BYTES),
            id in "[a-z0-9-]{1,40}",
            at in 0i64..4_000_000_000,
            mut body in proptest::collection::vec(any::<u8>(), 1..200),
            position: proptest::sample::Index,
        ) {
            let key = Key::parse(&format!("whsec_{}", BASE64.encode(key))).unwrap();
            let (timestamp, signature) = (at.to_string(), key.sign(&id, at, &body));
            let headers = Headers { id: &id, timestamp: &timestamp, signature: &signature };
            prop_assert_eq!(key.verify(headers, &body, at), Ok(()));
            let index = position.index(body.len());
            body[index] ^= 1;
            prop_assert_eq!(key.verify(headers, &body, at), Err(VerifyError::Signature));
        }

        #[test]
        fn headers_of_any_text_are_refused_without_panic(timestamp in ".{0,30}", signature in ".{0,80}") {
            prop_assert!(verify(&signature, &timestamp, BODY, AT).is_err());
        }
    }
}
