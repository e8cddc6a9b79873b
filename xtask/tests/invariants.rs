//! The invariants of ARCHITECTURE.md, each as a test. A line there that starts with *Invariant* names its test here.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot read the sources should fail"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// Left may use right, and nothing else of ours.
const ALLOWED: [(&str, &[&str]); 15] = [
    ("base", &[]),
    ("wire", &["base"]),
    ("net", &["base"]),
    ("signal", &["base"]),
    ("store", &["base"]),
    ("engine", &["net", "wire", "base"]),
    ("gateway", &["net", "wire", "signal", "base"]),
    ("dify", &["net", "wire", "base"]),
    ("standby", &["engine", "store", "net", "wire", "base"]),
    ("control", &["dify", "store", "net", "wire", "signal", "base"]),
    ("console", &["control", "store", "base"]),
    (
        "server",
        &[
            "gateway", "engine", "standby", "store", "dify", "control", "console", "faulty", "net", "wire",
            "signal", "base",
        ],
    ),
    ("testkit", &["base"]),
    ("faulty", &[]),
    (
        "bench",
        &[
            "gateway", "engine", "standby", "store", "dify", "control", "faulty", "net", "wire", "signal",
            "base",
        ],
    ),
];

#[test]
fn crates_use_only_what_the_map_allows() {
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        ALLOWED.into_iter().map(|(name, uses)| (name, uses.iter().copied().collect())).collect();
    for (name, uses) in our_edges(|kind| kind != DependencyKind::Development) {
        let allowed = allowed.get(name.as_str()).unwrap_or_else(|| panic!("{name} is not on the map"));
        for used in &uses {
            assert!(allowed.contains(used.as_str()), "{name} must not use {used}; see ARCHITECTURE.md");
        }
    }
}

#[test]
fn testkit_is_only_a_dev_dependency() {
    for (name, uses) in our_edges(|kind| kind != DependencyKind::Development) {
        assert!(!uses.contains("testkit"), "{name} ships testkit");
    }
}

#[test]
fn pure_crates_see_no_runtime_and_no_database() {
    let metadata = metadata();
    for package in &metadata.packages {
        let pure = matches!(our_name(&package.name), Some("base" | "wire" | "signal"));
        for dependency in
            package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal)
        {
            let impure = ["tokio", "hyper", "hyper-util", "axum", "rusqlite", "postgres", "redis", "sqlx"];
            assert!(
                !(pure && impure.contains(&dependency.name.as_str())),
                "{} uses {}",
                package.name,
                dependency.name
            );
        }
    }
}

#[test]
fn our_sql_is_written_in_store_and_difys_in_dify_only() {
    let words = ["SELECT ", "INSERT INTO ", "DELETE FROM ", "CREATE TABLE ", "PRAGMA "];
    for (path, text) in sources(|path| {
        let ours = ["crates/store", "crates/dify", "xtask/tests"];
        !ours.iter().any(|folder| path.starts_with(folder))
    }) {
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let found = words.iter().find(|word| code.contains(**word));
            assert!(found.is_none(), "{}:{} holds SQL", path.display(), number + 1);
        }
    }
}

/// What breaks the rule in a statement, if anything does: all columns, or a count over a table that grows without end.
fn reads_too_much(code: &str) -> Option<&'static str> {
    let code = code.to_uppercase();
    let counts = code.contains("COUNT(")
        && ["WORKFLOW_RUNS", "WORKFLOW_NODE_EXECUTIONS", "MESSAGES", "WORKFLOW_APP_LOGS"]
            .iter()
            .any(|table| code.contains(table));
    (code.contains("SELECT *").then_some("all columns")).or(counts.then_some("a count over all rows"))
}

#[test]
fn dify_is_read_by_column_and_its_runs_are_never_counted() {
    for (path, text) in sources(|path| path.starts_with("crates/dify/src")) {
        // A statement may go over lines.
        for piece in text.split(';') {
            let found = reads_too_much(piece);
            assert!(found.is_none(), "{} reads {}: {piece}", path.display(), found.unwrap_or_default());
        }
    }
    assert!(reads_too_much("SELECT * FROM apps").is_some());
    assert!(reads_too_much("SELECT count(*)\n FROM workflow_runs").is_some());
    assert!(reads_too_much("SELECT id FROM workflow_runs WHERE id = $1 LIMIT $2").is_none());
}

#[test]
fn only_server_reads_the_environment_prints_and_exits() {
    let words = ["std::env::var", "env::var_os", "process::exit", "println!", "eprintln!"];
    let product = |path: &Path| {
        let exempt = ["crates/server", "crates/testkit"].iter().any(|folder| path.starts_with(folder));
        path.starts_with("crates") && !exempt && !is_test(path)
    };
    for (path, text) in sources(product) {
        let shipped = text.split("#[cfg(test)]").next().unwrap_or_default();
        for word in words {
            assert!(!shipped.contains(word), "{} uses {word}", path.display());
        }
    }
}

#[test]
fn every_queue_has_a_bound() {
    for (path, text) in sources(|path| !path.starts_with("xtask/tests")) {
        assert!(!text.contains("unbounded_channel"), "{} has an unbounded queue", path.display());
        assert!(!text.contains("mpsc::channel()"), "{} has an unbounded queue", path.display());
    }
}

#[test]
fn the_map_of_architecture_md_names_every_crate_and_every_invariant_has_its_test() {
    let text = read("ARCHITECTURE.md");
    for (name, _) in ALLOWED {
        assert!(text.contains(&format!("{name}/")), "ARCHITECTURE.md does not place {name}/");
    }
    let tests = read("xtask/tests/invariants.rs");
    let invariants: Vec<&str> = text.lines().filter(|line| line.starts_with("*Invariant")).collect();
    assert!(invariants.len() >= 7, "ARCHITECTURE.md states the invariants");
    for line in invariants {
        let (_, test) = line.rsplit_once("Test: `").unwrap_or_else(|| panic!("names no test: {line}"));
        let test = test.trim_end_matches("`.").trim_end_matches('`');
        let elsewhere = || {
            sources(|path| path.starts_with("crates")).any(|(_, text)| text.contains(&format!("fn {test}(")))
        };
        assert!(tests.contains(&format!("fn {test}(")) || elsewhere(), "no test `{test}`: {line}");
    }
}

#[test]
fn markdown_links_lead_somewhere() {
    let mut pages =
        vec![PathBuf::from("README.md"), PathBuf::from("ARCHITECTURE.md"), PathBuf::from("CHANGELOG.md")];
    let docs = std::fs::read_dir(root().join("docs")).unwrap();
    pages.extend(docs.flatten().map(|entry| Path::new("docs").join(entry.file_name())));
    for page in pages.iter().filter(|page| page.extension().is_some_and(|extension| extension == "md")) {
        let text = read(page);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            let elsewhere = file.is_empty() || file.contains("://");
            let there = root().join(page).parent().unwrap().join(file).exists();
            assert!(elsewhere || there, "{} links to {target}", page.display());
        }
    }
}

fn our_edges(wanted: impl Fn(DependencyKind) -> bool) -> Vec<(String, BTreeSet<String>)> {
    let metadata = metadata();
    let ours = metadata.packages.iter().filter_map(|package| Some((our_name(&package.name)?, package)));
    ours.map(|(name, package)| {
        let uses = package.dependencies.iter().filter(|dependency| wanted(dependency.kind));
        (name.to_owned(), uses.filter_map(|used| our_name(&used.name).map(str::to_owned)).collect())
    })
    .collect()
}

fn our_name(package: &str) -> Option<&str> {
    package.strip_prefix("mainstay-")
}

fn metadata() -> Metadata {
    MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec().expect("cargo metadata")
}

fn is_test(path: &Path) -> bool {
    path.components()
        .any(|part| ["tests", "examples", "benches"].iter().any(|name| part.as_os_str() == *name))
}

fn sources(wanted: impl Fn(&Path) -> bool) -> impl Iterator<Item = (PathBuf, String)> {
    let mut found = Vec::new();
    for folder in ["crates", "xtask", "bench"] {
        collect(&root().join(folder), &mut found);
    }
    let relative = found.into_iter().map(|path| path.strip_prefix(root()).unwrap().to_path_buf());
    let wanted: Vec<PathBuf> = relative.filter(|path| wanted(path)).collect();
    wanted.into_iter().map(|path| {
        let text = read(&path);
        (path, text)
    })
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}
