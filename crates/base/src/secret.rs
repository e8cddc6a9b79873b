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

/// Where a secret is found: `env:NAME`, `file:PATH` or `dotenv:PATH#NAME`. Configuration and database hold this, never
/// the value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SecretRef {
    Env(String),
    File(String),
    /// A variable of the Dify whose `.env` is at the path; `dotenv:PATH#NAME:password`: the password of an address.
    Dotenv {
        path: String,
        name: String,
        part: Option<Part>,
    },
}

/// A part of a variable's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Of `redis://user:password@host`, with escapes resolved.
    Password,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret is given as env:NAME, file:PATH or dotenv:PATH#NAME, never as its value")]
pub struct NotAReference;

impl TryFrom<String> for SecretRef {
    type Error = NotAReference;

    fn try_from(text: String) -> Result<SecretRef, NotAReference> {
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Ok(SecretRef::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(SecretRef::File(path.to_owned())),
            Some(("dotenv", place)) => dotenv(place).ok_or(NotAReference),
            _ => Err(NotAReference),
        }
    }
}

/// `PATH#NAME` or `PATH#NAME:password`; the path may have a `#` in it.
fn dotenv(place: &str) -> Option<SecretRef> {
    let (path, variable) = place.rsplit_once('#')?;
    let (name, part) = match variable.split_once(':') {
        None => (variable, None),
        Some((name, "password")) => (name, Some(Part::Password)),
        Some(_) => return None,
    };
    let is_given = !path.is_empty() && !name.is_empty();
    is_given.then(|| SecretRef::Dotenv { path: path.to_owned(), name: name.to_owned(), part })
}

impl From<SecretRef> for String {
    fn from(reference: SecretRef) -> String {
        match reference {
            SecretRef::Env(name) => format!("env:{name}"),
            SecretRef::File(path) => format!("file:{path}"),
            SecretRef::Dotenv { path, name, part: None } => format!("dotenv:{path}#{name}"),
            SecretRef::Dotenv { path, name, part: Some(Part::Password) } => {
                format!("dotenv:{path}#{name}:password")
            }
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
        for bad in [
            "hunter2",
            "env:",
            "file:",
            "vault:x",
            "",
            "dotenv:",
            "dotenv:.env",
            "dotenv:#A",
            "dotenv:.env#",
            "dotenv:.env#A:user",
        ] {
            assert_eq!(SecretRef::try_from(bad.to_owned()), Err(NotAReference), "{bad}");
        }
        assert_eq!(SecretRef::try_from("file:/run/x".to_owned()), Ok(SecretRef::File("/run/x".into())));
    }

    #[test]
    fn references_are_written_as_they_are_read() {
        for text in ["env:A", "file:/run/x", "dotenv:/d/.env#A", "dotenv:/d#1/.env#A:password"] {
            let reference = SecretRef::try_from(text.to_owned()).unwrap();
            assert_eq!(String::from(reference), text);
        }
    }
}
