//! Where the parts of one Dify are, as the configuration tells it. Plain values; what is `None` is not looked at, and
//! is reported as not configured.

use std::path::PathBuf;

use mainstay_base::Secret;

use crate::probe::Pace;

/// One Dify, from the address of its API to the folder of its files.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployment {
    /// What operators call it; `dify` unless told.
    pub name: String,
    /// Where the API answers `/health`, without a slash at the end: `http://api:5001`.
    pub api_url: Option<String>,
    pub web_url: Option<String>,
    /// The main database.
    pub database: Option<Database>,
    /// Who may repair rows of the main database; without it every repair there is refused.
    pub repairs: Option<Login>,
    /// The plugin daemon's database, `dify_plugin`.
    pub plugin_database: Option<Database>,
    /// The Redis of the app: caches, limits, tenant queues.
    pub redis: Option<Redis>,
    /// The Redis of Celery: queues, remote control, events.
    pub broker: Option<Redis>,
    pub vector: Option<Vector>,
    pub plugin_daemon: Option<Service>,
    pub sandbox: Option<Service>,
    pub ssrf_proxy_url: Option<String>,
    pub storage: Option<Storage>,
    /// The app whose run proves the whole way.
    pub canary: Option<Canary>,
    pub sizes: Sizes,
    /// How often each part is looked at.
    pub pace: Pace,
    /// Rows of operators' own for what errors mean.
    pub signatures: Option<PathBuf>,
}

impl Deployment {
    /// One of which nothing is known but its name.
    pub fn named(name: impl Into<String>) -> Deployment {
        Deployment {
            name: name.into(),
            api_url: None,
            web_url: None,
            database: None,
            repairs: None,
            plugin_database: None,
            redis: None,
            broker: None,
            vector: None,
            plugin_daemon: None,
            sandbox: None,
            ssrf_proxy_url: None,
            storage: None,
            canary: None,
            sizes: Sizes::default(),
            pace: Pace::default(),
            signatures: None,
        }
    }
}

/// A user with a password.
#[derive(Clone, Debug, PartialEq)]
pub struct Login {
    pub user: String,
    pub password: Option<Secret>,
}

/// A PostgreSQL database.
#[derive(Clone, Debug, PartialEq)]
pub struct Database {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: Option<Secret>,
    pub name: String,
    pub tls: Tls,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    Off,
    /// Encrypted, the certificate not checked: `sslmode=require`, `ssl_cert_reqs=CERT_NONE`.
    Unchecked,
    /// Encrypted, the certificate and its name checked against the well-known roots.
    Checked,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Redis {
    pub at: RedisAt,
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub database: u32,
    pub tls: Tls,
    /// What stands before every key and channel, with its colon; empty before Dify 1.14.
    pub key_prefix: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum RedisAt {
    Server {
        host: String,
        port: u16,
    },
    Sentinel {
        sentinels: Vec<(String, u16)>,
        service: String,
        user: Option<String>,
        password: Option<Secret>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Vector {
    /// Dify's word: `weaviate`, `qdrant`, `pgvector`, `milvus`, `chroma`, …
    pub kind: String,
    pub url: Option<String>,
    pub api_key: Option<Secret>,
    /// For stores that ask for a user: opensearch, elasticsearch, milvus.
    pub login: Option<Login>,
    /// For stores that are a PostgreSQL.
    pub database: Option<Database>,
    pub index_prefix: String,
}

/// Something that answers HTTP for who has its key.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    pub url: String,
    pub key: Option<Secret>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Storage {
    /// A folder that this process can see.
    Folder(PathBuf),
    /// Something else, by Dify's word for it; it is named and not looked at.
    Elsewhere(String),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Canary {
    pub key: Secret,
    pub inputs: serde_json::Map<String, serde_json::Value>,
}

/// What the environment of Dify says of its sizes; the defaults are those of its version where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    pub api_workers: Option<u32>,
    pub api_connections: Option<u32>,
    pub pool_size: Option<u32>,
    pub max_overflow: Option<u32>,
    pub celery_workers: Option<u32>,
    pub plugin_daemon_pool: Option<u32>,
    pub postgres_max_connections: Option<u32>,
    /// The longest that a run may take, in seconds: `max(APP_MAX_EXECUTION_TIME, WORKFLOW_MAX_EXECUTION_TIME)`.
    pub longest_run_secs: Option<u64>,
    /// The queues that `CELERY_QUEUES` or `CELERY_WORKER_QUEUES` pins; `None`: the image's own list.
    pub pinned_queues: Option<Vec<String>>,
}
