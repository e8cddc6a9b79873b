//! Identifiers. All are UUIDs, version 7 (time-ordered) where we make them, so that rows made together lie together.

use uuid::Uuid;

/// A new time-ordered id (UUID v7) in its usual lower-case spelling.
pub fn new() -> String {
    Uuid::now_v7().hyphenated().encode_lower(&mut Uuid::encode_buffer()).to_owned()
}

/// Whether `text` is a UUID in its hyphenated spelling, as Dify demands of ids in paths.
pub fn is_uuid(text: &str) -> bool {
    text.len() == 36 && Uuid::try_parse(text).is_ok()
}

/// The BLAKE3 hash of a bearer token: what we keep and compare instead of the token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    pub fn of(token: &str) -> KeyHash {
        KeyHash(*blake3::hash(token.as_bytes()).as_bytes())
    }

    /// 64 lower-case hexadecimal digits, as stored.
    pub fn to_hex(self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }

    pub fn from_hex(text: &str) -> Option<KeyHash> {
        blake3::Hash::from_hex(text).ok().map(|hash| KeyHash(*hash.as_bytes()))
    }
}

impl std::fmt::Debug for KeyHash {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "KeyHash({}…)", &self.to_hex()[..8])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_made_later_sort_later() {
        let ids: Vec<String> = (0..1000).map(|_| new()).collect();
        assert!(ids.is_sorted());
        assert!(ids.iter().all(|id| is_uuid(id)));
    }

    #[test]
    fn only_the_hyphenated_spelling_is_a_uuid() {
        assert!(!is_uuid("6747a4fe799e4469aaedd9ac03dded60"));
        assert!(!is_uuid("nonsense"));
        assert!(is_uuid("6747a4fe-799e-4469-aaed-d9ac03dded60"));
    }

    #[test]
    fn a_key_hash_survives_its_hex_spelling() {
        let hash = KeyHash::of("app-secret");
        assert_eq!(KeyHash::from_hex(&hash.to_hex()), Some(hash));
        assert_ne!(hash, KeyHash::of("app-secret "));
    }
}
