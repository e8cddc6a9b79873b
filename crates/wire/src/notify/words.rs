//! What people read of a notice, where no template says it otherwise, and how texts are made to fit.

use mainstay_base::Micros;

use super::{Alert, Kind, Markup, Notice, What};

/// One value (a reason, a summary) in a text is at most so long.
const MAX_VALUE_CHARS: usize = 400;

/// A title and a body, in the markup of their kind of receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    pub title: String,
    pub body: String,
}

/// An incident is closed at its receiver, and the trouble is not over.
const GOES_ON: &str =
    "It goes on. Nobody is told of it here any more: it is in the shadow, or goes to others now.";

/// What is said without a template.
pub fn words(notice: &Notice, kind: Kind) -> Words {
    let markup = kind.markup();
    let goes_on = notice.goes_on();
    let said = if goes_on { "No longer told" } else { spoken(notice.what) };
    let title = format!("[{}] {said}: {}", notice.severity.as_str(), notice.title);
    let mut lines = Vec::new();
    if goes_on {
        lines.push(GOES_ON.to_owned());
    }
    if let Some(by) = &notice.by {
        lines.push(format!("Acknowledged by {}", markup.value(by)));
    }
    if let Some(escalation) = &notice.escalation {
        let people = markup.value(&escalation.people.join(", "));
        lines.push(format!(
            "Asked now: {people} ({}, step {})",
            markup.value(&escalation.policy),
            escalation.step
        ));
    }
    for alert in &notice.alerts {
        lines.extend(lines_of(alert, markup));
    }
    if notice.more > 0 {
        lines.push(format!("and {} more", notice.more));
    }
    Words { title: markup.value(&title), body: lines.join("\n") }.fitted(kind)
}

fn lines_of(alert: &Alert, markup: Markup) -> Vec<String> {
    let Alert { alert_id, component, state, reason, cause, remedy, opened_at, resolved_at, .. } = alert;
    let (since, name) = (clock(*opened_at), markup.bold(&markup.value(component)));
    let mut lines = vec![match resolved_at {
        Some(until) => format!("{name}: over, {since} to {}", clock(*until)),
        None => format!("{name} is {} since {since}", markup.value(state)),
    }];
    for (name, value) in [("Reason", reason), ("Cause", cause), ("To do", remedy)] {
        if !value.is_empty() {
            lines.push(format!("{name}: {}", markup.value(value)));
        }
    }
    lines.push(format!("Alert: {}", markup.value(alert_id)));
    lines
}

fn spoken(what: What) -> &'static str {
    match what {
        What::Firing => "Firing",
        What::Escalated => "Escalated",
        What::Reminder => "Still firing",
        What::Acknowledged => "Acknowledged",
        What::Resolved => "Resolved",
        What::Test => "Test",
    }
}

/// Before the title of what may have arrived already, where nobody else can tell.
const MAY_REPEAT: &str = "(may be a repeat)";

impl Words {
    /// For a notice of which nobody knows whether it has arrived before.
    #[must_use]
    pub fn maybe_again(self) -> Words {
        Words { title: format!("{MAY_REPEAT} {}", self.title), body: self.body }
    }

    /// Not longer than the kind takes: the title is cut, the body loses whole lines from its end, so that no markup is
    /// torn apart.
    pub fn fitted(self, kind: Kind) -> Words {
        let limits = kind.limits();
        let title = self.title.split(['\n', '\r']).collect::<Vec<_>>().join(" ");
        Words { title: cut(&title, limits.title_chars), body: fit_lines(&self.body, limits.body_bytes) }
    }
}

const LEFT_OUT: &str = "… (cut)";

fn fit_lines(body: &str, most_bytes: usize) -> String {
    if body.len() <= most_bytes {
        return body.to_owned();
    }
    let mut kept = String::new();
    for line in body.lines() {
        if kept.len() + line.len() + 1 + LEFT_OUT.len() > most_bytes {
            break;
        }
        kept.push_str(line);
        kept.push('\n');
    }
    kept + LEFT_OUT
}

/// At most `most` characters, the last one `…` where some are left out. An escape (`&amp;`) is not torn apart.
pub(super) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut kept: String = text.chars().take(most.saturating_sub(1)).collect();
    if let Some(at) = kept.rfind('&').filter(|at| kept.len() - at < 6 && !kept[*at..].contains(';')) {
        kept.truncate(at);
    }
    kept + "…"
}

impl Markup {
    /// A text in which every character means itself.
    pub fn escape(self, text: &str) -> String {
        match self {
            Markup::Plain => text.to_owned(),
            Markup::Slack | Markup::Html => {
                text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
            }
            Markup::Markdown => {
                text.replace('<', "‹").replace('>', "›").replace("](", "] (").replace('@', "＠")
            }
        }
    }

    /// A value within a text: escaped, on one line, not too long.
    fn value(self, text: &str) -> String {
        let line: String =
            text.chars().take(MAX_VALUE_CHARS + 1).map(|c| if c.is_control() { ' ' } else { c }).collect();
        self.escape(&cut(&line, MAX_VALUE_CHARS))
    }

    fn bold(self, escaped: &str) -> String {
        match self {
            Markup::Plain => escaped.to_owned(),
            Markup::Slack => format!("*{escaped}*"),
            Markup::Html => format!("<b>{escaped}</b>"),
            Markup::Markdown => format!("**{escaped}**"),
        }
    }
}

/// As people read it: `2027-01-15 08:00:00 UTC`.
pub(super) fn clock(at: Micros) -> String {
    jiff::Timestamp::from_microsecond(at.0)
        .map_or_else(|_| at.0.to_string(), |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// As machines read it: `2027-01-15T08:00:00.000000Z`.
pub(super) fn iso(at: Micros) -> String {
    jiff::Timestamp::from_microsecond(at.0).map_or_else(|_| at.0.to_string(), |at| format!("{at:.6}"))
}
