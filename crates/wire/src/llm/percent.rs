//! Percent-encoding as AWS and Google expect it: everything but the unreserved characters of RFC 3986.

/// One segment of a path.
pub(super) fn segment(text: &str) -> String {
    encode(text.as_bytes(), |_| false)
}

/// A path whose slashes stay.
pub(super) fn path(text: &str) -> String {
    encode(text.as_bytes(), |byte| byte == b'/')
}

fn encode(bytes: &[u8], keeps: impl Fn(u8) -> bool) -> String {
    let mut encoded = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keeps(byte) {
            encoded.push(char::from(byte));
        } else {
            let digit = |half: u8| char::from(b"0123456789ABCDEF"[usize::from(half)]);
            encoded.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    encoded
}

/// Text that may be encoded already, encoded once.
pub(super) fn again(text: &str) -> String {
    encode(&decode(text), |_| false)
}

/// What a segment of a path says. `None`: it is no UTF-8.
pub fn decoded(segment: &str) -> Option<String> {
    String::from_utf8(decode(segment)).ok()
}

/// A `%` that begins no code stays what it is.
fn decode(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| byte == b'%').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            digits
                .bytes()
                .all(|digit| digit.is_ascii_hexdigit())
                .then(|| u8::from_str_radix(digits, 16).ok())?
        });
        match code {
            Some(code) => {
                decoded.push(code);
                rest = &after[2..];
            }
            None => {
                decoded.push(byte);
                rest = after;
            }
        }
    }
    decoded
}
