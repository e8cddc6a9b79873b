//! Names as a refusal tells them.

/// More than a person reads.
const MAX_LISTED: usize = 30;

/// Each name once, in order: `a, b and 7 more`; `none`.
pub fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_unstable();
    names.dedup();
    let more = names.len().saturating_sub(MAX_LISTED);
    names.truncate(MAX_LISTED);
    match (names.is_empty(), more) {
        (true, _) => "none".to_owned(),
        (false, 0) => names.join(", "),
        (false, more) => format!("{} and {more} more", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_once_in_order_and_not_without_end() {
        assert_eq!(listed([]), "none");
        assert_eq!(listed(["b", "a", "b"]), "a, b");
        let many: Vec<String> = (100..140).map(|number| number.to_string()).collect();
        assert!(listed(many.iter().map(String::as_str)).ends_with(", 129 and 10 more"));
    }
}
