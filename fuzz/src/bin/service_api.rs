//! Any body is read, or refused with one of Dify's errors: never a panic, never an error that is no error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_wire::dify::{
    ApiError, ChatBody, InputForm, RunBody,
    request::{self, FeedbackBody, RenameBody},
};
use serde_json::json;

fuzz_target!(|data: &[u8]| {
    let body = match request::object(Some("application/json"), data) {
        Ok(body) => body,
        Err(error) => return refused(&error),
    };
    let _ = request::user(&body).map_err(|error| refused(&error));
    let _ = FeedbackBody::read(&body).map_err(|error| refused(&error));
    let _ = RenameBody::read(&body).map_err(|error| refused(&error));
    let _ = ChatBody::read(&body).map_err(|error| refused(&error));
    match RunBody::read(&body) {
        Ok(run) => drop(form().fill(&run.inputs).map_err(|error| refused(&error))),
        Err(error) => refused(&error),
    }
});

fn refused(error: &ApiError) {
    let body: serde_json::Value = serde_json::from_str(&error.body()).expect("an error body is JSON");
    assert!((400..600).contains(&body["status"].as_u64().expect("a status")), "{body}");
    assert!(body["code"].is_string() && body["message"].is_string(), "{body}");
}

fn form() -> InputForm {
    let variables = [
        json!({"variable": "name", "label": "name", "type": "text-input", "required": true, "max_length": 8}),
        json!({"variable": "n", "label": "n", "type": "number", "required": false}),
        json!({"variable": "choice", "label": "choice", "type": "select", "required": false, "options": ["a", "b"]}),
        json!({"variable": "file", "label": "file", "type": "file", "required": false}),
    ];
    InputForm::from_variables(&variables)
}
