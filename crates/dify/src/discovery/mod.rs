//! Finds the parts of a Dify from what its operator has anyway: the `.env` of docker compose, the compose file beside
//! it, the files under `envs/` (1.14 and later); or a file of `NAME=VALUE` made from a ConfigMap and a Secret.
//!
//! Promises: reads files and nothing else; every problem at once, told by name and never by a secret's value; for each
//! value it says where it came from; a part that it cannot see is named, with what then is not known.
//! Refuses to know: whether any of it answers.

mod broker;
mod compose;
mod database;
mod defaults;
pub mod dotenv;
mod environment;
mod files;
mod grants;
mod interpolate;
mod lookup;
mod place;
mod posture;
mod redis;
mod search;
mod services;
mod sizes;
mod storage;
mod vector;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use mainstay_base::{Finding, secret::Part};

use self::{environment::Environment, search::Search};
pub use self::{
    environment::Source,
    grants::{Grants, READER, REPAIRS, grants},
    lookup::lookup,
};
use crate::Deployment;

/// Where to look.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    pub env_file: &'a Path,
    /// The address under which ports that containers publish are reached; `None`: Mainstay is in the compose network.
    pub host: Option<&'a str>,
}

/// What was found, and what was not.
#[derive(Clone, Debug)]
pub struct Discovered {
    pub deployment: Deployment,
    /// Of each value, by its key in the configuration: `database.host`.
    pub origins: BTreeMap<String, Origin>,
    /// One row a part, for people.
    pub found: Vec<Found>,
    pub gaps: Vec<Gap>,
    /// What is wrong with the Dify itself, as far as its files tell.
    pub findings: Vec<Finding>,
    /// The tag of the API's image.
    pub version: Option<String>,
    /// The files that were read.
    pub files: Vec<PathBuf>,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The variable's name in Dify.
    pub variable: String,
    /// Which part of it, where it is an address with a password in it.
    pub part: Option<Part>,
    pub source: Source,
    /// What else to know: that a name resolves only inside the compose network, …
    pub note: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub part: &'static str,
    /// Without secrets.
    pub what: String,
    pub note: Option<String>,
}

/// What could not be found or cannot be used, and what is lost by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    pub part: &'static str,
    pub what: String,
    pub matters: String,
}

/// A Dify that cannot be used, with everything that is wrong at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} found", if problems.len() == 1 { "one problem".to_owned() } else { format!("{} problems", problems.len()) })]
pub struct Refused {
    /// Without values.
    pub problems: Vec<String>,
}

/// Reads the files and says where everything is.
pub fn discover(ask: &Ask<'_>) -> Result<Discovered, Refused> {
    let mut problems = Vec::new();
    let environment = Environment::read(ask.env_file, &mut problems);
    let mut search = Search::new(&environment, ask.host, problems);
    let mut deployment = Deployment::named("dify");
    if environment.is_empty() {
        search.gap(
            "settings",
            "the .env sets nothing",
            "all that follows is what Dify's own compose file gives; see that it is the right file",
        );
    }
    let version = services::version(&mut search);
    (deployment.database, deployment.plugin_database) = database::find(&mut search);
    deployment.redis = redis::find(&mut search);
    deployment.broker = broker::find(&mut search);
    deployment.vector = vector::find(&mut search);
    services::find(&mut search, &mut deployment);
    deployment.storage = storage::find(&mut search);
    deployment.sizes = sizes::find(&mut search, version.as_deref());
    posture::examine(&mut search, &deployment);
    let files = search.files();
    let Search { origins, found, gaps, findings, problems, .. } = search;
    if !problems.is_empty() {
        return Err(Refused { problems });
    }
    Ok(Discovered { deployment, origins, found, gaps, findings, version, files })
}
