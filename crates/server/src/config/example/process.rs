//! The process itself.

use super::{Key, Section};

pub(super) const SECTIONS: &[Section] = &[
    Section {
        head: "[listeners]",
        about: "The three addresses. Port 0 takes a free one.",
        keys: &[
            Key {
                name: "admin",
                value: "\"127.0.0.1:7000\"",
                about: "Console, admin API, /metrics, /health. For operators only.",
            },
            Key {
                name: "admin_https",
                value: "false",
                about: "true when browsers reach the console by HTTPS (your ingress): its cookie is then kept from HTTP.",
            },
            Key {
                name: "app",
                value: "\"127.0.0.1:7001\"",
                about: "Dify's Service API (/v1/...). For Dify's API clients.",
            },
            Key {
                name: "model",
                value: "\"127.0.0.1:7002\"",
                about: "OpenAI-shaped API (/v1/...). For Dify and the embedded engine.",
            },
        ],
    },
    Section {
        head: "[log]",
        about: "What is written to standard error.",
        keys: &[
            Key { name: "format", value: "\"human\"", about: "human or json." },
            Key {
                name: "filter",
                value: "\"info\"",
                about: "Levels by module, as info or mainstay_gateway=debug,info.",
            },
        ],
    },
    Section {
        head: "[store]",
        about: "Mainstay's own data.",
        keys: &[
            Key {
                name: "url",
                value: "\"sqlite:mainstay.db\"",
                about: "sqlite:PATH, or postgres://USER:PASSWORD@HOST:PORT/DATABASE (better set by MAINSTAY__STORE__URL).\n\
                        Several Mainstay processes on several machines need PostgreSQL.",
            },
            Key {
                name: "state_dir",
                value: "\"/var/lib/mainstay\"",
                about: "Where the last published routes and the last good configuration are kept, for starts without the store\n\
                        and with --last-good. No secrets are in them. Default: next to the SQLite file, else the user's state\n\
                        folder ($XDG_STATE_HOME/mainstay).",
            },
        ],
    },
    Section {
        head: "[engine]",
        about: "The embedded engine, which runs imported apps.",
        keys: &[
            Key { name: "enabled", value: "true", about: "Without it only declared Dify apps are served." },
            Key {
                name: "model_url",
                value: "\"http://127.0.0.1:7002/v1\"",
                about: "Where LLM nodes call. Default: the model listener of this process.",
            },
            Key {
                name: "model_key",
                value: "\"env:MAINSTAY_MODEL_KEY\"",
                about: "The key LLM nodes call with. Default: one made at each start, known to the model listener. Processes\n\
                        that run workers alone (--role worker) need it.",
            },
            Key {
                name: "http_request",
                value: "\"public\"",
                about: "What http-request nodes may reach: public (addresses of the public internet) or any.",
            },
            Key {
                name: "http_request_allow",
                value: "[]",
                about: "Beyond the public ones: HOST:PORT, IP or NETWORK/BITS, as [\"10.0.0.0/8\", \"search:8080\"].",
            },
            Key { name: "run_timeout", value: "\"1200s\"", about: "The longest that one run may take." },
        ],
    },
    Section {
        head: "[workers]",
        about: "Processes that execute queued runs.",
        keys: &[
            Key { name: "count", value: "2", about: "How many; 0 leaves queued runs to other machines." },
            Key { name: "concurrency", value: "8", about: "Runs at once in one process." },
            Key {
                name: "lease",
                value: "\"4s\"",
                about: "How long a run belongs to its worker without a sign of life. A crashed worker's runs start again\n\
                        after at most this time.",
            },
            Key {
                name: "grace",
                value: "\"10s\"",
                about: "How long a worker that is asked to stop may finish what it runs. The rest goes back to the queue.",
            },
        ],
    },
];
