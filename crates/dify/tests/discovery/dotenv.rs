//! The dotenv reader against every text.

use std::collections::BTreeMap;

use mainstay_dify::discovery::dotenv::{MAX_VARIABLES, parse};
use proptest::prelude::*;

/// As a careful person writes one: single quotes hold all but themselves.
fn written(variables: &BTreeMap<String, String>) -> String {
    let quoted = |value: &str| value.replace('\'', "\\'");
    variables.iter().map(|(name, value)| format!("{name}='{}'\n", quoted(value))).collect()
}

/// Double quotes with every sign that means something escaped.
fn written_double(variables: &BTreeMap<String, String>) -> String {
    let quoted = |value: &str| value.replace('\\', "\\\\").replace('$', "\\$").replace('"', "\\\"");
    variables
        .iter()
        .map(|(name, value)| format!("export {name} = \"{}\" # said\r\n", quoted(value)))
        .collect()
}

proptest! {
    /// Whatever the text is: an end, bounded, and the same again.
    #[test]
    fn any_text_is_read_to_its_end(text in "\\PC{0,200}|[A-C=:'\"$ {}#\\\\\n\r\t0-9_-]{0,200}") {
        let parsed = parse(&text, &|_| None);
        prop_assert!(parsed.variables.len() <= MAX_VARIABLES);
        for name in parsed.variables.keys() {
            prop_assert!(!name.is_empty() && !name.contains([' ', '=', '\n']), "{name:?}");
        }
        prop_assert_eq!(parse(&text, &|_| None).variables, parsed.variables);
    }

    /// No problem repeats a value: a secret may stand in a line that is wrong.
    #[test]
    fn problems_tell_no_values(line in "[=:'\"${}#\\\\ A-C]{0,40}", secret in "zq[a-z]{6}") {
        for text in [format!("A={line}{secret}"), format!("A=\"{line}{secret}"), format!("{line}A={secret}{line}\n")] {
            let parsed = parse(&text, &|_| None);
            for problem in parsed.problems {
                prop_assert!(!problem.contains(&secret), "{problem}");
            }
        }
    }

    #[test]
    fn what_is_written_in_quotes_is_read_back(
        variables in prop::collection::btree_map("[A-Z][A-Z0-9_]{0,12}", "[^\\\\\r\0]{0,40}", 0..8)
    ) {
        prop_assert_eq!(&parse(&written(&variables), &|_| None).variables, &variables);
    }

    #[test]
    fn what_is_escaped_is_read_back(
        variables in prop::collection::btree_map("[A-Z][A-Z0-9_]{0,12}", "[^\r\0]{0,40}", 0..8)
    ) {
        prop_assert_eq!(&parse(&written_double(&variables), &|_| None).variables, &variables);
    }
}
