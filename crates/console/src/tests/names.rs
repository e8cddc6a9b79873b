//! Names of providers, models, keys, apps and targets are text on every page: whatever they hold, a page has the same
//! elements with the same attributes as with a plain name, nothing turns its text around, and the twin holds the name
//! whole.

use http::StatusCode;
use mainstay_base::record::Attempt;
use serde_json::Value;

use super::{routing, world::*};

const PLAIN: &str = "plain";

pub(super) fn hostile_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "<script>alert(1)</script>",
        "\"'><img src=x onerror=alert(2)>&amp;",
        "</textarea></td></table><!-- ",
        "two\nlines\r\n\tand a tab",
        "\u{1b}[31mred\u{7}\u{9b}31m",
        "\u{202e}drow\u{2066}s\u{200f}",
        "a/b c?d=e#f%2F&g=h;i",
        "javascript:alert(1)",
        "{{ 7*7 }}{% raw %}${x}",
        "..",
        "名前 😀 مزود",
    ]
    .map(str::to_owned)
    .into();
    names.extend(["w".repeat(200), "é<".repeat(250), "\u{202e}".repeat(500)]);
    names
}

/// A page by name: its path, and what a form sends there; nothing: it is asked for.
type PageOf = (&'static str, fn(&str) -> String, &'static [(&'static str, &'static str)]);

const PAGES: [PageOf; 15] = [
    ("overview", |_| "/overview".to_owned(), &[]),
    ("groups", |_| "/groups".to_owned(), &[]),
    ("preview", |name| format!("/receivers/{}/preview", encoded(name)), &[]),
    ("group", |_| format!("/groups/{}", super::control::GROUP), &[]),
    ("providers", |_| "/providers".to_owned(), &[]),
    ("provider", |name| format!("/providers/{}", encoded(name)), &[]),
    ("models", |_| "/models".to_owned(), &[]),
    ("model", |name| format!("/models/{}", encoded(name)), &[]),
    ("route", |name| format!("/models/{}/route?key={}", encoded(name), encoded(name)), &[]),
    ("requests", |_| "/requests".to_owned(), &[]),
    ("request", |_| format!("/requests/{}", routing::CALL), &[]),
    ("drain", |name| format!("/providers/{}/drain", encoded(name)), &[("dry_run", "true"), ("why", NAME)]),
    (
        "failover",
        |name| format!("/providers/{}/failover", encoded(name)),
        &[("dry_run", "true"), ("to", "another than NAME")],
    ),
    ("test", |name| format!("/providers/{}/test", encoded(name)), &[("model", NAME)]),
    (
        "simulated",
        |_| "/route/simulate".to_owned(),
        &[("policy", NAME), ("since_s", "3600"), ("model", NAME)],
    ),
];
/// Stands for the name in a form.
const NAME: &str = "NAME";

#[tokio::test]
async fn a_page_has_the_same_elements_whatever_names_hold() {
    let plain = called(PLAIN).await;
    for name in hostile_names() {
        let world = called(&name).await;
        for (page, path, form) in PAGES {
            let expected = asked(&plain, PLAIN, path, form).await;
            assert_eq!(expected.status, StatusCode::OK, "{page}: {}", expected.text);
            let answer = asked(&world, &name, path, form).await;
            assert_eq!(answer.header("x-content-type-options"), "nosniff");
            // A path holds so much of a name; nothing longer can be configured.
            if name.chars().count() > 200 && path(PLAIN) != path(NAME) {
                assert!(!answer.text.contains("<script>"), "{page} of a long name");
                continue;
            }
            assert_eq!(answer.status, StatusCode::OK, "{page} of {name:?}: {}", answer.text);
            let (elements, texts) = read(&answer.text);
            assert_eq!(elements, read(&expected.text).0, "{page} of {name:?}");
            let turned = texts.iter().find(|text| text.chars().any(turns_text));
            assert_eq!(turned, None, "{page} of {name:?}");
        }
    }
}

#[tokio::test]
async fn a_twin_holds_names_whole() {
    for name in hostile_names() {
        let world = called(&name).await;
        for (page, path, form) in PAGES.iter().filter(|(page, ..)| *page != "overview") {
            if name.chars().count() > 200 && path(PLAIN) != path(NAME) {
                continue;
            }
            let path = format!("/api{}", path(&name));
            let answer = if form.is_empty() {
                world.get(&path).await
            } else {
                let fields = form.iter().map(|(field, value)| (*field, value.replace(NAME, &name)));
                let body: Value = fields
                    .map(|(field, value)| (field.to_owned(), Value::String(value)))
                    .collect::<serde_json::Map<_, _>>()
                    .into();
                world.post(&path, &body).await
            };
            assert_eq!(answer.header("content-type"), "application/json");
            assert!(holds(&answer.json(), &name), "{page} of {name:?}: {}", answer.text);
        }
    }
}

async fn called(name: &str) -> World {
    let world = World::named(Some(name)).await;
    let text = || Some(name.to_owned());
    let mut record = routing::call();
    (record.app, record.app_id, record.upstream) = (text(), text(), text());
    (record.model, record.key, record.end_user, record.tenant) = (text(), text(), text(), text());
    let named =
        |attempt: Attempt| Attempt { upstream: name.to_owned(), model: text(), key: text(), ..attempt };
    record.attempts = record.attempts.into_iter().map(named).collect();
    world.store.records().insert_batch(vec![record]).await.unwrap();
    world
}

async fn asked(world: &World, name: &str, path: fn(&str) -> String, form: &[(&str, &str)]) -> Answer {
    if form.is_empty() {
        return world.get(&path(name)).await;
    }
    let values: Vec<String> = form.iter().map(|(_, value)| value.replace(NAME, name)).collect();
    let fields: Vec<(&str, &str)> =
        form.iter().zip(&values).map(|((field, _), value)| (*field, value.as_str())).collect();
    world.form(&path(name), &fields).await
}

pub(super) fn encoded(name: &str) -> String {
    name.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn holds(value: &Value, name: &str) -> bool {
    match value {
        Value::String(text) => text.contains(name),
        Value::Array(items) => items.iter().any(|item| holds(item, name)),
        Value::Object(fields) => fields.iter().any(|(key, value)| key.contains(name) || holds(value, name)),
        _ => false,
    }
}

/// What turns the direction of the text that follows.
pub(super) fn turns_text(letter: char) -> bool {
    matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The elements of a page in order, each with the names of its attributes, and the texts between them. What says that a
/// text was clipped is left out, and which option of several is chosen: names are in their order.
pub(super) fn read(page: &str) -> (Vec<String>, Vec<String>) {
    let (mut elements, mut texts) = (Vec::new(), Vec::new());
    let mut rest = page;
    let mut clipped = false;
    while let Some((text, after)) = rest.split_once('<') {
        texts.push(text.to_owned());
        let mut quoted = None;
        let end = after.find(|letter| match (quoted, letter) {
            (Some(quote), letter) => {
                quoted = quoted.filter(|_| letter != quote);
                false
            }
            (None, '"' | '\'') => {
                quoted = Some(letter);
                false
            }
            (None, letter) => letter == '>',
        });
        let (tag, after) = after.split_at(end.expect("an element ends"));
        let element = element(tag);
        match element.as_str() {
            _ if tag.contains("class=\"clipped\"") => clipped = true,
            "/span" if clipped => clipped = false,
            _ => elements.push(element),
        }
        rest = &after[1..];
    }
    texts.push(rest.to_owned());
    (elements, texts)
}

/// `a class href`: the name, then those of the attributes.
fn element(tag: &str) -> String {
    let mut bare = String::new();
    let mut is_quoted = false;
    for letter in tag.chars() {
        match letter {
            '"' => is_quoted = !is_quoted,
            _ if is_quoted => {}
            other => bare.push(other),
        }
    }
    bare.replace('=', "").replace(" selected", "")
}
