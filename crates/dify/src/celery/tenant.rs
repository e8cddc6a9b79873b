//! Workspaces' own lists of waiting documents, in the app's Redis (`core/rag/pipeline/queue.py`, since 1.10).

use std::collections::BTreeSet;

use mainstay_base::Micros;

use super::{names::Walk, seen::TenantList};
use crate::redis::{Error, Link, Pipeline, Value, from_redis_value};

/// More lists than this are not looked at.
pub(super) const MAX_LISTS: usize = 1_000;
/// Lists that are asked about at once.
const ASKED: usize = 400;

#[derive(Default)]
pub(super) struct Tenants {
    /// Kind and workspace.
    known: BTreeSet<(String, String)>,
    /// The last walk found more.
    has_more: bool,
    walk: Walk,
}

impl Tenants {
    pub(super) async fn look(&mut self, link: &mut Link, now: Micros) -> Result<Vec<TenantList>, Error> {
        let pattern = link.key("tenant_self_*_task_queue:*");
        for key in self.walk.step(link, &pattern, now).await? {
            let Some(list) = key.get(link.prefix().len()..).and_then(parts) else { continue };
            if self.known.len() < MAX_LISTS {
                self.known.insert(list);
            } else {
                self.has_more |= !self.known.contains(&list);
            }
        }
        self.has_more &= self.known.len() >= MAX_LISTS;
        let known: Vec<(String, String)> = self.known.iter().cloned().collect();
        let mut answers = Vec::new();
        for some in known.chunks(ASKED) {
            let mut questions = Pipeline::new();
            for (kind, tenant) in some {
                questions.cmd("LLEN").arg(link.key(&list_key(kind, tenant)));
                questions.cmd("TTL").arg(link.key(&flag_key(kind, tenant)));
            }
            answers.extend(link.ask_all(&mut questions).await?);
        }
        let number = |answer: &Result<Value, Error>| {
            answer.as_ref().ok().and_then(|value| from_redis_value::<i64>(value.clone()).ok())
        };
        let mut lists = Vec::new();
        for ((kind, tenant), answers) in known.into_iter().zip(answers.chunks(2)) {
            let [waiting, ttl] = answers else { continue };
            let waiting = number(waiting).and_then(|waiting| u64::try_from(waiting).ok()).unwrap_or(0);
            // -2: no such key; -1: one without an end.
            let ttl = number(ttl).unwrap_or(-2);
            let flag_ttl_s = (ttl >= 0).then_some(ttl);
            lists.push(TenantList { kind, tenant, waiting, flag: ttl != -2, flag_ttl_s });
        }
        // A list that is empty is gone; it is found again when it fills.
        let filled = lists.iter().filter(|list| list.waiting > 0);
        self.known = filled.map(|list| (list.kind.clone(), list.tenant.clone())).collect();
        lists.retain(|list| list.waiting > 0);
        Ok(lists)
    }

    pub(super) fn has_more(&self) -> bool {
        self.has_more
    }
}

pub(super) fn list_key(kind: &str, tenant: &str) -> String {
    format!("tenant_self_{kind}_task_queue:{tenant}")
}

pub(super) fn flag_key(kind: &str, tenant: &str) -> String {
    format!("tenant_{kind}_task:{tenant}")
}

fn parts(key: &str) -> Option<(String, String)> {
    let (kind, tenant) = key.strip_prefix("tenant_self_")?.split_once("_task_queue:")?;
    Some((kind.to_owned(), tenant.to_owned()))
}
