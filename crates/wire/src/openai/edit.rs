//! Changes of single fields in a request's body, every other byte as it came.
//!
//! All changes of one call are made in one pass over the body and one copy of it.

use std::borrow::Cow;

use super::scan::Cursor;

/// One change of a top-level field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit<'a> {
    /// Another `model`, where there is one.
    Model(&'a str),
    /// `stream_options.include_usage` is true; the other options stay.
    IncludeUsage,
    Without(&'a str),
    /// Another name for a field. When there is a field of that name, it wins and `from` goes.
    Renamed {
        from: &'a str,
        to: &'a str,
    },
    /// A value (JSON), whether there was one or not.
    Set {
        field: &'a str,
        json: &'a str,
    },
}

/// The body after all the edits. `None` when nothing is to be changed, or the body is not a JSON object.
pub fn edited(body: &[u8], edits: &[Edit<'_>]) -> Option<Vec<u8>> {
    let mut fields = top_level(body)?;
    let mut added = Vec::new();
    let mut is_changed = false;
    for edit in edits {
        is_changed |= apply(*edit, body, &mut fields, &mut added);
    }
    is_changed.then(|| written(body, &fields, &added))
}

/// One top-level field: where it stands, and what becomes of it.
struct Field<'a> {
    /// With its quotes.
    name: (usize, usize),
    value: (usize, usize),
    /// The name that it says, escapes undone.
    says: Cow<'a, str>,
    new_name: Option<&'a str>,
    new_value: Option<Vec<u8>>,
    is_gone: bool,
}

fn top_level(body: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut fields = Vec::with_capacity(16);
    let mut cursor = Cursor::new(body);
    cursor
        .object(|name, value| {
            // The name's quotes stand around it.
            let start = offset_in(body, name) - 1;
            let value_start = value.position();
            value.skip()?;
            fields.push(Field {
                name: (start, start + name.len() + 2),
                value: (value_start, value.end_of_last()),
                says: unescaped(name),
                new_name: None,
                new_value: None,
                is_gone: false,
            });
            Ok(())
        })
        .ok()?;
    cursor.at_end().then_some(fields)
}

/// `part` borrows from `whole`, so the distance of the two addresses is where it stands.
fn offset_in(whole: &[u8], part: &[u8]) -> usize {
    (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize)
}

/// A field can be hidden by writing `model` as `m\u006fdel`: whoever parses the body sees through that, and so do we.
fn unescaped(name: &[u8]) -> Cow<'_, str> {
    if !name.contains(&b'\\') {
        return String::from_utf8_lossy(name);
    }
    let quoted = [b"\"", name, b"\""].concat();
    serde_json::from_slice::<String>(&quoted)
        .map_or_else(|_| Cow::Owned(String::from_utf8_lossy(name).into_owned()), Cow::Owned)
}

type Added<'a> = Vec<(&'a str, Vec<u8>)>;

fn apply<'a>(edit: Edit<'a>, body: &[u8], fields: &mut [Field<'a>], added: &mut Added<'a>) -> bool {
    match edit {
        Edit::Model(model) => {
            let Ok(json) = serde_json::to_vec(model) else { return false };
            set_where_present("model", &json, body, fields)
        }
        Edit::IncludeUsage => include_usage(body, fields, added),
        Edit::Without(name) => each(fields, name, |field| field.is_gone = true),
        Edit::Renamed { from, to } => {
            let is_taken = fields.iter().any(|field| !field.is_gone && field.says == to);
            each(fields, from, |field| match is_taken {
                true => field.is_gone = true,
                false => field.new_name = Some(to),
            })
        }
        Edit::Set { field, json } => {
            if fields.iter().any(|known| !known.is_gone && known.says == field) {
                return set_where_present(field, json.as_bytes(), body, fields);
            }
            added.push((field, json.as_bytes().to_vec()));
            true
        }
    }
}

/// All of a name: which of two a provider believes is not known. Says whether there was one.
fn each<'a>(fields: &mut [Field<'a>], name: &str, mut change: impl FnMut(&mut Field<'a>)) -> bool {
    let mut is_found = false;
    for field in fields.iter_mut().filter(|field| !field.is_gone && field.says == name) {
        change(field);
        is_found = true;
    }
    is_found
}

fn set_where_present(name: &str, json: &[u8], body: &[u8], fields: &mut [Field<'_>]) -> bool {
    let mut is_changed = false;
    each(fields, name, |field| {
        if &body[field.value.0..field.value.1] != json {
            field.new_value = Some(json.to_vec());
            is_changed = true;
        }
    });
    is_changed
}

fn include_usage<'a>(body: &[u8], fields: &mut [Field<'a>], added: &mut Added<'a>) -> bool {
    const NAME: &str = "stream_options";
    const WANTED: &[u8] = br#"{"include_usage":true}"#;
    let mut is_changed = false;
    let is_present = each(fields, NAME, |field| {
        let old = &body[field.value.0..field.value.1];
        field.new_value = match old.first() {
            Some(b'{') => edited(old, &[Edit::Set { field: "include_usage", json: "true" }]),
            Some(b'n') => Some(WANTED.to_vec()),
            // Of another type: the provider has words for that.
            _ => None,
        };
        is_changed |= field.new_value.is_some();
    });
    if !is_present {
        added.push((NAME, WANTED.to_vec()));
    }
    is_changed || !is_present
}

fn written(body: &[u8], fields: &[Field<'_>], added: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let more: usize = added.iter().map(|(name, json)| name.len() + json.len() + 4).sum();
    let longer: usize = fields.iter().filter_map(|field| field.new_value.as_ref()).map(Vec::len).sum();
    let mut out = Vec::with_capacity(body.len() + more + longer + 64);
    let first = fields.first().map_or_else(|| end_of_brace(body), |field| field.name.0);
    out.extend_from_slice(&body[..first]);
    let (mut last_end, mut is_first) = (first, true);
    for field in fields {
        if !field.is_gone {
            if !is_first {
                out.extend_from_slice(&body[last_end..field.name.0]);
            }
            is_first = false;
            write_field(body, field, &mut out);
        }
        last_end = field.value.1;
    }
    for (name, json) in added {
        if !is_first {
            out.push(b',');
        }
        is_first = false;
        write_name(name, &mut out);
        out.push(b':');
        out.extend_from_slice(json);
    }
    out.extend_from_slice(&body[last_end..]);
    out
}

fn write_field(body: &[u8], field: &Field<'_>, out: &mut Vec<u8>) {
    match field.new_name {
        Some(name) => write_name(name, out),
        None => out.extend_from_slice(&body[field.name.0..field.name.1]),
    }
    out.extend_from_slice(&body[field.name.1..field.value.0]);
    out.extend_from_slice(field.new_value.as_deref().unwrap_or(&body[field.value.0..field.value.1]));
}

fn write_name(name: &str, out: &mut Vec<u8>) {
    // A string always serializes.
    out.extend_from_slice(&serde_json::to_vec(name).unwrap_or_default());
}

/// Of an object without fields: just after its brace.
fn end_of_brace(body: &[u8]) -> usize {
    body.iter().position(|byte| *byte == b'{').map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;

    fn check(body: &str, edits: &[Edit<'_>], expected: &str) {
        let out = edited(body.as_bytes(), edits).map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(out.as_deref(), Some(expected), "{body}");
    }

    #[test]
    fn another_model_leaves_every_other_byte() {
        for (body, expected) in [
            (r#"{"model":"a","x":1}"#, r#"{"model":"b\"c","x":1}"#),
            ("{ \"x\" : 1.50,\n \"model\" : \"a\\u0041\" }", "{ \"x\" : 1.50,\n \"model\" : \"b\\\"c\" }"),
            (r#"{"x":{"model":"inner"},"model":"outer"}"#, r#"{"x":{"model":"inner"},"model":"b\"c"}"#),
            (r#"{"x":"\"model\":1","m\u006fdel":"a"}"#, r#"{"x":"\"model\":1","m\u006fdel":"b\"c"}"#),
        ] {
            assert_eq!(
                edited(body.as_bytes(), &[Edit::Model("b\"c")]).unwrap(),
                expected.as_bytes(),
                "{body}"
            );
        }
        for without in [&b"{}"[..], b"[]", b"nonsense", b"{\"model\":\"a\"", b"{\"model\":\"a\"} x"] {
            assert_eq!(edited(without, &[Edit::Model("b")]), None);
        }
        assert_eq!(edited(br#"{"model":"b"}"#, &[Edit::Model("b")]), None, "nothing to change");
    }

    #[test]
    fn usage_is_asked_for_and_other_options_stay() {
        let ask = [Edit::IncludeUsage];
        check(r#"{"stream":true}"#, &ask, r#"{"stream":true,"stream_options":{"include_usage":true}}"#);
        check("{ }", &ask, r#"{"stream_options":{"include_usage":true} }"#);
        check(r#"{"stream_options":null}"#, &ask, r#"{"stream_options":{"include_usage":true}}"#);
        check(
            r#"{"stream_options":{"x" : 1, "include_usage": false},"a":1}"#,
            &ask,
            r#"{"stream_options":{"x" : 1, "include_usage": true},"a":1}"#,
        );
        check(r#"{"stream_options":{}}"#, &ask, r#"{"stream_options":{"include_usage":true}}"#);
        assert_eq!(edited(br#"{"stream_options":{"include_usage":true}}"#, &ask), None);
        assert_eq!(edited(br#"{"stream_options":[]}"#, &ask), None);
    }

    #[test]
    fn fields_go_with_their_commas() {
        let drop = |names: &[&str], body: &str| {
            let edits: Vec<Edit<'_>> = names.iter().map(|name| Edit::Without(name)).collect();
            String::from_utf8(edited(body.as_bytes(), &edits).unwrap()).unwrap()
        };
        let body = r#"{ "a": 1, "b" : [2], "c":3 }"#;
        assert_eq!(drop(&["a"], body), r#"{ "b" : [2], "c":3 }"#);
        assert_eq!(drop(&["b"], body), r#"{ "a": 1, "c":3 }"#);
        assert_eq!(drop(&["b", "c"], body), r#"{ "a": 1 }"#);
        assert_eq!(drop(&["a", "b", "c"], body), r#"{  }"#);
        assert_eq!(drop(&["a"], r#"{"a":1,"a":2,"b":3}"#), r#"{"b":3}"#);
        assert_eq!(edited(b"{\"a\":1}", &[Edit::Without("b")]), None);
    }

    #[test]
    fn a_renamed_field_yields_to_one_that_has_the_name() {
        let edit = Edit::Renamed { from: "max_tokens", to: "max_completion_tokens" };
        check(r#"{"max_tokens" : 5}"#, &[edit], r#"{"max_completion_tokens" : 5}"#);
        let both = r#"{"max_tokens":5,"max_completion_tokens":7}"#;
        check(both, &[edit], r#"{"max_completion_tokens":7}"#);
    }

    #[test]
    fn many_edits_are_one_pass() {
        check(
            r#"{"model":"a","user":"u","max_tokens":5,"stream":true,"n":1}"#,
            &[
                Edit::Model("b"),
                Edit::IncludeUsage,
                Edit::Without("user"),
                Edit::Renamed { from: "max_tokens", to: "max_completion_tokens" },
                Edit::Set { field: "n", json: "2" },
                Edit::Set { field: "seed", json: "7" },
            ],
            r#"{"model":"b","max_completion_tokens":5,"stream":true,"n":2,"stream_options":{"include_usage":true},"seed":7}"#,
        );
    }

    proptest! {
        #[test]
        fn an_edited_body_is_what_editing_its_tree_gives(
            keys in prop::collection::vec("[abm\"\\\\é]{1,2}", 0..6),
            gone in "[abm]{1,2}",
            set in "[abm]{1,2}",
        ) {
            let tree: Map<String, Value> = keys.iter().enumerate().map(|(n, key)| (key.clone(), n.into())).collect();
            let body = serde_json::to_vec_pretty(&tree).unwrap();
            let edits = [Edit::Without(&gone), Edit::Set { field: &set, json: "true" }];
            let out: Value = serde_json::from_slice(&edited(&body, &edits).unwrap()).unwrap();
            let mut expected = tree;
            expected.shift_remove(&gone);
            expected.insert(set, true.into());
            prop_assert_eq!(out, Value::Object(expected));
        }

        #[test]
        fn any_bytes_are_edited_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in r#"[{}\[\]":,a-c\\ ]{0,40}"#) {
            for body in [&bytes[..], text.as_bytes()] {
                let _ = edited(body, &[Edit::Without("a"), Edit::IncludeUsage, Edit::Renamed { from: "b", to: "c" }]);
            }
        }
    }
}
