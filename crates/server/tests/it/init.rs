//! `mainstay init`: a Dify's `.env` becomes a configuration that holds no secret.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::support::Home;

const ENV: &str = "DB_HOST=pg.example.com\nDB_PASSWORD=hunter2-database\nREDIS_PASSWORD=hunter2-redis\n\
                   CELERY_BROKER_URL=redis://:hunter2-redis@redis:6379/1\nPLUGIN_DAEMON_KEY=hunter2-daemon\n";

#[test]
fn an_env_becomes_a_configuration_that_check_takes() {
    let home = Home::new();
    let env = home.write(".env", ENV);
    let ran = home.run(&["init", "--dify-env", ".env"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.out.contains("TO mainstay_reader;") && ran.out.contains("pg.example.com:5432"),
        "{}",
        ran.out
    );
    let written = fs::read_to_string(home.path("mainstay.toml")).unwrap();
    let mode = fs::metadata(home.path("mainstay.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for text in [&ran.out, &ran.err, &written] {
        assert!(!text.contains("hunter2"), "{text}");
    }
    let spaced = home.run(&["init", "--dify-env", ".env", "--output", "to see.toml"]);
    assert!(spaced.out.contains("mainstay doctor --config 'to see.toml'"), "{}", spaced.out);
    let checked = home.run(&["check"]);
    assert_eq!(checked.code, 0, "{checked:?}");
    assert!(checked.out.contains("a Dify to look after"), "{}", checked.out);

    // A secret that goes away is missed by the name of its key, and is told by none of its value.
    fs::write(env, "DB_HOST=pg.example.com\nDB_PASSWORD='hunter2\n").unwrap();
    let checked = home.run(&["check"]);
    assert_eq!(checked.code, 2, "{checked:?}");
    assert!(!checked.err.contains("hunter2"), "{}", checked.err);
}

#[test]
fn a_file_that_is_there_stays_unless_forced() {
    let home = Home::new();
    home.write(".env", ENV);
    home.write("mainstay.toml", "# mine\n");
    let ran = home.run(&["init", "--dify-env", ".env"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("it is there already"), "{}", ran.err);
    assert_eq!(fs::read_to_string(home.path("mainstay.toml")).unwrap(), "# mine\n");
    let ran = home.run(&["init", "--dify-env", ".env", "--force", "--json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.json()["found"][0]["part"], "database");
    assert!(fs::read_to_string(home.path("mainstay.toml")).unwrap().contains("[dify.database]"));
    let mode = fs::metadata(home.path("mainstay.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_dify_that_cannot_be_used_is_refused_with_everything_that_is_wrong() {
    let home = Home::new();
    home.write(".env", "DB_TYPE=mysql\nDB_PASSWORD=hunter2\nREDIS_PORT=many\n");
    let ran = home.run(&["init", "--dify-env", ".env"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    for sentence in [
        "DB_TYPE is mysql: Mainstay reads Dify's database in PostgreSQL only",
        "REDIS_PORT is not a whole number",
    ] {
        assert!(ran.err.contains(sentence), "{}", ran.err);
    }
    assert!(!ran.err.contains("hunter2") && !home.path("mainstay.toml").exists());
}
