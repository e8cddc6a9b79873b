//! What the searches for the parts share: values by variable, where each came from, what was found and what not.

use std::{collections::BTreeMap, fmt::Display, ops::RangeInclusive, path::PathBuf, str::FromStr};

use mainstay_base::{Finding, Secret, secret::Part};

use super::{Found, Gap, Origin, Source, environment::Environment, place};

pub(super) struct Search<'a> {
    pub(super) environment: &'a Environment,
    pub(super) host: Option<&'a str>,
    pub(super) origins: BTreeMap<String, Origin>,
    pub(super) found: Vec<Found>,
    pub(super) gaps: Vec<Gap>,
    pub(super) findings: Vec<Finding>,
    pub(super) problems: Vec<String>,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        environment: &'a Environment,
        host: Option<&'a str>,
        problems: Vec<String>,
    ) -> Search<'a> {
        Search {
            environment,
            host,
            origins: BTreeMap::new(),
            found: Vec::new(),
            gaps: Vec::new(),
            findings: Vec::new(),
            problems,
        }
    }

    /// A variable's value, kept as where the configuration's `key` came from.
    pub(super) fn text(&mut self, key: &str, variable: &str) -> Option<String> {
        let value = self.environment.said(variable)?;
        let origin = Origin { variable: variable.to_owned(), part: None, source: value.source, note: None };
        self.origins.insert(key.to_owned(), origin);
        Some(value.text.trim().to_owned())
    }

    pub(super) fn secret(&mut self, key: &str, variable: &str) -> Option<Secret> {
        let value = self.environment.said(variable)?;
        let origin = Origin { variable: variable.to_owned(), part: None, source: value.source, note: None };
        self.origins.insert(key.to_owned(), origin);
        Some(Secret::new(value.text))
    }

    /// That the value of `key` is a part of a variable's.
    pub(super) fn came_from(&mut self, key: &str, variable: &str, part: Option<Part>) {
        if let Some(value) = self.environment.said(variable) {
            let origin = Origin { variable: variable.to_owned(), part, source: value.source, note: None };
            self.origins.insert(key.to_owned(), origin);
        }
    }

    pub(super) fn note(&mut self, key: &str, note: impl Into<String>) {
        if let Some(origin) = self.origins.get_mut(key) {
            origin.note = Some(note.into());
        }
    }

    pub(super) fn number<N: FromStr + PartialOrd + Display>(
        &mut self,
        key: &str,
        variable: &str,
        range: RangeInclusive<N>,
    ) -> Option<N> {
        let text = self.text(key, variable)?;
        match text.parse().ok().filter(|number| range.contains(number)) {
            Some(number) => Some(number),
            None => {
                let (least, most) = (range.start(), range.end());
                self.problem(variable, format!("is not a whole number from {least} to {most}"));
                None
            }
        }
    }

    pub(super) fn port(&mut self, key: &str, variable: &str) -> Option<u16> {
        self.number(key, variable, 1..=u16::MAX)
    }

    /// As pydantic reads one; what is not said is `false`.
    pub(super) fn flag(&mut self, variable: &str) -> bool {
        let said = self.environment.said(variable).map(|value| value.text.trim().to_lowercase());
        match said.as_deref() {
            Some("true" | "1" | "yes" | "y" | "on" | "t") => true,
            None | Some("false" | "0" | "no" | "n" | "off" | "f") => false,
            Some(_) => {
                self.problem(variable, "is neither true nor false");
                false
            }
        }
    }

    /// An http or https address, as the configuration takes it; moved to where it is reached from.
    pub(super) fn url(&mut self, part: &'static str, key: &str, variable: &str) -> Option<String> {
        let text = self.text(key, variable)?;
        let is_default = self.origins.get(key).is_some_and(|origin| origin.source == Source::Default);
        if is_default && place::is_missing(self, &text) {
            self.origins.remove(key);
            self.gap(
                part,
                format!(
                    "{variable} is not set, and no service of the compose file is at Dify's default {text}"
                ),
                "it is not probed; set the variable, or the key in the configuration",
            );
            return None;
        }
        match place::url(self, &text) {
            Ok((url, note)) => {
                if let Some(note) = note {
                    self.note(key, note);
                }
                Some(url)
            }
            Err(why) => {
                self.problem(variable, why);
                None
            }
        }
    }

    /// Where a host of Dify's world is reached from ours.
    pub(super) fn place(&mut self, key: &str, host: &str, port: u16) -> (String, u16) {
        let place = place::of(self, host, port);
        if let Some(note) = place.note {
            self.note(key, note);
        }
        (place.host, place.port)
    }

    /// What stands with `key` to know.
    pub(super) fn noted(&self, key: &str) -> Option<String> {
        self.origins.get(key)?.note.clone()
    }

    pub(super) fn found(&mut self, part: &'static str, what: impl Into<String>, key: &str) {
        let note = self.noted(key);
        self.found.push(Found { part, what: what.into(), note });
    }

    pub(super) fn gap(&mut self, part: &'static str, what: impl Into<String>, matters: impl Into<String>) {
        self.gaps.push(Gap { part, what: what.into(), matters: matters.into() });
    }

    /// Without the value.
    pub(super) fn problem(&mut self, variable: &str, why: impl Display) {
        let problem = format!("{variable} {why}");
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    pub(super) fn files(&self) -> Vec<PathBuf> {
        let environment = self.environment;
        let mut files = vec![environment.env_file.clone()];
        files.extend(environment.compose.iter().flat_map(|compose| compose.files.clone()));
        files.extend(environment.overlay_paths().map(PathBuf::from));
        files
    }
}
