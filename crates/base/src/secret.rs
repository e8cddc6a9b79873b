//! Secrets that cannot be printed by accident, and references to them.

use serde::{Deserialize, Serialize};

/// A secret's value in memory. Neither `Debug` nor `Display` shows it, and it cannot be serialized.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Secret {
        Secret(value.into())
    }

    /// The value itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// Where a secret is found: `env:NAME` or `file:PATH`. Configuration and database hold this, never the value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SecretRef {
    Env(String),
    File(String),
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret is given as env:NAME or file:PATH, never as its value")]
pub struct NotAReference;

impl TryFrom<String> for SecretRef {
    type Error = NotAReference;

    fn try_from(text: String) -> Result<SecretRef, NotAReference> {
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Ok(SecretRef::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(SecretRef::File(path.to_owned())),
            _ => Err(NotAReference),
        }
    }
}

impl From<SecretRef> for String {
    fn from(reference: SecretRef) -> String {
        match reference {
            SecretRef::Env(name) => format!("env:{name}"),
            SecretRef::File(path) => format!("file:{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }

    #[test]
    fn a_bare_value_is_refused_as_a_reference() {
        for bad in ["hunter2", "env:", "file:", "vault:x", ""] {
            assert_eq!(SecretRef::try_from(bad.to_owned()), Err(NotAReference), "{bad}");
        }
        assert_eq!(SecretRef::try_from("file:/run/x".to_owned()), Ok(SecretRef::File("/run/x".into())));
    }
}
