//! The rows, compiled: one set of patterns that passes over a text once.

use std::sync::{Arc, LazyLock};

use regex::bytes::{RegexBuilder, RegexSet, RegexSetBuilder};
use serde::Deserialize;

use super::{Class, LONGEST_TEXT, unwrap};

/// What is shipped.
const BUILT_IN: &str = include_str!("../../signatures.toml");
/// Bounds of operators' files, and of ours.
const MAX_ROWS: usize = 1_000;
const MAX_PATTERNS_OF_A_ROW: usize = 20;
const MAX_PATTERN_BYTES: usize = 1_000;
/// What one pattern may compile to; repetitions with large counts end here.
const MAX_PATTERN_PROGRAM: usize = 256 * 1024;
const MAX_SET_PROGRAM: usize = 32 * 1024 * 1024;
/// The cache of the automaton that is built while texts are read; the built-in rows need a part of it.
const SET_CACHE: usize = 16 * 1024 * 1024;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// `S01` to `S84` and `M01`… are ours; operators choose their own.
    pub id: String,
    pub class: Class,
    /// One sentence.
    pub cause: String,
    /// One line that can be done.
    pub remedy: String,
    /// Where it is seen: `api`, `worker`, `postgres`, …
    pub found_in: Vec<String>,
    pub sources: Vec<String>,
    /// The id of the finding that a check makes of it, `queue-no-consumer`.
    pub state: Option<String>,
    pub patterns: Vec<String>,
    /// Of several rows that match a text the highest has it.
    pub priority: i32,
    /// A text that belongs to this row, and one that does not match it.
    pub example: Option<String>,
    pub counter: Option<String>,
}

/// All rows, ready to be asked.
#[derive(Clone, Debug)]
pub struct Catalogue {
    /// In the order of precedence.
    rows: Arc<[Signature]>,
    /// Which row each pattern of `set` belongs to; ascending.
    owners: Arc<[usize]>,
    set: RegexSet,
}

#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    #[error("signatures cannot be read: {0}")]
    Toml(#[from] toml::de::Error),
    #[error("signature `{id}`: {problem}")]
    Row { id: String, problem: String },
    #[error("{0} signatures, and {MAX_ROWS} are allowed")]
    TooMany(usize),
    #[error("the signatures together are too large: {0}")]
    TooLarge(regex::Error),
}

impl Catalogue {
    /// The rows that are shipped.
    pub fn built_in() -> &'static Catalogue {
        static BUILT: LazyLock<Catalogue> = LazyLock::new(|| match Catalogue::of(read(BUILT_IN)) {
            Ok(catalogue) => catalogue,
            // A test compiles them; what is shipped has passed it.
            Err(_) => Catalogue { rows: Arc::default(), owners: Arc::default(), set: RegexSet::empty() },
        });
        &BUILT
    }

    /// The shipped rows with an operator's own before them; a row with the id of a shipped one takes its place.
    pub fn with(own: &str) -> Result<Catalogue, CatalogueError> {
        let own = read(own)?;
        let replaced = |id: &str| own.iter().any(|row| row.id == id);
        let ours = read(BUILT_IN)?.into_iter().filter(|row| !replaced(&row.id)).collect::<Vec<_>>();
        Catalogue::of(Ok(own.into_iter().chain(ours).collect()))
    }

    fn of(rows: Result<Vec<Signature>, CatalogueError>) -> Result<Catalogue, CatalogueError> {
        let mut rows = rows?;
        if rows.len() > MAX_ROWS {
            return Err(CatalogueError::TooMany(rows.len()));
        }
        rows.sort_by_key(|row| -row.priority);
        for (index, row) in rows.iter().enumerate() {
            check(row, &rows[..index])?;
        }
        let patterns = rows.iter().flat_map(|row| &row.patterns);
        let set = RegexSetBuilder::new(patterns)
            .unicode(false)
            .size_limit(MAX_SET_PROGRAM)
            .dfa_size_limit(SET_CACHE)
            .build()
            .map_err(CatalogueError::TooLarge)?;
        let owners = rows.iter().enumerate().flat_map(|(index, row)| row.patterns.iter().map(move |_| index));
        Ok(Catalogue { owners: owners.collect(), rows: rows.into(), set })
    }

    /// The row that `text` belongs to. Looks at the text as it is and at what [`unwrap`] finds in it.
    pub fn classify(&self, text: &str) -> Option<&Signature> {
        let text = ends(text);
        let mut bytes = Vec::new();
        let looked_at = match text.contains('{').then(|| unwrap(&text)) {
            None => text.as_bytes(),
            Some(inner) => {
                bytes.reserve(2 * text.len());
                bytes.extend_from_slice(text.as_bytes());
                bytes.push(b'\n');
                bytes.extend_from_slice(inner.flat().as_bytes());
                &bytes
            }
        };
        let pattern = self.set.matches(looked_at).iter().next()?;
        Some(&self.rows[self.owners[pattern]])
    }

    /// The row that a check's finding of this id is about.
    pub fn state(&self, id: &str) -> Option<&Signature> {
        self.rows.iter().find(|row| row.state.as_deref() == Some(id))
    }

    pub fn get(&self, id: &str) -> Option<&Signature> {
        self.rows.iter().find(|row| row.id == id)
    }

    /// In the order of precedence.
    pub fn rows(&self) -> &[Signature] {
        &self.rows
    }
}

/// The part of a text that is looked at.
fn ends(text: &str) -> std::borrow::Cow<'_, str> {
    if text.len() <= LONGEST_TEXT {
        return text.into();
    }
    let head = text.floor_char_boundary(LONGEST_TEXT / 4 * 3);
    let tail = text.ceil_char_boundary(text.len() - LONGEST_TEXT / 4);
    format!("{}\n{}", &text[..head], &text[tail..]).into()
}

fn check(row: &Signature, before: &[Signature]) -> Result<(), CatalogueError> {
    let wrong = |problem: String| Err(CatalogueError::Row { id: row.id.clone(), problem });
    let speakable = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    if row.id.is_empty() || row.id.len() > 40 || !row.id.chars().all(speakable) {
        return wrong("an id is 1 to 40 letters, digits, `-`, `_`, `.`".into());
    }
    if before.iter().any(|other| other.id == row.id) {
        return wrong("stands twice".into());
    }
    if row.patterns.is_empty() && row.state.is_none() {
        return wrong("has neither `patterns` nor `state`, so nothing finds it".into());
    }
    if row.patterns.len() > MAX_PATTERNS_OF_A_ROW {
        return wrong(format!(
            "has {} patterns, and {MAX_PATTERNS_OF_A_ROW} are allowed",
            row.patterns.len()
        ));
    }
    for pattern in &row.patterns {
        if pattern.len() > MAX_PATTERN_BYTES {
            return wrong(format!("a pattern is longer than {MAX_PATTERN_BYTES} bytes"));
        }
        let compiled = RegexBuilder::new(pattern).unicode(false).size_limit(MAX_PATTERN_PROGRAM).build();
        match compiled {
            Err(error) => return wrong(format!("`{pattern}` is not a pattern: {error}")),
            Ok(compiled) if compiled.is_match(b"") => {
                return wrong(format!("`{pattern}` matches everything"));
            }
            Ok(_) => {}
        }
    }
    Ok(())
}

/// The rows of a file, in its order.
fn read(text: &str) -> Result<Vec<Signature>, CatalogueError> {
    let file: File = toml::from_str(text)?;
    file.signature.into_iter().map(Row::into_signature).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    signature: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: String,
    #[serde(default)]
    patterns: Vec<String>,
    state: Option<String>,
    #[serde(default)]
    priority: i32,
    #[serde(default, rename = "where")]
    found_in: Vec<String>,
    class: String,
    cause: String,
    remedy: String,
    #[serde(default)]
    sources: Vec<String>,
    example: Option<String>,
    counter: Option<String>,
}

impl Row {
    fn into_signature(self) -> Result<Signature, CatalogueError> {
        let Row { id, patterns, state, priority, found_in, class, cause, remedy, sources, example, counter } =
            self;
        let Some(class) = Class::parse(&class) else {
            let known = Class::ALL.map(Class::as_str).join(", ");
            return Err(CatalogueError::Row { id, problem: format!("no class `{class}`; known: {known}") });
        };
        Ok(Signature {
            id,
            class,
            cause,
            remedy,
            found_in,
            sources,
            state,
            patterns,
            priority,
            example,
            counter,
        })
    }
}
