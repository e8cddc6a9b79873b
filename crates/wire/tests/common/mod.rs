//! Golden files: `golden/<dialect>/<direction>/<name>.in` beside the `.snap` of what came out.

use std::{
    fs,
    path::{Path, PathBuf},
};

pub(crate) fn folder(dialect: &str, direction: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(dialect).join(direction)
}

/// Converts every input of a direction and compares.
pub(crate) fn each(dialect: &str, direction: &str, convert: impl Fn(&str) -> String) {
    let folder = folder(dialect, direction);
    let mut inputs: Vec<_> = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    inputs.retain(|path| path.extension().is_some_and(|extension| extension == "in"));
    inputs.sort();
    assert!(!inputs.is_empty(), "{} holds no inputs", folder.display());
    for path in inputs {
        let output = convert(&fs::read_to_string(&path).unwrap());
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(&folder);
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(path.file_stem().unwrap().to_str().unwrap(), output));
    }
}
