//! Every node type, alone in a small app.

use mainstay_base::Kind;
use mainstay_engine::{RunStatus, Sink};
use mainstay_testkit::{HttpServer, http_server, model};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::common::{Bench, app, case, chat, end, input, llm, plan, quiet, start, template, told, workflow};

#[tokio::test]
async fn a_template_writes_what_python_would() {
    let app = workflow(
        &[
            start(&["name"]),
            (
                "t",
                "template-transform",
                template(
                    "{{ n }} {{ m }} {{ sys }}",
                    &[("n", "start.name"), ("m", "start.gone"), ("sys", "sys.files")],
                ),
            ),
            end(&[("text", "t.output")]),
        ],
        &["start -> t", "t -> end"],
    );
    let plan = plan(&app);
    assert_eq!(
        quiet().outputs(&plan, json!({"name": [1, "a", null, true]})).await,
        json!({"text": "[1, 'a', None, True] None []"})
    );
}

#[tokio::test]
async fn a_template_that_fails_fails_its_node() {
    let app = workflow(
        &[
            start(&["x"]),
            ("t", "template-transform", template("{{ x.y.z }}", &[("x", "start.x")])),
            end(&[("text", "t.output")]),
        ],
        &["start -> t", "t -> end"],
    );
    let (outcome, _) = quiet().run(&plan(&app), input(json!({"x": "a"}))).await;
    assert_eq!((outcome.status, outcome.error_kind), (RunStatus::Failed, Some(Kind::Caller)));
    let bench = Bench::with("http://127.0.0.1:9", |limits| limits.max_template_output_bytes = 10);
    let long = workflow(
        &[
            start(&["x"]),
            ("t", "template-transform", template("{{ x * 9 }}", &[("x", "start.x")])),
            end(&[("text", "t.output")]),
        ],
        &["start -> t", "t -> end"],
    );
    let outputs = bench.outputs(&plan(&long), json!({"x": "abc"})).await;
    assert_eq!(outputs, json!({"error": "Output length exceeds 10 characters"}));
}

fn branches(cases: Value) -> Value {
    workflow(
        &[
            start(&["x"]),
            ("if", "if-else", json!({ "cases": cases })),
            ("a", "template-transform", template("A", &[])),
            ("b", "template-transform", template("B", &[])),
            ("c", "template-transform", template("C", &[])),
            (
                "join",
                "variable-aggregator",
                json!({"variables": [["a", "output"], ["b", "output"], ["c", "output"]]}),
            ),
            end(&[("text", "join.output"), ("case", "if.selected_case_id"), ("met", "if.result")]),
        ],
        &[
            "start -> if",
            "if:one -> a",
            "if:two -> b",
            "if:false -> c",
            "a -> join",
            "b -> join",
            "c -> join",
            "join -> end",
        ],
    )
}

#[tokio::test]
async fn the_first_case_that_is_met_is_taken() {
    let app = branches(json!([
        case("one", "start.x", "is", json!("1")),
        case("two", "start.x", "contains", json!("{{#sys.user_id#}}")),
    ]));
    let plan = plan(&app);
    for (x, text, id, met) in
        [("1", "A", "one", true), ("hi tester-1", "B", "two", true), ("3", "C", "false", false)]
    {
        let outputs = quiet().outputs(&plan, json!({ "x": x })).await;
        assert_eq!(outputs, json!({"text": text, "case": id, "met": met}));
    }
    let (outcome, _) = quiet().run(&plan, input(json!({"x": "3"}))).await;
    let node = outcome.nodes.iter().find(|node| node.node_type == "if-else").unwrap();
    assert_eq!(
        node.inputs.to_value(),
        json!({"conditions": [{"actual_value": "3", "expected_value": "tester-1", "comparison_operator": "contains"}]})
    );
    let process = node.process_data.to_value();
    assert_eq!(process["condition_results"][1]["group"]["case_id"], "two");
    assert_eq!(process["condition_results"][1]["results"], json!([false]));
    let (outcome, _) = quiet().run(&plan, input(json!({"x": 5}))).await;
    assert_eq!(outcome.error.as_deref(), Some("Invalid actual value type: string or boolean"));
    let (outcome, _) = quiet().run(&plan, input(json!({}))).await;
    assert_eq!(outcome.error.as_deref(), Some("Variable ['start', 'x'] not found"));
}

#[tokio::test]
async fn the_old_form_of_if_else_still_decides() {
    let condition = json!({"variable_selector": ["start", "x"], "comparison_operator": "=", "value": "7"});
    let app = workflow(
        &[
            start(&["x"]),
            ("if", "if-else", json!({"logical_operator": "or", "conditions": [condition]})),
            end(&[("yes", "if.result")]),
        ],
        &["start -> if", "if:true -> end"],
    );
    let plan = plan(&app);
    assert_eq!(quiet().outputs(&plan, json!({"x": 7})).await, json!({"yes": true}));
    assert_eq!(quiet().outputs(&plan, json!({"x": 8})).await, json!({}), "the other branch leads nowhere");
}

#[tokio::test]
async fn groups_of_an_aggregator_each_give_their_first_value() {
    let settings = json!({"group_enabled": true, "groups": [
        {"group_name": "g1", "output_type": "string", "variables": [["t", "gone"], ["start", "x"]]},
        {"group_name": "g2", "output_type": "string", "variables": [["start", "none"]]},
    ]});
    let app = workflow(
        &[
            start(&["x"]),
            ("t", "template-transform", template("T", &[])),
            (
                "agg",
                "variable-aggregator",
                json!({"output_type": "any", "variables": [], "advanced_settings": settings}),
            ),
            end(&[("one", "agg.g1.output"), ("two", "agg.g2.output")]),
        ],
        &["start -> t", "t -> agg", "agg -> end"],
    );
    assert_eq!(quiet().outputs(&plan(&app), json!({"x": "v"})).await, json!({"one": "v", "two": null}));
}

fn iteration(extra: Value) -> Value {
    let mut data = json!({"iterator_selector": ["start", "list"], "output_selector": ["t", "output"], "start_node_id": "s"});
    data.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    workflow(
        &[
            start(&["list"]),
            ("it", "iteration", data),
            ("s", "iteration-start", json!({"iteration_id": "it"})),
            ("t", "template-transform", {
                let mut data =
                    template("{{ 12 // item }}:{{ index }}", &[("item", "it.item"), ("index", "it.index")]);
                data["iteration_id"] = json!("it");
                data
            }),
            end(&[("out", "it.output")]),
        ],
        &["start -> it", "s -> t", "it -> end"],
    )
}

#[tokio::test]
async fn an_iteration_runs_its_graph_for_each_item() {
    let (outcome, events) = quiet().run(&plan(&iteration(json!({}))), input(json!({"list": [3, 4]}))).await;
    assert_eq!(outcome.outputs.to_value(), json!({"out": ["4:0", "3:1"]}));
    assert_eq!(outcome.total_steps, 3, "inner executions are not steps of the run");
    let lines = told(&events);
    let inner: Vec<&str> = lines.lines().skip(3).take(9).collect();
    assert_eq!(
        inner,
        [
            "node_started it",
            "iteration_started it {\"iteration_length\":2}",
            "iteration_next it 0",
            "node_started t [it 0]",
            "node_finished t succeeded [it 0] {\"output\":\"4:0\"}",
            "iteration_next it 1",
            "node_started t [it 1]",
            "node_finished t succeeded [it 1] {\"output\":\"3:1\"}",
            "iteration_completed it succeeded {\"output\":[\"4:0\",\"3:1\"]} steps=2",
        ],
        "{lines}"
    );
    let inner = outcome.nodes.iter().find(|node| &*node.node_id == "t").unwrap();
    assert_eq!(inner.metadata.to_value(), json!({"iteration_id": "it", "iteration_index": 0}));
}

#[tokio::test]
async fn what_fails_in_an_iteration_ends_it_or_is_left_out_as_asked() {
    for parallel in [false, true] {
        for (mode, expected) in [
            ("terminated", json!({"error": true})),
            ("continue-on-error", json!({"out": ["4:0", null, "6:2"]})),
            ("remove-abnormal-output", json!({"out": ["4:0", "6:2"]})),
        ] {
            let app =
                iteration(json!({"error_handle_mode": mode, "is_parallel": parallel, "parallel_nums": 2}));
            let mut outputs = quiet().outputs(&plan(&app), json!({"list": [3, 0, 2]})).await;
            if outputs["error"].is_string() {
                outputs = json!({"error": true});
            }
            assert_eq!(outputs, expected, "{mode} parallel={parallel}");
        }
    }
}

#[tokio::test]
async fn items_run_side_by_side_when_asked_and_keep_their_order() {
    let peer = model::start().await;
    let app = workflow(
        &[
            start(&["list"]),
            (
                "it",
                "iteration",
                json!({"iterator_selector": ["start", "list"], "output_selector": ["llm", "text"], "is_parallel": true, "parallel_nums": 4}),
            ),
            ("s", "iteration-start", json!({"iteration_id": "it"})),
            ("llm", "llm", {
                let mut data = llm(&[("user", "[[delay:{{#it.item#}}]]")]);
                data["iteration_id"] = json!("it");
                data
            }),
            end(&[("out", "it.output")]),
        ],
        &["start -> it", "s -> llm", "it -> end"],
    );
    let began = std::time::Instant::now();
    let (outcome, _) =
        Bench::new(&peer.url()).run(&plan(&app), input(json!({"list": [0.6, 0.1, 0.4, 0.5]}))).await;
    let said = |delay: &str| format!("Echo from fake-chat: [[delay:{delay}]]");
    assert_eq!(
        outcome.outputs.to_value(),
        json!({"out": [said("0.6"), said("0.1"), said("0.4"), said("0.5")]})
    );
    assert!(began.elapsed().as_secs_f64() < 1.4, "one after the other takes 1.6 s");
    assert_eq!(outcome.total_tokens, outcome.usage.total_tokens);
    assert!(outcome.total_tokens > 0, "tokens of items count");
}

#[tokio::test]
async fn lists_are_flattened_unless_told_otherwise() {
    for (flatten, expected) in [(true, json!([1, 2, 3])), (false, json!([[1, 2], [3]]))] {
        let app = workflow(
            &[
                start(&["list"]),
                (
                    "it",
                    "iteration",
                    json!({"iterator_selector": ["start", "list"], "output_selector": ["it", "item"], "flatten_output": flatten}),
                ),
                ("s", "iteration-start", json!({"iteration_id": "it"})),
                end(&[("out", "it.output")]),
            ],
            &["start -> it", "it -> end"],
        );
        assert_eq!(
            quiet().outputs(&plan(&app), json!({"list": [[1, 2], [3]]})).await,
            json!({ "out": expected })
        );
        assert_eq!(quiet().outputs(&plan(&app), json!({"list": []})).await, json!({"out": []}));
        assert_eq!(quiet().outputs(&plan(&app), json!({"list": null})).await, json!({"out": []}));
        let wrong = quiet().outputs(&plan(&app), json!({"list": "x"})).await;
        assert_eq!(wrong, json!({"error": "invalid iterator value: x, please provide a list."}));
    }
}

#[tokio::test]
async fn an_assigner_changes_the_conversation_and_the_answer_waits_for_it() {
    let mut app = app(
        "advanced-chat",
        &[
            start(&[]),
            (
                "set",
                "assigner",
                json!({"version": "2", "items": [
                    {"variable_selector": ["conversation", "count"], "input_type": "constant", "operation": "+=", "value": 2},
                    {"variable_selector": ["conversation", "log"], "input_type": "variable", "operation": "append", "value": ["sys", "query"]},
                ]}),
            ),
            (
                "answer",
                "answer",
                json!({"answer": "{{#conversation.count#}} {{#conversation.log#}} {{#env.place#}}"}),
            ),
        ],
        &["start -> set", "set -> answer"],
    );
    app["workflow"]["conversation_variables"] = json!([
        {"id": "1", "name": "count", "value_type": "number", "value": 1},
        {"id": "2", "name": "log", "value_type": "array[string]", "value": ["first"]},
    ]);
    app["workflow"]["environment_variables"] =
        json!([{"id": "3", "name": "place", "value_type": "string", "value": "here"}]);
    let plan = plan(&app);
    let mut run = chat("second");
    run.conversation_variables = json!({"count": 40, "unknown": 1}).as_object().unwrap().clone();
    let (outcome, events) = quiet().run(&plan, run).await;
    assert_eq!(outcome.answer.as_deref(), Some("42 - first\n- second here"));
    assert_eq!(
        Value::Object(outcome.conversation_variables),
        json!({"count": 42, "log": ["first", "second"]})
    );
    let streamed: String = events
        .iter()
        .filter_map(|event| match event {
            mainstay_engine::Event::Chunk { text, .. } => Some(&**text),
            _ => None,
        })
        .collect();
    assert_eq!(streamed, "42 - first\n- second here");
    let process = outcome.nodes[1].process_data.to_value();
    assert_eq!(process["__updated_variables"][0]["new_value"], 42);
}

#[tokio::test]
async fn prompts_take_context_jinja_and_refuse_what_is_not_there() {
    let peer = model::start().await;
    let mut data = llm(&[("system", "Know: {{#context#}}"), ("user", "x")]);
    data["context"] = json!({"enabled": true, "variable_selector": ["start", "docs"]});
    data["prompt_template"][1] = json!({"role": "user", "edition_type": "jinja2", "jinja2_text": "{% for d in docs %}{{ d.content }};{% endfor %}"});
    data["prompt_config"] =
        json!({"jinja2_variables": [{"variable": "docs", "value_selector": ["start", "docs"]}]});
    let app = |data: Value| {
        workflow(
            &[start(&["docs"]), ("llm", "llm", data), end(&[("text", "llm.text")])],
            &["start -> llm", "llm -> end"],
        )
    };
    let bench = Bench::new(&peer.url());
    let docs = json!({"docs": [{"content": "a", "summary": "s"}, {"content": "b"}]});
    let (outcome, _) = bench.run(&plan(&app(data)), input(docs)).await;
    assert_eq!(outcome.outputs.to_value(), json!({"text": "Echo from fake-chat: a;b;"}));
    let node = &outcome.nodes[1];
    assert_eq!(node.process_data.to_value()["prompts"][0]["text"], "Know: s\na\nb");
    assert_eq!(node.inputs.to_value(), json!({"#context#": "s\na\nb"}));
    let missing = app(llm(&[("user", "{{#start.gone#}}")]));
    assert_eq!(
        bench.outputs(&plan(&missing), json!({})).await,
        json!({"error": "Variable #start.gone# not found"})
    );
    let empty = bench.outputs(&plan(&app(llm(&[("user", "")]))), json!({})).await;
    assert!(empty["error"].as_str().unwrap().starts_with("No prompt found"), "{empty}");
}

#[tokio::test]
async fn a_completion_prompt_holds_its_histories() {
    let peer = model::start().await;
    let mut data = llm(&[]);
    data["model"]["mode"] = json!("completion");
    data["prompt_template"] =
        json!({"text": "{{#histories#}}\nHuman: {{#sys.query#}}", "edition_type": "basic"});
    data["memory"] =
        json!({"role_prefix": {"user": "U", "assistant": "A"}, "window": {"enabled": true, "size": 1}});
    let app = app(
        "advanced-chat",
        &[start(&[]), ("llm", "llm", data), ("answer", "answer", json!({"answer": "{{#llm.text#}}"}))],
        &["start -> llm", "llm -> answer"],
    );
    let mut run = chat("now");
    let exchange =
        |query: &str| mainstay_engine::Exchange { query: query.into(), answer: format!("re {query}") };
    run.chat.as_mut().unwrap().history = vec![exchange("old"), exchange("late")];
    let (outcome, _) = Bench::new(&peer.url()).run(&plan(&app), run).await;
    let prompts = outcome.nodes[1].process_data.to_value()["prompts"].clone();
    assert_eq!(prompts, json!([{"role": "user", "text": "U: late\nA: re late\nHuman: now", "files": []}]));
}

#[tokio::test]
async fn models_that_think_or_do_not_stream_or_give_json_are_understood() {
    let peer = HttpServer::start(|request| async move {
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        let message = json!({"role": "assistant", "content": "{\"a\":1}", "reasoning_content": "hm"});
        assert_eq!(body["response_format"]["type"], "json_schema");
        http_server::json(200, &json!({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}))
    })
    .await;
    let mut data = llm(&[("user", "x")]);
    data["structured_output_enabled"] = json!(true);
    data["structured_output"] = json!({"schema": {"type": "object"}});
    data["reasoning_format"] = json!("separated");
    let app = workflow(
        &[
            start(&[]),
            ("llm", "llm", data),
            end(&[("a", "llm.structured_output.a"), ("text", "llm.text"), ("why", "llm.reasoning_content")]),
        ],
        &["start -> llm", "llm -> end"],
    );
    let outputs = Bench::new(&peer.url()).outputs(&plan(&app), json!({})).await;
    assert_eq!(outputs, json!({"a": 1, "text": "{\"a\":1}", "why": "hm"}));
}

fn http(data: Value) -> Value {
    workflow(
        &[
            start(&["url", "q"]),
            ("http", "http-request", data),
            end(&[
                ("body", "http.body"),
                ("status", "http.status_code"),
                ("kind", "http.headers.content-type"),
            ]),
        ],
        &["start -> http", "http -> end"],
    )
}

/// A peer that says what it was asked.
async fn mirror() -> HttpServer {
    HttpServer::start(|request| async move {
        let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
        match request.uri().path() {
            "/moved" => {
                let mut reply = http_server::whole(302, "text/plain", "");
                reply.headers_mut().insert("location", "/landed?x=1".parse().unwrap());
                reply
            }
            "/loop" => {
                let mut reply = http_server::whole(307, "text/plain", "");
                reply.headers_mut().insert("location", "/loop".parse().unwrap());
                reply
            }
            "/fail" => http_server::whole(500, "text/plain", "broken"),
            "/file" => http_server::whole(200, "image/png", &b"\x89PNG"[..]),
            "/big" => http_server::whole(200, "text/plain", "x".repeat(5000)),
            _ => {
                let header = |name: &str| {
                    request.headers().get(name).map(|value| value.to_str().unwrap_or_default().to_owned())
                };
                http_server::json(
                    200,
                    &json!({
                        "method": request.method().as_str(),
                        "path": path,
                        "type": header("content-type"),
                        "auth": header("authorization").or_else(|| header("x-key")),
                        "body": String::from_utf8_lossy(request.body()),
                    }),
                )
            }
        }
    })
    .await
}

async fn asked(data: Value, q: Value) -> Value {
    let peer = mirror().await;
    let mut data = data;
    if data["url"].is_null() {
        data["url"] = json!("{{#start.url#}}/path");
    }
    let outputs = quiet().outputs(&plan(&http(data)), json!({"url": peer.url(), "q": q})).await;
    match outputs["body"].as_str() {
        Some(body) => serde_json::from_str(body).unwrap_or_else(|_| json!(body)),
        None => outputs,
    }
}

#[tokio::test]
async fn requests_are_sent_as_the_node_describes_them() {
    let heard =
        asked(json!({"method": "get", "params": "a:1\nb: {{#start.q#}}\n:skip\n a:2"}), json!("x y&z")).await;
    assert_eq!(heard["path"], "/path?a=1&b=x+y%26z&a=2");
    let basic = json!({"type": "api-key", "config": {"type": "basic", "api_key": "u:p"}});
    let heard = asked(json!({"method": "delete", "authorization": basic}), json!("")).await;
    assert_eq!((&heard["method"], &heard["auth"]), (&json!("DELETE"), &json!("Basic dTpw")));
    let custom = json!({"type": "api-key", "config": {"type": "custom", "header": "X-Key", "api_key": "{{#start.q#}}"}});
    assert_eq!(
        asked(json!({"method": "GET", "authorization": custom.clone()}), json!("secret")).await["auth"],
        "secret"
    );
    let empty = asked(json!({"method": "GET", "authorization": custom}), json!(" ")).await;
    assert!(empty["error"].as_str().unwrap().starts_with("API key is required"), "{empty}");

    let body = |kind: &str, data: Value| json!({"method": "post", "body": {"type": kind, "data": data}});
    let text = json!([{"type": "text", "key": "", "value": "raw {{#start.q#}}"}]);
    let heard = asked(body("raw-text", text), json!("q")).await;
    assert_eq!((&heard["body"], &heard["type"]), (&json!("raw q"), &json!("text/plain")));
    let text = json!([{"type": "text", "value": "{\"q\": \"{{#start.q#}}\",\n \"n\": 1}"}]);
    let heard = asked(body("json", text.clone()), json!("say \"hi\"\nthere")).await;
    assert_eq!(
        (&heard["body"], &heard["type"]),
        (&json!("{\"q\":\"say \\\"hi\\\"\\nthere\",\"n\":1}"), &json!("application/json"))
    );
    let broken = asked(body("json", json!([{"type": "text", "value": "{nope"}])), json!("")).await;
    assert_eq!(broken, json!({"error": "Failed to parse JSON: {nope"}));
    let pairs = json!([{"type": "text", "key": "a b", "value": "{{#start.q#}}"}]);
    let heard = asked(body("x-www-form-urlencoded", pairs.clone()), json!("1&2")).await;
    assert_eq!(
        (&heard["body"], &heard["type"]),
        (&json!("a+b=1%262"), &json!("application/x-www-form-urlencoded"))
    );
    let heard = asked(body("form-data", pairs), json!("v")).await;
    assert!(heard["type"].as_str().unwrap().starts_with("multipart/form-data; boundary="), "{heard}");
    assert!(heard["body"].as_str().unwrap().contains("name=\"a b\"\r\n\r\nv\r\n"), "{heard}");
}

#[tokio::test]
async fn answers_are_read_followed_and_refused_as_dify_does() {
    let at = |path: &str| json!({"method": "get", "url": format!("{{{{#start.url#}}}}{path}")});
    assert_eq!(asked(at("/moved"), json!("")).await["path"], "/landed?x=1");
    assert_eq!(asked(at("/loop"), json!("")).await, json!({"error": "Exceeded maximum allowed redirects."}));
    assert_eq!(asked(at("/fail"), json!("")).await, json!("broken"), "a bad status alone is no failure");
    let file = asked(at("/file"), json!("")).await;
    assert!(file["error"].as_str().unwrap().contains("is a file (image/png"), "{file}");
    for (url, error) in [
        ("", "url is required"),
        ("ftp://x", "url should start with http:// or https://"),
        ("http://", "Invalid URL: empty host"),
    ] {
        assert_eq!(asked(json!({"method": "get", "url": url}), json!("")).await, json!({ "error": error }));
    }
    let peer = mirror().await;
    let small = Bench::with("http://127.0.0.1:9", |limits| limits.max_http_text_bytes = 1000);
    let outputs = small.outputs(&plan(&http(at("/big"))), json!({"url": peer.url()})).await;
    assert!(outputs["error"].as_str().unwrap().starts_with("Text size is too large"), "{outputs}");
    let mut strict = quiet();
    strict.ports.http_rule = mainstay_net::AddressRule::public_only([]);
    let outputs = strict.outputs(&plan(&http(at("/"))), json!({"url": peer.url()})).await;
    assert!(outputs["error"].as_str().unwrap().contains("SSRF"), "{outputs}");
}

#[tokio::test]
async fn a_secret_is_not_shown_in_the_node_s_record() {
    let peer = mirror().await;
    let bearer = json!({"type": "api-key", "config": {"type": "bearer", "api_key": "hunter2"}});
    let app = http(
        json!({"method": "get", "url": "{{#start.url#}}/p", "headers": "X-A: 1", "authorization": bearer}),
    );
    let (outcome, _) = quiet().run(&plan(&app), input(json!({"url": peer.url()}))).await;
    let record = outcome.nodes[1].process_data.to_value()["request"].clone();
    let record = record.as_str().unwrap();
    assert!(!record.contains("hunter2") && record.contains("Authorization: **************\r\n"), "{record}");
    assert_eq!(peer.requests()[0].headers()["authorization"], "Bearer hunter2");
}

#[tokio::test]
async fn a_run_without_a_listener_gives_the_same_outcome() {
    let app = branches(json!([case("one", "start.x", "is", json!("1"))]));
    let plan = plan(&app);
    let heard = quiet().run(&plan, input(json!({"x": "1"}))).await.0;
    let engine = quiet().engine();
    let alone = engine.run(&plan, input(json!({"x": "1"})), Sink::Nobody, CancellationToken::new()).await;
    assert_eq!(heard.outputs, alone.outputs);
    assert_eq!(heard.nodes.len(), alone.nodes.len());
    let bare = Bench::with("http://127.0.0.1:9", |limits| limits.keep_nodes = false);
    let bare =
        bare.engine().run(&plan, input(json!({"x": "1"})), Sink::Nobody, CancellationToken::new()).await;
    assert!(bare.nodes.is_empty());
    assert_eq!(bare.outputs, alone.outputs);
}
