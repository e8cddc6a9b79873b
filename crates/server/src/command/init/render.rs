//! The configuration that `mainstay init` writes: each value with where it came from, secrets as references.

use std::path::{Path, PathBuf};

use mainstay_base::secret::SecretRef;
use mainstay_dify::{
    deployment::{Database, Deployment, Login, Redis, RedisAt, Service, Storage, Tls, Vector},
    discovery::{Discovered, Origin, READER, REPAIRS, Source},
};
use toml::Value;

/// A file of configuration in the making.
struct Page<'a> {
    text: String,
    found: &'a Discovered,
    /// The table that lines go to, below `dify`: empty for `[dify]` itself.
    section: &'static str,
}

/// The text of the file.
pub(super) fn configuration(found: &Discovered) -> String {
    let Deployment {
        name,
        api_url,
        web_url,
        database,
        repairs: _,
        plugin_database,
        redis,
        broker,
        vector,
        plugin_daemon,
        sandbox,
        ssrf_proxy_url,
        storage,
        canary: _,
        sizes: _,
        pace: _,
        signatures: _,
    } = &found.deployment;
    let mut page = Page { text: intro(found), found, section: "" };
    page.upstream(api_url.as_deref());
    page.head("", "The Dify that is looked after. What is not written here is not looked at.");
    page.set("name", name.as_str());
    page.set_some("api_url", api_url.as_deref());
    page.set_some("web_url", web_url.as_deref());
    page.set_some("ssrf_proxy_url", ssrf_proxy_url.as_deref());
    page.database("database", "The main database: only read, by one connection.", database.as_ref());
    if database.is_some() {
        page.off(
            "user",
            READER,
            "Better: a role that can only read. `mainstay init` printed what to grant it.",
        );
        page.off("password", "env:MAINSTAY_READER_PASSWORD", "");
        page.off("write_user", REPAIRS, "For guarded repairs. Without it every repair is refused.");
        page.off("write_password", "env:MAINSTAY_REPAIRS_PASSWORD", "");
    }
    page.database("plugin_database", "The plugin daemon's database: only read.", plugin_database.as_ref());
    page.redis("redis", "The Redis of the app.", redis.as_ref());
    page.redis("broker", "The Redis of Celery: queues, workers, tasks.", broker.as_ref());
    page.vector(vector.as_ref());
    page.service("plugin_daemon", plugin_daemon.as_ref());
    page.service("sandbox", sandbox.as_ref());
    page.storage(storage.as_ref());
    page.canary();
    page.sizes();
    page.text
}

fn intro(found: &Discovered) -> String {
    let files: Vec<String> = found.files.iter().map(|file| format!("#   {}", file.display())).collect();
    let version = found.version.as_ref().map(|version| format!(" of a Dify {version}")).unwrap_or_default();
    format!(
        "# Configuration of Mainstay, written by `mainstay init` from these files{version}:\n{}\n\
         # Secrets are references to them: none was copied, and a changed one is read at the next reload or start. Behind each\n\
         # value stands the variable that it came from. `mainstay check` reads this file; `mainstay check --print-example`\n\
         # prints every key there is. docs/dify.md has the whole.\n",
        files.join("\n")
    )
}

impl Page<'_> {
    fn head(&mut self, section: &'static str, about: &str) {
        self.section = section;
        let path = if section.is_empty() { "dify".to_owned() } else { format!("dify.{section}") };
        self.text.push_str(&format!("\n# {about}\n[{path}]\n"));
    }

    /// In front of Dify too, when somebody wants it.
    fn upstream(&mut self, api_url: Option<&str>) {
        let Some(api_url) = api_url else { return };
        let api_url = Value::from(api_url);
        self.text.push_str(&format!(
            "\n# To stand in front of this Dify as well, so that every call is seen: take the # away and send clients to\n\
             # listeners.app.\n#[[upstream]]\n#name = \"dify\"\n#base_url = {api_url}\n#[app_path]\n#unknown_keys_to = \"dify\"\n"
        ));
    }

    fn key(&self, name: &str) -> String {
        if self.section.is_empty() { name.to_owned() } else { format!("{}.{name}", self.section) }
    }

    fn origin(&self, name: &str) -> Option<&Origin> {
        self.found.origins.get(&self.key(name))
    }

    fn set(&mut self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        let origin = self.origin(name).cloned();
        if let Some(note) = origin.as_ref().and_then(|origin| origin.note.as_ref()) {
            self.text.push_str(&format!("# {}\n", one_line(note)));
        }
        self.text.push_str(&format!("{name} = {value}"));
        if let Some(Origin { variable, source, .. }) = &origin {
            self.text.push_str(&format!("  # {variable}{}", told(source)));
        }
        self.text.push('\n');
    }

    fn set_some(&mut self, name: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    /// A key that is there to be switched on.
    fn off(&mut self, name: &str, value: &str, about: &str) {
        if !about.is_empty() {
            self.text.push_str(&format!("# {about}\n"));
        }
        self.text.push_str(&format!("#{name} = {}\n", Value::from(value)));
    }

    /// A reference to the secret, where there is one.
    fn secret(&mut self, name: &str) {
        let Some(Origin { variable, part, .. }) = self.origin(name) else { return };
        let path = self.found.files.first().map(|path| path.display().to_string()).unwrap_or_default();
        let reference = SecretRef::Dotenv { path, name: variable.clone(), part: *part };
        self.set(name, String::from(reference));
    }

    fn tls(&mut self, tls: Tls) {
        match tls {
            Tls::Off => {}
            Tls::Unchecked => self.set("tls", "unchecked"),
            Tls::Checked => self.set("tls", "checked"),
        }
    }

    fn database(&mut self, section: &'static str, about: &str, database: Option<&Database>) {
        let Some(Database { host, port, user, password, name, tls }) = database else { return };
        self.head(section, about);
        self.set("host", host.as_str());
        self.set("port", i64::from(*port));
        self.set("name", name.as_str());
        self.set("user", user.as_str());
        if password.is_some() {
            self.secret("password");
        }
        self.tls(*tls);
    }

    fn redis(&mut self, section: &'static str, about: &str, redis: Option<&Redis>) {
        let Some(Redis { at, user, password, database, tls, key_prefix }) = redis else { return };
        self.head(section, about);
        match at {
            RedisAt::Server { host, port } => {
                self.set("host", host.as_str());
                self.set("port", i64::from(*port));
            }
            RedisAt::Sentinel { sentinels, service, user, password } => {
                let shown = |(host, port): &(String, u16)| match host.contains(':') {
                    true => Value::from(format!("[{host}]:{port}")),
                    false => Value::from(format!("{host}:{port}")),
                };
                self.set("sentinels", sentinels.iter().map(shown).collect::<Vec<_>>());
                self.set("sentinel_service", service.as_str());
                self.set_some("sentinel_user", user.as_deref());
                if password.is_some() {
                    self.secret("sentinel_password");
                }
            }
        }
        self.set_some("user", user.as_deref());
        if password.is_some() {
            self.secret("password");
        }
        self.set("database", i64::from(*database));
        self.tls(*tls);
        if !key_prefix.is_empty() {
            self.set("key_prefix", key_prefix.as_str());
        }
    }

    fn vector(&mut self, vector: Option<&Vector>) {
        let Some(Vector { kind, url, api_key, login, database, index_prefix }) = vector else { return };
        self.head("vector", "The vector store.");
        self.set("kind", kind.as_str());
        self.set_some("url", url.as_deref());
        if api_key.is_some() {
            self.secret("api_key");
        }
        if let Some(Login { user, password }) = login {
            self.set("user", user.as_str());
            if password.is_some() {
                self.secret("password");
            }
        }
        if let Some(Database { host, port, user, password, name, tls }) = database {
            self.set("host", host.as_str());
            self.set("port", i64::from(*port));
            self.set("user", user.as_str());
            if password.is_some() {
                self.secret("password");
            }
            self.set("database", name.as_str());
            self.tls(*tls);
        }
        if !index_prefix.is_empty() {
            self.set("index_prefix", index_prefix.as_str());
        }
    }

    fn service(&mut self, section: &'static str, service: Option<&Service>) {
        let Some(Service { url, key }) = service else { return };
        let about = if section == "sandbox" {
            "What runs code nodes."
        } else {
            "What runs plugins, models among them."
        };
        self.head(section, about);
        self.set("url", url.as_str());
        if key.is_some() {
            self.secret("key");
        }
    }

    fn storage(&mut self, storage: Option<&Storage>) {
        let Some(storage) = storage else { return };
        self.head("storage", "Uploaded files, and the private key of each tenant.");
        match storage {
            Storage::Folder(folder) => self.set("folder", shown(folder)),
            Storage::Elsewhere(kind) => self.set("kind", kind.as_str()),
        }
    }

    fn canary(&mut self) {
        self.text.push_str(
            "\n# An app of this Dify whose run proves the whole way; make a small one and take the # away.\n#[dify.canary]\n\
             #key = \"env:DIFY_CANARY_KEY\"\n#inputs = { question = \"Are you there?\" }\n",
        );
    }

    fn sizes(&mut self) {
        let sizes = self.found.deployment.sizes.clone();
        self.head("sizes", "What the pool budget is made of.");
        for (name, size) in [
            ("api_workers", sizes.api_workers),
            ("api_connections", sizes.api_connections),
            ("pool_size", sizes.pool_size),
            ("max_overflow", sizes.max_overflow),
            ("celery_workers", sizes.celery_workers),
            ("plugin_daemon_pool", sizes.plugin_daemon_pool),
            ("postgres_max_connections", sizes.postgres_max_connections),
        ] {
            self.set_some(name, size.map(i64::from));
        }
        self.set_some("longest_run", sizes.longest_run_secs.map(|secs| format!("{secs}s")));
        self.set_some("pinned_queues", sizes.pinned_queues);
    }
}

/// Where it stands; the `.env` itself is understood.
fn told(source: &Source) -> String {
    let name =
        |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match source {
        Source::EnvFile => String::new(),
        Source::Overlay(path) | Source::Compose(path) => format!(", {}", one_line(&name(path))),
        Source::Default => ", not set: what Dify's compose file gives".to_owned(),
    }
}

fn shown(folder: &Path) -> String {
    PathBuf::from(folder).display().to_string()
}

/// A comment ends with its line.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
