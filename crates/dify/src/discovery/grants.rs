//! The least rights with which Mainstay works, as SQL that an operator runs once.

use crate::{deployment::Database, schema};

/// What is read in the main database besides what the schema's capabilities need.
const ALSO_READ: [&str; 3] = ["alembic_version", "tenants", "workflows"];

/// Scripts for the three roles. They hold no password: `\password` asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grants {
    pub reader: String,
    pub plugin_reader: Option<String>,
    /// For guarded repairs; nobody has to.
    pub repairs: String,
}

pub const READER: &str = "mainstay_reader";
pub const REPAIRS: &str = "mainstay_repairs";

pub fn grants(database: &Database, plugin: Option<&Database>) -> Grants {
    let role = |name: &str, limit: u32, read_only: bool| {
        let mut lines = vec![format!("CREATE ROLE {name} LOGIN CONNECTION LIMIT {limit};")];
        lines.push(format!("\\password {name}"));
        if read_only {
            lines.push(format!("ALTER ROLE {name} SET default_transaction_read_only = on;"));
        }
        lines.push(format!("ALTER ROLE {name} SET statement_timeout = '5s';"));
        lines.join("\n")
    };
    let opened = |name: &str, database: &str| {
        format!(
            "GRANT CONNECT ON DATABASE {} TO {name};\nGRANT USAGE ON SCHEMA public TO {name};",
            quoted(database)
        )
    };
    let reader = format!(
        "-- Run with psql in the database {}, as its owner or a superuser.\n{}\n{}\nGRANT SELECT ON\n  {}\n  TO {READER};\n\
         -- Sees whose connections are open and how far replicas are behind. Without it doctor knows its own only.\n\
         GRANT pg_monitor TO {READER};\n",
        database.name,
        role(READER, 4, true),
        opened(READER, &database.name),
        tables().join(",\n  "),
    );
    let plugin_reader = plugin.filter(|plugin| plugin.name != database.name).map(|plugin| {
        format!(
            "-- In the database {}.\n{}\nGRANT SELECT ON plugins, plugin_installations, install_tasks TO {READER};\n",
            plugin.name,
            opened(READER, &plugin.name),
        )
    });
    let repairs = format!(
        "-- Only for guarded repairs (marking a zombie run failed). In the database {}.\n{}\n{}\n\
         GRANT SELECT ON alembic_version, workflow_runs, workflow_node_executions TO {REPAIRS};\n\
         GRANT UPDATE (status, error, finished_at) ON workflow_runs TO {REPAIRS};\n",
        database.name,
        role(REPAIRS, 2, false),
        opened(REPAIRS, &database.name),
    );
    Grants { reader, plugin_reader, repairs }
}

fn tables() -> Vec<String> {
    let mut tables: Vec<String> = ALSO_READ.into_iter().map(str::to_owned).chain(schema::tables()).collect();
    tables.sort_unstable();
    tables.dedup();
    tables
}

/// An identifier that SQL takes as it is.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
