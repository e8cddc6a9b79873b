//! Files of a foreign folder, within limits.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

/// Folders within folders of `envs/`.
const MAX_DEPTH: usize = 4;
/// Dify's own has 35.
const MAX_FILES: usize = 200;

/// The text of a file; why not, without its name.
pub(super) fn read(path: &Path, max_bytes: u64) -> Result<String, String> {
    let fail = |error: std::io::Error| format!("cannot be read: {error}");
    // Opening a pipe waits for its writer, and might wait for ever.
    if !std::fs::metadata(path).map_err(fail)?.is_file() {
        return Err("is not a file".to_owned());
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(fail)?.take(max_bytes + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > max_bytes {
        return Err(format!("is longer than {max_bytes} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())
}

/// The `*.env` of a folder and the folders in it, by name.
pub(super) fn env_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(folder, 0, &mut found);
    found.sort();
    found
}

fn walk(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        if found.len() >= MAX_FILES {
            return;
        }
        if path.is_dir() && depth < MAX_DEPTH {
            walk(&path, depth + 1, found);
        } else if path.extension().is_some_and(|extension| extension == "env") {
            found.push(path);
        }
    }
}
