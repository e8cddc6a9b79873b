//! The demo's configuration of the model path: a file as anybody would write it, kept in the data folder, so that what
//! an operator does with such a file (check it, try a changed one on recorded calls) can be done with this one.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::sample::Keys;
use crate::{
    config::{self, Config, Follow},
    failure::{Failure, chain},
    instance::write_private,
};

const TEMPLATE: &str = include_str!("mainstay.toml");
const FILE: &str = "mainstay.toml";
/// What callers of the model listener may ask for.
pub(super) const MODELS: [&str; 3] = ["demo-chat", "demo-fast", "demo-embed"];

/// Who is on call, and who is asked when nobody acknowledges.
pub(super) const FIRST: &str = "ana";
pub(super) const SECOND: &str = "ben";

/// Writes the file, for providers at these addresses, and the keys that it refers to.
pub(super) fn write(urls: &[String; 3], pagers: &str, folder: &Path, keys: &Keys) -> anyhow::Result<PathBuf> {
    let folder = std::path::absolute(folder).context("the data folder has no absolute path")?;
    let provider_keys = ["primary-first", "primary-second", "reserve", "vectors"];
    let all = provider_keys.map(|name| (name, format!("sk-demo-{name}")));
    for (name, key) in all.iter().map(|(name, key)| (*name, key)).chain([("demo", &keys.model)]) {
        let path = folder.join(format!("{name}.key"));
        write_private(&path, key.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let path = folder.join(FILE);
    write_private(&path, text(urls, pagers, &folder).as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn text(urls: &[String; 3], pagers: &str, folder: &Path) -> String {
    let [primary, reserve, vectors] = urls;
    TEMPLATE
        .replace("{primary}", primary)
        .replace("{reserve}", reserve)
        .replace("{vectors}", vectors)
        .replace("{pagers}", pagers)
        .replace("{folder}", &escaped(folder))
}

/// As it stands inside a basic string of TOML.
fn escaped(folder: &Path) -> String {
    folder.display().to_string().replace('\\', "\\\\").replace('"', "\\\"")
}

/// What the file says for providers at these addresses, without the environment over it: a demo is the same everywhere.
pub(super) fn parse(urls: &[String; 3], pagers: &str, path: &Path) -> Result<Config, Failure> {
    let broken = |cause: String| Failure::problem("the demo is misconfigured", cause, "please report it");
    let text = text(urls, pagers, path.parent().unwrap_or(path));
    config::parse(&path.display().to_string(), &text, &[], Follow::Yes).map_err(|error| match error {
        config::LoadError::Problems(problems) => {
            let lines = problems.iter().map(|problem| format!("{}: {}", problem.path, problem.message));
            broken(lines.collect::<Vec<_>>().join("; "))
        }
        other => broken(chain(&other)),
    })
}

#[cfg(test)]
mod tests {
    use mainstay_base::snapshot::Dialect;

    use super::*;

    const PAGERS: &str = "http://127.0.0.1:12/pager";

    #[test]
    fn the_demo_shows_two_dialects_two_keys_prices_and_embeddings_wherever_its_folder_is() {
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("a \"quoted\" back\\slash");
        std::fs::create_dir(&odd).unwrap();
        let keys = Keys::of(&odd).unwrap();
        let urls = [9, 10, 11].map(|port| format!("http://127.0.0.1:{port}"));
        let path = write(&urls, PAGERS, &odd, &keys).unwrap();
        let config = parse(&urls, PAGERS, &path).unwrap();
        let written = std::fs::read_to_string(path).unwrap();
        assert!(urls.iter().all(|url| written.contains(url)), "{written}");
        assert_eq!(config.warnings.len(), 0, "{:?}", config.warnings);
        let named = |name: &str| config.providers.iter().find(|one| one.name == name).unwrap();
        assert_eq!((named("primary").keys.len(), &named("primary").dialect), (2, &Dialect::OpenAi));
        assert_eq!(named("reserve").dialect, Dialect::Anthropic);
        for name in MODELS {
            let route = config.model.routes.iter().find(|route| route.name == name).unwrap();
            assert_eq!(route.targets.len(), 2, "somebody else is left for {name}");
            assert!(route.targets.iter().all(|target| target.price.is_some()), "{name} has prices");
        }
        assert_eq!(config.model.keys[0].key.expose(), keys.model);
    }
}
