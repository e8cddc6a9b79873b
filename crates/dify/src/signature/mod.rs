//! What the errors of a Dify mean: a catalogue of rows as data (`signatures.toml`), found in texts or as states that a
//! check names.
//!
//! Promises: [`classify`] takes time linear in the text, and looks at no more of it than [`LONGEST_TEXT`];
//! [`unwrap()`] never fails; rows of operators stand before ours. Refuses to know: where the text is from.

mod catalogue;
mod class;
mod group;
#[cfg(test)]
mod tests;
mod unwrap;

pub use catalogue::{Catalogue, CatalogueError, Signature};
pub use class::{Class, Fault};
pub use group::{group, normalize};
pub use unwrap::{Unwrapped, unwrap};

/// How many bytes of a text are looked at: the first three quarters and the last quarter of it, where a traceback says
/// what it is about.
pub const LONGEST_TEXT: usize = 16 * 1024;

/// The row that `text` belongs to, in the catalogue that is built in. With operators' rows: [`Catalogue::classify`].
pub fn classify(text: &str) -> Option<&'static Signature> {
    Catalogue::built_in().classify(text)
}
