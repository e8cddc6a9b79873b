//! Which part of a new configuration takes effect at once, and which needs a restart.

use super::{Config, Problem, VirtualKey};

impl Config {
    /// This configuration with all of `new` that can be changed while running, and the names of the sections that
    /// differ and cannot.
    pub(crate) fn adopt(&self, new: Config) -> (Config, Vec<&'static str>) {
        let Config {
            listeners,
            log,
            store_url,
            state_dir,
            engine,
            workers,
            upstreams,
            unknown_keys_to,
            apps,
            dify,
            providers,
            probes,
            model,
            admin_tokens,
            receivers,
            alerting,
            heartbeat,
            callbacks,
            records,
            retention,
            limits,
            otlp,
            secrets,
            revision,
            warnings,
        } = new;
        let sections = [
            ("listeners", listeners == self.listeners),
            ("log", log == self.log),
            ("store", store_url == self.store_url && state_dir == self.state_dir),
            ("engine", engine == self.engine),
            ("workers", workers == self.workers),
            ("dify", dify == self.dify),
            ("otlp", otlp == self.otlp),
        ];
        let differ = sections.iter().filter(|(_, is_same)| !is_same).map(|(name, _)| *name).collect();
        let adopted = Config {
            upstreams,
            unknown_keys_to,
            apps,
            receivers,
            alerting,
            heartbeat,
            callbacks,
            retention,
            limits,
            providers,
            probes,
            model,
            admin_tokens,
            records,
            secrets,
            revision,
            warnings,
            ..self.clone()
        };
        (adopted, differ)
    }
}

impl Config {
    /// Virtual keys of `new` that have another name than now and would begin a new budget by that: what is spent is kept
    /// under a name, because a key is rotated more often than it is renamed.
    pub(crate) fn renamed_budgets(&self, new: &Config) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (index, VirtualKey { key, caller }) in new.model.keys.iter().enumerate() {
            let known = self.model.keys.iter();
            let same_key = known.clone().find(|before| before.key == *key);
            let same_name = || known.clone().find(|before| before.caller.name == caller.name);
            let Some(before) = same_key.or_else(same_name).map(|before| &before.caller) else { continue };
            let (old, now) = (before.budget_account(), caller.budget_account());
            let is_silent = old != now && caller.budget_name.is_none();
            if before.budget.is_some() && caller.budget.is_some() && is_silent {
                let message = format!(
                    "is missing: until now this key spent the budget of {old}; write {old:?} to go on with what is spent of \
                     it, or {now:?} to begin anew"
                );
                problems.push(Problem { path: format!("model.key[{index}].budget_name"), message });
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Follow, parse};

    fn check(before: &str, after: &str, expected: &[&str], models: usize) {
        let read = |text: &str| parse("test", text, &[], Follow::FormOnly).unwrap();
        let (adopted, differ) = read(before).adopt(read(after));
        assert_eq!(differ, expected, "{after}");
        assert_eq!(adopted.model.routes.len(), models, "{after}");
        assert_eq!(adopted.workers, read(before).workers, "{after}");
        assert_eq!(adopted.revision, read(after).revision, "{after}");
    }

    #[test]
    fn what_can_change_changes_and_what_cannot_is_named() {
        let one = "[[provider]]\nname = 'a'\nbase_url = 'http://a/v1'\nmodels = ['x']\n";
        check("", one, &[], 1);
        check(one, "", &[], 0);
        check(one, &format!("{one}[workers]\ncount = 9\n[log]\nformat = 'json'"), &["log", "workers"], 1);
        check(one, &format!("{one}[[admin.token]]\nname = 'ops'\ntoken = 'env:T'"), &[], 1);
        check(one, &format!("{one}[[upstream]]\nname = 'd'\nbase_url = 'http://d'"), &[], 1);
        check(one, &format!("{one}[retention]\nruns = '9d'\n[limits]\nconnections = 9"), &[], 1);
        check(
            one,
            &format!("{one}[engine]\nenabled = false\n[store]\nurl = 'sqlite:x'"),
            &["store", "engine"],
            1,
        );
        // The same value written out is no change.
        check(one, &format!("{one}[workers]\ncount = 2"), &[], 1);
    }

    #[test]
    fn a_key_that_is_renamed_says_what_becomes_of_its_budget() {
        let read = |text: &str| parse("test", text, &[], Follow::FormOnly).unwrap();
        let key = |name: &str, key: &str, more: &str| {
            format!("[[model.key]]\nname = '{name}'\nkey = 'env:{key}'\n{more}")
        };
        let before = read(&key("a", "A", "budget = 5.0"));
        let count = |text: &str| before.renamed_budgets(&read(text)).len();
        assert_eq!(count(&key("b", "A", "budget = 9.0")), 1);
        assert_eq!(count(&key("b", "A", "budget = 5.0\nbudget_name = 'a'")), 0);
        assert_eq!(count(&key("b", "A", "budget = 5.0\nbudget_name = 'b'")), 0);
        let kept = read(&key("b", "A", "budget = 5.0\nbudget_name = 'a'"));
        assert_eq!(
            kept.renamed_budgets(&read(&key("b", "A", "budget = 5.0"))).len(),
            1,
            "the same one step later"
        );
        assert_eq!(count(&key("b", "A", "")), 0, "without a budget nothing begins anew");
        assert_eq!(count(&key("a", "B", "budget = 5.0")), 0, "a key that is rotated");
        assert_eq!(count(&key("b", "B", "budget = 5.0")), 0, "another key");
    }
}
