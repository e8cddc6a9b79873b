//! Admin tokens: kept as hashes, compared in constant time.

use std::sync::Arc;

use mainstay_base::Secret;
use parking_lot::RwLock;
use subtle::ConstantTimeEq;

/// Who is let in now; clones are one, so that a token may come or go while the console runs.
#[derive(Clone, Default)]
pub struct AdminTokens(Arc<RwLock<Arc<Tokens>>>);

impl AdminTokens {
    /// Tokens by name; the name is what the timeline keeps as the actor. An empty token lets nobody in.
    pub fn new(tokens: &[(String, Secret)]) -> AdminTokens {
        let known = AdminTokens::default();
        known.set(tokens);
        known
    }

    /// A token that is gone, and every session made from it, lets nobody in any more.
    pub fn set(&self, tokens: &[(String, Secret)]) {
        *self.0.write() = Arc::new(Tokens::new(tokens));
    }

    /// Whose token it is.
    pub fn name_of(&self, presented: &str) -> Option<String> {
        self.now().find(presented).map(|token| token.name.clone())
    }

    pub(crate) fn now(&self) -> Arc<Tokens> {
        self.0.read().clone()
    }
}

/// One admin token, by name.
pub(crate) struct Token {
    pub(crate) name: String,
    hash: [u8; 32],
    /// What sessions made from this token are signed with: it changes when the token does.
    pub(crate) session_key: [u8; 32],
}

#[derive(Default)]
pub(crate) struct Tokens(Vec<Token>);

impl Tokens {
    /// A token without characters is left out: it would let everyone in.
    pub(crate) fn new(tokens: &[(String, Secret)]) -> Tokens {
        let kept = tokens.iter().filter(|(_, secret)| !secret.expose().trim().is_empty());
        Tokens(kept.map(|(name, secret)| Token::new(name, secret)).collect())
    }

    /// Compares with every token, so that the time taken tells nothing about which came near.
    pub(crate) fn find(&self, presented: &str) -> Option<&Token> {
        let hash = blake3::hash(presented.as_bytes());
        let mut found = None;
        for token in &self.0 {
            if same(&token.hash, hash.as_bytes()) {
                found = Some(token);
            }
        }
        found
    }

    pub(crate) fn named(&self, name: &str) -> Option<&Token> {
        self.0.iter().find(|token| token.name == name)
    }
}

impl Token {
    fn new(name: &str, secret: &Secret) -> Token {
        Token {
            name: name.to_owned(),
            hash: *blake3::hash(secret.expose().as_bytes()).as_bytes(),
            session_key: blake3::derive_key(
                "mainstay console session 2026-11 v1",
                secret.expose().as_bytes(),
            ),
        }
    }
}

/// Whether two byte strings are the same, in a time that depends on their lengths only.
pub(crate) fn same(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_found_and_an_empty_one_never() {
        let tokens = Tokens::new(&[
            ("ops".to_owned(), Secret::new("long-and-secret")),
            ("hole".to_owned(), Secret::new("")),
        ]);
        assert_eq!(tokens.find("long-and-secret").map(|token| token.name.as_str()), Some("ops"));
        for wrong in ["", " ", "long-and-secre", "long-and-secret ", "LONG-AND-SECRET"] {
            assert!(tokens.find(wrong).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn a_token_that_is_gone_lets_nobody_in() {
        let known = AdminTokens::new(&[("ops".to_owned(), Secret::new("first"))]);
        let held_by_a_handler = known.clone();
        known.set(&[("ops".to_owned(), Secret::new("second"))]);
        assert_eq!(held_by_a_handler.name_of("first"), None);
        assert_eq!(held_by_a_handler.name_of("second").as_deref(), Some("ops"));
    }
}
