//! The main database and the plugin daemon's.

use super::{Search, environment::Source};
use crate::deployment::{Database, Tls};

/// What Mainstay reads.
const POSTGRES: &str = "postgresql";
const MYSQL_FAMILY: [&str; 3] = ["mysql", "oceanbase", "seekdb"];

pub(super) fn find(search: &mut Search<'_>) -> (Option<Database>, Option<Database>) {
    let kind = search.environment.said("DB_TYPE").map(|value| value.text.trim().to_lowercase());
    let kind = kind.unwrap_or_else(|| POSTGRES.to_owned());
    if MYSQL_FAMILY.contains(&kind.as_str()) {
        search.problem(
            "DB_TYPE",
            format!(
                "is {kind}: Mainstay reads Dify's database in PostgreSQL only, and does not guess at one of the MySQL family"
            ),
        );
        return (None, None);
    }
    if kind != POSTGRES {
        search.problem("DB_TYPE", format!("is neither {POSTGRES} nor one of {}", MYSQL_FAMILY.join(", ")));
        return (None, None);
    }
    let main = one(search, "database", "DB_DATABASE");
    let plugin = one(search, "plugin_database", "DB_PLUGIN_DATABASE");
    if let Some(Database { host, port, user, name, tls, .. }) = &main {
        let what = format!("{user}@{host}:{port}/{name}, {}", shown(*tls));
        search.found("database", what, "database.host");
    }
    if let Some(Database { host, port, name, .. }) = &plugin {
        let what = format!("{host}:{port}/{name}");
        search.found("plugin database", what, "plugin_database.host");
    }
    (main, plugin)
}

fn one(search: &mut Search<'_>, section: &str, name: &str) -> Option<Database> {
    let key = |name: &str| format!("{section}.{name}");
    let host = search.text(&key("host"), "DB_HOST");
    let port = search.port(&key("port"), "DB_PORT");
    let user = search.text(&key("user"), "DB_USERNAME");
    let password = search.secret(&key("password"), "DB_PASSWORD");
    let name = search.text(&key("name"), name);
    let tls = tls(search, &key("tls"));
    let (host, port) = search.place(&key("host"), &host?, port?);
    Some(Database { host, port, user: user?, password, name: name?, tls })
}

/// `DB_EXTRAS` is a query string of libpq's options; the plugin daemon has `DB_SSL_MODE`.
fn tls(search: &mut Search<'_>, key: &str) -> Tls {
    let Some(extras) = search.environment.said("DB_EXTRAS").filter(|value| value.source != Source::Default)
    else {
        return Tls::Off;
    };
    let mode = extras.text.split('&').find_map(|option| option.trim().strip_prefix("sslmode="));
    let tls = match mode {
        Some("require" | "prefer" | "allow") => Tls::Unchecked,
        Some("verify-ca" | "verify-full") => Tls::Checked,
        _ => return Tls::Off,
    };
    search.came_from(key, "DB_EXTRAS", None);
    tls
}

pub(super) fn shown(tls: Tls) -> &'static str {
    match tls {
        Tls::Off => "not encrypted",
        Tls::Unchecked => "encrypted, certificate not checked",
        Tls::Checked => "encrypted, certificate checked",
    }
}
