//! `mainstay check`: everything that is wrong, at once.

use std::path::Path;

use crate::support::Home;

#[test]
fn the_example_file_is_what_the_binary_prints() {
    let home = Home::new();
    let ran = home.run(&["check", "--print-example"]);
    assert_eq!(ran.code, 0);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../mainstay.example.toml");
    let kept = std::fs::read_to_string(path).unwrap();
    assert!(kept == ran.out, "run: cargo run -- check --print-example > mainstay.example.toml");
}

#[test]
fn the_example_file_is_a_good_configuration() {
    let home = Home::new();
    let example = home.run(&["check", "--print-example"]).out;
    let path = home.write("mainstay.toml", &example);
    let ran = home.run(&["check", "--config", path.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("is good"), "{}", ran.out);
}

const WRONG: &str = r#"
colour = "blue"
[listeners]
admin = "0.0.0.0:7000"
app = "127.0.0.1:7001"
model = "127.0.0.1:7001"
[store]
url = "mysql://x"
[engine]
http_request = "all"
http_request_allow = ["10.0.0.0/99"]
[workers]
count = -1
concurrency = "many"
lease = "10ms"
[[upstream]]
name = "dify"
base_url = "http://dify:5001/v1"
idle_timeout = "5"
[[upstream]]
name = "dify"
base_url = "http://dify:5001"
total_timeout = "1s"
[app_path]
unknown_keys_to = "dfiy"
[[app]]
name = "support"
upstream = "none"
key = "app-123456"
mode = "workflows"
[[provider]]
base_url = "ftp://models"
key = "env:MAINSTAY_TEST_NOT_SET"
[model]
other_models_to = ["openai"]
[[model.route]]
model = "fast"
targets = ["openai/gpt", "gpt"]
[[receiver]]
name = "on-call"
url = "https://user:password@hooks.example.com/"
secret = "file:/nonexistent/secret"
[records]
keep_success = 1.5
keep_failures = true
[limits]
body_bytes = 1
"#;

const EXPECTED: &[&str] = &[
    "listeners.model is 127.0.0.1:7001, which another listener has",
    "store.url is neither sqlite:PATH nor postgres://USER:PASSWORD@HOST/DATABASE",
    "engine.http_request is neither public nor any",
    "engine.http_request_allow[0] `10.0.0.0/99` is neither a host, host:port, address nor network (10.0.0.0/8)",
    "workers.count is -1, allowed is 0 to 256",
    "workers.concurrency is a text, not a whole number",
    "workers.lease is 10ms, allowed is 1s to 1h",
    "upstream[0].base_url ends in /v1; give the address without it, as http://dify-api:5001",
    "upstream[0].idle_timeout is not a time span such as 250ms, 5s, 10m, 2h or 30d",
    "upstream[1].name dify is also upstream[0].name",
    "upstream[1].total_timeout is shorter than first_byte_timeout",
    "provider[0].name is missing",
    "provider[0].base_url is not an http:// or https:// address",
    "provider[0].key refers to the environment variable MAINSTAY_TEST_NOT_SET, which is not set",
    "app[0].upstream names the upstream none, which is not (rightly) declared",
    "app[0].key a secret is given as env:NAME, file:PATH or dotenv:PATH#NAME, never as its value",
    "app[0].mode is none of workflow, advanced-chat, chat, agent-chat, completion",
    "app_path.unknown_keys_to names the upstream dfiy, which is not (rightly) declared",
    "model.other_models_to[0] names the provider openai, which is not (rightly) declared",
    "model.route[0].targets[0] names the provider openai, which is not (rightly) declared",
    "model.route[0].targets[1] is not PROVIDER/MODEL",
    "admin.token is missing: 0.0.0.0:7000 can be reached from other machines",
    "receiver[0].url holds a user or password; give secrets as references",
    "receiver[0].secret refers to /nonexistent/secret: No such file or directory (os error 2)",
    "records.keep_success is 1.5, allowed is 0 to 1",
    "records.keep_failures is not a key; known are keep_success, max_stored_a_second",
    "limits.body_bytes is 1, allowed is 1024 to 1073741824",
    "colour is not a key; known are admin, alerts, app, app_path, callbacks, dify, engine, heartbeat, limits, listeners, \
     log, model, oncall, otlp, provider, receiver, records, retention, store, upstream, workers",
];

#[test]
fn every_problem_is_reported_at_once_with_its_key() {
    let home = Home::new();
    let path = home.write("mainstay.toml", WRONG);
    let ran = home.run(&["check", "--config", path.to_str().unwrap(), "--json"]);
    assert_eq!(ran.code, 2);
    let report = ran.json();
    let problem = |problem: &serde_json::Value| {
        format!("{} {}", problem["path"].as_str().unwrap(), problem["message"].as_str().unwrap())
    };
    let found: Vec<String> = report["problems"].as_array().unwrap().iter().map(problem).collect();
    let expected: Vec<String> = EXPECTED.iter().map(|&text| text.to_owned()).collect();
    assert_eq!(found, expected);
    let human = home.run(&["check", "--config", path.to_str().unwrap()]);
    assert_eq!(human.code, 2);
    for text in EXPECTED {
        assert!(human.err.contains(text), "{text} is not in {}", human.err);
    }
}

#[test]
fn a_bad_value_of_a_secret_is_not_repeated() {
    let home = Home::new();
    let path = home.write("mainstay.toml", WRONG);
    let ran = home.run(&["check", "--config", path.to_str().unwrap()]);
    assert!(!ran.err.contains("app-123456") && !ran.err.contains("password@"), "{}", ran.err);
}

#[test]
fn the_environment_is_read_over_the_file() {
    let home = Home::new();
    let path = home.write("mainstay.toml", "[workers]\ncount = 1\n");
    let mut command = home.command(&["check", "--config", path.to_str().unwrap()]);
    let output = command.env("MAINSTAY__WORKERS__COUNT", "7").output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("7 workers"));
    let mut command = home.command(&["check", "--config", path.to_str().unwrap()]);
    let output = command.env("MAINSTAY__WORKERS__COUNT", "lots").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn what_is_no_file_and_what_is_no_toml_is_said() {
    let home = Home::new();
    let ran = home.run(&["check", "--config", "missing.toml"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("missing.toml") && ran.err.contains("No such file"), "{}", ran.err);
    home.write("broken.toml", "[listeners\nadmin = 1");
    let ran = home.run(&["check", "--config", "broken.toml"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("is not TOML") && ran.err.contains("line 1"), "{}", ran.err);
}
