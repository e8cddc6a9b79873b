//! YAML text to a JSON value, within limits.

use serde_json::Value;

use super::{Limits, Problem};

/// Reads one YAML document. The reader's own budget stops bombs of aliases, depth and size before they are built.
pub(super) fn read(text: &str, limits: &Limits) -> Result<Value, Problem> {
    if text.len() > limits.max_bytes {
        return Err(whole_file(format!(
            "the file has {} bytes, more than the {} that are read; is it an export of one app?",
            text.len(),
            limits.max_bytes
        )));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: limits.max_values.saturating_mul(2),
            max_aliases: limits.max_aliases,
            max_anchors: limits.max_aliases,
            max_depth: limits.max_depth,
            max_documents: 1,
            max_nodes: limits.max_values,
            max_total_scalar_bytes: limits.max_bytes,
            max_merge_keys: limits.max_aliases,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: limits.max_aliased_values,
            max_replay_stack_depth: limits.max_depth,
            max_alias_expansions_per_anchor: limits.max_aliases,
        },
        with_snippet: false,
        // YAML 1.1 reads `n` and `yes` as booleans; Dify (and YAML 1.2) as the texts that people named variables.
        strict_booleans: true,
    };
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| whole_file(format!("not readable as YAML: {error}")))
}

fn whole_file(message: String) -> Problem {
    Problem { path: "file".to_owned(), message }
}
