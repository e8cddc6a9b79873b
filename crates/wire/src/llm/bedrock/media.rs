//! Pictures, sounds and documents as Converse takes them: bytes, or a place in S3.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::{
    super::{Media, Unwritable},
    request::no_words,
};

/// Of the 200 that Bedrock allows for a document's name; the rest is for a number.
const MAX_NAME_CHARS: usize = 190;

pub(super) fn image(media: &Media) -> Result<Value, Unwritable> {
    let format = match kind(media).as_str() {
        "image/png" | "png" => "png",
        "image/jpeg" | "image/jpg" | "jpeg" | "jpg" => "jpeg",
        "image/gif" | "gif" => "gif",
        "image/webp" | "webp" => "webp",
        other => return Err(no_words(&format!("an image of the type `{other}`"))),
    };
    Ok(json!({"image": {"format": format, "source": source(media, "an image")?}}))
}

pub(super) fn audio(media: &Media) -> Result<Value, Unwritable> {
    let kind = kind(media);
    let format = match kind.strip_prefix("audio/").unwrap_or(&kind) {
        "mpeg" | "mp3" => "mp3",
        "wav" | "x-wav" | "wave" => "wav",
        "mp4" | "m4a" | "x-m4a" => "m4a",
        "opus" => "opus",
        "aac" => "aac",
        "flac" => "flac",
        "ogg" => "ogg",
        "webm" => "webm",
        "pcm" | "pcm16" => "pcm",
        other => return Err(no_words(&format!("audio of the type `{other}`"))),
    };
    Ok(json!({"audio": {"format": format, "source": source(media, "audio")?}}))
}

/// The names that documents of a conversation have: no two may be the same.
#[derive(Default)]
pub(super) struct Documents {
    count: usize,
    names: HashSet<String>,
}

impl Documents {
    /// The name as Bedrock takes it, with a number when it is taken; the number alone for a document without a name.
    fn name(&mut self, given: Option<&str>) -> String {
        self.count += 1;
        let given = given.map(allowed_name).filter(|name| !name.is_empty());
        let mut name = given.clone().unwrap_or_else(|| format!("document {}", self.count));
        let mut number = 1;
        while !self.names.insert(name.to_ascii_lowercase()) {
            number += 1;
            name = format!("{} {number}", given.as_deref().unwrap_or("document"));
        }
        name
    }
}

pub(super) fn document(
    media: &Media,
    name: Option<&str>,
    documents: &mut Documents,
) -> Result<Value, Unwritable> {
    let kind = kind(media);
    let known = document_format(&kind);
    let by_name = || document_format(&ending(name.unwrap_or_default()));
    let Some(format) = known.or_else(by_name) else {
        return Err(no_words(&format!("a document of the type `{kind}`")));
    };
    let name = documents.name(name);
    Ok(json!({"document": {"format": format, "name": name, "source": source(media, "a document")?}}))
}

fn document_format(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "application/pdf" | "pdf" => "pdf",
        "text/csv" | "csv" => "csv",
        "application/msword" | "doc" => "doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" | "docx" => "docx",
        "application/vnd.ms-excel" | "xls" => "xls",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" | "xlsx" => "xlsx",
        "text/html" | "html" | "htm" => "html",
        "text/plain" | "txt" => "txt",
        "text/markdown" | "md" => "md",
        _ => return None,
    })
}

/// Letters, digits, single spaces, hyphens, parentheses and square brackets: no dots.
fn allowed_name(name: &str) -> String {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "-()[]".contains(letter);
    let spaced: String = name.chars().map(|letter| if fits(letter) { letter } else { ' ' }).collect();
    let single = spaced.split_whitespace().collect::<Vec<_>>().join(" ");
    single.chars().take(MAX_NAME_CHARS).collect::<String>().trim_end().to_owned()
}

/// The media type without its parameters; of a place in S3 the name's ending.
fn kind(media: &Media) -> String {
    match media {
        Media::Data { media_type, .. } => {
            media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
        }
        Media::Url(url) => ending(url),
    }
}

fn ending(name: &str) -> String {
    let path = name.split(['?', '#']).next().unwrap_or(name);
    path.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).unwrap_or_default()
}

fn source(media: &Media, what: &str) -> Result<Value, Unwritable> {
    match media {
        Media::Data { base64, .. } => Ok(json!({"bytes": base64})),
        Media::Url(url) if url.starts_with("s3://") => Ok(json!({"s3Location": {"uri": url}})),
        Media::Url(_) => Err(no_words(&format!("{what} by its URL; send its bytes"))),
    }
}
