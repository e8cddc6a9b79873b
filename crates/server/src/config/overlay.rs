//! Environment over file: `MAINSTAY__STORE__URL=postgres://…` sets `store.url`, `MAINSTAY__UPSTREAM__0__BASE_URL`
//! sets `upstream[0].base_url`. A value is read as TOML when it is TOML, else as a text.

use toml::{Table, Value};

use super::reader::Findings;

pub(crate) const PREFIX: &str = "MAINSTAY__";

/// An override may append to a list, but not leave holes in it.
pub(crate) fn apply(table: &mut Table, variables: &[(String, String)], findings: &Findings) {
    let mut variables: Vec<_> = variables.iter().collect();
    // Items of a list are appended one after the other, so the tenth comes after the ninth.
    variables.sort_by_key(|(name, _)| in_order(name));
    for (name, text) in variables {
        let Some(path) = name.strip_prefix(PREFIX) else { continue };
        let path = path.to_lowercase();
        let segments: Vec<&str> = path.split("__").collect();
        if segments.iter().any(|segment| segment.is_empty()) {
            findings.report(name.clone(), "names no key; write MAINSTAY__SECTION__KEY");
            continue;
        }
        if let Err(message) = set(table, &segments, value(text)) {
            findings.report(name.clone(), message);
        }
    }
}

/// By segment, numbers as numbers.
fn in_order(name: &str) -> Vec<(Option<usize>, &str)> {
    name.split("__").map(|segment| (segment.parse().ok(), segment)).collect()
}

fn value(text: &str) -> Value {
    let document = format!("value = {text}");
    let parsed = document.parse::<Table>().ok().and_then(|mut table| table.remove("value"));
    parsed.unwrap_or_else(|| Value::String(text.to_owned()))
}

fn set(table: &mut Table, segments: &[&str], value: Value) -> Result<(), String> {
    let Some((key, rest)) = segments.split_first() else { return Ok(()) };
    if rest.is_empty() {
        table.insert((*key).to_owned(), value);
        return Ok(());
    }
    let is_list = rest.first().is_some_and(|next| next.parse::<usize>().is_ok());
    let empty = if is_list { Value::Array(Vec::new()) } else { Value::Table(Table::new()) };
    match table.entry((*key).to_owned()).or_insert(empty) {
        Value::Table(inner) => set(inner, rest, value),
        Value::Array(items) => set_item(items, key, rest, value),
        _ => Err(format!("{key} is neither a table nor a list")),
    }
}

fn set_item(items: &mut Vec<Value>, key: &str, segments: &[&str], value: Value) -> Result<(), String> {
    let Some((index, rest)) = segments.split_first() else { return Ok(()) };
    let index: usize =
        index.parse().map_err(|_| format!("{key} is a list: a number must follow, as in {key}__0"))?;
    if index > items.len() {
        return Err(format!("{key}[{index}] would leave a hole: the list has {} items", items.len()));
    }
    if index == items.len() {
        items.push(Value::Table(Table::new()));
    }
    match (&mut items[index], rest.is_empty()) {
        (item, true) => {
            *item = value;
            Ok(())
        }
        (Value::Table(inner), false) => set(inner, rest, value),
        (_, false) => Err(format!("{key}[{index}] is not a table")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, variables: &[(&str, &str)], expected: &str) {
        let mut table: Table = file.parse().unwrap();
        let findings = Findings::default();
        let variables: Vec<_> = variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        apply(&mut table, &variables, &findings);
        let problems = findings.into_problems();
        if problems.is_empty() {
            assert_eq!(table, expected.parse::<Table>().unwrap());
        } else {
            assert_eq!(format!("{}: {}", problems[0].path, problems[0].message), expected);
        }
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        check(
            "[store]\nurl = 'a'",
            &[("MAINSTAY__STORE__URL", "sqlite:x.db")],
            "[store]\nurl = 'sqlite:x.db'",
        );
        check("", &[("MAINSTAY__WORKERS__COUNT", "3")], "[workers]\ncount = 3");
        check("", &[("MAINSTAY__RECORDS__KEEP_SUCCESS", "0.5")], "[records]\nkeep_success = 0.5");
        check("", &[("MAINSTAY__CALLBACKS__ALLOW", "[\"a:1\"]")], "[callbacks]\nallow = ['a:1']");
    }

    #[test]
    fn list_items_are_set_by_number() {
        let file = "[[upstream]]\nname = 'a'";
        check(file, &[("MAINSTAY__UPSTREAM__0__NAME", "b")], "[[upstream]]\nname = 'b'");
        check(
            file,
            &[("MAINSTAY__UPSTREAM__1__NAME", "b")],
            "[[upstream]]\nname = 'a'\n[[upstream]]\nname = 'b'",
        );
        let many: Vec<(String, String)> =
            (0..12).map(|at| (format!("MAINSTAY__UPSTREAM__{at}__NAME"), format!("u{at}"))).rev().collect();
        let mut table = Table::new();
        let findings = Findings::default();
        apply(&mut table, &many, &findings);
        assert!(findings.are_none(), "the environment has no order of its own");
        check(
            file,
            &[("MAINSTAY__UPSTREAM__5__NAME", "b")],
            "MAINSTAY__UPSTREAM__5__NAME: upstream[5] would leave a hole: the list has 1 items",
        );
        check(
            file,
            &[("MAINSTAY__UPSTREAM__NAME", "b")],
            "MAINSTAY__UPSTREAM__NAME: upstream is a list: a number must follow, as in upstream__0",
        );
    }
}
