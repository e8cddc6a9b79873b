//! Apps, their versions and keys.

use mainstay_base::{AppMode, id::KeyHash};
use mainstay_store::model::{NewApp, NewKey};

use crate::fixture::on_each;

fn app(name: &str, dsl: &str) -> NewApp {
    NewApp {
        name: name.to_owned(),
        mode: AppMode::Workflow,
        description: "Says hello".to_owned(),
        icon: "🤖".to_owned(),
        icon_background: "#FFEAD5".to_owned(),
        dsl_text: dsl.to_owned(),
    }
}

fn key(token: &str) -> NewKey {
    NewKey { hash: KeyHash::of(token), prefix: token.chars().take(6).collect() }
}

#[tokio::test]
async fn an_import_makes_a_version_and_earlier_versions_stay_runnable() {
    on_each(|fixture| async move {
        let apps = fixture.store.apps();
        let first =
            apps.import(vec![(app("Greeter", "dsl: 1"), Some(key("app-one")))]).await.unwrap().remove(0);
        let second = apps.import(vec![(app("Greeter", "dsl: 2"), None)]).await.unwrap().remove(0);
        assert!(first.is_new_app && !second.is_new_app);
        assert_eq!(first.app.id, second.app.id);
        assert_eq!((first.version.number, second.version.number), (1, 2));

        let now = apps.get(&first.app.id).await.unwrap().unwrap();
        assert_eq!((&now.version_id, now.version_number), (&second.version.id, 2));
        assert_eq!(apps.version(&first.version.id).await.unwrap().unwrap().dsl_text, "dsl: 1");
        let numbers: Vec<i64> =
            apps.versions(&now.id).await.unwrap().into_iter().map(|version| version.number).collect();
        assert_eq!(numbers, [2, 1]);
        assert_eq!(apps.keys().await.unwrap(), [(KeyHash::of("app-one"), now.id.clone())]);
        assert_eq!(apps.list().await.unwrap(), [now]);
    })
    .await;
}

#[tokio::test]
async fn the_same_name_in_another_mode_is_another_app() {
    on_each(|fixture| async move {
        let chat = NewApp { mode: AppMode::AdvancedChat, ..app("Greeter", "dsl") };
        let apps = fixture.store.apps();
        let made = apps.import(vec![(app("Greeter", "dsl"), None), (chat, None)]).await.unwrap();
        assert_ne!(made[0].app.id, made[1].app.id);
        let found = apps.get_by_name("Greeter", Some(AppMode::AdvancedChat)).await.unwrap().unwrap();
        assert_eq!(found.id, made[1].app.id);
        assert_eq!(apps.get_by_name("Nobody", None).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn every_change_of_apps_or_keys_is_a_new_generation() {
    on_each(|fixture| async move {
        let apps = fixture.store.apps();
        let mut seen = vec![apps.generation().await.unwrap()];
        let made = apps.import(vec![(app("Greeter", "dsl"), None)]).await.unwrap();
        seen.push(apps.generation().await.unwrap());
        assert!(apps.add_key(&made[0].app.id, key("app-one")).await.unwrap());
        seen.push(apps.generation().await.unwrap());
        assert!(apps.remove_key(KeyHash::of("app-one")).await.unwrap());
        seen.push(apps.generation().await.unwrap());
        assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");

        assert!(!apps.add_key("nobody", key("app-two")).await.unwrap());
        assert!(!apps.remove_key(KeyHash::of("app-two")).await.unwrap());
        assert_eq!(apps.generation().await.unwrap(), seen[3], "nothing changed");
    })
    .await;
}
