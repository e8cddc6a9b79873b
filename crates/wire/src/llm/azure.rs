//! Azure OpenAI: OpenAI's bodies under Azure's URLs.
//!
//! Two forms: dated versions name the deployment in the path (`/openai/deployments/{deployment}/chat/completions`),
//! `v1` and `preview` are OpenAI's own paths under `/openai/v1`, with the deployment as `model` in the body. Bodies,
//! answers and streams are OpenAI's; what Azure adds (`prompt_filter_results`, `content_filter_results`, a first event
//! without choices) are fields that OpenAI's readers do not know and therefore let pass.

use super::{Unwritable, percent};

/// The header that carries the key.
pub const KEY_HEADER: &str = "api-key";

/// Where a request goes, after the provider's base URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub path: String,
    pub query: Option<String>,
}

/// Endpoints of a deployment, as OpenAI calls them.
const OF_A_DEPLOYMENT: [&str; 8] = [
    "chat/completions",
    "completions",
    "embeddings",
    "audio/speech",
    "audio/transcriptions",
    "audio/translations",
    "images/generations",
    "images/edits",
];

/// Endpoints that take the deployment from the body, in dated versions too.
const OF_THE_RESOURCE: [&str; 2] = ["responses", "models"];

/// `endpoint` as OpenAI calls it, as `chat/completions`. `base` is the provider's base URL, with or without `/openai`
/// or `/openai/v1` at its end.
pub fn path(base: &str, deployment: &str, endpoint: &str, api_version: &str) -> Result<Place, Unwritable> {
    let endpoint = endpoint.trim_start_matches('/');
    let of_deployment = OF_A_DEPLOYMENT.contains(&endpoint);
    if !of_deployment && !OF_THE_RESOURCE.contains(&endpoint) {
        return Err(Unwritable { dialect: "azure", what: format!("the endpoint `{endpoint}`") });
    }
    let base = base.trim_end_matches('/');
    if is_undated(api_version) {
        let root = ["/openai/v1", "/openai"].into_iter().find(|root| base.ends_with(root));
        let path =
            format!("{}/{endpoint}", "/openai/v1".strip_prefix(root.unwrap_or("")).unwrap_or_default());
        // `v1` is what is meant when nothing is said.
        let query = (api_version == "preview").then(|| "api-version=preview".to_owned());
        return Ok(Place { path, query });
    }
    let root = if base.ends_with("/openai") { "" } else { "/openai" };
    let path = match of_deployment {
        true => format!("{root}/deployments/{}/{endpoint}", percent::segment(deployment)),
        false => format!("{root}/{endpoint}"),
    };
    Ok(Place { path, query: Some(format!("api-version={}", percent::segment(api_version))) })
}

/// Whether the deployment is named in the body, as `model`, instead of the path.
pub fn is_undated(api_version: &str) -> bool {
    matches!(api_version, "" | "v1" | "latest" | "preview")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_has_its_place() {
        for (base, endpoint, version, place) in [
            (
                "https://a.example",
                "chat/completions",
                "2024-10-21",
                "/openai/deployments/gpt%204o/chat/completions?api-version=2024-10-21",
            ),
            (
                "https://a.example/openai/",
                "/embeddings",
                "2024-10-21",
                "/deployments/gpt%204o/embeddings?api-version=2024-10-21",
            ),
            (
                "https://a.example",
                "responses",
                "2025-04-01-preview",
                "/openai/responses?api-version=2025-04-01-preview",
            ),
            ("https://a.example", "chat/completions", "v1", "/openai/v1/chat/completions"),
            ("https://a.example/openai", "chat/completions", "v1", "/v1/chat/completions"),
            ("https://a.example/openai/v1/", "images/edits", "v1", "/images/edits"),
            ("https://a.example", "responses", "preview", "/openai/v1/responses?api-version=preview"),
        ] {
            let Place { path, query } = path(base, "gpt 4o", endpoint, version).unwrap();
            let written = query.map_or(path.clone(), |query| format!("{path}?{query}"));
            assert_eq!(written, place, "{base} {version}");
        }
    }

    #[test]
    fn endpoints_that_azure_does_not_have_are_refused() {
        for endpoint in ["moderations", "rerank", "images/variations", "chat", ""] {
            for version in ["2024-10-21", "v1"] {
                path("https://a.example", "gpt-4o", endpoint, version).unwrap_err();
            }
        }
    }
}
