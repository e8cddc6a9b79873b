//! Import, versions and export.

use crate::stage::{Stage, dsl};
use mainstay_standby::apps::{AppFile, ImportError};
use serde_json::json;

fn file(path: &str, text: String) -> AppFile {
    AppFile { path: path.to_owned(), text }
}

#[tokio::test]
async fn a_new_app_gets_a_key_once_and_the_next_import_a_version() {
    let stage = Stage::new().await;
    let first = &stage.apps["wf-form"];
    let key = first.key.as_deref().unwrap();
    assert!(key.starts_with("app-") && key.len() == 28);
    let keys = stage.store.apps().keys().await.unwrap();
    assert!(keys.contains(&(mainstay_base::id::KeyHash::of(key), first.app.id.clone())));

    let changed = dsl("wf-form").replace("Hello {{ name }}!", "Bye {{ name }}!");
    let second = stage.standby.import(vec![file("wf-form.yml", changed.clone())]).await.unwrap().remove(0);
    assert_eq!((second.is_new_app, second.key.as_ref(), second.version_number), (false, None, 2));
    assert_eq!(second.app.id, first.app.id);

    let body = json!({"inputs": {"name": "Ann"}, "user": "u"});
    let now = stage.post("wf-form", "/v1/workflows/run", &body).await.json();
    assert_eq!(now["data"]["outputs"]["text"], "Bye Ann!");
    let old = stage.post("wf-form", &format!("/v1/workflows/{}/run", first.version_id), &body).await.json();
    assert_eq!(old["data"]["outputs"]["text"], "Hello Ann!");
    assert_eq!(old["data"]["workflow_id"], first.version_id.as_str());

    let exported = stage.standby.export("wf-code", None).await.unwrap();
    assert_eq!(exported.as_deref(), Some(changed.as_str()), "byte for byte");
    let exported = stage.standby.export("wf-code", Some(&first.version_id)).await.unwrap();
    assert_eq!(exported, Some(dsl("wf-form")));
    assert_eq!(stage.standby.show("wf-code").await.unwrap().unwrap().versions.len(), 2);
}

#[tokio::test]
async fn one_bad_file_keeps_all_out_and_every_problem_is_named() {
    let stage = Stage::new().await;
    let before = stage.store.apps().generation().await.unwrap();
    let count = stage.standby.apps().await.unwrap().len();
    let unsupported = dsl("wf-form").replace("type: template-transform", "type: knowledge-retrieval");
    let fresh = dsl("wf-plain").replace("name: wf-plain", "name: fresh");
    let files = vec![
        file("good.yml", fresh),
        file("unsupported.yml", unsupported),
        file("broken.yml", "app: [".to_owned()),
    ];
    let Err(ImportError::Problems(problems)) = stage.standby.import(files).await else {
        panic!("the import went through");
    };
    assert!(problems.iter().any(|problem| problem.file == "unsupported.yml"
        && problem.node_id.as_deref() == Some("tmpl")
        && problem.node_type.as_deref() == Some("knowledge-retrieval")));
    assert!(problems.iter().any(|problem| problem.file == "broken.yml"));
    assert_eq!(stage.standby.apps().await.unwrap().len(), count);
    assert_eq!(stage.store.apps().generation().await.unwrap(), before);
}
