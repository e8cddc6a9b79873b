//! Apps of the embedded engine, their versions and keys.

use mainstay_base::{
    AppMode, Micros,
    id::{self, KeyHash},
};

use crate::{
    StoreError,
    db::{Db, Filter, Row, Tx, values},
    model::{App, Imported, NewApp, NewKey, Version, VersionInfo},
};

const APP: &str =
    "id, name, mode, description, icon, icon_background, version_id, version_number, created_at, updated_at";

pub struct Apps {
    pub(crate) db: Db,
}

impl Apps {
    /// All apps or none: one transaction, one new generation.
    pub async fn import(&self, apps: Vec<(NewApp, Option<NewKey>)>) -> Result<Vec<Imported>, StoreError> {
        self.db
            .write(move |tx| {
                // Taken first, so that two imports cannot both make the same app.
                next_generation(tx)?;
                apps.iter().map(|(app, key)| import(tx, app, key.as_ref())).collect()
            })
            .await
    }

    /// By name.
    pub async fn list(&self) -> Result<Vec<App>, StoreError> {
        let sql = format!("SELECT {APP} FROM apps ORDER BY name, mode");
        self.db.read(move |tx| tx.query(&sql, values![])?.iter_mut().map(app).collect()).await
    }

    pub async fn get(&self, id: &str) -> Result<Option<App>, StoreError> {
        let id = id.to_owned();
        let sql = format!("SELECT {APP} FROM apps WHERE id = $1");
        self.db.read(move |tx| tx.one(&sql, values![&id])?.as_mut().map(app).transpose()).await
    }

    pub async fn get_by_name(&self, name: &str, mode: Option<AppMode>) -> Result<Option<App>, StoreError> {
        let name = name.to_owned();
        self.db
            .read(move |tx| {
                let mut filter = Filter::new();
                filter.and("name = ?", Some(&name));
                filter.and("mode = ?", mode.map(AppMode::as_str));
                let sql = format!("SELECT {APP} FROM apps WHERE {} ORDER BY mode", filter.sql());
                tx.one(&sql, filter.values())?.as_mut().map(app).transpose()
            })
            .await
    }

    pub async fn version(&self, id: &str) -> Result<Option<Version>, StoreError> {
        const SQL: &str = "SELECT id, app_id, number, dsl_text, created_at FROM app_versions WHERE id = $1";
        let id = id.to_owned();
        self.db.read(move |tx| tx.one(SQL, values![&id])?.as_mut().map(version).transpose()).await
    }

    /// Newest first.
    pub async fn versions(&self, app_id: &str) -> Result<Vec<VersionInfo>, StoreError> {
        const SQL: &str = "SELECT id, app_id, number, created_at FROM app_versions WHERE app_id = $1 \
             ORDER BY number DESC";
        let app_id = app_id.to_owned();
        let read = |mut row: Row| {
            Ok(VersionInfo {
                id: row.text()?,
                app_id: row.text()?,
                number: row.int()?,
                created_at: row.micros()?,
            })
        };
        self.db.read(move |tx| tx.query(SQL, values![&app_id])?.into_iter().map(read).collect()).await
    }

    /// Every key's hash with its app.
    pub async fn keys(&self) -> Result<Vec<(KeyHash, String)>, StoreError> {
        let read = |mut row: Row| Ok((row.word("key hash", KeyHash::from_hex)?, row.text()?));
        self.db
            .read(move |tx| {
                tx.query("SELECT hash, app_id FROM app_keys", values![])?.into_iter().map(read).collect()
            })
            .await
    }

    /// False when there is no such app. A key that another app had moves to this one.
    pub async fn add_key(&self, app_id: &str, key: NewKey) -> Result<bool, StoreError> {
        let app_id = app_id.to_owned();
        self.db
            .write(move |tx| {
                if tx.one("SELECT 1 FROM apps WHERE id = $1", values![&app_id])?.is_none() {
                    return Ok(false);
                }
                next_generation(tx)?;
                put_key(tx, &app_id, &key)?;
                Ok(true)
            })
            .await
    }

    pub async fn remove_key(&self, hash: KeyHash) -> Result<bool, StoreError> {
        let hash = hash.to_hex();
        self.db
            .write(move |tx| {
                let removed = tx.execute("DELETE FROM app_keys WHERE hash = $1", values![&hash])? > 0;
                if removed {
                    next_generation(tx)?;
                }
                Ok(removed)
            })
            .await
    }

    /// Changes whenever apps or keys change; cheap to poll.
    pub async fn generation(&self) -> Result<i64, StoreError> {
        self.db
            .read(|tx| {
                let row = tx.one("SELECT number FROM meta WHERE name = 'apps'", values![])?;
                row.map_or(Ok(0), |mut row| row.int())
            })
            .await
    }
}

fn next_generation(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    tx.execute("UPDATE meta SET number = number + 1 WHERE name = 'apps'", values![]).map(drop)
}

fn import(tx: &mut Tx<'_>, new: &NewApp, key: Option<&NewKey>) -> Result<Imported, StoreError> {
    let NewApp { name, mode, description, icon, icon_background, dsl_text } = new;
    let now = tx.now();
    let known = tx.one(
        "SELECT id, version_number, created_at FROM apps WHERE name = $1 AND mode = $2",
        values![name, mode.as_str()],
    )?;
    let (id, number, created_at, is_new_app) = match known {
        Some(mut row) => (row.text()?, row.int()? + 1, row.micros()?, false),
        None => (id::new(), 1, now, true),
    };
    let app = App {
        id,
        name: name.clone(),
        mode: *mode,
        description: description.clone(),
        icon: icon.clone(),
        icon_background: icon_background.clone(),
        version_id: id::new(),
        version_number: number,
        created_at,
        updated_at: now,
    };
    put_app(tx, &app)?;
    let version = put_version(tx, &app, dsl_text, now)?;
    if let Some(key) = key {
        put_key(tx, &app.id, key)?;
    }
    Ok(Imported { app, version, is_new_app })
}

fn put_app(tx: &mut Tx<'_>, app: &App) -> Result<(), StoreError> {
    const SQL: &str = "INSERT INTO apps (id, name, mode, description, icon, icon_background, version_id, \
         version_number, created_at, updated_at) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10) \
         ON CONFLICT (id) DO UPDATE SET description = excluded.description, icon = excluded.icon, \
         icon_background = excluded.icon_background, version_id = excluded.version_id, \
         version_number = excluded.version_number, updated_at = excluded.updated_at";
    let values = values![
        &app.id,
        &app.name,
        app.mode.as_str(),
        &app.description,
        &app.icon,
        &app.icon_background,
        &app.version_id,
        app.version_number,
        app.created_at,
        app.updated_at
    ];
    tx.execute(SQL, values).map(drop)
}

fn put_version(tx: &mut Tx<'_>, app: &App, dsl_text: &str, now: Micros) -> Result<Version, StoreError> {
    const SQL: &str =
        "INSERT INTO app_versions (id, app_id, number, dsl_text, created_at) VALUES ($1,$2,$3,$4,$5)";
    tx.execute(SQL, values![&app.version_id, &app.id, app.version_number, dsl_text, now])?;
    Ok(Version {
        id: app.version_id.clone(),
        app_id: app.id.clone(),
        number: app.version_number,
        dsl_text: dsl_text.to_owned(),
        created_at: now,
    })
}

fn put_key(tx: &mut Tx<'_>, app_id: &str, key: &NewKey) -> Result<(), StoreError> {
    const SQL: &str = "INSERT INTO app_keys (hash, app_id, prefix, created_at) VALUES ($1,$2,$3,$4) \
         ON CONFLICT (hash) DO UPDATE SET app_id = excluded.app_id, prefix = excluded.prefix";
    let hash = key.hash.to_hex();
    tx.execute(SQL, values![&hash, app_id, &key.prefix, tx.now()]).map(drop)
}

fn app(row: &mut Row) -> Result<App, StoreError> {
    Ok(App {
        id: row.text()?,
        name: row.text()?,
        mode: row.word("mode", AppMode::parse)?,
        description: row.text()?,
        icon: row.text()?,
        icon_background: row.text()?,
        version_id: row.text()?,
        version_number: row.int()?,
        created_at: row.micros()?,
        updated_at: row.micros()?,
    })
}

fn version(row: &mut Row) -> Result<Version, StoreError> {
    Ok(Version {
        id: row.text()?,
        app_id: row.text()?,
        number: row.int()?,
        dsl_text: row.text()?,
        created_at: row.micros()?,
    })
}
