//! What a request asked for, in the words of its path.

/// The endpoints of the app path that execute an app.
pub const RUNS: [&str; 3] = ["workflows/run", "chat-messages", "completion-messages"];
/// Everything else: files, parameters, conversations, lists.
pub const OTHER: &str = "other";
/// Endpoints of the model path that write text.
pub const CALLS: [&str; 3] = ["chat/completions", "completions", "responses"];

/// Those that have a name of their own, by path.
pub const NAMED: [&str; 17] = [
    "workflows/run",
    "chat-messages",
    "completion-messages",
    "files/upload",
    "audio-to-text",
    "text-to-audio",
    "chat/completions",
    "completions",
    "responses",
    "embeddings",
    "rerank",
    "moderations",
    "audio/speech",
    "audio/transcriptions",
    "audio/translations",
    "images/generations",
    "images/edits",
];

/// The endpoint, and the version of a workflow where the path names one.
pub(super) fn of<'a>(method: &str, target: &'a str) -> (&'static str, &'a str) {
    let Some(at) = target.find("/v1/") else { return (OTHER, "") };
    let below = &target[at + "/v1/".len()..];
    if method != "POST" {
        return (OTHER, "");
    }
    if let Some(version) = below.strip_prefix("workflows/").and_then(|rest| rest.strip_suffix("/run"))
        && !version.is_empty()
        && !version.contains('/')
    {
        return ("workflows/run", version);
    }
    (NAMED.into_iter().find(|named| *named == below).unwrap_or(OTHER), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_its_endpoint() {
        for (method, target, expected) in [
            ("POST", "/v1/workflows/run", ("workflows/run", "")),
            ("POST", "/v1/workflows/4e47/run", ("workflows/run", "4e47")),
            ("POST", "/v1/workflows/a/b/run", (OTHER, "")),
            ("GET", "/v1/workflows/run/77", (OTHER, "")),
            ("GET", "/v1/parameters", (OTHER, "")),
            ("POST", "/v1/chat-messages/9/stop", (OTHER, "")),
            ("POST", "/guide/v1/chat/completions", ("chat/completions", "")),
            ("POST", "/nowhere", (OTHER, "")),
        ] {
            assert_eq!(of(method, target), expected, "{method} {target}");
        }
        assert!(RUNS.iter().chain(&CALLS).all(|name| NAMED.contains(name)));
    }
}
