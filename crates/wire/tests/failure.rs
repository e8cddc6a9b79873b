//! What providers say of failures, row by row: `golden/failure/<provider>.txt` holds lines of `status class body`, the
//! class `-` standing for no failure at all.

use std::fs;

use mainstay_base::{Class, snapshot::Dialect};
use mainstay_wire::llm::failure;

fn dialect(name: &str) -> Dialect {
    match name {
        "azure" => Dialect::Azure { api_version: "2024-10-21".to_owned() },
        "anthropic" => Dialect::Anthropic,
        "gemini" => Dialect::Gemini,
        "bedrock" => Dialect::Bedrock { region: "eu-central-1".to_owned() },
        "cohere" => Dialect::Cohere,
        _ => Dialect::OpenAi,
    }
}

fn class(dialect: &Dialect, status: u16, body: &[u8]) -> Option<Class> {
    match status {
        200 => failure::inside(dialect, body).map(|told| told.class),
        _ => Some(failure::told(dialect, status, |_| None, body, 0).class),
    }
}

#[test]
fn every_failure_of_a_provider_has_its_class() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/failure");
    let mut wrong = Vec::new();
    let mut rows = 0;
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        for line in fs::read_to_string(&path).unwrap().lines().filter(|line| !line.is_empty()) {
            let (status, rest) = line.split_once(' ').unwrap();
            let (expected, body) = rest.split_once(' ').unwrap();
            let told = class(&dialect(&name), status.parse().unwrap(), body.as_bytes());
            let told = told.map_or("-", Class::as_str);
            rows += 1;
            if told != expected {
                wrong.push(format!("{name}: {status} is {told}, not {expected}: {body}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(rows > 100, "only {rows} rows were found");
}
