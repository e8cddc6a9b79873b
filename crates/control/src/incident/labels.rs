//! What an alert is told apart by: what its component says, and what its id does.

use crate::{
    alert::{Labels, name_of},
    health::{Component, Group},
};

pub(crate) fn labels_of(component: &Component) -> Labels {
    let mut labels = component.labels.clone();
    let mut add = |name: &str, value: &str| {
        labels.insert(name.to_owned(), value.to_owned());
    };
    add("component", &component.id);
    add("group", component.group.as_str());
    add("name", &component.name);
    add("rule", name_of(component.group));
    match component.group {
        Group::Provider => add("provider", &component.name),
        Group::ProviderKey => {
            let provider = component.name.split('/').next().unwrap_or_default();
            add("provider", provider);
        }
        Group::Upstream => add("upstream", &component.name),
        Group::Receiver => add("receiver", &component.name),
        _ => {}
    }
    labels
}

#[cfg(test)]
mod tests {
    use mainstay_base::Micros;

    use super::*;
    use crate::health::{State, Told};

    #[test]
    fn a_key_is_told_apart_by_its_provider_and_an_objective_by_what_it_says() {
        let told = Told { state: State::Down, reason: String::new(), at: Micros(0) };
        let mut key = Component::told(Group::ProviderKey, &told, Micros(0));
        (key.id, key.name) = ("provider-key:openai/main".to_owned(), "openai/main".to_owned());
        key.labels.insert("owner".to_owned(), "team".to_owned());
        let labels = labels_of(&key);
        let said = |name: &str| labels.get(name).map_or("", String::as_str);
        assert_eq!((said("provider"), said("owner"), said("group")), ("openai", "team", "provider-key"));
        assert_eq!((said("component"), said("rule")), ("provider-key:openai/main", "provider-key-refused"));
    }
}
