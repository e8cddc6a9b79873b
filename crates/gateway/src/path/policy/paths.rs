//! Which methods and spellings of paths are served at all.

use http::Method;

use crate::path::failure::{Failure, Reason};

pub(super) fn check_method(method: &Method) -> Result<(), Failure> {
    let known = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::HEAD,
        Method::OPTIONS,
    ];
    match known.contains(method) {
        true => Ok(()),
        false => Err(Failure::new(Reason::WrongMethod, "the method is not one that this path knows")),
    }
}

/// Only `/v1` and below is served, and no spelling that an upstream could read as something else.
pub(super) fn check_path(path: &str) -> Result<(), Failure> {
    if path != "/v1" && !path.starts_with("/v1/") {
        return Err(Failure::new(Reason::NoSuchPath, "the path is not below /v1"));
    }
    // Every other spelling needs one of three letters, which most paths have not.
    let is_plain = !path.bytes().any(|letter| matches!(letter, b'.' | b'%' | b'\\'));
    if !is_plain && (path.contains('\\') || has_dot_segment(path)) {
        return Err(Failure::new(Reason::BadPath, "the path has a dot segment or a backslash"));
    }
    Ok(())
}

/// Whether a reader that decodes dots and slashes first, as nginx does, would find a `.` or `..` between slashes.
fn has_dot_segment(path: &str) -> bool {
    let has = |path: &str| path.split('/').any(|segment| matches!(segment, "." | ".."));
    if !path.contains('%') {
        return has(path);
    }
    let decoded = path.to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/").replace("%5c", "/");
    has(&decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_paths_below_v1_are_served() {
        for path in ["/v1", "/v1/", "/v1/workflows/run", "/v1/a.b/...", "/v1/x%2Fy", "/v1/%2e%2e%2e"] {
            assert!(check_path(path).is_ok(), "{path}");
        }
        for path in ["/", "/v2/info", "/v1x", "/console/api", "*", ""] {
            assert_eq!(check_path(path).map_err(|failure| failure.reason), Err(Reason::NoSuchPath), "{path}");
        }
        for path in [
            "/v1/../console",
            "/v1/%2E%2e/x",
            "/v1/.%2e/x",
            "/v1/./x",
            "/v1/a\\b",
            "/v1/..%2fconsole",
            "/v1/x%2F..%2F..%2Fconsole",
            "/v1/x%5C..%5C..%2fconsole",
            "/v1/x/%2e%2E",
        ] {
            assert_eq!(check_path(path).map_err(|failure| failure.reason), Err(Reason::BadPath), "{path}");
        }
    }
}
