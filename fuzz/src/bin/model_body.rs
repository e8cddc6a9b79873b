//! Any bytes as the body of a model call: no panic, and what is found is found where it stands. A body that is taken
//! is JSON for a strict reader too, with the same model in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_gateway::fuzzing;

fuzz_target!(|body: &[u8]| {
    let Some(found) = fuzzing::body(body) else { return };
    let strict: serde_json::Value = serde_json::from_slice(body).expect("a body that was taken is JSON");
    assert_eq!(found.model.as_deref(), strict["model"].as_str(), "another reader finds another model");
    if let (Some(model), Some(at)) = (&found.model, found.model_at) {
        let raw = body.get(at).expect("the model stands in the body");
        let there: String = serde_json::from_slice(raw).expect("a text stands there");
        assert_eq!(&there, model);
    }
});
