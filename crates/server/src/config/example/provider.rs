//! Model providers, their keys and their models.

use super::{CONNECT, Key, Section};

pub(super) const SECTIONS: &[Section] = &[
    Section {
        head: "[[provider]]",
        about: "A model provider. The order is the order of preference.",
        keys: &[
            Key { name: "name", value: "\"openai\"", about: "How routes and answers call it." },
            Key {
                name: "dialect",
                value: "\"openai\"",
                about: "What it speaks: openai (and everything that speaks it: vLLM, Ollama, DeepSeek, Mistral, OpenRouter ...), azure,\n\
                        anthropic, gemini, bedrock or cohere.",
            },
            Key {
                name: "base_url",
                value: "\"https://api.openai.com/v1\"",
                about: "With its version part. azure: the resource (https://NAME.openai.azure.com). anthropic, gemini, bedrock and\n\
                        cohere have a default.",
            },
            Key {
                name: "key",
                value: "\"env:OPENAI_API_KEY\"",
                about: "The provider's key, as a reference. Several keys: [[provider.key]] instead.\n\
                        azure also needs api_version = \"2024-10-21\". bedrock needs region = \"eu-central-1\" and, instead of key,\n\
                        access_key_id, secret_access_key and (for temporary credentials) session_token, as references.",
            },
            Key {
                name: "models",
                value: "[\"gpt-4o-mini\"]",
                about: "The models it is asked for. A model that two providers have falls back from the first to the second.",
            },
            Key {
                name: "probe",
                value: "\"models\"",
                about: "How it is asked whether it is well while nobody calls it: models (its list of models; free), or chat:MODEL\n\
                        (a few tokens each time, and proves that completions work).",
            },
            Key {
                name: "responses_api",
                value: "true",
                about: "Whether it speaks the Responses API itself (openai, azure). Where not, calls of /v1/responses are converted.\n\
                        Default: true for api.openai.com and for azure since api_version 2025-03-01.",
            },
            CONNECT,
            Key {
                name: "first_byte_timeout",
                value: "\"60s\"",
                about: "From the request sent to the head of the answer.",
            },
            Key {
                name: "first_token_timeout",
                value: "\"60s\"",
                about: "From the request sent to the first content of a stream. Default: first_byte_timeout.",
            },
            Key { name: "idle_timeout", value: "\"60s\"", about: "Between two pieces of an answer." },
            Key { name: "total_timeout", value: "\"600s\"", about: "The whole exchange." },
        ],
    },
    Section {
        head: "[[provider.key]]",
        about: "One of several keys of the provider above. They are used in turn; one that is refused or limited rests alone.",
        keys: &[
            Key { name: "name", value: "\"first\"", about: "How records and alerts call it." },
            Key { name: "key", value: "\"env:OPENAI_API_KEY_1\"", about: "The key, as a reference." },
        ],
    },
    Section {
        head: "[[provider.model]]",
        about: "What is known of a model of the provider above, beside or instead of its name in models.",
        keys: &[
            Key {
                name: "name",
                value: "\"gpt-4o\"",
                about: "As the provider calls it (azure: the deployment).",
            },
            Key {
                name: "context_tokens",
                value: "128000",
                about: "Input and output together. A call that is longer goes to a longer model.",
            },
            Key { name: "max_output_tokens", value: "16384", about: "The longest answer." },
            Key { name: "tools", value: "true", about: "Whether it takes tools." },
            Key { name: "vision", value: "true", about: "Whether it takes images." },
            Key { name: "structured_output", value: "true", about: "Whether it takes response_format." },
            Key {
                name: "region",
                value: "\"eu\"",
                about: "Where it processes data: a word of your own. A call that demands a region goes to a model that names it.",
            },
            Key {
                name: "data_classes",
                value: "[\"public\", \"internal\"]",
                about: "Classes of data it may see: words of your own. A call that names no class is not sent there. Default: any.",
            },
            Key {
                name: "price_input",
                value: "2.5",
                about: "Dollars for a million tokens. Ceilings (max_cost) and budgets need prices.",
            },
            Key { name: "price_output", value: "10.0", about: "Dollars for a million tokens." },
            Key {
                name: "price_cached_input",
                value: "1.25",
                about: "Input that the provider had in its cache. Default: price_input.",
            },
            Key { name: "concurrency", value: "50", about: "Calls at once." },
            Key {
                name: "requests_a_minute",
                value: "500",
                about: "What the provider grants; what its headers tell is learned besides.",
            },
            Key { name: "tokens_a_minute", value: "200000", about: "Input and output together." },
            Key {
                name: "drop_fields",
                value: "[\"logit_bias\"]",
                about: "Top-level fields of a call that it refuses.",
            },
            Key {
                name: "max_tokens_field",
                value: "\"max_completion_tokens\"",
                about: "max_tokens or max_completion_tokens: the one it wants. Default: as the caller wrote it.",
            },
            Key {
                name: "cache_system",
                value: "false",
                about: "Whether the system prompt is marked as worth caching (anthropic, bedrock).",
            },
        ],
    },
    Section {
        head: "[[provider]]",
        about: "An Azure OpenAI resource.",
        keys: &[
            Key { name: "name", value: "\"azure-eu\"", about: "" },
            Key { name: "dialect", value: "\"azure\"", about: "" },
            Key { name: "base_url", value: "\"https://example.openai.azure.com\"", about: "" },
            Key { name: "api_version", value: "\"2024-10-21\"", about: "The version of Azure's API." },
            Key { name: "key", value: "\"env:AZURE_OPENAI_KEY\"", about: "" },
            Key { name: "models", value: "[\"gpt-4o-deployment\"]", about: "" },
        ],
    },
    Section {
        head: "[[provider]]",
        about: "AWS Bedrock. Several credentials: [[provider.key]] with these three keys.",
        keys: &[
            Key { name: "name", value: "\"bedrock-eu\"", about: "" },
            Key { name: "dialect", value: "\"bedrock\"", about: "" },
            Key { name: "region", value: "\"eu-central-1\"", about: "The AWS region that is called." },
            Key { name: "access_key_id", value: "\"env:AWS_ACCESS_KEY_ID\"", about: "" },
            Key { name: "secret_access_key", value: "\"env:AWS_SECRET_ACCESS_KEY\"", about: "" },
            Key {
                name: "session_token",
                value: "\"env:AWS_SESSION_TOKEN\"",
                about: "For temporary credentials only.",
            },
            Key { name: "models", value: "[\"anthropic.claude-3-5-sonnet-20240620-v1:0\"]", about: "" },
        ],
    },
];
