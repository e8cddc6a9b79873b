//! Turns references to secrets (`env:NAME`, `file:PATH`) into their values, once, while the configuration is read.

use std::io::Read;

use mainstay_base::{Secret, secret::SecretRef};

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

/// The secret that a key refers to; problems are reported at the key.
pub(crate) fn read(reader: &Reader<'_>, key: &'static str, follow: Follow) -> Option<Secret> {
    reader.parsed(key, |text| {
        let reference = SecretRef::try_from(text.to_owned()).map_err(|error| error.to_string())?;
        match follow {
            Follow::Yes => resolve(&reference),
            // Distinct by reference, so that the check for doubles still means something.
            Follow::FormOnly => Ok(Secret::new(text)),
        }
    })
}

pub(crate) fn required(reader: &Reader<'_>, key: &'static str, follow: Follow) -> Option<Secret> {
    reader.require(key);
    read(reader, key, follow)
}

fn resolve(reference: &SecretRef) -> Result<Secret, String> {
    match reference {
        SecretRef::Env(name) => env::var(name)
            .map(Secret::new)
            .ok_or_else(|| format!("refers to the environment variable {name}, which is not set")),
        SecretRef::File(path) => {
            let file = std::fs::File::open(path).map_err(|error| format!("refers to {path}: {error}"))?;
            let mut text = String::new();
            file.take(MAX_SECRET_BYTES + 1)
                .read_to_string(&mut text)
                .map_err(|error| format!("refers to {path}: {error}"))?;
            if text.len() as u64 > MAX_SECRET_BYTES {
                return Err(format!("refers to {path}, which is longer than {MAX_SECRET_BYTES} bytes"));
            }
            match text.trim_end_matches(['\n', '\r']) {
                "" => Err(format!("refers to {path}, which is empty")),
                value => Ok(Secret::new(value)),
            }
        }
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
        assert_eq!(resolve(&reference).unwrap().expose(), "s3cret");
        std::fs::write(&path, "\n").unwrap();
        assert!(resolve(&reference).unwrap_err().ends_with("which is empty"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = resolve(&SecretRef::Env("MAINSTAY_TEST_NEVER_SET".to_owned())).unwrap_err();
        assert!(error.contains("MAINSTAY_TEST_NEVER_SET"), "{error}");
        assert!(resolve(&SecretRef::File("/nonexistent/key".to_owned())).is_err());
    }
}
