use std::time::Duration;

use mainstay_base::Class;

use super::*;
use crate::path::failure::FromProvider;

fn told(class: Class, status: Option<u16>) -> (u16, Value) {
    let message = Some("the provider's own words".to_owned());
    let failed = FromProvider { status, message, ..FromProvider::wordless(class, None) };
    let (status, body) = words(&Reason::Provider(Box::new(failed)));
    (status, serde_json::from_str(&body).unwrap())
}

#[test]
fn every_class_has_the_status_that_blames_the_right_side() {
    for (class, status, code) in [
        (Class::RateLimited, 429, Some("rate_limit_exceeded")),
        (Class::QuotaExhausted, 429, Some("provider_quota_exhausted")),
        (Class::Overloaded, 503, Some("provider_overloaded")),
        (Class::ServerError, 502, Some("provider_error")),
        (Class::BadKey, 502, Some("provider_key_refused")),
        (Class::ModelMissing, 502, Some("provider_model_missing")),
        (Class::CallerError, 400, None),
        (Class::NotConvertible, 400, None),
        (Class::ContextOverflow, 400, Some("context_length_exceeded")),
        (Class::ContentFilter, 400, Some("content_filter")),
        (Class::Dns, 503, Some("provider_unreachable")),
        (Class::Connect, 503, Some("provider_unreachable")),
        (Class::Tls, 503, Some("provider_unreachable")),
        (Class::ConnectTimeout, 504, Some("provider_timeout")),
        (Class::FirstByteTimeout, 504, Some("provider_timeout")),
        (Class::FirstTokenTimeout, 504, Some("provider_timeout")),
        (Class::Stall, 504, Some("provider_timeout")),
        (Class::TotalTimeout, 504, Some("provider_timeout")),
        (Class::Closed, 502, Some("provider_broke_off")),
        (Class::Cut, 502, Some("provider_broke_off")),
        (Class::ErrorInside, 502, Some("provider_bad_answer")),
        (Class::Empty, 502, Some("provider_bad_answer")),
        (Class::TruncatedJson, 502, Some("provider_bad_answer")),
        (Class::NotAnAnswer, 502, Some("provider_bad_answer")),
        (Class::HedgeLost, 502, Some("provider_error")),
        (Class::CallerGone, 502, Some("provider_error")),
    ] {
        let (found, body) = told(class, Some(401));
        let expected =
            if class == Class::CallerError || class == Class::NotConvertible { 401 } else { status };
        assert_eq!((found, body["error"]["code"].as_str()), (expected, code), "{class:?}");
        assert_eq!(status_of(class), status, "{class:?}");
    }
}

#[test]
fn a_providers_words_are_shown_only_where_they_are_the_callers_business() {
    for class in Class::ALL {
        let shown = told(class, None).1["error"]["message"] == "the provider's own words";
        assert_eq!(shown, class.fault() == mainstay_base::verdict::Fault::Caller, "{class:?}");
    }
}

#[test]
fn a_callers_mistake_keeps_its_param_and_code_and_no_other_failure_does() {
    for class in Class::ALL {
        let mut failed = FromProvider::wordless(class, None);
        (failed.param, failed.code) = (Some("messages[1].role".into()), Some("invalid_value".into()));
        let body: Value = serde_json::from_str(&words(&Reason::Provider(Box::new(failed))).1).unwrap();
        let is_kept = (&body["error"]["param"], &body["error"]["code"])
            == (&Value::from("messages[1].role"), &Value::from("invalid_value"));
        assert_eq!(is_kept, matches!(class, Class::CallerError | Class::NotConvertible), "{class:?}");
    }
}

#[test]
fn a_callers_mistake_keeps_the_status_that_the_provider_gave_it() {
    for (given, expected) in
        [(Some(422), 422), (Some(404), 404), (Some(200), 400), (Some(500), 400), (None, 400)]
    {
        assert_eq!(told(Class::CallerError, given).0, expected, "{given:?}");
    }
}

#[test]
fn what_our_own_rules_refuse_is_told_in_openais_words() {
    let wait = Duration::from_secs(3);
    for (reason, status, kind, code) in [
        (Reason::ModelNotAllowed { model: "m".into() }, 403, INVALID, "model_not_allowed"),
        (Reason::ModelUnknown { model: "m".into() }, 404, INVALID, "model_not_found"),
        (
            Reason::KeyLimited { limit: "calls at once", retry_after: wait },
            429,
            LIMITED,
            "rate_limit_exceeded",
        ),
        (Reason::BudgetSpent { retry_after: wait }, 429, QUOTA, "insufficient_quota"),
        (Reason::BudgetUnreachable, 503, SERVER, "budget_unreachable"),
        (Reason::NoTargetFits { why: "region eu".into() }, 400, INVALID, "no_target_fits"),
        (Reason::CostCeiling, 400, INVALID, "max_cost_exceeded"),
        (Reason::DeadlineOver, 504, SERVER, "deadline_exceeded"),
        (Reason::Saturated, 503, SERVER, "overloaded"),
        (Reason::BadField { name: "n", why: "is odd" }, 400, INVALID, "invalid_type"),
    ] {
        let (found, body) = words(&reason);
        let body: Value = serde_json::from_str(&body).unwrap();
        let error = &body["error"];
        assert_eq!(
            (found, error["type"].as_str(), error["code"].as_str()),
            (status, Some(kind), Some(code)),
            "{reason:?}"
        );
    }
}
