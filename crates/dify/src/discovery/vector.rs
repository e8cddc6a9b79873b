//! The vector store, by `VECTOR_STORE` and the variables of that store.

use super::{Search, place};
use crate::deployment::{Database, Login, Tls, Vector};

const PART: &str = "vector store";
const KEY: &str = "vector.url";
const PREFIX: &str = "vector.index_prefix";

pub(super) fn find(search: &mut Search<'_>) -> Option<Vector> {
    let Some(kind) = search.text("vector.kind", "VECTOR_STORE").map(|kind| kind.to_lowercase()) else {
        search.gap(PART, "VECTOR_STORE is empty", "knowledge retrieval is not probed");
        return None;
    };
    let index_prefix = search.text(PREFIX, "VECTOR_INDEX_NAME_PREFIX").unwrap_or_default();
    let empty = Vector { kind, url: None, api_key: None, login: None, database: None, index_prefix };
    let vector = match empty.kind.as_str() {
        "weaviate" => http(search, empty, "WEAVIATE_ENDPOINT", Some("WEAVIATE_API_KEY")),
        "qdrant" => http(search, empty, "QDRANT_URL", Some("QDRANT_API_KEY")),
        "tidb_on_qdrant" => http(search, empty, "TIDB_ON_QDRANT_URL", Some("TIDB_ON_QDRANT_API_KEY")),
        "milvus" => milvus(search, empty),
        "chroma" => chroma(search, empty),
        "opensearch" => opensearch(search, empty),
        "elasticsearch" | "elasticsearch-ja" => elasticsearch(search, empty),
        "pgvector" => postgres(search, empty, "PGVECTOR"),
        "pgvecto-rs" => postgres(search, empty, "PGVECTO_RS"),
        "vastbase" => postgres(search, empty, "VASTBASE"),
        "opengauss" => postgres(search, empty, "OPENGAUSS"),
        "relyt" => postgres(search, empty, "RELYT"),
        _ => {
            search.gap(
                PART,
                format!("VECTOR_STORE is {}, which Mainstay has no probe for", empty.kind),
                "whether it answers is seen only from the errors of runs",
            );
            empty
        }
    };
    let Vector { kind, url, database, .. } = &vector;
    let place = match (url, database) {
        (Some(url), _) => format!(" at {url}"),
        (None, Some(Database { host, port, name, .. })) => format!(" at {host}:{port}/{name}"),
        (None, None) => String::new(),
    };
    let what = format!("{kind}{place}");
    search.found(PART, what, if vector.database.is_some() { "vector.host" } else { KEY });
    Some(vector)
}

fn http(search: &mut Search<'_>, vector: Vector, url: &str, key: Option<&str>) -> Vector {
    let url = search.url(PART, KEY, url);
    let api_key = key.and_then(|key| search.secret("vector.api_key", key));
    Vector { url, api_key, ..vector }
}

/// `MILVUS_URI` is an http address, or that of a gRPC port which answers HTTP as well.
fn milvus(search: &mut Search<'_>, vector: Vector) -> Vector {
    let vector = http(search, vector, "MILVUS_URI", Some("MILVUS_TOKEN"));
    Vector { login: login(search, "MILVUS_USER", "MILVUS_PASSWORD"), ..vector }
}

fn chroma(search: &mut Search<'_>, vector: Vector) -> Vector {
    let url = address(search, "http", "CHROMA_HOST", "CHROMA_PORT");
    let api_key = search.secret("vector.api_key", "CHROMA_AUTH_CREDENTIALS");
    Vector { url, api_key, ..vector }
}

fn opensearch(search: &mut Search<'_>, vector: Vector) -> Vector {
    let scheme = if search.flag("OPENSEARCH_SECURE") { "https" } else { "http" };
    let url = address(search, scheme, "OPENSEARCH_HOST", "OPENSEARCH_PORT");
    Vector { url, login: login(search, "OPENSEARCH_USER", "OPENSEARCH_PASSWORD"), ..vector }
}

/// The host may be an address with its scheme.
fn elasticsearch(search: &mut Search<'_>, vector: Vector) -> Vector {
    let url = address(search, "http", "ELASTICSEARCH_HOST", "ELASTICSEARCH_PORT");
    Vector { url, login: login(search, "ELASTICSEARCH_USERNAME", "ELASTICSEARCH_PASSWORD"), ..vector }
}

fn address(search: &mut Search<'_>, scheme: &str, host: &str, port: &str) -> Option<String> {
    let text = search.text(KEY, host)?;
    let port_variable = port;
    let port = search.port("", port);
    search.origins.remove("");
    let (scheme, name) = text.split_once("://").unwrap_or((scheme, text.as_str()));
    let name = name.trim_end_matches('/');
    match place::url(search, &format!("{scheme}://{name}:{}", port?)) {
        Ok((url, note)) => {
            if let Some(note) = note {
                search.note(KEY, note);
            }
            Some(url)
        }
        Err(why) => {
            search.problem(host, format!("with {port_variable} {why}"));
            None
        }
    }
}

fn login(search: &mut Search<'_>, user: &str, password: &str) -> Option<Login> {
    let user = search.text("vector.user", user)?;
    Some(Login { user, password: search.secret("vector.password", password) })
}

fn postgres(search: &mut Search<'_>, vector: Vector, prefix: &str) -> Vector {
    let variable = |name: &str| format!("{prefix}_{name}");
    let host = search.text("vector.host", &variable("HOST"));
    let port = search.port("vector.port", &variable("PORT"));
    let user = search.text("vector.user", &variable("USER"));
    let password = search.secret("vector.password", &variable("PASSWORD"));
    let name = search.text("vector.database", &variable("DATABASE"));
    let place = host.zip(port).map(|(host, port)| search.place("vector.host", &host, port));
    let database = match (place, user, name) {
        (Some((host, port)), Some(user), Some(name)) => {
            Some(Database { host, port, user, password, name, tls: Tls::Off })
        }
        _ => {
            search.problem(
                &variable("HOST"),
                "or one of its kind is empty: port, user and database are needed",
            );
            None
        }
    };
    Vector { database, ..vector }
}
