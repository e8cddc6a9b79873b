//! What an operator wants a receiver to read instead of the default words. Values are escaped for the receiver, the
//! template's own text is not: it may use the receiver's markup.

use std::{fmt, sync::Arc};

use mainstay_base::Micros;
use mainstay_wire::notify::{Kind, Markup, Notice, What, Words, webhook_body, words};
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde_json::{Value, json};
use tracing::warn;

/// Steps that one template may take: a notice of the most alerts needs a few hundred.
const MAX_FUEL: u64 = 50_000;
pub const MAX_TEMPLATE_BYTES: usize = 16 * 1024;
/// What a template may write before it is cut to what the receiver takes.
const MAX_WRITTEN_BYTES: usize = 256 * 1024;
const SAMPLED_AT: Micros = Micros(1_800_000_000_000_000);

/// Checked templates. Empty: the default words.
#[derive(Clone, Default)]
pub struct Templates {
    parts: Option<Arc<Environment<'static>>>,
}

impl fmt::Debug for Templates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Templates").field("given", &self.parts.is_some()).finish()
    }
}

const TITLE: &str = "title";
const BODY: &str = "body";

impl Templates {
    /// Reads the templates and tries them on a notice of each sort. Every problem comes with the key that has it.
    pub fn new(
        title: Option<&str>,
        body: Option<&str>,
        kind: Kind,
    ) -> Result<Templates, Vec<(&'static str, String)>> {
        if title.is_none() && body.is_none() {
            return Ok(Templates::default());
        }
        let mut environment = environment(kind.markup());
        let mut problems = Vec::new();
        for (key, text) in [(TITLE, title), (BODY, body)] {
            let Some(text) = text else { continue };
            if text.len() > MAX_TEMPLATE_BYTES {
                problems.push((key, format!("is longer than {MAX_TEMPLATE_BYTES} bytes")));
            } else if let Err(error) = environment.add_template_owned(key, text.to_owned()) {
                problems.push((key, spelled(&error)));
            } else if let Some(problem) = What::ALL.into_iter().find_map(|what| {
                let tried = write(&environment, key, &Notice::sample(what, SAMPLED_AT));
                tried.err().map(|error| format!("fails for a notice `{}`: {error}", what.as_str()))
            }) {
                problems.push((key, problem));
            }
        }
        if problems.is_empty() { Ok(Templates { parts: Some(Arc::new(environment)) }) } else { Err(problems) }
    }

    /// A template that fails at the moment it is needed must not keep a page from anybody: then the default words go out.
    pub fn words(&self, notice: &Notice, kind: Kind) -> Words {
        let default = words(notice, kind);
        let Some(environment) = &self.parts else { return default };
        let part = |key: &str, default: String| match environment.get_template(key) {
            Err(_) => default,
            Ok(_) => write(environment, key, notice).unwrap_or_else(|error| {
                warn!(%error, "a receiver's template for its {key} failed; the default words go out");
                default
            }),
        };
        Words { title: part(TITLE, default.title), body: part(BODY, default.body) }.fitted(kind)
    }
}

fn environment(markup: Markup) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(MAX_FUEL));
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Custom("markup".into()));
    environment.set_formatter(move |out, _, value| {
        if value.is_undefined() {
            return Err(minijinja::Error::from(minijinja::ErrorKind::UndefinedError));
        }
        if value.is_none() {
            return Ok(());
        }
        let text = value.to_string();
        let text = if value.is_safe() { text } else { markup.escape(&text) };
        out.write_str(&text).map_err(minijinja::Error::from)
    });
    environment
}

fn write(environment: &Environment<'_>, key: &str, notice: &Notice) -> Result<String, String> {
    let template = environment.get_template(key).map_err(|error| spelled(&error))?;
    let written = template.render(minijinja::value::Serde(view(notice))).map_err(|error| spelled(&error))?;
    match written.len() > MAX_WRITTEN_BYTES {
        true => Err(format!("writes more than {MAX_WRITTEN_BYTES} bytes")),
        false => Ok(written),
    }
}

/// The names that templates know: those of a webhook's `data`, and `what`.
fn view(notice: &Notice) -> Value {
    let mut body = webhook_body(notice);
    let (at, mut data) = (body["timestamp"].take(), body["data"].take());
    data["at"] = at;
    data["what"] = json!(notice.what.as_str());
    for (name, value) in
        [("by", json!("")), ("escalation", json!(null)), ("cause", json!("")), ("remedy", json!(""))]
    {
        if data.get(name).is_none() {
            data[name] = value;
        }
    }
    for alert in data["alerts"].as_array_mut().into_iter().flatten() {
        for (name, value) in
            [("cause", json!("")), ("remedy", json!("")), ("labels", json!({})), ("resolved_at", json!(null))]
        {
            if alert.get(name).is_none() {
                alert[name] = value;
            }
        }
    }
    data
}

/// The error with its line, on one line.
fn spelled(error: &minijinja::Error) -> String {
    let line = error.line().map_or_else(String::new, |line| format!(" in line {line}"));
    let detail = error.detail().map_or_else(String::new, |detail| format!(": {detail}"));
    format!("{}{detail}{line}", error.kind())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(title: &str, kind: Kind) -> Result<String, String> {
        Templates::new(Some(title), None, kind)
            .map(|templates| templates.words(&Notice::sample(What::Escalated, SAMPLED_AT), kind).title)
            .map_err(|problems| problems.into_iter().map(|(key, why)| format!("{key} {why}")).collect())
    }

    #[test]
    fn a_template_says_what_it_wants_and_values_are_escaped() {
        assert_eq!(
            made("{{ what }} {{ alerts[0].component }}", Kind::Slack).unwrap(),
            "escalated provider:example"
        );
        assert_eq!(
            made("{% if escalation %}{{ escalation.people | join('+') }}{% endif %}!", Kind::Slack).unwrap(),
            "somebody!"
        );
        let mut notice = Notice::sample(What::Firing, SAMPLED_AT);
        notice.title = "<!channel> & co".to_owned();
        let templates =
            Templates::new(Some("<b>{{ title }}</b>"), Some("{{ by }}."), Kind::Telegram).unwrap();
        let words = templates.words(&notice, Kind::Telegram);
        assert_eq!(words.title, "<b>&lt;!channel&gt; &amp; co</b>");
        assert_eq!(words.body, ".", "what a notice has not is empty");
    }

    #[test]
    fn a_template_that_fails_is_refused_with_its_key() {
        for (template, says) in [
            ("{{ titel }}", "title fails for a notice `firing`: undefined value"),
            ("{% if %}", "title syntax error"),
            ("{% for x in range(100000) %}{{ x }}{% endfor %}", "title fails"),
            ("{{ escalation.people }}", "title fails"),
        ] {
            let error = made(template, Kind::Slack).unwrap_err();
            assert!(error.starts_with(says), "{template}: {error}");
        }
    }

    #[test]
    fn a_template_that_fails_only_now_does_not_keep_the_notice() {
        let text = "{{ alerts[0].labels.provider }}";
        let templates = Templates::new(Some(text), None, Kind::Slack).unwrap();
        let mut notice = Notice::sample(What::Firing, SAMPLED_AT);
        notice.alerts[0].labels.clear();
        let title = templates.words(&notice, Kind::Slack).title;
        assert_eq!(title, "[page] Firing: Test: provider:example is down");
    }
}
