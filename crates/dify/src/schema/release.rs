//! Which releases of Dify end at which revision of the schema. Facts, added to when a release was looked at.

/// A revision that was looked at.
#[derive(Debug, PartialEq, Eq)]
pub struct Release {
    /// As `alembic_version` has it.
    pub revision: &'static str,
    /// The release whose newest revision this is, or the line of releases that it lies in.
    pub name: &'static str,
    /// What it changed of what is read or written here.
    pub changed: &'static str,
}

pub const RELEASES: &[Release] = &[
    Release {
        revision: "788d3099ae3a",
        name: "1.12.1",
        changed: "every table was read from a running 1.12.1; nothing is missing",
    },
    Release {
        revision: "e8c3b3c46151",
        name: "1.13 (human input)",
        changed: "adds the tables of human input; runs may be `paused` for them",
    },
    Release {
        revision: "c3df22613c99",
        name: "1.13 (trial apps)",
        changed: "drops defaults of the tables of trial apps, which are not read",
    },
    Release {
        revision: "f55813ffe2c8",
        name: "1.13 (default models)",
        changed: "adds a constraint to tenant_default_models, which is not written",
    },
];

pub(super) fn find(revision: &str) -> Option<&'static Release> {
    RELEASES.iter().find(|release| release.revision == revision)
}
