//! What a change of service levels would come to, said before it is made: by the same checks, and nothing is stored.

use std::collections::BTreeMap;

use mainstay_base::Clock;
use mainstay_store::Store;
use serde::Serialize;
use serde_json::Value;

use super::admin::{self, By, Changed, Held, Refused};

/// A change of service levels.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// Whole documents, all or none.
    Set(Vec<Value>),
    Remove(String),
    /// Takes the last change back.
    Undo(String),
    Promote(String),
}

/// What it would come to for one of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Planned {
    pub name: String,
    pub effect: Effect,
    /// By key; none where nothing is different.
    pub differences: Vec<Difference>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    New,
    Changed,
    /// One that ships is as it ships again.
    AsShipped,
    Removed,
    Nothing,
}

impl Effect {
    pub fn words(self) -> &'static str {
        match self {
            Effect::New => "is new",
            Effect::Changed => "is changed",
            Effect::AsShipped => "is as it ships again",
            Effect::Removed => "is removed",
            Effect::Nothing => "stays as it is",
        }
    }
}

/// One key, as `sli.threshold_ms`. `Null`: it is not there.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    pub key: String,
    pub before: Value,
    pub after: Value,
}

/// What would become of each. Refuses what [`perform`] would refuse.
pub async fn plan(store: &Store, asked: &Asked) -> Result<Vec<Planned>, Refused> {
    let rows = store.slos().list().await?;
    let (held, _) = admin::together(&rows);
    let of = |name: &str| held.iter().find(|held| held.document.name == name);
    let unwritten = |name: &str| planned(name, of(name), shipped(name), true);
    match asked {
        Asked::Set(values) => {
            let documents = admin::fitting(values, &held)?;
            let one = |document: &super::Document| {
                planned(&document.name, of(&document.name), Some(document.json()), false)
            };
            Ok(documents.iter().map(one).collect())
        }
        Asked::Remove(name) => {
            admin::removable(&rows, name)?;
            Ok(vec![unwritten(name)])
        }
        Asked::Undo(name) => match admin::before_last(store, name).await? {
            Some(before) => Ok(vec![planned(name, of(name), Some(before), false)]),
            None => Ok(vec![unwritten(name)]),
        },
        Asked::Promote(name) => {
            let after = admin::promoted(&held, name)?.json();
            Ok(vec![planned(name, of(name), Some(after), false)])
        }
    }
}

/// Makes it.
pub async fn perform(store: &Store, clock: &Clock, asked: &Asked, by: By<'_>) -> Result<Changed, Refused> {
    match asked {
        Asked::Set(values) => admin::set(store, clock, values, by).await,
        Asked::Remove(name) => admin::remove(store, clock, name, by).await,
        Asked::Undo(name) => admin::undo(store, clock, name, by).await,
        Asked::Promote(name) => admin::promote(store, clock, name, by).await,
    }
}

/// Documents as people edit them: YAML.
pub fn text(documents: &[Value]) -> String {
    mainstay_wire::yaml::write(documents)
}

/// Changes one key of a document to what somebody wrote. `sli.kind` and another kind of window begin anew: their other keys
/// belong to what was there. An empty text takes the key away.
pub fn put(document: &mut Value, key: &str, text: &str) {
    let value = match text.trim() {
        "" => Value::Null,
        text if is_text(key) => text.into(),
        text => match (text.parse::<u64>(), text.parse::<f64>()) {
            (Ok(whole), _) => whole.into(),
            (_, Ok(number)) => number.into(),
            _ => text.into(),
        },
    };
    let (table, key) = match key.split_once('.') {
        None => (document, key),
        Some((outer, key)) => {
            if !document[outer].is_object() || key == "kind" || (outer == "window" && !value.is_null()) {
                document[outer] = Value::Object(serde_json::Map::new());
            }
            (&mut document[outer], key)
        }
    };
    if let Some(table) = table.as_object_mut() {
        match value {
            Value::Null => drop(table.remove(key)),
            value => drop(table.insert(key.to_owned(), value)),
        }
    }
}

/// Whether what looks like a number is a name all the same.
fn is_text(key: &str) -> bool {
    key == "name" || key == "owner" || key == "description" || key.starts_with("selector.")
}

fn shipped(name: &str) -> Option<Value> {
    let shipped = super::defaults::documents().into_iter().find(|document| document.name == name);
    shipped.map(|document| document.json())
}

fn planned(name: &str, held: Option<&Held>, after: Option<Value>, is_unwritten: bool) -> Planned {
    let before = held.map(|held| held.document.json());
    let differences = differences(before.as_ref(), after.as_ref());
    let effect = match (&before, &after) {
        _ if differences.is_empty() => Effect::Nothing,
        (None, _) => Effect::New,
        (_, None) => Effect::Removed,
        (_, Some(_)) if is_unwritten => Effect::AsShipped,
        _ => Effect::Changed,
    };
    Planned { name: name.to_owned(), effect, differences }
}

/// Keys of which the values differ, in their order. A text that is empty is one that is not there.
pub fn differences(before: Option<&Value>, after: Option<&Value>) -> Vec<Difference> {
    let (mut old, mut new) = (BTreeMap::new(), BTreeMap::new());
    before.into_iter().for_each(|value| flatten("", value, &mut old));
    after.into_iter().for_each(|value| flatten("", value, &mut new));
    let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let value = |map: &BTreeMap<String, Value>, key: &str| map.get(key).cloned().unwrap_or(Value::Null);
    let one =
        |key: &String| Difference { key: key.clone(), before: value(&old, key), after: value(&new, key) };
    let is_there = |value: &Value| !value.is_null() && value != "";
    let is_difference =
        |one: &Difference| one.before != one.after && (is_there(&one.before) || is_there(&one.after));
    keys.into_iter().map(one).filter(is_difference).collect()
}

fn flatten(path: &str, value: &Value, into: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&path, value, into);
            }
        }
        other => drop(into.insert(path.to_owned(), other.clone())),
    }
}

#[cfg(test)]
mod tests {
    use mainstay_base::Micros;
    use mainstay_store::Options;
    use serde_json::json;

    use super::*;

    const NAME: &str = "workflow-availability";

    async fn world() -> (Store, Clock, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(Micros(1_800_000_000_000_000));
        let url = format!("sqlite:{}", folder.path().join("plan.db").display());
        let options = Options { url, clock: clock.clone() };
        Store::migrate(&options).await.unwrap();
        (Store::open(options).await.unwrap(), clock, folder)
    }

    fn changed(planned: &[Planned]) -> Vec<String> {
        let shown = |one: &Difference| format!("{} {} -> {}", one.key, one.before, one.after);
        planned
            .iter()
            .flat_map(|one| {
                let head = format!("{} {}", one.name, one.effect.words());
                std::iter::once(head).chain(one.differences.iter().map(shown))
            })
            .collect()
    }

    #[test]
    fn pairs_change_what_they_name_and_nothing_else() {
        let mut document = json!({
            "name": "a", "target": 99.0, "sli": { "kind": "latency", "threshold_ms": 5 },
            "selector": { "mode": "chat" }, "window": { "rolling_days": 30 },
        });
        for (key, value) in [
            ("target", "99.5"),
            ("sli.kind", "availability"),
            ("selector.app", "007"),
            ("selector.mode", ""),
            ("window.calendar", "month"),
            ("window.rolling_days", ""),
            ("owner", "42"),
        ] {
            put(&mut document, key, value);
        }
        let expected = json!({
            "name": "a", "target": 99.5, "sli": { "kind": "availability" },
            "selector": { "app": "007" }, "window": { "calendar": "month" }, "owner": "42",
        });
        assert_eq!(document, expected);
    }

    #[tokio::test]
    async fn what_is_said_before_is_what_comes_and_nothing_is_stored_by_saying_it() {
        let (store, clock, _folder) = world().await;
        let by = By { actor: "ana", why: "agreed" };
        let mut document = shipped(NAME).unwrap();
        document["target"] = 99.5.into();
        document["selector"] = json!({ "app": "Guide" });
        let new = json!({ "name": "mine", "target": 95, "sli": { "kind": "availability" } });
        let steps = [
            (
                Asked::Set(vec![document.clone()]),
                vec![
                    format!("{NAME} is changed"),
                    "selector.app null -> \"Guide\"".to_owned(),
                    "selector.mode \"workflow\" -> null".to_owned(),
                    "target 99.0 -> 99.5".to_owned(),
                ],
            ),
            (Asked::Set(vec![document]), vec![format!("{NAME} stays as it is")]),
            (
                Asked::Undo(NAME.to_owned()),
                vec![
                    format!("{NAME} is as it ships again"),
                    "selector.app \"Guide\" -> null".to_owned(),
                    "selector.mode null -> \"workflow\"".to_owned(),
                    "target 99.5 -> 99.0".to_owned(),
                ],
            ),
            (
                Asked::Promote("workflow-latency".to_owned()),
                vec!["workflow-latency is changed".to_owned(), "alerting \"shadow\" -> \"on\"".to_owned()],
            ),
            (
                Asked::Remove("workflow-latency".to_owned()),
                vec![
                    "workflow-latency is as it ships again".to_owned(),
                    "alerting \"on\" -> \"shadow\"".to_owned(),
                ],
            ),
        ];
        for (asked, expected) in steps {
            let before = admin::documents(&store).await.unwrap();
            let planned = plan(&store, &asked).await.unwrap();
            assert_eq!(changed(&planned), expected);
            assert_eq!(admin::documents(&store).await.unwrap(), before, "saying it stored something");
            perform(&store, &clock, &asked, by).await.unwrap();
            let after = admin::documents(&store).await.unwrap().0;
            for one in planned {
                let held = |all: &[Held]| {
                    let held = all.iter().find(|held| held.document.name == one.name);
                    held.map(|held| held.document.json())
                };
                let came = differences(held(&before.0).as_ref(), held(&after).as_ref());
                assert_eq!(came, one.differences, "{asked:?}");
            }
        }
        let planned = plan(&store, &Asked::Set(vec![new.clone()])).await.unwrap();
        let keys: Vec<&str> = planned[0].differences.iter().map(|one| one.key.as_str()).collect();
        assert_eq!(planned[0].effect, Effect::New);
        assert_eq!(
            keys,
            ["alerting", "name", "sli.kind", "source", "target", "window.rolling_days"],
            "no line for an owner and a description that nobody wrote"
        );
        perform(&store, &clock, &Asked::Set(vec![new]), by).await.unwrap();
        assert_eq!(plan(&store, &Asked::Remove("mine".to_owned())).await.unwrap()[0].effect, Effect::Removed);
    }

    #[tokio::test]
    async fn what_would_be_refused_is_refused_by_the_plan() {
        let (store, clock, _folder) = world().await;
        let by = By { actor: "ana", why: "agreed" };
        let name = |name: &str| name.to_owned();
        for asked in [
            Asked::Set(vec![json!({ "name": "x", "target": 100, "window": { "rolling_days": 0 } })]),
            Asked::Set(Vec::new()),
            Asked::Remove(name(NAME)),
            Asked::Remove(name("nobody")),
            Asked::Undo(name(NAME)),
            Asked::Promote(name(NAME)),
            Asked::Promote(name("nobody")),
        ] {
            let (planned, done) = (
                plan(&store, &asked).await.unwrap_err(),
                perform(&store, &clock, &asked, by).await.unwrap_err(),
            );
            assert_eq!(planned.to_string(), done.to_string(), "{asked:?}");
        }
    }
}
