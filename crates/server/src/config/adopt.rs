//! Which part of a new configuration takes effect at once, and which needs a restart.

use super::Config;

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
            providers,
            probes,
            model,
            admin_tokens,
            receivers,
            callbacks,
            records,
            retention,
            limits,
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
            // Worker processes hold these: half of them applied would strand queued runs.
            ("upstream", upstreams == self.upstreams),
            ("app_path", unknown_keys_to == self.unknown_keys_to),
            ("app", apps == self.apps),
            ("receiver", receivers == self.receivers),
            ("callbacks", callbacks == self.callbacks),
            ("retention", retention == self.retention),
            ("limits", limits == self.limits),
        ];
        let differ = sections.iter().filter(|(_, is_same)| !is_same).map(|(name, _)| *name).collect();
        let adopted = Config {
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
        check(one, &format!("{one}[[upstream]]\nname = 'd'\nbase_url = 'http://d'"), &["upstream"], 1);
        // The same value written out is no change.
        check(one, &format!("{one}[workers]\ncount = 2"), &[], 1);
    }
}
