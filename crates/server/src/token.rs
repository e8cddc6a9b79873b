//! Tokens: those that this process makes for itself, and those that let operators in.

use mainstay_base::{Secret, id::KeyHash};
use uuid::Uuid;

/// A prefix that says what it is for, and 244 random bits.
pub(crate) fn random(prefix: &str) -> Secret {
    Secret::new(format!("{prefix}{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()))
}

/// Admin tokens by name, kept as hashes: where two hashes differ tells nothing about the tokens.
pub(crate) struct Tokens(Vec<(String, KeyHash)>);

impl Tokens {
    /// A token without characters is left out: it would let everyone in.
    pub(crate) fn new<'t>(tokens: impl IntoIterator<Item = (&'t str, &'t Secret)>) -> Tokens {
        let kept = tokens.into_iter().filter(|(_, secret)| !secret.expose().trim().is_empty());
        Tokens(kept.map(|(name, secret)| (name.to_owned(), KeyHash::of(secret.expose()))).collect())
    }

    /// Whose token it is.
    pub(crate) fn find(&self, presented: &str) -> Option<&str> {
        let hash = KeyHash::of(presented);
        self.0.iter().find(|(_, known)| *known == hash).map(|(name, _)| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_found_and_an_empty_one_never() {
        let (ops, hole) = (Secret::new("long-and-secret"), Secret::new(" "));
        let tokens = Tokens::new([("ops", &ops), ("hole", &hole)]);
        assert_eq!(tokens.find("long-and-secret"), Some("ops"));
        for wrong in ["", " ", "long-and-secre", "LONG-AND-SECRET"] {
            assert_eq!(tokens.find(wrong), None, "{wrong:?}");
        }
    }
}
