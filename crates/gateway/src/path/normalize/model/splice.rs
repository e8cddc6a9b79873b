//! A body with another model's name, every other byte as it came: one copy, no second reading.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Map, Value};

use super::{Asked, Endpoint};

/// What a target's provider gets of a call's body when it speaks the dialect in which the call came.
pub(crate) fn body(asked: &Asked, bytes: &Bytes, model: &str, with_usage: bool) -> Bytes {
    let knows_option = matches!(asked.endpoint, Endpoint::Chat | Endpoint::Completions);
    let with_usage = with_usage && knows_option && asked.streams && !asked.include_usage;
    if model == asked.name && !with_usage && asked.spots.model.is_some() {
        return bytes.clone();
    }
    let mut edits = Vec::with_capacity(2);
    edits.extend(name_edit(asked, bytes, model));
    if with_usage {
        edits.extend(usage_edit(asked, bytes));
    }
    apply(bytes, edits)
}

/// These bytes in place of those.
struct Edit {
    at: Range<usize>,
    with: Vec<u8>,
}

fn name_edit(asked: &Asked, bytes: &[u8], model: &str) -> Option<Edit> {
    match &asked.spots.model {
        Some(_) if model == asked.name => None,
        Some(at) if asked.endpoint.is_json() => {
            Some(Edit { at: at.clone(), with: Value::from(model).to_string().into_bytes() })
        }
        Some(at) => Some(Edit { at: at.clone(), with: model.as_bytes().to_vec() }),
        None => insert(bytes, &format!("\"model\":{}", Value::from(model))),
    }
}

fn usage_edit(asked: &Asked, bytes: &[u8]) -> Option<Edit> {
    let Some(at) = asked.spots.stream_options.clone() else {
        return insert(bytes, "\"stream_options\":{\"include_usage\":true}");
    };
    let mut options: Map<String, Value> = serde_json::from_slice(bytes.get(at.clone())?).unwrap_or_default();
    options.insert("include_usage".to_owned(), Value::Bool(true));
    Some(Edit { at, with: Value::Object(options).to_string().into_bytes() })
}

/// A field in front of an object's others.
fn insert(bytes: &[u8], field: &str) -> Option<Edit> {
    let after = bytes.iter().position(|byte| *byte == b'{')? + 1;
    let is_empty = bytes.get(after..)?.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'}');
    let comma = if is_empty { "" } else { "," };
    Some(Edit { at: after..after, with: format!("{field}{comma}").into_bytes() })
}

fn apply(bytes: &Bytes, mut edits: Vec<Edit>) -> Bytes {
    edits.sort_by_key(|edit| edit.at.start);
    let added: usize = edits.iter().map(|edit| edit.with.len()).sum();
    let mut out = BytesMut::with_capacity(bytes.len() + added);
    let mut from = 0;
    for Edit { at, with } in edits {
        out.put_slice(bytes.get(from..at.start).unwrap_or_default());
        out.put_slice(&with);
        from = at.end;
    }
    out.put_slice(bytes.get(from..).unwrap_or_default());
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Terms, form, scan},
        *,
    };

    fn asked(endpoint: Endpoint, body: &[u8]) -> Asked {
        let mut scanned = if endpoint.is_json() { scan::scan(body) } else { form::scan(body, "b") }.unwrap();
        let name = scanned.model.take().unwrap_or_else(|| "default".to_owned());
        Asked::of(endpoint, name, scanned, &Terms::default())
    }

    #[test]
    fn only_what_must_change_does() {
        use Endpoint::{Chat, Moderations, Responses, Transcriptions};
        const FORM: &str = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\na\r\n--b--\r\n";
        for (endpoint, body, model, with_usage, expected) in [
            (Chat, r#"{"model" : "a", "x":1.10}"#, "b", false, r#"{"model" : "b", "x":1.10}"#),
            (Chat, r#"{"x":[],"model":"a"}"#, "b\"c", false, r#"{"x":[],"model":"b\"c"}"#),
            (Chat, r#"{"model":"a"}"#, "b", true, r#"{"model":"b"}"#),
            (
                Chat,
                r#"{"model":"a","stream":true}"#,
                "a",
                true,
                r#"{"stream_options":{"include_usage":true},"model":"a","stream":true}"#,
            ),
            (
                Chat,
                r#"{"stream_options":null,"model":"a","stream":true}"#,
                "b",
                true,
                r#"{"stream_options":{"include_usage":true},"model":"b","stream":true}"#,
            ),
            (
                Chat,
                r#"{"model":"a","stream":true,"stream_options":{"include_usage":false,"x":1}}"#,
                "b",
                true,
                r#"{"model":"b","stream":true,"stream_options":{"include_usage":true,"x":1}}"#,
            ),
            (Responses, r#"{"model":"a","stream":true}"#, "b", true, r#"{"model":"b","stream":true}"#),
            (Moderations, r#" {"input":"x"}"#, "b", false, r#" {"model":"b","input":"x"}"#),
            (Moderations, "{ }", "b", false, r#"{"model":"b" }"#),
            (
                Transcriptions,
                FORM,
                "whisper",
                true,
                "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper\r\n--b--\r\n",
            ),
        ] {
            let asked = asked(endpoint, body.as_bytes());
            let out = asked.body_for(&Bytes::from(body), model, with_usage);
            assert_eq!(std::str::from_utf8(&out).unwrap(), expected);
        }
    }

    #[test]
    fn a_body_without_a_change_is_not_copied() {
        let body =
            Bytes::from_static(br#"{"model":"a","stream":true,"stream_options":{"include_usage":true}}"#);
        let out = asked(Endpoint::Chat, &body).body_for(&body, "a", true);
        assert_eq!(out.as_ptr(), body.as_ptr());
    }
}
