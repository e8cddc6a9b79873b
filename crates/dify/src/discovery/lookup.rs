//! What a reference to a variable of a Dify refers to.

use std::path::Path;

use mainstay_base::{Secret, secret::Part};

use super::{
    broker,
    environment::{Environment, Source},
};

/// The value that a variable has in the Dify of this `.env`: with the files of `envs/`, the compose file and its
/// defaults, as [`discover`](super::discover) sees it. An error says no value.
pub fn lookup(env_file: &Path, name: &str, part: Option<Part>) -> Result<Secret, String> {
    let mut problems = Vec::new();
    let environment = Environment::read(env_file, &mut problems);
    // A default in place of what a broken line says would be another secret than Dify's.
    let is_whole = problems.is_empty();
    let said = environment.said(name).filter(|value| is_whole || value.source != Source::Default);
    let Some(value) = said else {
        let why = problems.into_iter().next();
        return Err(why.unwrap_or_else(|| format!("{name} is not set in {}", env_file.display())));
    };
    match part {
        None => Ok(Secret::new(value.text)),
        Some(Part::Password) => broker::password(&value.text)
            .map(Secret::new)
            .ok_or_else(|| format!("{name} in {} is no address with a password", env_file.display())),
    }
}
