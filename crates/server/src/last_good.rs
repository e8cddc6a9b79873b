//! What is kept on disk so that a start can do without the store, or without a good configuration: the last published
//! routes and the last accepted text.
//!
//! Promises: files are replaced whole or not at all, readable by their owner only, and hold no secret: keys of apps
//! are hashes, secrets in a configuration are references. A file that cannot be written is counted, never fatal.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use mainstay_base::{AppMode, Micros, id::KeyHash, snapshot::Failover};
use mainstay_store::model::App;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::{config::StorePlace, instance, routes::Published, wiring};

/// Ten thousand apps need a few megabytes; a larger file is not ours.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// Where the files of one instance are.
#[derive(Clone, Debug)]
pub(crate) struct StateFiles {
    published: PathBuf,
    config: PathBuf,
    /// Tells the files of two stores apart when they share a folder.
    store: String,
    failures: Arc<AtomicU64>,
    /// The generation of the configuration that was kept last. Held while a file is written: two writers of one draft
    /// would leave a mixture of both.
    turn: Arc<Mutex<u64>>,
}

impl StateFiles {
    /// In `store.state_dir`, else next to the SQLite file, else in the user's state folder. `None`: nowhere.
    pub(crate) fn of(place: &StorePlace) -> Option<StateFiles> {
        let beside = place.url.sqlite_path();
        let (folder, prefix) = match (&place.state_dir, beside.map(Path::new)) {
            (Some(folder), _) => (folder.clone(), String::new()),
            (None, Some(file)) => {
                let name = file.file_name()?.to_string_lossy().into_owned();
                (file.parent().unwrap_or(Path::new("")).to_owned(), format!("{name}."))
            }
            (None, None) => (instance::path()?.parent()?.to_owned(), String::new()),
        };
        Some(StateFiles {
            published: folder.join(format!("{prefix}published.json")),
            config: folder.join(format!("{prefix}last-good.toml")),
            store: store_name(place.url.expose()),
            failures: Arc::default(),
            turn: Arc::default(),
        })
    }

    pub(crate) fn config_path(&self) -> &Path {
        &self.config
    }

    /// How many writes have failed since the start.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    pub(crate) fn keep_published(&self, published: &Published, at: Micros) {
        let kept = Kept::of(published, &self.store, at);
        let text = serde_json::to_vec(&kept).map_err(io::Error::other);
        let _turn = self.turn.lock();
        self.count(&self.published, text.and_then(|text| replace(&self.published, &text)));
    }

    /// What was published last, and when; `None` when nothing (of this store) was kept.
    pub(crate) fn published(&self) -> Option<(Published, Micros)> {
        let kept: Kept = serde_json::from_str(&read(&self.published)?).ok()?;
        (kept.store == self.store).then(|| kept.into_published())
    }

    /// An older configuration that comes late is left out.
    pub(crate) fn keep_config(&self, text: &str, generation: u64) {
        let mut newest = self.turn.lock();
        if generation < *newest {
            return;
        }
        *newest = generation;
        self.count(&self.config, replace(&self.config, text.as_bytes()));
    }

    pub(crate) fn config(&self) -> Option<String> {
        read(&self.config)
    }

    fn count(&self, path: &Path, outcome: io::Result<()>) {
        if let Err(error) = outcome {
            self.failures.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                %error,
                "cannot write {}: a start without the store, or with --last-good, would find an older state",
                path.display()
            );
        }
    }
}

/// Two stores are told apart without their addresses being written down.
fn store_name(url: &str) -> String {
    let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
    let address = rest.rsplit_once('@').map_or(rest, |(_, address)| address);
    blake3::hash(format!("{scheme}:{address}").as_bytes()).to_hex()[..16].to_owned()
}

/// [`Published`] as it is written.
#[derive(Serialize, Deserialize)]
struct Kept {
    store: String,
    at: Micros,
    apps: Vec<KeptApp>,
    /// Hash of the key, and the app's id.
    keys: Vec<(String, String)>,
    drained: Vec<String>,
    failovers: Vec<Failover>,
}

#[derive(Serialize, Deserialize)]
struct KeptApp {
    id: String,
    name: String,
    mode: AppMode,
}

impl Kept {
    fn of(published: &Published, store: &str, at: Micros) -> Kept {
        // After a start no key rests.
        let Published { apps, keys, drained, failovers, woken: _ } = published;
        let app = |app: &App| KeptApp { id: app.id.clone(), name: app.name.clone(), mode: app.mode };
        Kept {
            store: store.to_owned(),
            at,
            apps: apps.iter().map(app).collect(),
            keys: keys.iter().map(|(hash, app)| (hash.to_hex(), app.clone())).collect(),
            drained: drained.clone(),
            failovers: failovers.clone(),
        }
    }

    /// Routes need id, name and mode of an app only; the rest comes with the store.
    fn into_published(self) -> (Published, Micros) {
        let Kept { store: _, at, apps, keys, drained, failovers } = self;
        let app = |KeptApp { id, name, mode }: KeptApp| App {
            id,
            name,
            mode,
            description: String::new(),
            icon: String::new(),
            icon_background: String::new(),
            version_id: String::new(),
            version_number: 0,
            created_at: at,
            updated_at: at,
        };
        let keys = keys.into_iter().filter_map(|(hex, app)| Some((KeyHash::from_hex(&hex)?, app))).collect();
        let apps = apps.into_iter().map(app).collect();
        (Published { apps, keys, drained, failovers, woken: Vec::new() }, at)
    }
}

fn read(path: &Path) -> Option<String> {
    if fs::metadata(path).ok()?.len() > MAX_FILE_BYTES {
        return None;
    }
    fs::read_to_string(path).ok()
}

/// Writes beside the file and renames over it, so that a crash or a full disk leaves the old one.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    let mut draft = path.as_os_str().to_owned();
    // In two containers that share a folder both may be process 1.
    draft.push(format!(".{}.tmp", wiring::instance().replace(['/', ':'], "-")));
    let draft = PathBuf::from(draft);
    let written = write(&draft, bytes).and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A draft that a dead process left behind may have other rights.
    let _ = fs::remove_file(path);
    write_new(path, bytes)
}

/// Writes a file that is not there, for its owner only.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file: File = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use mainstay_base::id;

    use super::*;
    use crate::config::StoreUrl;

    fn place(folder: &Path, url: &str) -> StorePlace {
        StorePlace { url: StoreUrl::new(url), state_dir: Some(folder.to_owned()) }
    }

    fn published() -> Published {
        let app = App {
            id: id::new(),
            name: "support".to_owned(),
            mode: AppMode::Chat,
            description: "about".to_owned(),
            icon: String::new(),
            icon_background: String::new(),
            version_id: id::new(),
            version_number: 3,
            created_at: Micros(1),
            updated_at: Micros(2),
        };
        Published {
            keys: vec![(KeyHash::of("app-secret-key"), app.id.clone())],
            apps: vec![app],
            drained: vec!["openai".to_owned()],
            failovers: vec![Failover { from: "a".to_owned(), to: "b".to_owned() }],
            woken: Vec::new(),
        }
    }

    #[test]
    fn what_was_published_comes_back_privately_and_without_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let files = StateFiles::of(&place(&folder.path().join("new"), "postgres://u:p@h/d")).unwrap();
        assert!(files.published().is_none());
        files.keep_published(&published(), Micros(7));
        let (back, at) = files.published().unwrap();
        assert_eq!((back.keys, at), (published_keys(&back.apps[0].id), Micros(7)));
        assert_eq!((back.apps[0].name.as_str(), back.apps[0].mode), ("support", AppMode::Chat));
        assert_eq!((back.drained.len(), back.failovers.len()), (1, 1));
        assert_eq!(fs::metadata(&files.published).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&files.published).unwrap();
        assert!(!text.contains("app-secret-key") && !text.contains("u:p@h"), "{text}");
        assert_eq!(files.failures(), 0);
    }

    fn published_keys(app: &str) -> Vec<(KeyHash, String)> {
        vec![(KeyHash::of("app-secret-key"), app.to_owned())]
    }

    #[test]
    fn the_state_of_another_store_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        StateFiles::of(&place(folder.path(), "postgres://u:p@one/d"))
            .unwrap()
            .keep_published(&published(), Micros(1));
        assert!(StateFiles::of(&place(folder.path(), "postgres://u:p@two/d")).unwrap().published().is_none());
        let rotated = StateFiles::of(&place(folder.path(), "postgres://u:other@one/d")).unwrap();
        assert!(rotated.published().is_some(), "a new password is not a new store");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_counted_and_the_old_one_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let files = StateFiles::of(&place(&file, "sqlite:a.db")).unwrap();
        files.keep_config("x = 1", 1);
        files.keep_published(&published(), Micros(1));
        assert_eq!((files.failures(), files.config()), (2, None));
    }

    // Reloads write aside: without an order the last file of a storm held an older configuration, or half of one.
    #[test]
    fn of_many_writers_at_once_the_newest_configuration_is_kept_whole() {
        let folder = tempfile::tempdir().unwrap();
        let files = StateFiles::of(&place(folder.path(), "sqlite:a.db")).unwrap();
        let text = |generation: u64| format!("# {}\n{generation}", "x".repeat(200_000));
        std::thread::scope(|scope| {
            for generation in 1..=16 {
                let (files, text) = (files.clone(), text(generation));
                scope.spawn(move || files.keep_config(&text, generation));
            }
        });
        assert_eq!((files.config().unwrap() == text(16), files.failures()), (true, 0));
        let left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["last-good.toml"]);
    }

    #[test]
    fn files_lie_beside_the_sqlite_file_unless_a_folder_is_given() {
        let beside =
            StateFiles::of(&StorePlace { url: StoreUrl::new("sqlite:/data/m.db"), state_dir: None }).unwrap();
        assert_eq!(beside.config_path(), Path::new("/data/m.db.last-good.toml"));
        let given = StateFiles::of(&place(Path::new("/state"), "sqlite:/data/m.db")).unwrap();
        assert_eq!(given.config_path(), Path::new("/state/last-good.toml"));
    }
}
