//! The documents that hold now, and changes of them: each is validated whole, kept with who and why, and can be undone.

use std::collections::BTreeMap;

use mainstay_base::Clock;
use mainstay_store::{
    Store, StoreError,
    model::{NewEvent, SloChange, SloRow},
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    defaults,
    document::{Alerting, Document},
    read::{self, Problem},
};

/// Documents that one change may be about.
pub const MAX_AT_ONCE: usize = 500;
/// Documents together. Judging takes time and memory for each.
pub const MAX_DOCUMENTS: usize = 1_000;
const CHANGES: u32 = 100;

/// A document with where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    pub document: Document,
    /// 0: nobody ever changed it.
    pub revision: i64,
    /// It is one of [`defaults`], as shipped.
    pub is_default: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("{}", words(.0))]
    Problems(Vec<Problem>),
    #[error("there is no service level `{0}`")]
    NotFound(String),
    #[error("{0}")]
    Nothing(String),
    #[error("somebody else changed it at the same time")]
    Raced,
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn words(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; ")
}

/// What was changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Changed {
    pub names: Vec<String>,
}

/// Who changes, and why.
#[derive(Clone, Copy, Debug)]
pub struct By<'a> {
    pub actor: &'a str,
    pub why: &'a str,
}

/// All documents that hold, by name: what operators wrote over what ships. What cannot be read (written by another
/// version) is left out and named.
pub async fn documents(store: &Store) -> Result<(Vec<Held>, Vec<Problem>), StoreError> {
    Ok(together(&store.slos().list().await?))
}

pub(super) fn together(rows: &[SloRow]) -> (Vec<Held>, Vec<Problem>) {
    let mut problems = Vec::new();
    let shipped = defaults::documents()
        .into_iter()
        .map(|document| (document.name.clone(), Held { document, revision: 0, is_default: true }));
    let mut all: BTreeMap<String, Held> = shipped.collect();
    for row in rows {
        let Some(body) = &row.body else {
            if let Some(held) = all.get_mut(&row.name) {
                held.revision = row.revision;
            }
            continue;
        };
        match read::document(body) {
            Ok(document) => {
                let held = Held { document, revision: row.revision, is_default: false };
                all.insert(row.name.clone(), held);
            }
            Err(found) => problems.extend(found.into_iter().map(|problem| Problem {
                path: format!("{}.{}", row.name, problem.path),
                message: problem.message,
            })),
        }
    }
    (all.into_values().collect(), problems)
}

/// Stores documents, all or none.
pub async fn set(store: &Store, clock: &Clock, values: &[Value], by: By<'_>) -> Result<Changed, Refused> {
    let rows = store.slos().list().await?;
    let (held, _) = together(&rows);
    let documents = fitting(values, &held)?;
    let changes = documents
        .iter()
        .filter(|document| held.iter().all(|held| held.document != **document))
        .map(|document| (document.name.clone(), Some(document.json())))
        .collect();
    change(store, clock, &rows, changes, by).await
}

/// Documents that can be stored beside those that hold.
pub(super) fn fitting(values: &[Value], held: &[Held]) -> Result<Vec<Document>, Refused> {
    let documents = check(values)?;
    let new =
        documents.iter().filter(|document| !held.iter().any(|held| held.document.name == document.name));
    if held.len() + new.count() > MAX_DOCUMENTS {
        return Err(Refused::Problems(vec![Problem {
            path: String::new(),
            message: format!("there would be more than {MAX_DOCUMENTS} service levels"),
        }]));
    }
    Ok(documents)
}

/// What is wrong with any of them, with the place in the list where there are several.
pub fn check(values: &[Value]) -> Result<Vec<Document>, Refused> {
    let (mut documents, mut problems) = (Vec::new(), Vec::<Problem>::new());
    if values.is_empty() || values.len() > MAX_AT_ONCE {
        let message = format!("{} documents; allowed are 1 to {MAX_AT_ONCE} at once", values.len());
        problems.push(Problem { path: String::new(), message });
    }
    for (index, value) in values.iter().enumerate().take(MAX_AT_ONCE) {
        let place =
            |path: &str| if values.len() == 1 { path.to_owned() } else { format!("[{index}].{path}") };
        match read::document(value) {
            Ok(document) if documents.iter().any(|one: &Document| one.name == document.name) => {
                let message = format!("`{}` is there twice", document.name);
                problems.push(Problem { path: place("name"), message });
            }
            Ok(document) => documents.push(document),
            Err(found) => problems.extend(
                found.into_iter().map(|Problem { path, message }| Problem { path: place(&path), message }),
            ),
        }
    }
    if problems.is_empty() { Ok(documents) } else { Err(Refused::Problems(problems)) }
}

/// Removes a document. One that ships comes back as shipped.
pub async fn remove(store: &Store, clock: &Clock, name: &str, by: By<'_>) -> Result<Changed, Refused> {
    let rows = store.slos().list().await?;
    removable(&rows, name)?;
    change(store, clock, &rows, vec![(name.to_owned(), None)], by).await
}

/// Whether somebody wrote it, so that it can be removed.
pub(super) fn removable(rows: &[SloRow], name: &str) -> Result<(), Refused> {
    if rows.iter().any(|row| row.name == name && row.body.is_some()) {
        return Ok(());
    }
    match defaults::documents().iter().any(|document| document.name == name) {
        true => Err(Refused::Nothing(format!(
            "{name} ships with Mainstay and nobody changed it; `alerting` = off silences it for good"
        ))),
        false => Err(Refused::NotFound(name.to_owned())),
    }
}

/// Takes the last change of a document back. The undoing is a change too.
pub async fn undo(store: &Store, clock: &Clock, name: &str, by: By<'_>) -> Result<Changed, Refused> {
    let before = before_last(store, name).await?;
    let rows = store.slos().list().await?;
    change(store, clock, &rows, vec![(name.to_owned(), before)], by).await
}

/// What was written before the last change. `None`: nothing was.
pub(super) async fn before_last(store: &Store, name: &str) -> Result<Option<Value>, Refused> {
    let last = store.slos().changes(Some(name), 1).await?.into_iter().next();
    let Some(SloChange { before, .. }) = last else {
        return Err(Refused::Nothing(format!("nobody changed {name}; there is nothing to undo")));
    };
    // What was allowed then may not be now.
    if let Some(before) = &before {
        read::document(before).map_err(Refused::Problems)?;
    }
    Ok(before)
}

/// Lets one that was only watched tell people.
pub async fn promote(store: &Store, clock: &Clock, name: &str, by: By<'_>) -> Result<Changed, Refused> {
    let (held, _) = documents(store).await?;
    let document = promoted(&held, name)?;
    set(store, clock, &[document.json()], by).await
}

/// The same, telling people.
pub(super) fn promoted(held: &[Held], name: &str) -> Result<Document, Refused> {
    let found = held.iter().find(|held| held.document.name == name);
    let Some(Held { document, .. }) = found else { return Err(Refused::NotFound(name.to_owned())) };
    if document.alerting == Alerting::On {
        return Err(Refused::Nothing(format!("{name} tells people already")));
    }
    Ok(Document { alerting: Alerting::On, ..document.clone() })
}

/// Changes, newest first; `name`: only of this one.
pub async fn history(store: &Store, name: Option<&str>) -> Result<Vec<SloChange>, StoreError> {
    store.slos().changes(name, CHANGES).await
}

async fn change(
    store: &Store,
    clock: &Clock,
    rows: &[SloRow],
    changes: Vec<(String, Option<Value>)>,
    by: By<'_>,
) -> Result<Changed, Refused> {
    let row = |name: &str| rows.iter().find(|row| row.name == name);
    let names: Vec<String> = changes.iter().map(|(name, _)| name.clone()).collect();
    if names.is_empty() {
        return Ok(Changed { names });
    }
    let before: Vec<Option<Value>> =
        names.iter().map(|name| row(name).and_then(|row| row.body.clone())).collect();
    let detail = json!({
        "names": names, "before": before, "after": changes.iter().map(|(_, after)| after).collect::<Vec<_>>(),
        "undo": "mainstay slo undo NAME",
    });
    let documents = changes
        .into_iter()
        .map(|(name, after)| {
            let revision = row(&name).map_or(0, |row| row.revision);
            (name, after, revision)
        })
        .collect();
    let By { actor, why } = by;
    if !store.slos().put(documents, before, actor, why, clock.now()).await? {
        return Err(Refused::Raced);
    }
    let text = format!("service levels changed ({}): {why}", names.join(", "));
    let event = NewEvent {
        at: clock.now(),
        subject: "slo".to_owned(),
        kind: "slo_changed".to_owned(),
        actor: actor.to_owned(),
        text,
        detail,
    };
    store.timeline().append(event).await?;
    Ok(Changed { names })
}
