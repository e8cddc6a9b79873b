//! What a 404 is about: an address, something of the caller's, or the model.

use mainstay_base::Class;

use super::Rule;

pub(super) const RULES: &[Rule] = &[
    // A wrong base URL is no missing model.
    Rule {
        class: Class::NotAnAnswer,
        statuses: &[404],
        codes: &[],
        phrases: &[
            "invalid url",
            "unknown url",
            "unknown request url",
            "unrecognized request url",
            "no route",
            "page not found",
            "cannot post",
            "resource not found",
            "path not found",
            "endpoint not found",
            "route not found",
            "url not found",
            "requested url",
            "requested resource",
            "no static resource",
            "application not found",
            "service not found",
        ],
    },
    // What a caller refers to by id is gone for the caller, wherever it asks.
    Rule {
        class: Class::CallerError,
        statuses: &[404],
        codes: &["previous_response_not_found"],
        phrases: &["previous response", "no file found", "file not found", "item with id"],
    },
    Rule {
        class: Class::ModelMissing,
        statuses: &[404],
        codes: &[],
        // Gemini's word for a model of an account's own. A caller can name nothing else there.
        phrases: &["model", "deployment", "inference profile", "requested entity was not found"],
    },
];
