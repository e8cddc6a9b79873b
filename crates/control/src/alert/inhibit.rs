//! Which alerts are explained by others, and how grave that makes those. Pure, and of what is open alone: whoever takes
//! over and reads the open alerts finds the same.

use std::collections::BTreeMap;

use mainstay_store::model::Severity;

use super::{
    Inhibition, Labels,
    matcher::{Matcher, all_fit},
};

/// Of an objective: on what its failures are blamed, where it is one thing.
pub(crate) const FAULT: &str = "fault";
/// Of an objective: the providers on which its failures are blamed, with commas between. As a label that has to be equal:
/// each of them has to be in trouble.
pub(crate) const FAULT_PROVIDER: &str = "fault_provider";
/// Of an objective: what fails no more, though its alert goes on.
pub(crate) const PASSING: &str = "passing";
const PROVIDER: &str = "provider";

/// An open alert as far as it can explain another, or be explained.
pub(crate) struct Side<'a> {
    pub(crate) labels: &'a Labels,
    /// More values of a label than the one it has: the apps that see a provider's failures.
    pub(crate) touches: &'a BTreeMap<String, Vec<String>>,
    pub(crate) severity: Severity,
    /// Nobody is told of it whatever happens, so it must not keep others quiet.
    pub(crate) is_shadow: bool,
    /// Somebody said that nobody is to be told of it now.
    pub(crate) is_silenced: bool,
    /// Not yet told of: it holds back what it would explain, and nothing makes it graver.
    pub(crate) is_pending: bool,
}

/// What came of it, by place.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Relations {
    /// Whom each is explained by.
    pub(crate) by: BTreeMap<usize, usize>,
    /// Those that explain graver ones: told of as gravely as these, because nobody is told of these.
    pub(crate) lifted: BTreeMap<usize, Severity>,
}

/// `sides` are oldest first: of two that explain each other, the older keeps quiet.
pub(crate) fn relate(rules: &[Inhibition], sides: &[Side<'_>]) -> Relations {
    let mut relations = Relations::default();
    for rule in rules {
        let fit = |matchers: &[Matcher]| -> Vec<usize> {
            (0..sides.len()).filter(|place| all_fit(matchers, sides[*place].labels)).collect()
        };
        let (sources, targets) = (fit(&rule.source), fit(&rule.target));
        for &target in &targets {
            if relations.by.contains_key(&target) {
                continue;
            }
            let explains = |source: &&usize| {
                let source = **source;
                // What fits both sides is not explained by others of its kind.
                let is_twin = sources.contains(&target) && targets.contains(&source);
                source != target
                    && !is_twin
                    && !sides[source].is_shadow
                    && rule.equal.iter().all(|label| match label.as_str() {
                        FAULT_PROVIDER => is_blamed(sides, &sources, source, target),
                        label => shares(&sides[source], &sides[target], label),
                    })
                    && root(&relations.by, source) != target
            };
            if let Some(&source) = sources.iter().find(explains) {
                relations.by.insert(target, source);
            }
        }
    }
    for &target in relations.by.keys() {
        let (side, source) = (&sides[target], root(&relations.by, target));
        let counts = !side.is_shadow && !side.is_silenced && !side.is_pending && !sides[source].is_pending;
        if counts && side.severity > sides[source].severity {
            let lifted = relations.lifted.entry(source).or_insert(side.severity);
            *lifted = side.severity.max(*lifted);
        }
    }
    relations
}

fn shares(source: &Side<'_>, target: &Side<'_>, label: &str) -> bool {
    let Some(value) = target.labels.get(label).filter(|value| !value.is_empty()) else { return false };
    let is_it = |one: &String| one == value;
    source.labels.get(label).is_some_and(is_it)
        || source.touches.get(label).is_some_and(|values| values.iter().any(is_it))
}

/// Whether the source is one of the providers on which the target is blamed, and none of these is well.
fn is_blamed(sides: &[Side<'_>], sources: &[usize], source: usize, target: usize) -> bool {
    let Some(names) = sides[target].labels.get(FAULT_PROVIDER) else { return false };
    let is_named = |source: usize, name: &str| {
        sides[source].labels.get(PROVIDER).is_some_and(|of| of == name) && !sides[source].is_shadow
    };
    names.split(',').any(|name| is_named(source, name))
        && names.split(',').all(|name| sources.iter().any(|source| is_named(*source, name)))
}

/// Follows who explains whom; there are no circles.
fn root(by: &BTreeMap<usize, usize>, of: usize) -> usize {
    let mut at = of;
    while let Some(next) = by.get(&at) {
        at = *next;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One {
        labels: Labels,
        touches: BTreeMap<String, Vec<String>>,
        severity: Severity,
        how: &'static str,
    }

    fn one(labels: &[(&str, &str)], severity: Severity, how: &'static str) -> One {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        One { labels, touches: BTreeMap::new(), severity, how }
    }

    fn relations(rules: &[Inhibition], ones: &[One]) -> Relations {
        let sides: Vec<Side<'_>> = ones
            .iter()
            .map(|one| Side {
                labels: &one.labels,
                touches: &one.touches,
                severity: one.severity,
                is_shadow: one.how == "shadow",
                is_silenced: one.how == "silenced",
                is_pending: one.how == "pending",
            })
            .collect();
        relate(rules, &sides)
    }

    #[test]
    fn a_provider_explains_its_objectives_and_those_of_the_apps_that_see_it_and_is_as_grave() {
        let (warning, page) = (Severity::Warning, Severity::Page);
        let mut provider = one(&[("group", "provider"), ("provider", "openai")], warning, "");
        provider.touches.insert("app".to_owned(), vec!["chat".to_owned()]);
        let ones = [
            provider,
            one(&[("group", "slo"), ("provider", "openai")], page, ""),
            one(&[("group", "slo"), ("app", "chat")], warning, ""),
            one(&[("group", "slo"), ("app", "other")], page, ""),
            one(&[("group", "slo"), ("provider", "azure")], page, ""),
            one(&[("group", "slo")], page, ""),
        ];
        let found = relations(&Inhibition::built_in(), &ones);
        assert_eq!(found.by, BTreeMap::from([(1, 0), (2, 0)]));
        assert_eq!(found.lifted, BTreeMap::from([(0, page)]));
    }

    #[test]
    fn what_is_blamed_on_providers_is_explained_when_each_of_them_is_in_trouble() {
        let (warning, page) = (Severity::Warning, Severity::Page);
        let provider =
            |name, state| one(&[("group", "provider"), (PROVIDER, name), ("state", state)], warning, "");
        let (a, b) = (|| provider("a", "down"), || provider("b", "degraded"));
        let on = |fault: &str, names: &str| {
            one(&[("group", "slo"), (FAULT, fault), (FAULT_PROVIDER, names)], page, "")
        };
        for (what, sources, target, explained) in [
            ("its provider", vec![a()], on("provider", "a"), true),
            ("one that is degraded", vec![b()], on("provider", "b"), true),
            ("another", vec![a()], on("provider", "b"), false),
            ("one of two", vec![a()], on("provider", "a,b"), false),
            ("both", vec![a(), b()], on("provider", "a,b"), true),
            ("nobody knows which, and one is down", vec![a()], on("provider", ""), true),
            ("nobody knows which, and one is degraded", vec![b()], on("provider", ""), false),
            ("not on providers", vec![a(), b()], on("dify", ""), false),
            ("on many things", vec![a(), b()], on("", ""), false),
        ] {
            let mut ones = sources;
            ones.push(target);
            let found = relations(&Inhibition::built_in(), &ones);
            assert_eq!(found.by.contains_key(&(ones.len() - 1)), explained, "{what}");
            assert_eq!(found.lifted.values().any(|severity| *severity == page), explained, "{what}");
        }
    }

    #[test]
    fn what_nobody_is_told_of_explains_nothing_and_what_nobody_minds_lifts_nothing() {
        for (source, target, explained, lifted) in [
            ("", "", true, true),
            ("silenced", "", true, true),
            ("pending", "", true, false),
            ("shadow", "", false, false),
            ("", "shadow", true, false),
            ("", "silenced", true, false),
        ] {
            let ones = [
                one(&[("group", "provider"), ("provider", "a")], Severity::Warning, source),
                one(&[("group", "slo"), ("provider", "a")], Severity::Page, target),
            ];
            let found = relations(&Inhibition::built_in(), &ones);
            assert_eq!(
                (!found.by.is_empty(), !found.lifted.is_empty()),
                (explained, lifted),
                "{source} {target}"
            );
        }
    }

    #[test]
    fn two_that_explain_each_other_do_not_both_keep_quiet() {
        let matcher = |text: &str| vec![Matcher::parse(text).unwrap()];
        let rule = |source: &str, target: &str| Inhibition {
            source: matcher(source),
            target: matcher(target),
            equal: Vec::new(),
        };
        let circle = [rule("name=a", "name=b"), rule("name=b", "name=c"), rule("name=c", "name=a")];
        let ones = ["a", "b", "c"].map(|name| one(&[("name", name)], Severity::Page, ""));
        assert_eq!(relations(&circle, &ones).by.len(), 2);
        // One rule for all of a kind: none explains another.
        let same = [rule("name=*", "name=*")];
        assert!(relations(&same, &ones).by.is_empty());
    }
}
