//! A provider's words made fit to be shown: short, in one line, and without anything that looks like a key.

const MAX_CHARS: usize = 400;
const MAX_CODE_CHARS: usize = 64;
const MASK: &str = "***";

/// What keys of known providers begin with.
const KEY_PREFIXES: [&str; 17] = [
    "sk-", "sk_", "gsk_", "xai-", "AIza", "AKIA", "ASIA", "pplx-", "hf_", "nvapi-", "eyJ", "csk-", "tgp_",
    "fw_", "r8_", "ya29.", "ABSK",
];
/// After these words a key stands, whatever it looks like.
const KEY_WORDS: [&str; 8] =
    ["bearer ", "key=", "key: ", "token=", "x-api-key: ", "api_key=", "apikey=", "provided: "];
/// Keys without a prefix (Azure, Mistral, Cohere) are at least so long, and letters and digits only.
const BARE_KEY_CHARS: usize = 32;

/// A message to show.
pub(super) fn shown(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    shortened(&masked(&line), MAX_CHARS)
}

pub(super) fn shown_code(code: &str) -> String {
    shortened(&masked(code.trim()), MAX_CODE_CHARS)
}

fn shortened(text: &str, max_chars: usize) -> String {
    match text.char_indices().nth(max_chars) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// The text with everything masked that looks like a key.
fn masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_key_char) {
        let (before, from_token) = rest.split_at(start);
        out.push_str(before);
        let end = from_token.find(|char| !is_key_char(char)).unwrap_or(from_token.len());
        let (token, after) = from_token.split_at(end);
        out.push_str(if looks_like_key(&out, token) { MASK } else { token });
        rest = after;
    }
    out.push_str(rest);
    out
}

fn looks_like_key(before: &str, token: &str) -> bool {
    // A sentence's end belongs to no key.
    let token = token.trim_matches(['.', '-', '_', '/']);
    let follows_word = KEY_WORDS.iter().any(|word| ends_with_ignoring_case(before, word));
    token.len() >= 6 && follows_word && has_digit_or_star(token)
        || token.len() >= 8
            && KEY_PREFIXES.iter().any(|prefix| token.contains(prefix) && is_at_border(token, prefix))
        || token.split(['-', '_', '.', '/', '+']).any(is_bare_key)
}

/// The prefix begins the token or one of its parts: `task-` is no `sk-`.
fn is_at_border(token: &str, prefix: &str) -> bool {
    token.match_indices(prefix).any(|(at, _)| {
        let before = token[..at].chars().next_back();
        before.is_none_or(|char| !char.is_ascii_alphanumeric())
    })
}

fn is_bare_key(part: &str) -> bool {
    part.len() >= BARE_KEY_CHARS
        && part.bytes().any(|byte| byte.is_ascii_digit())
        && part.bytes().any(|byte| byte.is_ascii_alphabetic())
}

fn has_digit_or_star(token: &str) -> bool {
    token.bytes().any(|byte| byte.is_ascii_digit() || byte == b'*')
}

fn ends_with_ignoring_case(text: &str, word: &str) -> bool {
    let start = text.len().checked_sub(word.len());
    start.and_then(|start| text.get(start..)).is_some_and(|end| end.eq_ignore_ascii_case(word))
}

/// Base64 and its URL form belong to keys, and so do the stars by which providers hide the middle of one.
fn is_key_char(char: char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.' | '*' | '/' | '+')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_looks_like_a_key_is_masked() {
        for (text, expected) in [
            (
                "Incorrect API key provided: sk-proj-abc123def456. You can",
                "Incorrect API key provided: *** You can",
            ),
            ("Incorrect API key provided: sk-ab***********wxyz.", "Incorrect API key provided: ***"),
            ("Authorization: Bearer abc123XYZ refused", "Authorization: Bearer *** refused"),
            ("url ?key=AIzaSyA1234567890 failed", "url ?key=*** failed"),
            ("the key 0123456789abcdef0123456789abcdef is bad", "the key *** is bad"),
            ("AKIAIOSFODNN7EXAMPLE is not authorized", "*** is not authorized"),
        ] {
            assert_eq!(shown(text), expected);
        }
    }

    #[test]
    fn names_and_numbers_are_left() {
        for text in [
            "model anthropic.claude-3-5-sonnet-20241022-v2:0 is busy",
            "The model `gpt-4o-mini-2024-07-18` does not exist",
            "risk-taking and desk-bound task-12345678",
            "request 7f3c9a52-1b2c-4d5e-8f90-123456789abc failed",
            "(request id: req_011CSHoEeqs5C35K2UUqR7Fy)",
            "Limit 30000, Requested 45000",
        ] {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn long_words_are_cut_between_characters() {
        let text = shown(&"é".repeat(1000));
        assert_eq!(text.chars().count(), MAX_CHARS + 1);
        assert_eq!(shown(" a\n\t b "), "a b");
    }

    proptest! {
        #[test]
        fn no_key_survives_in_any_text(before in "[ -~]{0,20} ", key in "sk-[A-Za-z0-9]{16,40}", after in " [ -~é]{0,20}") {
            let text = format!("{before}{key}{after}");
            prop_assert!(!shown(&text).contains(&key));
        }

        #[test]
        fn any_text_is_shown(text in any::<String>()) {
            let _ = (shown(&text), shown_code(&text));
        }
    }
}
