//! The web server, and the proxy of HTTP nodes: that somebody answers.

use mainstay_base::Severity;

use super::{
    Component,
    ask::Ask,
    report::{Problem, Report, State},
};

pub(super) async fn look(ask: Ask<'_>, url: &str) -> Report {
    let mut report = Report::of(Component::Web);
    match ask.get(&format!("{}/", url.trim_end_matches('/')), None).await {
        Ok(answer) if answer.status < 500 => {
            report.took(answer.took);
            report.with(State::Ok, format!("answers {}", answer.status))
        }
        Ok(answer) => report.failed(Problem {
            id: "web-failing",
            severity: Severity::Critical,
            what: format!("the web server answers {}", answer.status),
            cause: "The console's server fails, or nginx before it finds nobody.",
            remedy: "Look at the logs of web and nginx; after containers were made anew, reload nginx.",
            asked: answer.asked.clone(),
            answered: answer.said(),
        }),
        Err(no_answer) => {
            report.problem(Problem {
                id: "web-down",
                severity: Severity::Critical,
                what: "the web server gives no answer".to_owned(),
                cause: "Its process is down, or the address is wrong.",
                remedy: "Look at the containers web and nginx, and check web_url.",
                asked: no_answer.asked,
                answered: no_answer.why,
            });
            report
        }
    }
}

/// squid answers anything that is not for it with a page, which shows that it is there.
pub(super) async fn proxy(ask: Ask<'_>, url: &str) -> Report {
    let mut report = Report::of(Component::SsrfProxy);
    match ask.get(&format!("{}/", url.trim_end_matches('/')), None).await {
        Ok(answer) => {
            report.took(answer.took);
            report.with(State::Ok, "accepts connections")
        }
        Err(no_answer) => report.failed(Problem {
            id: "ssrf-proxy-down",
            severity: Severity::Critical,
            what: "the proxy of HTTP nodes gives no answer".to_owned(),
            cause: "ssrf_proxy is down: HTTP nodes, tools and external knowledge fail.",
            remedy: "Start the container ssrf_proxy, or check the address (SSRF_PROXY_HTTP_URL).",
            asked: no_answer.asked,
            answered: no_answer.why,
        }),
    }
}
