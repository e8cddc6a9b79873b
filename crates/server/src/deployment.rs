//! Which Dify a command is about: that of the configuration, or that of an `.env` alone.

use std::path::{Path, PathBuf};

use mainstay_dify::{
    Deployment,
    celery::act::word,
    discovery::{Ask, Discovered, Gap, discover},
    signature::Catalogue,
};

use crate::{
    cli,
    command::check,
    config::{self, Follow},
    failure::Failure,
};

/// The Dify that a command is asked about, with every secret resolved.
pub(crate) fn deployment(asked: &cli::Dify) -> Result<Deployment, Failure> {
    if let Some(env_file) = &asked.dify_env {
        return Ok(discovered(env_file, asked.host.as_deref())?.deployment);
    }
    let path = asked.config.as_deref().unwrap_or(Path::new(config::DEFAULT_PATH));
    let config = config::load(path, Follow::Yes)
        .map_err(|error| check::failure(&path.display().to_string(), &error))?;
    config.dify.ok_or_else(|| {
        Failure::usage(
            format!("{} names no Dify", path.display()),
            "it has no [dify] section",
            "give --dify-env docker/.env, or write the section with mainstay init --dify-env docker/.env",
        )
    })
}

/// What the files of a Dify tell.
pub(crate) fn discovered(env_file: &Path, host: Option<&str>) -> Result<Discovered, Failure> {
    // Whoever names Dify's folder means the file in it.
    let env_file = if env_file.is_dir() { env_file.join(".env") } else { env_file.to_owned() };
    // References are written with it, and have to hold wherever they are read from.
    let env_file = std::path::absolute(&env_file).unwrap_or(env_file);
    discover(&Ask { env_file: &env_file, host }).map_err(|refused| {
        let lines: Vec<String> = refused.problems.iter().map(|problem| format!("    {problem}")).collect();
        Failure::usage(
            format!("cannot use {}", env_file.display()),
            format!("{refused}\n{}", lines.join("\n")),
            "docs/dify.md says what is read and how",
        )
    })
}

/// Why a part of a Dify is not looked at, by its files.
pub(crate) fn gap(asked: &cli::Dify, part: &str) -> Option<Gap> {
    let found = discovered(asked.dify_env.as_ref()?, asked.host.as_deref()).ok()?;
    found.gaps.into_iter().find(|gap| gap.part == part)
}

/// The flags that lead a command to the same Dify again.
pub(crate) fn flags(asked: &cli::Dify) -> String {
    let cli::Dify { config, dify_env, host } = asked;
    let path = |flag, path: &Option<PathBuf>| Some((flag, path.as_ref()?.display().to_string()));
    let flags = [path("config", config), path("dify-env", dify_env), host.clone().map(|host| ("host", host))];
    flags.into_iter().flatten().map(|(flag, value)| format!(" --{flag} {}", word(&value))).collect()
}

/// A sentence whose commands lead to the same Dify again: flags stand before `--yes`.
pub(crate) fn with_flags(sentence: &str, flags: &str) -> String {
    match sentence.contains("mainstay queue act") {
        true => sentence.replace(" --yes", &format!("{flags} --yes")),
        false => sentence.to_owned(),
    }
}

/// What errors mean: the rows built in, under those of the operators' own file.
pub(crate) fn catalogue(deployment: &Deployment) -> Result<Catalogue, Failure> {
    let Some(path) = &deployment.signatures else { return Ok(Catalogue::built_in().clone()) };
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string());
    text.and_then(|text| Catalogue::with(&text).map_err(|error| error.to_string())).map_err(|cause| {
        Failure::usage(
            format!("cannot use {}", path.display()),
            cause,
            "docs/signatures.md says how rows are written",
        )
    })
}

/// The texts of the dotenv files that a deployment's secrets are in; what cannot be read is left out.
pub(crate) fn dotenv_texts(asked: &cli::Dify) -> Vec<String> {
    let files = match &asked.dify_env {
        Some(env_file) => discovered(env_file, None).map(|found| found.files).unwrap_or_default(),
        None => {
            let path = asked.config.as_deref().unwrap_or(Path::new(config::DEFAULT_PATH));
            referred_to(path, &std::fs::read_to_string(path).unwrap_or_default())
        }
    };
    files.iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect()
}

/// The files of `dotenv:PATH#NAME` in a configuration; a relative path is relative to it.
fn referred_to(configuration: &Path, text: &str) -> Vec<PathBuf> {
    let folder = configuration.parent().unwrap_or(Path::new(""));
    let references = text.split("dotenv:").skip(1).filter_map(|rest| rest.split_once('#'));
    let mut files: Vec<PathBuf> = references.map(|(path, _)| folder.join(path)).collect();
    files.sort();
    files.dedup();
    files
}
