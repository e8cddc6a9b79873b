//! A diagnosis for people: a table of components, then the findings, the worst first, within the width of the terminal.

use mainstay_base::{Finding, Severity};
use mainstay_control::doctor::Diagnosis;
use mainstay_dify::probe::{Component, Report, State};

use crate::output;

/// Evidence that is shown of one finding; `--json` has all of it.
const MAX_EVIDENCE: usize = 3;
const MAX_QUEUES: usize = 15;
/// Letters of one piece of evidence.
const MAX_EVIDENCE_CHARS: usize = 320;
/// Where the output goes to no terminal.
const WIDTH: usize = 100;
/// What is narrower is not readable, and lines longer than the other are not read.
const WIDTHS: std::ops::RangeInclusive<usize> = 60..=120;
/// The words before a finding's parts, and the space after them.
const LABEL: usize = 11;

pub(super) fn diagnosis(diagnosis: &Diagnosis) {
    output::line(text(diagnosis, width()));
}

fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
    let columns = size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
    columns.unwrap_or(WIDTH).clamp(*WIDTHS.start(), *WIDTHS.end())
}

fn text(diagnosis: &Diagnosis, width: usize) -> String {
    let mut page = Page { width, text: String::new() };
    let version = diagnosis.version.as_deref().unwrap_or("of unknown version");
    page.line(&format!("{}: Dify {version}", diagnosis.deployment));
    page.line("");
    components(&mut page, diagnosis);
    queues(&mut page, diagnosis);
    if let Some(budget) = &diagnosis.budget {
        page.line("");
        let fits = if budget.fits() { "fits" } else { "does not fit" };
        page.hanging(&format!("pool budget {fits}: "), 2, &budget.formula());
    }
    for missed in &diagnosis.missed {
        page.hanging("not known: ", 2, missed);
    }
    page.line("");
    for (number, found) in diagnosis.findings.iter().enumerate() {
        finding(&mut page, number + 1, found);
    }
    page.hanging("", 0, &summary(diagnosis));
    page.text.pop();
    page.text
}

/// Those that are configured; the others in one line.
fn components(page: &mut Page, diagnosis: &Diagnosis) {
    let mut rows = Vec::new();
    let (named, unnamed): (Vec<_>, Vec<_>) =
        diagnosis.reports.iter().partition(|report| report.state != State::NotConfigured);
    for report in named {
        let took = report.latency_ms.map_or("-".to_owned(), |millis| format!("{millis} ms"));
        rows.push([report.component.clone(), report.state.as_str().to_owned(), took, report.reason.clone()]);
    }
    for worker in &diagnosis.workers {
        let pool = worker.pool.as_deref().unwrap_or("pool").rsplit([':', '.']).next().unwrap_or("pool");
        let places = worker.concurrency.map_or(String::new(), |places| format!(", {places} places"));
        let reason = format!("{pool}{places}, {} queues", worker.queues.len());
        rows.push([worker.name.clone(), State::Ok.as_str().to_owned(), "-".to_owned(), reason]);
    }
    page.table(&["component", "state", "took", "what it says"], &rows);
    let nowhere = Report::not_configured(Component::Api).reason;
    let (unnamed, unseen): (Vec<_>, Vec<_>) =
        unnamed.into_iter().partition(|report| report.reason == nowhere);
    if !unseen.is_empty() {
        page.line("");
    }
    for report in unseen {
        page.hanging(&format!("{} is not looked at: ", report.component), 2, &report.reason);
    }
    if !unnamed.is_empty() {
        let names: Vec<&str> = unnamed.iter().map(|report| report.component.as_str()).collect();
        page.line("");
        page.hanging("not looked at, as none is named: ", 2, &names.join(", "));
    }
}

fn queues(page: &mut Page, diagnosis: &Diagnosis) {
    let waiting: Vec<_> = diagnosis.queues.iter().filter(|queue| queue.waiting > 0).collect();
    let row = |queue: &&mainstay_control::queue::QueueView| {
        let consumers = match queue.consumers.as_slice() {
            [] => "nobody".to_owned(),
            names => names.join(", "),
        };
        [queue.name.clone(), queue.waiting.to_string(), String::new(), consumers]
    };
    let rows: Vec<_> = waiting.iter().take(MAX_QUEUES).map(row).collect();
    if !rows.is_empty() {
        page.line("");
        page.table(&["queue", "waiting", "", "consumed by"], &rows);
    }
    if let Some(more) = waiting.len().checked_sub(MAX_QUEUES).filter(|more| *more > 0) {
        page.line(&format!("and {more} more; see mainstay queue list"));
    }
}

fn finding(page: &mut Page, number: usize, finding: &Finding) {
    let severity = match finding.severity {
        Severity::Critical => "CRITICAL",
        Severity::Warning => "WARNING",
        Severity::Note => "NOTE",
    };
    page.line(&format!("{number}. {severity}  {}  [{}]", finding.component, finding.id));
    page.hanging("   ", 3, &finding.what);
    for evidence in finding.evidence.iter().take(MAX_EVIDENCE) {
        page.labelled("seen", &format!("{} → {}", short(&evidence.asked), short(&evidence.answered)));
    }
    if let Some(more) = finding.evidence.len().checked_sub(MAX_EVIDENCE).filter(|more| *more > 0) {
        page.labelled("", &format!("and {more} more; --json has them"));
    }
    for (label, words) in [("cause", &finding.cause), ("remedy", &finding.remedy)] {
        if !words.is_empty() {
            page.labelled(label, words);
        }
    }
    page.line("");
}

fn short(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(MAX_EVIDENCE_CHARS) {
        Some((at, _)) => format!("{}…", &words[..at]),
        None => words,
    }
}

fn summary(diagnosis: &Diagnosis) -> String {
    let count = |severity| diagnosis.findings.iter().filter(|finding| finding.severity == severity).count();
    let words = |count: usize, one: &str, many: &str| match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {many}"),
    };
    let (critical, warnings, notes) =
        (count(Severity::Critical), count(Severity::Warning), count(Severity::Note));
    match (critical + warnings, notes) {
        (0, 0) => "Nothing is wrong, as far as was looked.".to_owned(),
        (0, notes) => format!("Nothing is wrong, as far as was looked; {}.", words(notes, "note", "notes")),
        _ => format!(
            "{}, {}, {}. The first explains the most: begin there.",
            words(critical, "critical", "critical"),
            words(warnings, "warning", "warnings"),
            words(notes, "note", "notes")
        ),
    }
}

/// What would drive a terminal or break a line has no width that could be counted.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// Lines of at most a width.
struct Page {
    width: usize,
    text: String,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(&plain(line));
        self.text.push('\n');
    }

    /// `   label   words`, going on under the words.
    fn labelled(&mut self, label: &str, words: &str) {
        let before = if label.is_empty() { String::new() } else { format!("{label}:") };
        self.hanging(&format!("   {before:<width$}", width = LABEL - 3), LABEL, words);
    }

    /// Words after `before`, broken between them; what goes on is indented.
    fn hanging(&mut self, before: &str, indent: usize, words: &str) {
        let mut line = before.to_owned();
        let mut is_empty = true;
        for word in plain(words).split_whitespace() {
            let mut word = word;
            loop {
                let used = line.chars().count() + usize::from(!is_empty);
                let room = self.width.saturating_sub(used);
                let length = word.chars().count();
                if length <= room {
                    if !is_empty {
                        line.push(' ');
                    }
                    line.push_str(word);
                    is_empty = false;
                    break;
                }
                if is_empty {
                    // One that is longer than a line is cut where the line ends.
                    let at = word.char_indices().nth(room.max(1)).map_or(word.len(), |(at, _)| at);
                    line.push_str(&word[..at]);
                    word = &word[at..];
                }
                self.line(line.trim_end());
                line = " ".repeat(indent);
                is_empty = true;
            }
        }
        self.line(line.trim_end());
    }

    /// The last column goes on under itself.
    fn table(&mut self, head: &[&str; 4], rows: &[[String; 4]]) {
        let head = head.map(str::to_uppercase);
        let all: Vec<&[String; 4]> = std::iter::once(&head).chain(rows).collect();
        let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths = [width(0), width(1), width(2)];
        for row in all {
            let mut before = String::new();
            for (column, width) in widths.into_iter().enumerate().filter(|(_, width)| *width > 0) {
                match column {
                    // Numbers end at one place.
                    2 => before.push_str(&format!("{:>width$}  ", row[2])),
                    _ => before.push_str(&format!("{:<width$}  ", row[column])),
                }
            }
            let indent = before.chars().count();
            self.hanging(&before, indent, &row[3]);
        }
    }
}

#[cfg(test)]
mod tests {
    use mainstay_base::{Evidence, finding::Subject};
    use mainstay_control::doctor::{Facts, judge};
    use mainstay_dify::{
        probe::{Component, Report},
        signature::Catalogue,
    };

    use super::*;

    fn diagnosis() -> Diagnosis {
        let mut database = Report::not_looked_yet(Component::Database);
        database.state = State::Down;
        database.latency_ms = Some(12);
        database.reason =
            "db.example.com:5432/dify refused the role mainstay_reader: password authentication failed"
                .to_owned();
        database.findings.push(Finding {
            id: "database-password".to_owned(),
            severity: Severity::Critical,
            component: "database".to_owned(),
            subject: Subject::default(),
            what: database.reason.clone(),
            cause: "The role or its password is not the server's.".to_owned(),
            remedy: "Set the right user and password, or run the GRANTs that `mainstay init` prints."
                .to_owned(),
            evidence: vec![Evidence::new(
                "SHOW server_version on db.example.com:5432/dify",
                "28P01 \u{1b}[31m".repeat(30),
            )],
        });
        let canary = Report::not_configured(Component::Canary);
        judge(
            Facts { deployment: "dify".to_owned(), reports: vec![database, canary], ..Facts::default() },
            Catalogue::built_in(),
        )
    }

    #[test]
    fn a_diagnosis_fits_its_width_and_says_the_worst_first() {
        for width in [60, 80, 100, 120] {
            let text = text(&diagnosis(), width);
            assert!(text.lines().all(|line| line.chars().count() <= width), "{width}:\n{text}");
            assert!(!text.contains('\u{1b}') && !text.lines().any(|line| line.ends_with(' ')), "{text}");
        }
        let text = text(&diagnosis(), 80);
        let head: Vec<&str> = text.lines().take(5).collect();
        assert_eq!(
            head,
            [
                "dify: Dify of unknown version",
                "",
                "COMPONENT  STATE   TOOK  WHAT IT SAYS",
                "database   down   12 ms  db.example.com:5432/dify refused the role",
                "                         mainstay_reader: password authentication failed",
            ]
        );
        assert!(text.contains("not looked at, as none is named: canary"), "{text}");
        assert!(text.contains("\n1. CRITICAL  database  [database-password]\n   db.example.com"), "{text}");
        let remedy = "   remedy: Set the right user and password, or run the GRANTs that `mainstay\n           init` prints.";
        assert!(text.contains(remedy), "{text}");
        assert!(text.ends_with("1 critical, 0 warnings, 0 notes. The first explains the most: begin there."));
    }
}
