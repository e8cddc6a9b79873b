//! Where Dify keeps files and the private key of each tenant.

use std::path::{Path, PathBuf};

use super::Search;
use crate::deployment::Storage;

const PART: &str = "storage";
const KEY: &str = "storage.folder";
/// Where the API's image runs, which paths of its environment are relative to.
const WORKDIR: &str = "/app/api";
const MATTERS: &str =
    "that files can be written and read again, and that every tenant's private key is there, is not probed";

pub(super) fn find(search: &mut Search<'_>) -> Option<Storage> {
    let kind = search.text("storage.kind", "STORAGE_TYPE")?.to_lowercase();
    let scheme = search.environment.said("OPENDAL_SCHEME").map_or_else(String::new, |value| value.text);
    let root = match kind.as_str() {
        "opendal" if scheme == "fs" => "OPENDAL_FS_ROOT",
        "local" => "STORAGE_LOCAL_PATH",
        _ => {
            let named = if kind == "opendal" { format!("opendal {scheme}") } else { kind };
            search.gap(PART, format!("STORAGE_TYPE is {named}, which Mainstay does not open"), MATTERS);
            search.found(PART, named.clone(), "storage.kind");
            return Some(Storage::Elsewhere(named));
        }
    };
    let inside = PathBuf::from(WORKDIR).join(search.text(KEY, root)?);
    match outside(search, &inside) {
        Ok(folder) => {
            if !folder.is_dir() {
                search.note(KEY, "not there on this machine: true where Mainstay runs elsewhere");
            }
            search.found(PART, folder.display().to_string(), KEY);
            Some(Storage::Folder(folder))
        }
        Err(why) => {
            search.gap(PART, why, MATTERS);
            search.origins.remove(KEY);
            search.found(PART, format!("{} inside the API's container", inside.display()), "storage.kind");
            Some(Storage::Elsewhere(kind))
        }
    }
}

/// The folder of this machine that the API's container has at `inside`.
fn outside(search: &Search<'_>, inside: &Path) -> Result<PathBuf, String> {
    let folder = search.environment.folder();
    let Some(compose) = &search.environment.compose else {
        // As Dify's own compose file mounts it; without one the path may as well be that of a Dify started by hand.
        let usual = folder.join("volumes/app").join(inside.strip_prefix(WORKDIR).unwrap_or(inside));
        return match usual.is_dir() {
            true => Ok(usual),
            false => Err(format!(
                "where {} is on this machine is not known without a compose file",
                inside.display()
            )),
        };
    };
    let volumes = compose.services.get("api").map_or(&[][..], |api| api.volumes.as_slice());
    let mounted = volumes.iter().filter(|volume| inside.starts_with(&volume.target));
    let Some(volume) = mounted.max_by_key(|volume| volume.target.len()) else {
        return Err(format!("no volume of the API's container holds {}", inside.display()));
    };
    let is_path = volume.source.starts_with(['.', '/', '~']);
    if !is_path {
        return Err(format!("{} is in the volume {}, which is no folder", inside.display(), volume.source));
    }
    let below = inside.strip_prefix(&volume.target).unwrap_or(Path::new(""));
    let source = folder.join(volume.source.trim_start_matches("./")).join(below);
    Ok(source.components().collect())
}
