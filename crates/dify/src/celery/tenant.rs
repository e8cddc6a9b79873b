//! Workspaces' own lists of waiting documents, in the app's Redis (`core/rag/pipeline/queue.py`, since 1.10).

use std::collections::BTreeSet;

use mainstay_base::Micros;

use super::{names::Walk, seen::TenantList};
use crate::redis::{Error, Link, Pipeline, Value, from_redis_value};

/// More lists than this are not looked at.
const MAX_LISTS: usize = 100;

#[derive(Default)]
pub(super) struct Tenants {
    /// Kind and workspace.
    known: BTreeSet<(String, String)>,
    walk: Walk,
}

impl Tenants {
    pub(super) async fn look(&mut self, link: &mut Link, now: Micros) -> Result<Vec<TenantList>, Error> {
        let pattern = link.key("tenant_self_*_task_queue:*");
        for key in self.walk.step(link, &pattern, now).await? {
            if let (true, Some(list)) = (self.known.len() < MAX_LISTS, parts(&key[link.prefix().len()..])) {
                self.known.insert(list);
            }
        }
        let mut questions = Pipeline::new();
        for (kind, tenant) in &self.known {
            questions.cmd("LLEN").arg(link.key(&list_key(kind, tenant)));
            questions.cmd("TTL").arg(link.key(&flag_key(kind, tenant)));
        }
        let answers = link.ask_all(&mut questions).await?;
        let number = |answer: &Result<Value, Error>| {
            answer.as_ref().ok().and_then(|value| from_redis_value::<i64>(value.clone()).ok())
        };
        let mut lists = Vec::new();
        for ((kind, tenant), answers) in self.known.iter().zip(answers.chunks(2)) {
            let [waiting, ttl] = answers else { continue };
            let waiting = number(waiting).and_then(|waiting| u64::try_from(waiting).ok()).unwrap_or(0);
            // -2: no such key; -1: one without an end.
            let ttl = number(ttl).unwrap_or(-2);
            let (kind, tenant) = (kind.clone(), tenant.clone());
            let flag_ttl_s = (ttl >= 0).then_some(ttl);
            lists.push(TenantList { kind, tenant, waiting, flag: ttl != -2, flag_ttl_s });
        }
        // A list that is empty is gone; it is found again when it fills.
        let filled = lists.iter().filter(|list| list.waiting > 0);
        self.known = filled.map(|list| (list.kind.clone(), list.tenant.clone())).collect();
        lists.retain(|list| list.waiting > 0);
        Ok(lists)
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
