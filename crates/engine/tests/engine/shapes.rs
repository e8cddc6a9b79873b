//! Files that are wrong, hostile or both: everything is named, nothing panics, nothing takes long.

use std::sync::Arc;

use mainstay_engine::{Problem, Sink, check};
use mainstay_wire::dsl;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::common::{app, case, end, fixture, input, llm, parse, problems, quiet, start, template, workflow};

/// The problems, each shortened to the part from `nodes[` or the graph on.
fn assert_problems(app: &Value, expected: &[&str]) {
    let found = problems(app);
    let found: Vec<&str> = found.iter().map(|line| line.trim_start_matches("workflow.graph.")).collect();
    assert_eq!(found, expected, "\n{}", found.join("\n"));
}

#[test]
fn everything_that_is_not_supported_is_named_at_once() {
    let mut app = workflow(
        &[
            start(&[]),
            ("code", "code", json!({})),
            ("kb", "knowledge-retrieval", json!({})),
            (
                "http",
                "http-request",
                json!({"method": "post", "body": {"type": "binary", "data": []}, "ssl_verify": false}),
            ),
            end(&[]),
        ],
        &["start -> code", "code -> kb", "kb -> http", "http -> end"],
    );
    app["workflow"]["features"] = json!({"sensitive_word_avoidance": {"enabled": true}});
    let found = problems(&app);
    assert_eq!(
        found,
        [
            "workflow.features.sensitive_word_avoidance: content moderation is not supported; switch it off to run the app here",
            "workflow.graph.nodes[code].data.type: nodes of type \"code\" are not supported",
            "workflow.graph.nodes[kb].data.type: nodes of type \"knowledge-retrieval\" are not supported",
            "workflow.graph.nodes[http].data.ssl_verify: requests without a check of the certificate are not supported",
            "workflow.graph.nodes[http].data.body.type: bodies of type binary (a file) are not supported",
        ]
    );
}

#[test]
fn graphs_that_cannot_run_are_told_why() {
    assert_problems(
        &workflow(&[], &[]),
        &["nodes: there is no start node", "nodes: there is no end node, which a workflow needs"],
    );
    assert_problems(
        &app("advanced-chat", &[start(&[]), end(&[])], &["start -> end"]),
        &[
            "nodes: there is no answer node, which a chatflow needs",
            "nodes[end].data.type: a chatflow has answer nodes; it cannot have end nodes",
        ],
    );
    assert_problems(
        &workflow(&[start(&[]), end(&[]), end(&[])], &["start -> gone", "end -> start"]),
        &[
            "nodes[end].id: the id is used by another node as well",
            "edges[0]: its target \"gone\" is no node of the graph",
            "nodes[start].data.type: an edge leads to a start",
        ],
    );
    let node = |name: &'static str| (name, "template-transform", template("x", &[]));
    assert_problems(
        &workflow(
            &[start(&[]), node("a"), node("b"), node("c"), node("d"), end(&[])],
            &["start -> a", "a -> b", "b -> c", "c -> a", "c -> d", "d -> end"],
        ),
        &["edges: the edges form a cycle: b → c → a"],
    );
    assert_problems(
        &workflow(&[start(&[]), node("a"), end(&[])], &["start -> end", "a -> a"]),
        &["edges: the edges form a cycle: a"],
    );
}

#[test]
fn fields_that_cannot_be_read_are_told_where() {
    let bad_case = case("", "start.x", "resembles", json!({"a": 1}));
    let app = workflow(
        &[
            ("start", "start", json!({"variables": [{"variable": "x", "type": "external_data_tool"}]})),
            ("t", "template-transform", template("{% if %}", &[("a", "gone.x"), ("b", "short")])),
            ("if", "if-else", json!({"cases": [bad_case]})),
            (
                "llm",
                "llm",
                json!({"model": {"name": ""}, "prompt_template": [{"role": "robot", "text": "{{#gone.x#}}"}]}),
            ),
            ("none", "llm", json!({})),
            ("agg", "variable-aggregator", json!({"variables": [["gone", "x"]]})),
            (
                "set",
                "assigner",
                json!({"items": [{"variable_selector": ["conversation", "gone"], "operation": "clear"}, {"variable_selector": ["start", "x"], "operation": "eat"}]}),
            ),
            ("http", "http-request", json!({"method": "brew", "error_strategy": "pray"})),
            (
                "it",
                "iteration",
                json!({"iterator_selector": ["start", "x"], "output_selector": ["t", "output"], "start_node_id": "s"}),
            ),
            ("lost", "template-transform", {
                let mut data = template("x", &[]);
                data["iteration_id"] = json!("t");
                data
            }),
            end(&[("x", "gone.y")]),
        ],
        &[
            "start -> t",
            "t -> if",
            "if -> llm",
            "llm -> none",
            "none -> agg",
            "agg -> set",
            "set -> http",
            "http -> it",
            "it -> end",
        ],
    );
    let found = problems(&app);
    let starts = [
        "workflow.graph.nodes[start].data.variables[0]: inputs of type \"external_data_tool\" are not supported",
        "workflow.graph.nodes[t].data.variables[0].value_selector: the node \"gone\"",
        "workflow.graph.nodes[t].data.variables[1].value_selector: ['short'] selects nothing",
        "workflow.graph.nodes[t].data.template: the Jinja2 template cannot be read: syntax error",
        "workflow.graph.nodes[if].data.cases[0]: the case has no case_id",
        "workflow.graph.nodes[if].data.cases[0].conditions[0].comparison_operator: the comparison operator \"resembles\"",
        "workflow.graph.nodes[if].data.cases[0].conditions[0].value: expected text",
        "workflow.graph.nodes[llm].data.model.name: the model has no name",
        "workflow.graph.nodes[llm].data.prompt_template[0].role: the role \"robot\"",
        "workflow.graph.nodes[llm].data.prompt_template[0].text: {{#gone.x#}} refers to a node",
        "workflow.graph.nodes[none].data: not readable: missing field `model`",
        "workflow.graph.nodes[agg].data.variables[0]: the node \"gone\"",
        "workflow.graph.nodes[set].data.items[0].variable_selector: ['conversation', 'gone'] is no conversation variable",
        "workflow.graph.nodes[set].data.items[1].operation: the operation \"eat\"",
        "workflow.graph.nodes[http].data.method: the method \"BREW\"",
        "workflow.graph.nodes[http].data.error_strategy: the error strategy \"pray\"",
        "workflow.graph.nodes[it].data.start_node_id: its start \"s\" is no iteration-start node",
        "workflow.graph.nodes[end].data.outputs[0].value_selector: the node \"gone\"",
        "workflow.graph.nodes[lost].data: it is inside of \"t\", which is no iteration",
    ];
    assert_eq!(found.len(), starts.len(), "\n{}", found.join("\n"));
    for (found, start) in found.iter().zip(starts) {
        assert!(found.starts_with(start), "{found}\nis not\n{start}");
    }
}

#[test]
fn iterations_within_iterations_have_a_limit_and_no_circles() {
    let inside = |parent: &str| json!({"iteration_id": parent, "iterator_selector": ["start", "x"], "output_selector": ["start", "x"]});
    let app = workflow(
        &[start(&[]), ("a", "iteration", inside("b")), ("b", "iteration", inside("a")), end(&[])],
        &["start -> end"],
    );
    let found = problems(&app);
    assert!(found.iter().any(|line| line.contains("in a circle")), "{found:?}");
    assert!(found.iter().any(|line| line.contains("has no iteration-start node")), "{found:?}");
}

#[test]
fn files_that_are_no_apps_are_refused_with_a_sentence() {
    let refused = |text: &str| {
        let problems = dsl::parse(text).unwrap_err();
        problems.iter().map(dsl::Problem::to_string).collect::<Vec<_>>().join("\n")
    };
    for (text, expected) in [
        ("", "the file holds no mapping"),
        ("- a\n- b", "the file holds no mapping"),
        ("a: [", "not readable as YAML"),
        ("a: 1\na: 2", "not readable as YAML"),
        ("kind: rag", "kind: \"rag\" is not known"),
        (
            "kind: app\nversion: 9.1.0",
            "version: version \"9.1.0\" is not known; versions 0.1 to 0.7 are read",
        ),
        ("kind: app\nversion: 0.5.0\napp: {name: x, mode: chat}", "apps of mode \"chat\" are not run"),
        ("kind: app\nversion: 0.5.0\napp: {name: x, mode: workflow}", "workflow: missing"),
        ("app: {name: x, mode: dance}", "mode \"dance\" is not known"),
        ("app: 5", "app: expected a mapping, found a number"),
    ] {
        let found = refused(text);
        assert!(found.contains(expected), "{text:?}: {found}");
    }
    let both =
        refused("kind: x\nversion: 7\napp: {mode: workflow}\nworkflow: {graph: {nodes: 1, edges: [1, {}]}}");
    assert_eq!(both.lines().count(), 6, "{both}");
}

#[test]
fn yaml_bombs_are_defused_quickly() {
    let mut laughs = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for level in 1..12 {
        let before = format!("*a{}", level - 1);
        laughs += &format!("a{level}: &a{level} [{}]\n", vec![before; 10].join(", "));
    }
    let deep = format!("a: {}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_blocks: String = (0..5_000).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    let long = format!("a: {}", "x".repeat(5 * 1024 * 1024));
    let many = format!("a: [{}]", vec!["1"; 900_000].join(","));
    let merges = format!("a: &a {{x: 1}}\nb: {{{}}}", vec!["<<: *a"; 500].join(", "));
    for (name, text) in [
        ("laughs", laughs),
        ("deep", deep),
        ("blocks", deep_blocks),
        ("long", long),
        ("many", many),
        ("merges", merges),
    ] {
        let began = std::time::Instant::now();
        assert!(dsl::parse(&text).is_err(), "{name}");
        assert!(began.elapsed().as_secs() < 5, "{name} took {:?}", began.elapsed());
    }
}

#[test]
fn large_graphs_are_checked_quickly_and_larger_ones_refused() {
    let names: Vec<String> = (0..998).map(|number| format!("n{number}")).collect();
    let chain = |count: usize| {
        let mut nodes = vec![start(&[]), end(&[])];
        nodes.extend(
            names.iter().take(count).map(|name| (name.as_str(), "template-transform", template("x", &[]))),
        );
        let mut edges = vec!["start -> n0".to_owned()];
        // Two edges each way make 2^n paths from start to end.
        edges.extend((1..count).flat_map(|number| {
            let edge = format!("n{} -> n{number}", number - 1);
            [edge.clone(), edge]
        }));
        edges.push(format!("n{} -> end", count - 1));
        let edges: Vec<&str> = edges.iter().map(String::as_str).collect();
        workflow(&nodes, &edges)
    };
    let began = std::time::Instant::now();
    check(&parse(&chain(900))).unwrap();
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    let mut too_many = chain(998);
    too_many["workflow"]["graph"]["nodes"].as_array_mut().unwrap().push(json!({}));
    let problems = dsl::parse(&too_many.to_string()).unwrap_err();
    assert_eq!(
        problems[0].to_string(),
        "workflow.graph.nodes: 1001 entries are more than the 1000 that are read"
    );
}

#[test]
fn every_recorded_app_is_read_and_kept_as_it_was() {
    for name in ["wf-plain", "wf-llm", "wf-llm-retry", "wf-http", "cf-llm", "wf-code", "wf-fail", "wf-kb"] {
        let app = crate::common::fixture(name);
        assert_eq!(app.name, name);
        assert_eq!(app.version, "0.5.0");
        assert!(app.text.starts_with("app:"), "the text is kept");
        assert!(app.features.contains_key("file_upload"));
    }
}

#[test]
fn old_exports_and_numbers_without_quotes_are_read() {
    let text = "
version: 0.1
app: {name: 7, mode: workflow}
workflow:
  graph:
    nodes:
    - {id: 1700, type: custom-note, data: {type: '', text: a note}}
    - {id: 1701, data: {type: start, title: 5, variables: null}}
    - {id: 1702, data: {type: end, outputs: []}}
    edges:
    - {source: 1701, target: 1702}
";
    let app = dsl::parse(text).unwrap();
    assert_eq!((app.name.as_str(), app.graph.nodes.len()), ("7", 2));
    assert_eq!(app.graph.edges[0].source_handle, "source");
    check(&app).unwrap();
}

/// JSON of any shape with the words that matter in it.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "start",
        "end",
        "llm",
        "if-else",
        "iteration",
        "iteration-start",
        "it",
        "s",
        "template-transform",
        "assigner",
        "http-request",
        "variable-aggregator",
        "answer",
        "{{#start.x#}}",
        "{{ x }}",
        "is",
        "≥",
        "fail-branch",
        "sys",
        "conversation",
        "",
        "text",
        "object",
        "\u{0}",
        "default-value",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        word.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        let key = prop::sample::select(vec![
            "id",
            "data",
            "type",
            "title",
            "nodes",
            "edges",
            "source",
            "target",
            "sourceHandle",
            "variables",
            "cases",
            "conditions",
            "value_selector",
            "variable_selector",
            "comparison_operator",
            "value",
            "prompt_template",
            "role",
            "text",
            "model",
            "name",
            "items",
            "operation",
            "iteration_id",
            "iterator_selector",
            "template",
            "output_selector",
            "start_node_id",
            "retry_config",
            "error_strategy",
            "default_value",
            "body",
            "method",
            "url",
            "outputs",
            "answer",
            "memory",
            "window",
            "vision",
            "context",
            "variable",
            "case_id",
            "parentId",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..6).prop_map(|pairs| {
                Value::Object(
                    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>(),
                )
            }),
        ]
    })
}

#[test]
fn names_that_no_database_takes_lose_their_nul() {
    let mut app = workflow(&[start(&[]), end(&[])], &["start -> end"]);
    app["app"]["name"] = json!("a\u{0}b");
    assert_eq!(parse(&app).name, "ab");
}

/// Everything that Dify's editor leaves in a file: notes, positions, empty rows, nulls, features that are off.
#[test]
fn an_export_with_all_its_leftovers_is_taken() {
    let problems: Vec<String> =
        check(&fixture("cf-export")).err().unwrap_or_default().iter().map(Problem::to_string).collect();
    assert_eq!(problems, [""; 0]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_parsed_without_panic(text in ".{0,200}") {
        let _ = dsl::parse(&text);
    }

    #[test]
    fn yaml_like_text_is_parsed_without_panic(text in "([a-z]: |- |\\n|  |&a|\\*a|\\[|\\]|\\{|\\}|<<: |'|\"|!|\\||>|#|1)*") {
        let _ = dsl::parse(&text);
    }

    #[test]
    fn any_graph_is_checked_without_panic(nodes in any_json(), edges in any_json()) {
        let graph = json!({"nodes": nodes, "edges": edges});
        let app = json!({"app": {"name": "x", "mode": "workflow"}, "workflow": {"graph": graph}});
        if let Ok(app) = dsl::parse(&app.to_string()) {
            let _ = check(&app);
        }
    }

    #[test]
    fn any_data_of_any_node_is_checked_and_run_without_panic(
        kind in prop::sample::select(vec!["llm", "if-else", "template-transform", "http-request", "variable-aggregator", "assigner", "iteration", "end", "start"]),
        data in any_json(),
        inputs in any_json(),
    ) {
        let mut data = if data.is_object() { data } else { json!({}) };
        let defaults = match kind {
            "template-transform" => template("{{ x }}", &[("x", "start.x")]),
            "if-else" => json!({"cases": [case("a", "start.x", "contains", json!("{{#start.x#}}"))]}),
            "llm" => llm(&[("user", "{{#start.x#}}")]),
            "http-request" => json!({"method": "get", "url": "{{#start.x#}}"}),
            _ => json!({}),
        };
        for (key, value) in defaults.as_object().cloned().unwrap_or_default() {
            data.as_object_mut().unwrap().entry(key).or_insert(value);
        }
        let nodes = [start(&["x"]), ("node", kind, data), end(&[("out", "node.output"), ("x", "start.x")])];
        let app = workflow(&nodes, &["start -> node", "node -> end"]);
        if let Ok(app) = dsl::parse(&app.to_string())
            && let Ok(plan) = check(&app)
        {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let plan = Arc::new(plan);
            let engine = quiet().engine();
            runtime.block_on(engine.run(&plan, input(json!({ "x": inputs })), Sink::Nobody, CancellationToken::new()));
        }
    }
}
