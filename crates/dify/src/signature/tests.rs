use std::collections::BTreeSet;

use super::*;

/// Every row's example is its own, and its counter-example is not: so no row hides another.
#[test]
fn every_row_has_its_example_and_not_its_counter_example() {
    let catalogue = Catalogue::with("").unwrap();
    let mut wrong = Vec::new();
    for row in catalogue.rows() {
        let (Some(example), Some(counter)) = (&row.example, &row.counter) else {
            assert!(row.patterns.is_empty(), "{} has patterns and no example, or no counter-example", row.id);
            continue;
        };
        let found = catalogue.classify(example).map(|row| row.id.as_str());
        if found != Some(&row.id) {
            wrong.push(format!("the example of {} belongs to {found:?}", row.id));
        }
        if catalogue.classify(counter).is_some_and(|found| found.id == row.id) {
            wrong.push(format!("the counter-example of {} belongs to it", row.id));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn every_row_is_complete_and_all_of_the_84_are_there() {
    let rows = Catalogue::built_in().rows();
    let known =
        ["api", "worker", "beat", "plugin_daemon", "postgres", "redis", "vector_store", "sandbox", "nginx"];
    for row in rows {
        assert!(row.cause.ends_with('.') && row.remedy.ends_with('.'), "{}: not sentences", row.id);
        assert!(!row.remedy.contains('\n'), "{}: a remedy is one line", row.id);
        assert!(
            !row.sources.is_empty() && row.sources.iter().all(|link| link.starts_with("https://")),
            "{}",
            row.id
        );
        let place = |place: &String| {
            known.contains(&place.as_str()) || ["kubernetes", "client"].contains(&place.as_str())
        };
        assert!(!row.found_in.is_empty() && row.found_in.iter().all(place), "{}: where", row.id);
    }
    let ids: BTreeSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    for number in 1..=84 {
        let id = format!("S{number:02}");
        let row = Catalogue::built_in().get(&id).unwrap_or_else(|| panic!("{id} is missing"));
        // A text that matches, or a state that a look finds.
        assert!(row.example.is_some() || row.state.is_some(), "{id} can never be found");
    }
    assert_eq!(ids.len(), rows.len(), "an id stands twice");
    let states: Vec<&str> = rows.iter().filter_map(|row| row.state.as_deref()).collect();
    assert_eq!(states.len(), states.iter().collect::<BTreeSet<_>>().len(), "a state stands twice");
}

#[test]
fn what_a_running_dify_said_is_known() {
    let said = |name: &str| {
        let path = format!("{}/tests/fixtures/errors/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    };
    let blocking = |name: &str| {
        let answer: serde_json::Value = serde_json::from_str(&said(name)).unwrap();
        let error = &answer["data"]["error"];
        error.as_str().or(answer["message"].as_str()).unwrap().to_owned()
    };
    let streamed = |name: &str| {
        let last = said(name).lines().next_back().unwrap().trim_start_matches("data: ").to_owned();
        let event: serde_json::Value = serde_json::from_str(&last).unwrap();
        let error = &event["data"]["error"];
        error.as_str().or(event["message"].as_str()).unwrap().to_owned()
    };
    let class = |text: String| classify(&text).map(|row| (row.id.as_str(), row.class));
    for (name, id, expected) in [
        ("25_wf-llm_ratelimit_blocking.json", "S54", Class::ProviderRateLimited),
        ("25b_wf-llm_daemon500_blocking.json", "M02", Class::ProviderError),
        ("25c_wf-llm_drop_blocking.json", "S47", Class::PluginDaemon),
        ("28_wf-fail_blocking.json", "M09", Class::Code),
        ("31_wf-http_refused_blocking.json", "M15", Class::HttpRequest),
        ("32_err_bad_key.json", "M11", Class::Caller),
        ("33_err_missing_input.json", "M10", Class::Caller),
        ("91_retrieve_vector_store_down.json", "M12", Class::Database),
        ("93_retrieve_embedding_ratelimited.json", "S54", Class::ProviderRateLimited),
    ] {
        assert_eq!(class(blocking(name)), Some((id, expected)), "{name}");
    }
    assert_eq!(class(streamed("26_wf-llm_fail_streaming.sse")), Some(("M01", Class::ProviderOverloaded)));
    assert_eq!(class(streamed("42_cf_fail_streaming.sse")), Some(("M03", Class::ProviderAuth)));
}

#[test]
fn layers_come_off_in_any_order() {
    let check = |text: &str, message: &str, error_type: Option<&str>, status: Option<u16>| {
        let found = unwrap(text);
        assert_eq!(
            (found.message.as_str(), found.error_type.as_deref(), found.status),
            (message, error_type, status),
            "{text}"
        );
        found
    };
    let found = check(
        r#"Run failed: PluginInvokeError: {"args":{"description":"[models] Error"},"error_type":"InvokeRateLimitError","message":"[models] Rate Limit Error, Error code: 429 - {'error': {'message': \"It's too fast\", 'type': 'requests', 'code': None}}"}"#,
        "It's too fast",
        Some("InvokeRateLimitError"),
        None,
    );
    assert_eq!(
        (found.wrapper.as_deref(), found.provider.as_deref()),
        (Some("PluginInvokeError"), Some("models"))
    );
    let found = check(
        r#"[openai_api_compatible] Error: API request failed with status code 429: {"error":{"message":"slow down","code":"rate_limit_exceeded"}}"#,
        "slow down",
        None,
        Some(429),
    );
    assert_eq!(found.code.as_deref(), Some("rate_limit_exceeded"));
    assert_eq!(found.provider.as_deref(), Some("openai_api_compatible"));
    check(r#"PluginDaemonInternalServerError: killed by timeout"#, "killed by timeout", None, None);
    check(
        r#"PluginInvokeError: {"args":{"description":"x"},"error_type":"ReadTimeout","message":""}"#,
        "x",
        Some("ReadTimeout"),
        None,
    );
    // JSON in a string in JSON, twice.
    let inside = serde_json::json!({"error_type": "PluginInvokeError", "message": serde_json::json!({"error_type": "ConnectError", "message": "no way"}).to_string()});
    check(&format!("PluginDaemonInnerError: {inside}"), "no way", Some("ConnectError"), None);
    check("Error code: 503 - The server is overloaded", "The server is overloaded", None, Some(503));
    // Not ours to read: it stays whole.
    for text in ["", "plain", "{", "{{{{", "[", "a: b: c", "{'a': ", "\"", "{}", "[x] ", "Error code: 4é9"] {
        assert_eq!(unwrap(text).message, text.trim(), "{text}");
    }
}

#[test]
fn unwrap_and_classify_end_on_whatever_they_are_given() {
    let mut nested = String::from("the end");
    for _ in 0..200 {
        nested = serde_json::json!({ "message": nested }).to_string();
        if nested.len() > 300_000 {
            break;
        }
    }
    let deep = "{\"message\":".repeat(50_000);
    let braces = "{".repeat(200_000);
    let quotes = "'\"\\".repeat(50_000);
    let accents = "é".repeat(100_000);
    for text in [&nested, &deep, &braces, &quotes, &accents] {
        let found = unwrap(text);
        assert!(found.message.len() <= text.len().max(1));
        let _ = classify(text);
        assert!(group(text).len() <= 400);
    }
    // What a long text is about stands at its start or at its end.
    let long =
        format!("{}\nKeyError\nMISCONF Redis is configured to save RDB snapshots", "x ".repeat(1_000_000));
    assert_eq!(classify(&long).map(|row| row.id.as_str()), Some("S14"));
}

#[test]
fn one_failure_is_one_group() {
    let same = |left: &str, right: &str| assert_eq!(group(left), group(right));
    same(
        "connect to https://a.example/v1?key=1 failed after 12.5s for 7b1c52f0-0d0a-4a6e-9d7a-000000000001",
        "connect to https://b.example/v2?key=2 failed after 3s for 7b1c52f0-0d0a-4a6e-9d7a-ffffffffffff",
    );
    same(
        r#"PluginInvokeError: {"error_type":"E","message":"user 17 of ann@example.org has key sk-abc123"}"#,
        r#"PluginInvokeError: {"error_type":"E","message":"user 4 of bob@example.com has key sk-def456"}"#,
    );
    assert_eq!(
        group("Error code: 429 - Rate limit reached for gpt-4o"),
        "status code 429: Rate limit reached for gpt-4o"
    );
    assert_ne!(group("Error code: 429 - no"), group("Error code: 503 - no"));
    assert_eq!(
        group(
            "Traceback (most recent call last):\n  File \"<path>\", line 12, in <module>\nValueError: boom 17\n"
        ),
        "ValueError: boom <n>"
    );
    assert_eq!(
        normalize("Reached maximum retries (3) for URL http://a/b."),
        "Reached maximum retries (<n>) for URL <url>"
    );
    assert_eq!(normalize("HTTP 502 from 10.0.0.1:8080"), "HTTP 502 from <n>:<n>");
}

#[test]
fn operators_add_rows_before_ours_and_replace_ours_by_id() {
    let own = r#"
        [[signature]]
        id = "acme-vpn"
        patterns = ['(?i)rate limit']
        priority = 100
        class = "provider_unreachable"
        cause = "The VPN to the model is down."
        remedy = "Call the network team."

        [[signature]]
        id = "S14"
        patterns = ["MISCONF"]
        class = "redis"
        cause = "Ours."
        remedy = "Theirs."
    "#;
    let catalogue = Catalogue::with(own).unwrap();
    assert_eq!(catalogue.classify("Rate limit reached").unwrap().id, "acme-vpn");
    assert_eq!(catalogue.classify("MISCONF").unwrap().cause, "Ours.");
    assert_eq!(catalogue.get("S14").unwrap().patterns, ["MISCONF"]);
    assert_eq!(catalogue.state("queue-no-consumer").unwrap().id, "S18");
}

#[test]
fn what_is_wrong_with_an_operators_file_is_said_by_row() {
    let problem = |text: &str| Catalogue::with(text).unwrap_err().to_string();
    let row = |patterns: &str, class: &str| {
        format!(
            "[[signature]]\nid = \"x\"\npatterns = {patterns}\nclass = \"{class}\"\ncause = \"\"\nremedy = \"\"\n"
        )
    };
    assert!(problem(&row("['(']", "bug")).contains("signature `x`: `(` is not a pattern"));
    assert!(problem(&row("['a']", "no")).contains("no class `no`; known: provider_rate_limited"));
    assert!(problem(&row("['.*']", "bug")).contains("matches everything"));
    assert!(problem(&row("[]", "bug")).contains("neither"));
    assert!(problem(&row("['((a{500}){500}){500}']", "bug")).contains("is not a pattern"));
    assert!(problem(&(row("['a']", "bug") + &row("['b']", "bug"))).contains("stands twice"));
    assert!(problem("[[signature]]\nid = 3").contains("cannot be read"));
}

/// What operators read is what holds: the example loads and matches, and every class is named.
#[test]
fn the_page_about_signatures_is_true() {
    let page = include_str!("../../../../docs/signatures.md");
    let own = page.split("```toml\n").find(|block| block.starts_with("[[signature]]")).unwrap();
    let catalogue = Catalogue::with(own.split("```").next().unwrap()).unwrap();
    let row = catalogue.get("our-proxy").unwrap();
    let found = |text: &Option<String>| catalogue.classify(text.as_ref().unwrap()).map(|row| row.id.clone());
    assert_eq!(found(&row.example), Some("our-proxy".to_owned()));
    assert_ne!(found(&row.counter), Some("our-proxy".to_owned()));
    for class in Class::ALL {
        assert!(page.contains(&format!("`{}`", class.as_str())), "{} is not on the page", class.as_str());
    }
    let rows = Catalogue::built_in().rows().len();
    assert!(page.contains(&format!("catalogue of {rows} rows")), "there are {rows} rows");
}
