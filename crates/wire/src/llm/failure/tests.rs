use proptest::prelude::*;

use super::*;

fn of(dialect: &Dialect, status: u16, body: &str) -> Told {
    told(dialect, status, |_| None, body.as_bytes(), 0)
}

fn bedrock() -> Dialect {
    Dialect::Bedrock { region: "eu-central-1".to_owned() }
}

#[test]
fn waits_are_found_in_words_and_details() {
    let azure = Dialect::Azure { api_version: "2024-10-21".to_owned() };
    let limited = of(&azure, 429, r#"{"error":{"code":"429","message":"Please retry after 6 seconds."}}"#);
    assert_eq!(limited.retry_after, Some(Duration::from_secs(6)));

    let quota = |id: &str| {
        let details = format!(
            r#"[{{"violations":[{{"quotaId":"{id}"}}]}},{{"@type":"google.rpc.RetryInfo","retryDelay":"34.07s"}}]"#
        );
        let said = r#""message":"You exceeded your current quota.","status":"RESOURCE_EXHAUSTED""#;
        format!(r#"{{"error":{{"code":429,{said},"details":{details}}}}}"#)
    };
    let minute = of(&Dialect::Gemini, 429, &quota("GenerateRequestsPerMinutePerProjectPerModel-FreeTier"));
    assert_eq!((minute.class, minute.retry_after), (Class::RateLimited, Some(Duration::from_millis(34_070))));
    assert_eq!(minute.code.as_deref(), Some("RESOURCE_EXHAUSTED"), "a word says more than 429");
    let day = of(&Dialect::Gemini, 429, &quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier"));
    assert_eq!(day.class, Class::QuotaExhausted);
}

#[test]
fn bedrock_names_the_error_in_a_header() {
    let kind = "ThrottlingException:http://internal.amazon.com/coral/com.amazon.bedrock/";
    let header = |name: &str| (name == "x-amzn-errortype").then_some(kind);
    let told = told(&bedrock(), 400, header, br#"{"message":"slow down"}"#, 0);
    assert_eq!((told.class, told.code.as_deref()), (Class::RateLimited, Some("ThrottlingException")));
}

#[test]
fn words_are_the_providers_own() {
    let body = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let told = of(&Dialect::Anthropic, 529, body);
    assert_eq!((told.message.as_str(), told.code.as_deref()), ("Overloaded", Some("overloaded_error")));
    let raw = r#"{"error":{"message":"Provider returned error","metadata":{"raw":"{\"error\":{\"message\":\"no room\"}}"}}}"#;
    assert_eq!(of(&Dialect::OpenAi, 502, raw).message, "Provider returned error: no room");
    let page = "<html><head><title>502 Bad Gateway</title></head></html>";
    assert_eq!(of(&Dialect::OpenAi, 502, page).message, "a page for humans: 502 Bad Gateway");
    assert_eq!(of(&Dialect::OpenAi, 500, "").message, "the provider answered 500 without a word");
}

#[test]
fn keys_are_masked_and_words_shortened() {
    let body =
        format!(r#"{{"error":{{"message":"key sk-live-0123456789abcdef refused {}"}}}}"#, "x ".repeat(1000));
    let told = of(&Dialect::OpenAi, 401, &body);
    assert!(told.message.starts_with("key *** refused x x"), "{}", told.message);
    assert!(told.message.chars().count() < 500);
}

proptest! {
    #[test]
    fn any_answer_is_told_without_panic(
        status in 0u16..1000,
        body in prop::collection::vec(any::<u8>(), 0..300),
        retry in "\\PC{0,12}",
    ) {
        for dialect in [Dialect::OpenAi, Dialect::Anthropic, Dialect::Gemini, bedrock()] {
            let told = told(&dialect, status, |_| Some(&retry), &body, 0);
            prop_assert!(told.message.chars().count() <= 401);
            let _ = inside(&dialect, &body);
        }
    }

    #[test]
    fn however_deep_an_error_is_wrapped_it_ends(depth in 0usize..60) {
        let body = format!("{}\"x\"{}", r#"{"error":"#.repeat(depth), "}".repeat(depth));
        let _ = of(&Dialect::OpenAi, 500, &body);
    }
}
