//! Which configuration this is: a short hash of the file and the environment over it.
//!
//! Promises: the same settings have the same revision, however the file is laid out; no secret goes into it: those
//! are references in the file, and the password of a store's address is left out.

use toml::{Table, Value};

/// Hexadecimal digits: enough to tell a fleet's configurations apart.
const DIGITS: usize = 12;

pub(super) fn of(mut table: Table) -> String {
    if let Some(Value::String(url)) = table.get_mut("store").and_then(|store| store.get_mut("url")) {
        *url = without_password(url);
    }
    prune(&mut table);
    let hash = blake3::hash(table.to_string().as_bytes()).to_hex();
    hash[..DIGITS].to_owned()
}

/// `postgres://u@h/d` of `postgres://u:p@h/d`; what is no address of a server has none.
pub(super) fn without_password(url: &str) -> String {
    match url::Url::parse(url) {
        Ok(mut parsed) if parsed.password().is_some() => {
            let _ = parsed.set_password(None);
            parsed.to_string()
        }
        _ => url.to_owned(),
    }
}

/// A section without keys says nothing.
fn prune(table: &mut Table) {
    for value in table.iter_mut().map(|(_, value)| value) {
        if let Value::Table(inner) = value {
            prune(inner);
        }
    }
    table.retain(|_, value| !value.as_table().is_some_and(Table::is_empty));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(text: &str) -> String {
        of(text.parse().unwrap())
    }

    #[test]
    fn layout_does_not_change_a_revision_and_settings_do() {
        let one = revision("[workers]\ncount = 2\n[log]\nfilter = 'info'");
        assert_eq!(one.len(), DIGITS);
        assert_eq!(one, revision("# other\n[log]\nfilter='info'\n[model]\n[workers]\ncount   = 2"));
        assert_ne!(one, revision("[workers]\ncount = 3\n[log]\nfilter = 'info'"));
    }

    #[test]
    fn a_password_is_no_part_of_a_revision() {
        let one = revision("[store]\nurl = 'postgres://u:first@h/d'");
        assert_eq!(one, revision("[store]\nurl = 'postgres://u:second@h/d'"));
        assert_ne!(one, revision("[store]\nurl = 'postgres://u:first@h/e'"));
    }
}
