//! What is kept of alerts that are told of together. This is all that dispatch remembers.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_base::Micros;
use mainstay_store::model::Severity;
use serde::{Deserialize, Serialize};

use super::{AFTER_INHIBITION, Labels, Standing};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The key of its notices.
    pub id: String,
    pub route: String,
    /// What its alerts have in common.
    pub labels: Labels,
    pub shadow: bool,
    pub opened_at: Micros,
    /// By alert id; those that are resolved stay until all are.
    pub members: BTreeMap<String, Member>,
    /// The worst that was told.
    pub severity: Option<Severity>,
    /// Notices so far.
    pub number: i64,
    /// Who was told, and so is told of the end.
    pub told: BTreeSet<String>,
    pub last_notice_at: Option<Micros>,
    pub acknowledged_by: Option<String>,
    /// Of the escalation policy, from 0.
    pub step: u32,
    /// How often the policy has begun anew.
    pub round: u32,
    pub step_since: Option<Micros>,
    /// All of it is silenced or inhibited: its escalation stands still.
    pub paused: bool,
    pub ended_at: Option<Micros>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub component: String,
    pub summary: String,
    pub severity: Severity,
    pub opened_at: Micros,
    /// The severity that it was told with.
    pub told: Option<Severity>,
    pub acknowledged_by: Option<String>,
    /// `silence:ID` or `inhibited:COMPONENT`.
    pub quiet: Option<String>,
    /// Since when nothing keeps it quiet.
    pub loud_since: Option<Micros>,
    /// What had explained it has ended, and it is given a while to end too.
    pub held: bool,
    pub resolved_at: Option<Micros>,
}

impl Member {
    /// Told of, if it is not told already.
    pub(super) fn is_loud(&self, now: Micros) -> bool {
        let waits = |since: Micros| self.held && now.since(since) < AFTER_INHIBITION;
        self.resolved_at.is_none() && self.loud_since.is_some_and(|since| !waits(since))
    }

    pub(super) fn is_untold(&self) -> bool {
        self.told < Some(self.severity)
    }

    fn follow(&mut self, standing: &Standing<'_>, now: Micros) {
        let alert = standing.alert;
        self.severity = alert.severity;
        self.summary.clone_from(&alert.told.summary);
        self.acknowledged_by.clone_from(&alert.acknowledged_by);
        let was_inhibited = self.quiet.as_deref().is_some_and(|why| why.starts_with(super::INHIBITED));
        if standing.is_quiet() {
            self.quiet.clone_from(&standing.suppressed);
            self.loud_since = None;
            self.held |= was_inhibited || standing.is_inhibited();
        } else if self.quiet.take().is_some() || self.loud_since.is_none() {
            self.loud_since = Some(now);
            self.held = was_inhibited;
        }
    }
}

impl Group {
    pub(super) fn new(id: String, route: String, labels: Labels, shadow: bool, now: Micros) -> Group {
        Group {
            id,
            route,
            labels,
            shadow,
            opened_at: now,
            members: BTreeMap::new(),
            severity: None,
            number: 0,
            told: BTreeSet::new(),
            last_notice_at: None,
            acknowledged_by: None,
            step: 0,
            round: 0,
            step_since: None,
            paused: false,
            ended_at: None,
        }
    }

    pub(super) fn has(&self, alert_id: &str) -> bool {
        self.members.get(alert_id).is_some_and(|member| member.resolved_at.is_none())
    }

    pub(super) fn add(&mut self, standing: &Standing<'_>, now: Micros) {
        let told = &standing.alert.told;
        let mut member = Member {
            component: told.component.clone(),
            summary: told.summary.clone(),
            severity: standing.alert.severity,
            opened_at: told.opened_at,
            told: None,
            acknowledged_by: None,
            quiet: None,
            loud_since: None,
            held: false,
            resolved_at: None,
        };
        member.follow(standing, now);
        self.members.insert(told.alert_id.clone(), member);
    }

    /// Brings its members up to what stands now. One whose alert is gone, or goes elsewhere now, is over.
    pub(super) fn follow(&mut self, firing: &BTreeMap<&str, Standing<'_>>, now: Micros) {
        let (route, shadow) = (&self.route, self.shadow);
        let stays = |standing: &&Standing<'_>| {
            standing.alert.is_shadow == shadow && standing.routes.iter().any(|taken| taken.name == *route)
        };
        for (id, member) in &mut self.members {
            if member.resolved_at.is_some() {
                continue;
            }
            match firing.get(id.as_str()).filter(stays) {
                Some(standing) => member.follow(standing, now),
                None => member.resolved_at = Some(now),
            }
        }
    }

    /// A clock that was set back makes nothing wait longer than it would have from now.
    pub(super) fn rebase(&mut self, now: Micros) {
        let past = |at: &mut Option<Micros>| *at = at.map(|at| at.min(now));
        past(&mut self.last_notice_at);
        past(&mut self.step_since);
        for member in self.members.values_mut() {
            past(&mut member.loud_since);
        }
    }
}
