//! Turns references to secrets (`env:NAME`, `file:PATH`, `dotenv:PATH#NAME`) into their values, once, while the configuration is read.

use std::{collections::BTreeMap, fmt, io::Read, path::Path};

use mainstay_base::{Secret, id::KeyHash, secret::SecretRef};
use mainstay_dify::discovery;

use super::reader::Reader;
use crate::env;

/// A key is short; a longer file is the wrong file.
const MAX_SECRET_BYTES: u64 = 16 * 1024;

/// Whether references are followed. `mainstay check --without-secrets` only looks at their form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Follow {
    Yes,
    FormOnly,
}

/// What was behind each reference when it was read, as hashes: enough to say that a secret was changed, and which.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Known(BTreeMap<String, KeyHash>);

impl Known {
    pub(super) fn insert(&mut self, reference: &str, secret: &Secret) {
        self.0.insert(reference.to_owned(), KeyHash::of(secret.expose()));
    }

    /// The references that both have, with different values behind them.
    pub(crate) fn changed_since(&self, before: &Known) -> Vec<String> {
        let is_other =
            |(name, hash): &(&String, &KeyHash)| before.0.get(*name).is_some_and(|old| old != *hash);
        self.0.iter().filter(is_other).map(|(name, _)| name.clone()).collect()
    }
}

impl fmt::Debug for Known {
    /// A hash of a short secret tells it to whoever tries them all.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

/// The secret that a key refers to; problems are reported at the key.
pub(crate) fn read(reader: &Reader<'_>, key: &'static str, follow: Follow) -> Option<Secret> {
    checked(reader, key, follow, sendable)
}

/// As [`read`], for what is typed at a server and never stands in a header: blanks and other alphabets are allowed.
pub(crate) fn password(reader: &Reader<'_>, key: &'static str, follow: Follow) -> Option<Secret> {
    checked(reader, key, follow, typeable)
}

/// Why a value is no secret, without the value.
type Check = fn(String) -> Result<Secret, &'static str>;

fn checked(reader: &Reader<'_>, key: &'static str, follow: Follow, check: Check) -> Option<Secret> {
    reader.parsed(key, |text| {
        let reference = SecretRef::try_from(text.to_owned()).map_err(|error| error.to_string())?;
        match follow {
            Follow::Yes => {
                let secret = resolve(&reference, check)?;
                reader.findings().knows(text, &secret);
                Ok(secret)
            }
            // Distinct by reference, so that the check for doubles still means something.
            Follow::FormOnly => Ok(Secret::new(text)),
        }
    })
}

pub(crate) fn required(reader: &Reader<'_>, key: &'static str, follow: Follow) -> Option<Secret> {
    reader.require(key);
    read(reader, key, follow)
}

fn resolve(reference: &SecretRef, check: Check) -> Result<Secret, String> {
    match reference {
        SecretRef::Env(name) => {
            let missing = || format!("refers to the environment variable {name}, which is not set");
            check(env::var(name).ok_or_else(missing)?)
                .map_err(|why| format!("refers to the environment variable {name}, which {why}"))
        }
        SecretRef::Dotenv { path, name, part } => {
            let found = discovery::lookup(Path::new(path), name, *part);
            let secret = found.map_err(|why| format!("refers to {name} of {path}: {why}"))?;
            check(secret.expose().to_owned())
                .map_err(|why| format!("refers to {name} of {path}, which {why}"))
        }
        SecretRef::File(path) => {
            let fail = |error| format!("refers to {path}: {error}");
            // Opening a pipe waits for its writer, and might wait for ever.
            if !std::fs::metadata(path).map_err(fail)?.is_file() {
                return Err(format!("refers to {path}, which is not a file"));
            }
            let file = std::fs::File::open(path).map_err(fail)?;
            let mut text = String::new();
            file.take(MAX_SECRET_BYTES + 1).read_to_string(&mut text).map_err(fail)?;
            if text.len() as u64 > MAX_SECRET_BYTES {
                return Err(format!("refers to {path}, which is longer than {MAX_SECRET_BYTES} bytes"));
            }
            match text.trim_end_matches(['\n', '\r']) {
                "" => Err(format!("refers to {path}, which is empty")),
                value => check(value.to_owned()).map_err(|why| format!("refers to {path}, which {why}")),
            }
        }
    }
}

/// What no header can carry, or what a copied key never has, would fail at each call instead of here.
fn sendable(value: String) -> Result<Secret, &'static str> {
    match value {
        _ if value.contains(['\n', '\r']) => Err("has more than one line"),
        _ if value.starts_with([' ', '\t']) || value.ends_with([' ', '\t']) => {
            Err("begins or ends with a blank")
        }
        _ if !value.bytes().all(|byte| (0x20..0x7f).contains(&byte)) => {
            Err("has characters that no key has (a byte order mark?)")
        }
        value => Ok(Secret::new(value)),
    }
}

/// What no password has: the rest of a file that was read by mistake.
fn typeable(value: String) -> Result<Secret, &'static str> {
    match value.chars().any(char::is_control) {
        true => Err("has a control character in it"),
        false => Ok(Secret::new(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gives_its_text_without_the_last_line_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "s3cret\n").unwrap();
        let reference = SecretRef::File(path.display().to_string());
        assert_eq!(resolve(&reference, sendable).unwrap().expose(), "s3cret");
        for (text, why) in [
            ("\n", "which is empty"),
            ("one\ntwo\n", "more than one line"),
            ("s3cret \n", "ends with a blank"),
            ("\u{feff}s3cret\n", "(a byte order mark?)"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = resolve(&reference, sendable).unwrap_err();
            assert!(error.ends_with(why) && !error.contains("s3cret"), "{text:?}: {error}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = resolve(&SecretRef::Env("MAINSTAY_TEST_NEVER_SET".to_owned()), sendable).unwrap_err();
        assert!(error.contains("MAINSTAY_TEST_NEVER_SET"), "{error}");
        assert!(resolve(&SecretRef::File("/nonexistent/key".to_owned()), sendable).is_err());
    }
}
