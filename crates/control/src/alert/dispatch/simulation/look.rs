//! How controls look in such a life: what one reads, decides and stores, and what hinders it.

use std::collections::BTreeMap;

use mainstay_store::model::Severity;

use super::{
    super::{
        Active, Input, Quiet, step,
        tests::{active, reach},
    },
    ALERTS, Life, Stored, Wrong,
};
use crate::alert::{
    Inhibition, Matcher,
    inhibit::{Side, relate},
};

impl Life {
    /// One control looks; sometimes it dies before or after it stores, or another takes over meanwhile.
    pub(super) fn look(&mut self) {
        let read = self.stored.clone();
        if self.chance.one_in(15) {
            // Another leads now and looks first; this one has read before that and does not know.
            self.stored.epoch += 1;
            self.commit_look(self.stored.clone());
            if self.chance.one_in(2) {
                self.commit_look(read);
            }
            return;
        }
        if self.chance.one_in(20) {
            self.forgets_for = 12;
            if self.wrong == Wrong::ForgetsGroups {
                self.stored.groups.clear();
            }
        }
        self.commit_look(self.stored.clone());
    }

    /// What a control that has read this decides, and what comes of it.
    pub(super) fn commit_look(&mut self, read: Stored) {
        let alerts = self.alerts(&read);
        let silences = self.silences();
        let receivers = [reach("chat", Severity::Info)];
        let listed: Vec<Active> = alerts.values().cloned().collect();
        let input = Input {
            plan: &self.plan,
            receivers: &receivers,
            alerts: &listed,
            silences: &silences,
            overrides: &[],
        };
        let ids = &mut self.ids;
        let decision = step(&input, &read.groups, self.clock, || {
            *ids += 1;
            format!("g{ids}")
        });
        let dies = self.chance.one_in(20);
        let is_fenced = read.epoch != self.stored.epoch && self.wrong != Wrong::NoFence;
        self.seen.refused += u64::from(is_fenced);
        if dies || is_fenced {
            if self.wrong == Wrong::TwoTransactions && !is_fenced {
                self.told(&decision.outgoing);
            }
            return;
        }
        self.told(&decision.outgoing);
        for (place, _) in alerts.iter().filter(|(_, alert)| alert.is_resolved) {
            self.truth[*place].told = None;
        }
        self.stored.alerts = alerts.into_iter().filter(|(_, alert)| !alert.is_resolved).collect();
        for group in decision.groups {
            self.stored.groups.retain(|known| known.id != group.id);
            if group.ended_at.is_none() {
                self.stored.groups.push(group);
            }
        }
        self.check_pages();
        self.jumped = false;
        self.forgets_for = self.forgets_for.saturating_sub(1);
    }

    /// The rows of alerts as they become by this look: what explains graver ones is lifted.
    fn alerts(&mut self, read: &Stored) -> BTreeMap<usize, Active> {
        let forgets = self.wrong == Wrong::ForgetsAlerts && self.forgets_for > 0;
        let mut alerts = BTreeMap::new();
        for place in 0..ALERTS {
            let known = read.alerts.get(&place);
            let Some(severity) = self.truth[place].severity else {
                if let Some(known) = known {
                    alerts.insert(place, Active { is_resolved: true, ..known.clone() });
                }
                continue;
            };
            if forgets && place == 0 {
                continue;
            }
            let labels: &[(&str, &str)] = match place {
                0 => &[("group", "provider"), ("provider", "openai")],
                1..=3 => &[("group", "slo"), ("provider", "openai")],
                _ => &[("group", "slo"), ("provider", "azure")],
            };
            let mut alert = known.cloned().unwrap_or_else(|| {
                self.ids += 1;
                let mut alert = active(&format!("a{place}-{}", self.ids), severity, labels);
                alert.told.labels.insert("place".to_owned(), place.to_string());
                alert
            });
            if severity > alert.severity {
                (alert.severity, alert.acknowledged_by) = (severity, None);
            }
            alert.inhibited_by = None;
            alerts.insert(place, alert);
        }
        self.explain(&mut alerts);
        alerts
    }

    fn explain(&mut self, alerts: &mut BTreeMap<usize, Active>) {
        let places: Vec<usize> =
            alerts.iter().filter(|(_, alert)| !alert.is_resolved).map(|(place, _)| *place).collect();
        let none = BTreeMap::new();
        let side = |place: &usize| Side {
            labels: &alerts[place].told.labels,
            touches: &none,
            severity: alerts[place].severity,
            is_shadow: false,
            is_silenced: self.truth[*place].silenced,
            is_pending: false,
        };
        let relations = relate(&Inhibition::built_in(), &places.iter().map(side).collect::<Vec<_>>());
        self.seen.inhibited += relations.by.len() as u64;
        for (target, source) in relations.by {
            let by = alerts[&places[source]].told.component.clone();
            alerts.entry(places[target]).and_modify(|alert| alert.inhibited_by = Some(by));
        }
        for (place, severity) in relations.lifted {
            alerts.entry(places[place]).and_modify(|alert| {
                (alert.severity, alert.acknowledged_by) = (severity, None);
            });
        }
    }

    fn silences(&mut self) -> Vec<Quiet> {
        let is_silenced = |place: &usize| self.truth[*place].silenced;
        let begun =
            |place: &usize| self.wrong == Wrong::SilencesOnce && self.stored.alerts.contains_key(place);
        let places: Vec<usize> = (0..ALERTS).filter(is_silenced).filter(|place| !begun(place)).collect();
        self.seen.silenced += places.len() as u64;
        let silence = |place: usize| Quiet {
            id: place.to_string(),
            matchers: Matcher::parse(&format!("place={place}")).into_iter().collect(),
        };
        places.into_iter().map(silence).collect()
    }
}
