//! The only place that reads the environment of the process.

/// The value of a variable, when it is set to something that is text and not empty.
#[expect(clippy::disallowed_methods, reason = "this is the one module that may read the environment")]
pub(crate) fn var(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Every variable whose name starts with `prefix`, sorted by name.
pub(crate) fn with_prefix(prefix: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with(prefix))
        .collect();
    found.sort();
    found
}
