//! What the compose file of Dify 1.12 gives where an `.env` says nothing, and the secrets that everybody can read there.

/// The value that Dify's compose file has for a variable.
pub(super) fn of(name: &str) -> Option<&'static str> {
    VALUES.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

/// Whether a secret has the value that stands in Dify's repository.
pub(super) fn is_published(name: &str, value: &str) -> bool {
    let is_known = |(known, published): &&(&str, &str)| *known == name && *published == value;
    SECRETS.iter().any(|pair| is_known(&pair)) || VALUES.iter().any(|pair| is_known(&pair) && is_secret(name))
}

fn is_secret(name: &str) -> bool {
    ["PASSWORD", "_KEY", "TOKEN"].iter().any(|end| name.ends_with(end))
}

const DATABASE_PASSWORD: &str = "difyai123456";
const WEAVIATE_KEY: &str = "WVF5YThaHlkYwhGUSmCRgsX3tD5ngdN8pkih";
const SANDBOX_KEY: &str = "dify-sandbox";
pub(super) const BROKER_URL: &str = "redis://:difyai123456@redis:6379/1";

const VALUES: &[(&str, &str)] = &[
    ("DB_TYPE", "postgresql"),
    ("DB_HOST", "db_postgres"),
    ("DB_PORT", "5432"),
    ("DB_USERNAME", "postgres"),
    ("DB_PASSWORD", DATABASE_PASSWORD),
    ("DB_DATABASE", "dify"),
    ("DB_PLUGIN_DATABASE", "dify_plugin"),
    ("SQLALCHEMY_POOL_SIZE", "30"),
    ("SQLALCHEMY_MAX_OVERFLOW", "10"),
    ("POSTGRES_MAX_CONNECTIONS", "100"),
    ("SERVER_WORKER_AMOUNT", "1"),
    ("SERVER_WORKER_CONNECTIONS", "10"),
    ("CELERY_WORKER_AMOUNT", "1"),
    ("APP_MAX_EXECUTION_TIME", "1200"),
    ("WORKFLOW_MAX_EXECUTION_TIME", "1200"),
    ("REDIS_HOST", "redis"),
    ("REDIS_PORT", "6379"),
    ("REDIS_PASSWORD", DATABASE_PASSWORD),
    ("REDIS_DB", "0"),
    ("CELERY_BROKER_URL", BROKER_URL),
    ("STORAGE_TYPE", "opendal"),
    ("STORAGE_LOCAL_PATH", "storage"),
    ("OPENDAL_SCHEME", "fs"),
    ("OPENDAL_FS_ROOT", "storage"),
    ("VECTOR_STORE", "weaviate"),
    ("VECTOR_INDEX_NAME_PREFIX", "Vector_index"),
    ("WEAVIATE_ENDPOINT", "http://weaviate:8080"),
    ("WEAVIATE_API_KEY", WEAVIATE_KEY),
    ("QDRANT_URL", "http://qdrant:6333"),
    ("QDRANT_API_KEY", DATABASE_PASSWORD),
    ("PGVECTOR_HOST", "pgvector"),
    ("PGVECTOR_PORT", "5432"),
    ("PGVECTOR_USER", "postgres"),
    ("PGVECTOR_PASSWORD", DATABASE_PASSWORD),
    ("PGVECTOR_DATABASE", "dify"),
    ("PGVECTO_RS_HOST", "pgvecto-rs"),
    ("PGVECTO_RS_PORT", "5432"),
    ("PGVECTO_RS_USER", "postgres"),
    ("PGVECTO_RS_PASSWORD", DATABASE_PASSWORD),
    ("PGVECTO_RS_DATABASE", "dify"),
    ("VASTBASE_HOST", "vastbase"),
    ("VASTBASE_PORT", "5432"),
    ("VASTBASE_USER", "dify"),
    ("VASTBASE_PASSWORD", "Difyai123456"),
    ("VASTBASE_DATABASE", "dify"),
    ("OPENGAUSS_HOST", "opengauss"),
    ("OPENGAUSS_PORT", "6600"),
    ("OPENGAUSS_USER", "postgres"),
    ("OPENGAUSS_PASSWORD", "Dify@123"),
    ("OPENGAUSS_DATABASE", "dify"),
    ("RELYT_HOST", "db"),
    ("RELYT_PORT", "5432"),
    ("RELYT_USER", "postgres"),
    ("RELYT_PASSWORD", DATABASE_PASSWORD),
    ("RELYT_DATABASE", "postgres"),
    ("MILVUS_URI", "http://host.docker.internal:19530"),
    ("CHROMA_HOST", "127.0.0.1"),
    ("CHROMA_PORT", "8000"),
    ("OPENSEARCH_HOST", "opensearch"),
    ("OPENSEARCH_PORT", "9200"),
    ("OPENSEARCH_SECURE", "true"),
    ("OPENSEARCH_USER", "admin"),
    ("OPENSEARCH_PASSWORD", "admin"),
    ("ELASTICSEARCH_HOST", "0.0.0.0"),
    ("ELASTICSEARCH_PORT", "9200"),
    ("ELASTICSEARCH_USERNAME", "elastic"),
    ("ELASTICSEARCH_PASSWORD", "elastic"),
    ("TIDB_ON_QDRANT_URL", "http://127.0.0.1"),
    ("TIDB_ON_QDRANT_API_KEY", "dify"),
    ("PLUGIN_DAEMON_URL", "http://plugin_daemon:5002"),
    ("PLUGIN_DAEMON_KEY", "lYkiYYT6owG+71oLerGzA7GXCgOT++6ovaezWAjpCjf+Sjc3ZtU+qUEi"),
    ("PLUGIN_DIFY_INNER_API_URL", "http://api:5001"),
    ("CODE_EXECUTION_ENDPOINT", "http://sandbox:8194"),
    ("CODE_EXECUTION_API_KEY", SANDBOX_KEY),
    ("SSRF_PROXY_HTTP_URL", "http://ssrf_proxy:3128"),
    ("EXPOSE_NGINX_PORT", "80"),
];

/// Published, and of use to Mainstay for nothing but saying so.
const SECRETS: &[(&str, &str)] = &[
    ("SECRET_KEY", "sk-9f73s3ljTXVcMT3Blb3ljTqtsKiGHXVcMT3BlbkFJLK7U"),
    ("PLUGIN_DIFY_INNER_API_KEY", "QaHbTe77CtuXmsfyhR7+vRjI/+XbV1AaFy691iy+kGDv2Jvy0/eAh8Y1"),
    ("SANDBOX_API_KEY", SANDBOX_KEY),
    ("WEAVIATE_AUTHENTICATION_APIKEY_ALLOWED_KEYS", WEAVIATE_KEY),
    ("MILVUS_PASSWORD", "Milvus"),
    ("MINIO_SECRET_KEY", "minioadmin"),
    ("CHROMA_SERVER_AUTHN_CREDENTIALS", DATABASE_PASSWORD),
    ("CHROMA_AUTH_CREDENTIALS", DATABASE_PASSWORD),
    ("OPENSEARCH_INITIAL_ADMIN_PASSWORD", "Qazwsxedc!@#123"),
    ("PGVECTOR_POSTGRES_PASSWORD", DATABASE_PASSWORD),
    ("PGVECTO_RS_POSTGRES_PASSWORD", DATABASE_PASSWORD),
    ("OCEANBASE_VECTOR_PASSWORD", DATABASE_PASSWORD),
    ("MYSQL_PASSWORD", DATABASE_PASSWORD),
];

/// Every name that has a published value.
pub(super) fn published_names() -> impl Iterator<Item = &'static str> {
    let own = VALUES.iter().map(|(name, _)| *name).filter(|name| is_secret(name));
    own.chain(SECRETS.iter().map(|(name, _)| *name))
}
