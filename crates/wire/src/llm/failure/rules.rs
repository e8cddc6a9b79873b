//! By which status, code and words become a class: the first rule of the [`table`] that fits, and else the status.

use mainstay_base::{Class, snapshot::Dialect};

use super::{
    body::Spoken,
    table::{Rule, rules},
};

/// Codes that are plain numbers mean something with one family of providers only, and elsewhere are HTTP's.
pub(super) fn class(dialect: &Dialect, status: u16, spoken: &Spoken) -> Class {
    if spoken.is_page {
        return of_page(status);
    }
    let message = spoken.message.to_ascii_lowercase();
    let codes: Vec<String> = spoken.codes.iter().map(|code| spelled(code)).collect();
    // A relay's 200 or 502 may carry the provider's own status inside. A 400 in there blames nobody for sure.
    let status_inside =
        spoken.status.filter(|inside| matches!(status, 200 | 500 | 502) && !matches!(inside, 400 | 404));
    let seen_as = status_inside.unwrap_or(status);
    if let Some(class) = gemini_quota(dialect, &codes, &message) {
        return class;
    }
    let found = rules().find(|rule| fits(rule, status, seen_as, &codes, &message));
    found.map_or_else(|| by_status(seen_as, spoken), |rule| rule.class)
}

/// `ThrottlingException` and `com.amazon.coral#ThrottlingException` are one.
fn spelled(code: &str) -> String {
    code.rsplit('#').next().unwrap_or(code).to_ascii_lowercase()
}

/// Gemini says "You exceeded your current quota" of quotas of a minute as of a day: only the quota's id tells.
fn gemini_quota(dialect: &Dialect, codes: &[String], message: &str) -> Option<Class> {
    let is_exhausted = codes.iter().any(|code| code == "resource_exhausted");
    if *dialect != Dialect::Gemini && !is_exhausted {
        return None;
    }
    let says = |word: &str| codes.iter().any(|code| code.contains(word)) || message.contains(word);
    match () {
        () if !is_exhausted => None,
        () if says("perday") => Some(Class::QuotaExhausted),
        () => Some(Class::RateLimited),
    }
}

fn fits(rule: &Rule, status: u16, seen_as: u16, codes: &[String], message: &str) -> bool {
    let is_its_status =
        rule.statuses.is_empty() || rule.statuses.contains(&status) || rule.statuses.contains(&seen_as);
    is_its_status
        && (codes.iter().any(|code| rule.codes.contains(&code.as_str()))
            || rule.phrases.iter().any(|phrase| message.contains(phrase)))
}

/// What a status means that came with no telling words.
fn by_status(seen_as: u16, spoken: &Spoken) -> Class {
    match seen_as {
        200..=299 => Class::ErrorInside,
        401 | 403 => Class::BadKey,
        402 => Class::QuotaExhausted,
        // Without any words of the dialect nobody said what is missing. With words that name neither a model nor an
        // address it is what the caller named, and falls under the mistakes below.
        404 if spoken.message.is_empty() || is_bare_not_found(&spoken.message) => Class::NotAnAnswer,
        // The gateway chose address and method.
        405 => Class::NotAnAnswer,
        408 | 424 | 425 | 499 => Class::ServerError,
        429 => Class::RateLimited,
        400..=498 => Class::CallerError,
        503 | 529 => Class::Overloaded,
        500..=599 => Class::ServerError,
        // 1xx, 3xx and what no standard knows.
        _ => Class::NotAnAnswer,
    }
}

fn is_bare_not_found(message: &str) -> bool {
    matches!(
        message.trim().trim_end_matches('.').to_ascii_lowercase().as_str(),
        "not found" | "404 not found"
    )
}

/// A page comes from something in between: it knows nothing of keys, models or prompts.
fn of_page(status: u16) -> Class {
    match status {
        413 => Class::CallerError,
        429 => Class::RateLimited,
        503 => Class::Overloaded,
        500..=599 => Class::ServerError,
        _ => Class::NotAnAnswer,
    }
}
