//! The instance file: how commands on this machine find the running instance and its token.

use std::{
    fs,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::env;

/// The file holds two addresses and a token.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// What a running `serve` or `demo` tells the commands of its own user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Instance {
    pub(crate) pid: i32,
    pub(crate) version: String,
    pub(crate) admin: String,
    pub(crate) app: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) token: String,
}

/// What is known about an instance on this machine.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Running(Instance),
    /// A file was left behind by a process that is gone.
    Stale {
        pid: i32,
    },
    Nothing,
}

/// `$XDG_STATE_HOME/mainstay/instance.json`, else under `~/.local/state`. `None` without a home.
pub(crate) fn path() -> Option<PathBuf> {
    let state = env::var("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| Some(PathBuf::from(env::var("HOME")?).join(".local/state")))?;
    Some(state.join("mainstay/instance.json"))
}

pub(crate) fn find(path: &Path) -> Found {
    let Some(instance) = read(path) else { return Found::Nothing };
    match is_running(instance.pid) {
        true => Found::Running(instance),
        false => Found::Stale { pid: instance.pid },
    }
}

fn read(path: &Path) -> Option<Instance> {
    if fs::metadata(path).ok()?.len() > MAX_FILE_BYTES {
        return None;
    }
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Whether a process with this id is there, ours or not.
fn is_running(pid: i32) -> bool {
    let Some(pid) = rustix::process::Pid::from_raw(pid) else { return false };
    match rustix::process::test_kill_process(pid) {
        Ok(()) => true,
        Err(error) => error == rustix::io::Errno::PERM,
    }
}

/// Removes the file when the process ends, unless another instance has taken it over meanwhile.
#[derive(Debug)]
pub(crate) struct Published {
    path: PathBuf,
    pid: i32,
}

impl Drop for Published {
    fn drop(&mut self) {
        if read(&self.path).is_some_and(|instance| instance.pid == self.pid) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Writes the file whole or not at all, readable by its owner only.
pub(crate) fn publish(path: &Path, instance: &Instance) -> std::io::Result<Published> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let draft = path.with_extension(format!("{}.tmp", instance.pid));
    write_private(&draft, serde_json::to_string_pretty(instance)?.as_bytes())?;
    fs::rename(&draft, path)?;
    Ok(Published { path: path.to_owned(), pid: instance.pid })
}

/// A file with mode 0600, whatever the umask and whatever was there.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(pid: i32) -> Instance {
        Instance {
            pid,
            version: "0.1.0".to_owned(),
            admin: "http://127.0.0.1:1".to_owned(),
            app: None,
            model: None,
            token: "t".to_owned(),
        }
    }

    #[test]
    fn the_file_is_private_and_goes_with_its_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/mainstay/instance.json");
        assert_eq!(find(&path), Found::Nothing);
        let mine = instance(i32::try_from(std::process::id()).unwrap());
        let published = publish(&path, &mine).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(find(&path), Found::Running(mine));
        drop(published);
        assert_eq!(find(&path), Found::Nothing);
    }

    #[test]
    fn a_file_of_a_dead_process_is_stale_and_a_newer_one_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("instance.json");
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let gone = i32::try_from(child.id()).unwrap();
        child.wait().unwrap();
        let published = publish(&path, &instance(gone)).unwrap();
        assert_eq!(find(&path), Found::Stale { pid: gone });
        let mine = instance(i32::try_from(std::process::id()).unwrap());
        let newer = publish(&path, &mine).unwrap();
        drop(published);
        assert_eq!(find(&path), Found::Running(mine));
        drop(newer);
    }

    #[test]
    fn rubbish_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("instance.json");
        fs::write(&path, "{").unwrap();
        assert_eq!(find(&path), Found::Nothing);
    }
}
