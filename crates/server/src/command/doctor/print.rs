//! A diagnosis for people.

use mainstay_base::{Finding, Severity};
use mainstay_control::doctor::Diagnosis;
use mainstay_dify::probe::State;

use crate::output::{self, Table};

/// Evidence that is shown of one finding; `--json` has all of it.
const MAX_EVIDENCE: usize = 3;
const MAX_QUEUES: usize = 15;

pub(super) fn diagnosis(diagnosis: &Diagnosis) {
    let version = diagnosis.version.as_deref().unwrap_or("of unknown version");
    output::line(format!("{}: Dify {version}", diagnosis.deployment));
    output::line("");
    components(diagnosis);
    queues(diagnosis);
    if let Some(budget) = &diagnosis.budget {
        let fits = if budget.fits() { "fits" } else { "does not fit" };
        output::line(format!("\npool budget {fits}: {}", budget.formula()));
    }
    for missed in &diagnosis.missed {
        output::line(format!("not known: {missed}"));
    }
    output::line("");
    if diagnosis.findings.is_empty() {
        output::line("nothing is wrong, as far as was looked");
    }
    for (number, found) in diagnosis.findings.iter().enumerate() {
        finding(number + 1, found);
    }
    output::line(summary(diagnosis));
}

fn components(diagnosis: &Diagnosis) {
    let mut table = Table::new(&["component", "state", "took", "reason"]);
    for report in &diagnosis.reports {
        let took = report.latency_ms.map_or("-".to_owned(), |millis| format!("{millis} ms"));
        let state = report.state.as_str().to_owned();
        table.row([report.component.clone(), state, took, report.reason.clone()]);
    }
    for worker in &diagnosis.workers {
        let pool =
            worker.pool.as_deref().unwrap_or("pool").rsplit([':', '.']).next().unwrap_or("pool").to_owned();
        let places = worker.concurrency.map_or(String::new(), |places| format!(", {places} places"));
        let reason = format!("{pool}{places}, {} queues", worker.queues.len());
        table.row([worker.name.clone(), State::Ok.as_str().to_owned(), "-".to_owned(), reason]);
    }
    table.print("nothing was looked at");
}

fn queues(diagnosis: &Diagnosis) {
    let waiting = diagnosis.queues.iter().filter(|queue| queue.waiting > 0);
    let mut table = Table::new(&["queue", "waiting", "consumers"]);
    for queue in waiting.take(MAX_QUEUES) {
        table.row([queue.name.clone(), queue.waiting.to_string(), queue.consumers.len().to_string()]);
    }
    if !table.is_empty() {
        output::line("");
        table.print("");
    }
}

fn finding(number: usize, finding: &Finding) {
    let severity = match finding.severity {
        Severity::Critical => "CRITICAL",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    output::line(format!("{number}. {severity}  {}  [{}, {}]", finding.what, finding.component, finding.id));
    if !finding.cause.is_empty() {
        output::line(format!("   cause:  {}", finding.cause));
    }
    if !finding.remedy.is_empty() {
        output::line(format!("   remedy: {}", finding.remedy));
    }
    for evidence in finding.evidence.iter().take(MAX_EVIDENCE) {
        output::line(format!("   seen:   {} -> {}", one_line(&evidence.asked), one_line(&evidence.answered)));
    }
    if let Some(more) = finding.evidence.len().checked_sub(MAX_EVIDENCE).filter(|more| *more > 0) {
        output::line(format!("           and {more} more; --json has them"));
    }
    output::line("");
}

fn one_line(text: &str) -> String {
    const MAX_CHARS: usize = 200;
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(MAX_CHARS) {
        Some((at, _)) => format!("{}…", &words[..at]),
        None => words,
    }
}

fn summary(diagnosis: &Diagnosis) -> String {
    let count = |severity| diagnosis.findings.iter().filter(|finding| finding.severity == severity).count();
    format!(
        "{} critical, {} warnings, {} notes",
        count(Severity::Critical),
        count(Severity::Warning),
        count(Severity::Note)
    )
}
