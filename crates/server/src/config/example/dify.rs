//! The Dify that is looked after.

use super::{Key, Section};

const TLS: Key = Key {
    name: "tls",
    value: "\"off\"",
    about: "off, unchecked (encrypted, whoever answers) or checked (the certificate, against the well-known roots).",
};
const HOST: Key = Key { name: "host", value: "\"db_postgres\"", about: "Needed." };
const PORT: Key = Key { name: "port", value: "5432", about: "" };
const REDIS: &[Key] = &[
    Key { name: "host", value: "\"redis\"", about: "One server; or sentinels." },
    Key { name: "port", value: "6379", about: "" },
    Key { name: "user", value: "\"default\"", about: "Where Redis has users." },
    Key { name: "password", value: "\"dotenv:docker/.env#REDIS_PASSWORD\"", about: "As a reference." },
    Key { name: "database", value: "0", about: "Its number." },
    TLS,
    Key {
        name: "key_prefix",
        value: "\"dify:\"",
        about: "What stands before every key, with its colon: REDIS_KEY_PREFIX of Dify 1.14 and later. Default: nothing.",
    },
    Key {
        name: "sentinels",
        value: "[\"sentinel-1:26379\", \"sentinel-2:26379\"]",
        about: "Who knows which server is the master; host and port are then not used.",
    },
    Key { name: "sentinel_service", value: "\"mymaster\"", about: "The master's name among the sentinels." },
    Key { name: "sentinel_user", value: "\"default\"", about: "" },
    Key { name: "sentinel_password", value: "\"dotenv:docker/.env#REDIS_SENTINEL_PASSWORD\"", about: "" },
];

pub(super) const SECTIONS: &[Section] = &[
    Section {
        head: "[dify]",
        about: "The Dify that Mainstay looks after. `mainstay init --dify-env docker/.env` writes these tables from what a Dify\n\
                has anyway. A part that is not written is not looked at. docs/dify.md has the whole.",
        keys: &[
            Key { name: "name", value: "\"dify\"", about: "What operators call it." },
            Key {
                name: "api_url",
                value: "\"http://api:5001\"",
                about: "The API itself: the nginx before it does not pass /health on.",
            },
            Key { name: "web_url", value: "\"http://nginx\"", about: "The console." },
            Key { name: "ssrf_proxy_url", value: "\"http://ssrf_proxy:3128\"", about: "" },
            Key {
                name: "signatures",
                value: "\"signatures.toml\"",
                about: "Rows of your own for what errors mean, before ours. docs/signatures.md",
            },
        ],
    },
    Section {
        head: "[dify.database]",
        about: "The main database, a PostgreSQL. Only read, by one connection.",
        keys: &[
            HOST,
            PORT,
            Key { name: "name", value: "\"dify\"", about: "Needed." },
            Key {
                name: "user",
                value: "\"mainstay_reader\"",
                about: "Needed. A role that can only read: mainstay init prints what it has to be granted.",
            },
            Key { name: "password", value: "\"dotenv:docker/.env#DB_PASSWORD\"", about: "As a reference." },
            TLS,
            Key {
                name: "write_user",
                value: "\"mainstay_repairs\"",
                about: "For guarded repairs, as marking a zombie run failed. Without it every repair is refused.",
            },
            Key { name: "write_password", value: "\"env:MAINSTAY_REPAIRS_PASSWORD\"", about: "" },
        ],
    },
    Section {
        head: "[dify.plugin_database]",
        about: "The plugin daemon's database. Only read.",
        keys: &[
            HOST,
            PORT,
            Key { name: "name", value: "\"dify_plugin\"", about: "Needed." },
            Key { name: "user", value: "\"mainstay_reader\"", about: "Needed." },
            Key { name: "password", value: "\"dotenv:docker/.env#DB_PASSWORD\"", about: "" },
            TLS,
        ],
    },
    Section { head: "[dify.redis]", about: "The Redis of the app: REDIS_HOST and its kind.", keys: REDIS },
    Section { head: "[dify.broker]", about: "The Redis of Celery: CELERY_BROKER_URL.", keys: REDIS },
    Section {
        head: "[dify.vector]",
        about: "The vector store.",
        keys: &[
            Key { name: "kind", value: "\"weaviate\"", about: "Needed: VECTOR_STORE." },
            Key { name: "url", value: "\"http://weaviate:8080\"", about: "Of a store that speaks HTTP." },
            Key { name: "api_key", value: "\"dotenv:docker/.env#WEAVIATE_API_KEY\"", about: "" },
            Key { name: "index_prefix", value: "\"Vector_index\"", about: "VECTOR_INDEX_NAME_PREFIX." },
            Key { name: "user", value: "\"dify\"", about: "Of a store that asks for one." },
            Key { name: "password", value: "\"dotenv:docker/.env#PGVECTOR_PASSWORD\"", about: "" },
            Key {
                name: "host",
                value: "\"pgvector\"",
                about: "Of a store that is a PostgreSQL: pgvector and its kind.",
            },
            PORT,
            Key { name: "database", value: "\"dify\"", about: "" },
            TLS,
        ],
    },
    Section {
        head: "[dify.plugin_daemon]",
        about: "",
        keys: &[
            Key { name: "url", value: "\"http://plugin_daemon:5002\"", about: "Needed." },
            Key { name: "key", value: "\"dotenv:docker/.env#PLUGIN_DAEMON_KEY\"", about: "" },
        ],
    },
    Section {
        head: "[dify.sandbox]",
        about: "",
        keys: &[
            Key { name: "url", value: "\"http://sandbox:8194\"", about: "Needed." },
            Key { name: "key", value: "\"dotenv:docker/.env#CODE_EXECUTION_API_KEY\"", about: "" },
        ],
    },
    Section {
        head: "[dify.storage]",
        about: "Uploaded files and the private key of each tenant.",
        keys: &[
            Key {
                name: "folder",
                value: "\"/srv/dify/docker/volumes/app/storage\"",
                about: "A folder that this process can see. A marker is written into it, read and deleted.",
            },
            Key { name: "kind", value: "\"s3\"", about: "Where it is elsewhere: named, and not looked at." },
        ],
    },
    Section {
        head: "[dify.canary]",
        about: "An app of Dify whose run proves the whole way: API, queue, worker, model, database.",
        keys: &[
            Key { name: "key", value: "\"env:DIFY_CANARY_KEY\"", about: "Needed: its Service API key." },
            Key { name: "inputs", value: "{ question = \"Are you there?\" }", about: "What it is given." },
        ],
    },
    Section {
        head: "[dify.probes]",
        about: "How long after one look at a part the next one comes, while it is well; a part in trouble is looked at every 5 s where\nthat costs nothing. At most 24 hours; no less than 5s where nothing else is said.",
        keys: &[
            Key { name: "api", value: "\"15s\"", about: "" },
            Key { name: "web", value: "\"30s\"", about: "" },
            Key { name: "database", value: "\"15s\"", about: "" },
            Key { name: "plugin_database", value: "\"15s\"", about: "" },
            Key { name: "redis", value: "\"15s\"", about: "" },
            Key { name: "broker", value: "\"15s\"", about: "" },
            Key { name: "plugin_daemon", value: "\"15s\"", about: "" },
            Key { name: "sandbox", value: "\"60s\"", about: "It runs a line of code. No less than 10s." },
            Key { name: "ssrf_proxy", value: "\"30s\"", about: "" },
            Key { name: "vector", value: "\"30s\"", about: "" },
            Key {
                name: "storage",
                value: "\"300s\"",
                about: "It writes a marker, reads it and deletes it. No less than 30s.",
            },
            Key {
                name: "keys",
                value: "\"600s\"",
                about: "It asks for every workspace and looks for its private key. No less than 60s.",
            },
            Key {
                name: "canary",
                value: "\"600s\"",
                about: "It is a run of an app, whose model may cost something. No less than 60s.",
            },
        ],
    },
    Section {
        head: "[dify.sizes]",
        about: "What Dify's environment says of its sizes: the pool budget is made of them. What is not written is not counted.",
        keys: &[
            Key { name: "api_workers", value: "1", about: "SERVER_WORKER_AMOUNT." },
            Key { name: "api_connections", value: "10", about: "SERVER_WORKER_CONNECTIONS." },
            Key { name: "pool_size", value: "30", about: "SQLALCHEMY_POOL_SIZE." },
            Key { name: "max_overflow", value: "10", about: "SQLALCHEMY_MAX_OVERFLOW." },
            Key {
                name: "celery_workers",
                value: "1",
                about: "CELERY_WORKER_CONCURRENCY or CELERY_WORKER_AMOUNT.",
            },
            Key { name: "plugin_daemon_pool", value: "30", about: "What the plugin daemon opens at most." },
            Key { name: "postgres_max_connections", value: "100", about: "POSTGRES_MAX_CONNECTIONS." },
            Key {
                name: "longest_run",
                value: "\"1200s\"",
                about: "The longest that a run may take: the greater of WORKFLOW_ and APP_MAX_EXECUTION_TIME.",
            },
            Key {
                name: "pinned_queues",
                value: "[\"dataset\", \"workflow\"]",
                about: "CELERY_QUEUES, where it is set. Default: the image's own list.",
            },
        ],
    },
];
