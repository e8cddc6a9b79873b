//! The model listener: routes and virtual keys.

use super::{Key, Section};

pub(super) const SECTIONS: &[Section] = &[
    Section {
        head: "[model]",
        about: "The model listener.",
        keys: &[Key {
            name: "other_models_to",
            value: "[\"openai\"]",
            about: "Providers that get model names of no route, in order. Default: such names are refused.",
        }],
    },
    Section {
        head: "[[model.route]]",
        about: "A model name with a chain of targets; wins over the providers' models.",
        keys: &[
            Key { name: "model", value: "\"fast\"", about: "The name that callers ask for." },
            Key {
                name: "app",
                value: "\"support-bot\"",
                about: "What calls of this name are counted for, where neither key, path nor Mainstay-App says it.",
            },
            Key {
                name: "strategy",
                value: "\"ordered\"",
                about: "Among targets of one priority: ordered (as written), weighted (by chance), least-latency or least-busy.",
            },
            Key {
                name: "targets",
                value: "[\"openai/gpt-4o-mini\"]",
                about: "PROVIDER/MODEL, in order of preference. Targets with more to say: [[model.route.target]], after these.",
            },
        ],
    },
    Section {
        head: "[[model.route.target]]",
        about: "One more target of the route above.",
        keys: &[
            Key { name: "provider", value: "\"openai\"", about: "Its name." },
            Key { name: "model", value: "\"gpt-4o\"", about: "As the provider calls it." },
            Key { name: "priority", value: "0", about: "Lower comes first." },
            Key { name: "weight", value: "1", about: "1 to 1000: its share among targets of one priority." },
            Key { name: "when.keys", value: "[\"dify\"]", about: "Only calls of these virtual keys." },
            Key {
                name: "when.min_input_tokens",
                value: "0",
                about: "Only calls whose input is at least so long (estimated).",
            },
            Key {
                name: "when.max_input_tokens",
                value: "100000",
                about: "Only calls whose input is at most so long.",
            },
        ],
    },
    Section {
        head: "[model.route.policy]",
        about: "For the route above alone: any key of [model.policy], whose values hold where nothing is written.",
        keys: &[],
    },
    Section {
        head: "[[model.key]]",
        about: "A virtual key: who may call the model listener.",
        keys: &[
            Key { name: "name", value: "\"dify\"", about: "The caller, as records show it." },
            Key {
                name: "key",
                value: "\"env:MAINSTAY_DIFY_MODEL_KEY\"",
                about: "What it calls with, as a reference.",
            },
            Key {
                name: "tenant",
                value: "\"acme\"",
                about: "Whose it is: identical calls are shared inside one tenant only. Default: the key's name.",
            },
            Key { name: "app", value: "\"support\"", about: "The app that calls are counted for." },
            Key { name: "workflow", value: "\"triage\"", about: "The workflow that calls are counted for." },
            Key { name: "models", value: "[\"fast\"]", about: "The models it may ask for. Default: all." },
            Key { name: "region", value: "\"eu\"", about: "Its calls go only to models of this region." },
            Key { name: "data_class", value: "\"internal\"", about: "The class of the data that it sends." },
            Key { name: "requests_a_minute", value: "600", about: "More are refused with 429." },
            Key { name: "tokens_a_minute", value: "1000000", about: "Input and output together." },
            Key { name: "concurrency", value: "100", about: "Calls at once." },
            Key { name: "budget", value: "50.0", about: "Dollars it may spend in a window." },
            Key {
                name: "budget_window",
                value: "\"1d\"",
                about: "Windows start at whole multiples of it since 1970 (UTC).",
            },
            Key {
                name: "budget_name",
                value: "\"dify\"",
                about: "The name under which what it spends is kept; keys of one name spend together. Default: the key's name.",
            },
            Key {
                name: "budget_when_store_gone",
                value: "\"open\"",
                about: "When the store cannot be asked: open (let pass and count) or closed (refuse beyond what is at hand).",
            },
        ],
    },
];
