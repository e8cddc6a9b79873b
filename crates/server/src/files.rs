//! How many files (and so connections) the process may hold.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the soft limit to the hard one. A stream in front of a Dify holds two connections, and the usual soft limit
/// of 1,024 would end at five hundred of them.
pub(crate) fn allow_all() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Refused only where a sandbox forbids it; the limit then stays as it was.
    let _ = setrlimit(Resource::Nofile, limit);
}
