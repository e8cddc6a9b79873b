//! Apps written in a few lines, and runs of them.

use std::{fmt::Write, sync::Arc};

use mainstay_base::{Clock, Secret, TraceParent};
use mainstay_engine::{
    ChatInput, Engine, Event, Limits, ModelEndpoint, NodeExecution, Plan, Ports, Problem, RunInput,
    RunOutcome, Sink, check,
};
use mainstay_net::{AddressRule, Client, ClientOptions};
use mainstay_wire::dsl;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

/// An app from nodes `(id, type, data)` and edges `"source -> target"` or `"source:handle -> target"`.
pub(crate) fn app(mode: &str, nodes: &[(&str, &str, Value)], edges: &[&str]) -> Value {
    let nodes: Vec<Value> = nodes
        .iter()
        .map(|(id, kind, data)| {
            let mut data = data.clone();
            data["type"] = json!(kind);
            data["title"] = json!(id.to_uppercase());
            json!({"id": id, "type": "custom", "data": data})
        })
        .collect();
    let edges: Vec<Value> = edges
        .iter()
        .map(|edge| {
            let (source, target) = edge.split_once(" -> ").expect("an edge has an arrow");
            let (source, handle) = source.split_once(':').unwrap_or((source, "source"));
            json!({"source": source, "sourceHandle": handle, "target": target})
        })
        .collect();
    json!({
        "kind": "app",
        "version": "0.5.0",
        "app": {"name": "test", "mode": mode},
        "workflow": {"graph": {"nodes": nodes, "edges": edges}},
    })
}

pub(crate) fn workflow(nodes: &[(&str, &str, Value)], edges: &[&str]) -> Value {
    app("workflow", nodes, edges)
}

/// A start node with text inputs of these names.
pub(crate) fn start(names: &[&str]) -> (&'static str, &'static str, Value) {
    let variables: Vec<Value> =
        names.iter().map(|name| json!({"variable": name, "type": "paragraph"})).collect();
    ("start", "start", json!({ "variables": variables }))
}

/// An end node that gives `name` from `selector` (`node.variable`).
pub(crate) fn end(outputs: &[(&str, &str)]) -> (&'static str, &'static str, Value) {
    let outputs: Vec<Value> = outputs
        .iter()
        .map(|(name, selector)| json!({"variable": name, "value_selector": selector.split('.').collect::<Vec<_>>()}))
        .collect();
    ("end", "end", json!({ "outputs": outputs }))
}

pub(crate) fn template(text: &str, variables: &[(&str, &str)]) -> Value {
    let variables: Vec<Value> = variables
        .iter()
        .map(|(name, selector)| json!({"variable": name, "value_selector": selector.split('.').collect::<Vec<_>>()}))
        .collect();
    json!({"template": text, "variables": variables})
}

pub(crate) fn case(id: &str, selector: &str, operator: &str, value: Value) -> Value {
    let selector: Vec<&str> = selector.split('.').collect();
    let condition = json!({"variable_selector": selector, "comparison_operator": operator, "value": value});
    json!({"case_id": id, "logical_operator": "and", "conditions": [condition]})
}

pub(crate) fn llm(prompts: &[(&str, &str)]) -> Value {
    let prompts: Vec<Value> =
        prompts.iter().map(|(role, text)| json!({"role": role, "text": text})).collect();
    json!({
        "model": {"provider": "langgenius/openai_api_compatible/openai_api_compatible", "name": "fake-chat", "mode": "chat", "completion_params": {"temperature": 0.7}},
        "prompt_template": prompts,
        "context": {"enabled": false},
        "vision": {"enabled": false},
    })
}

pub(crate) fn parse(app: &Value) -> dsl::App {
    // JSON is YAML.
    dsl::parse(&app.to_string()).expect("a readable app")
}

pub(crate) fn plan(app: &Value) -> Arc<Plan> {
    Arc::new(check(&parse(app)).unwrap_or_else(|problems| panic!("{problems:#?}")))
}

pub(crate) fn fixture(name: &str) -> dsl::App {
    let path = format!("{}/tests/fixtures/{name}.yml", env!("CARGO_MANIFEST_DIR"));
    dsl::parse(&std::fs::read_to_string(path).expect("a fixture")).expect("a readable app")
}

pub(crate) fn fixture_plan(name: &str) -> Arc<Plan> {
    Arc::new(check(&fixture(name)).unwrap_or_else(|problems| panic!("{problems:#?}")))
}

/// Problems as lines `path: message`.
pub(crate) fn problems(app: &Value) -> Vec<String> {
    match check(&parse(app)) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(Problem::to_string).collect(),
    }
}

pub(crate) struct Bench {
    pub(crate) ports: Ports,
    pub(crate) stop: CancellationToken,
}

impl Bench {
    pub(crate) fn new(model_url: &str) -> Bench {
        Bench::with(model_url, |_| {})
    }

    pub(crate) fn with(model_url: &str, change: impl FnOnce(&mut Limits)) -> Bench {
        let mut limits = Limits::default();
        change(&mut limits);
        let ports = Ports {
            client: Client::new(ClientOptions::default()).expect("a client"),
            model: ModelEndpoint { base_url: format!("{model_url}/v1"), key: Secret::new("key") },
            http_rule: AddressRule::Any,
            limits,
            clock: Clock::System,
        };
        Bench { ports, stop: CancellationToken::new() }
    }

    pub(crate) fn engine(&self) -> Engine {
        Engine::new(self.ports.clone())
    }

    /// Runs with a listener; gives the outcome and what was heard.
    pub(crate) async fn run(&self, plan: &Arc<Plan>, input: RunInput) -> (RunOutcome, Vec<Event>) {
        let (sink, mut receiver) = Sink::channel(4);
        let listening = async {
            let mut events = Vec::new();
            while let Some(event) = receiver.recv().await {
                events.push(event);
            }
            events
        };
        let engine = self.engine();
        let running = engine.run(plan, input, sink, self.stop.clone());
        tokio::join!(running, listening)
    }

    pub(crate) async fn outputs(&self, plan: &Arc<Plan>, inputs: Value) -> Value {
        let (outcome, _) = self.run(plan, input(inputs)).await;
        match outcome.error {
            None => outcome.outputs.to_value(),
            Some(error) => json!({ "error": error }),
        }
    }
}

/// A bench for apps that call nobody.
pub(crate) fn quiet() -> Bench {
    Bench::new("http://127.0.0.1:9")
}

pub(crate) fn input(inputs: Value) -> RunInput {
    let inputs: Map<String, Value> = inputs.as_object().cloned().expect("inputs are a mapping");
    RunInput {
        run_id: "run-1".to_owned(),
        app_id: "app-1".to_owned(),
        workflow_id: "wf-1".to_owned(),
        user_id: "tester-1".to_owned(),
        inputs,
        files: Vec::new(),
        chat: None,
        conversation_variables: Map::new(),
        trace: TraceParent::new_root(),
        started_at: Clock::System.now(),
    }
}

pub(crate) fn chat(query: &str) -> RunInput {
    let chat = ChatInput {
        query: query.to_owned(),
        conversation_id: "conv-1".to_owned(),
        dialogue_count: 1,
        history: Vec::new(),
    };
    RunInput { chat: Some(chat), ..input(json!({})) }
}

/// Events as lines, without ids and times.
pub(crate) fn told(events: &[Event]) -> String {
    let mut text = String::new();
    for event in events {
        let _ = match event {
            Event::WorkflowStarted { inputs, .. } => {
                writeln!(text, "workflow_started {}", names(&inputs.to_map()))
            }
            Event::NodeStarted(node) => {
                writeln!(text, "node_started {}{}", node.node_id, place(&node.iteration))
            }
            Event::NodeFinished(node) => writeln!(text, "node_finished {}", execution(node)),
            Event::NodeRetry { execution: node, retry_index } => {
                writeln!(text, "node_retry {} retry_index={retry_index}", execution(node))
            }
            Event::IterationStarted(started) => {
                writeln!(text, "iteration_started {} {}", started.node.node_id, started.metadata)
            }
            Event::IterationNext { node, index } => writeln!(text, "iteration_next {} {index}", node.node_id),
            Event::IterationCompleted { execution: node, steps } => {
                writeln!(text, "iteration_completed {} steps={steps}", execution(node))
            }
            Event::Chunk { text: piece, selector } => {
                writeln!(text, "chunk {piece:?} {}", selector.join("."))
            }
            Event::WorkflowFinished(outcome) => writeln!(
                text,
                "workflow_finished {} outputs={} error={:?} tokens={} steps={} exceptions={}",
                outcome.status.as_str(),
                serde_json::to_string(&outcome.outputs).expect("JSON"),
                outcome.error,
                outcome.total_tokens,
                outcome.total_steps,
                outcome.exceptions_count,
            ),
        };
    }
    text
}

fn execution(node: &NodeExecution) -> String {
    let outputs = match node.outputs.get("usage") {
        Some(_) => {
            format!("{:?}", node.outputs.get("text").and_then(|text| text.as_str()).unwrap_or_default())
        }
        None if node.node_type == "start" => names(&node.outputs.to_map()),
        None => serde_json::to_string(&*node.outputs).expect("JSON"),
    };
    let error = node.error.as_ref().map(|error| format!(" error={error:?}")).unwrap_or_default();
    format!("{} {}{} {outputs}{error}", node.node_id, node.status.as_str(), place(&node.iteration))
}

fn place(place: &Option<mainstay_engine::IterationPlace>) -> String {
    place.as_ref().map(|place| format!(" [{} {}]", place.iteration_id, place.index)).unwrap_or_default()
}

fn names(map: &Map<String, Value>) -> String {
    map.keys().map(String::as_str).collect::<Vec<_>>().join(",")
}
