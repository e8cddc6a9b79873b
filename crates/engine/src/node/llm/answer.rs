//! What a model answered, taken apart.

use serde_json::Value;

/// The JSON object in an answer, whether bare or in a fenced block.
pub(super) fn structured(text: &str) -> Option<Value> {
    let inside = text.find('{').and_then(|start| text.rfind('}').and_then(|end| text.get(start..=end)));
    [Some(text), inside]
        .into_iter()
        .flatten()
        .find_map(|text| serde_json::from_str::<Value>(text.trim()).ok())
        .filter(Value::is_object)
}

/// An answer without what the model thought, and what it thought.
pub(super) fn separate(text: &str) -> (String, String) {
    const OPEN: &str = "<think";
    const CLOSE: &str = "</think>";
    let lower = text.to_ascii_lowercase();
    let mut answer = String::with_capacity(text.len());
    let mut thoughts: Vec<&str> = Vec::new();
    let mut at = 0;
    while let Some(open) = lower[at..].find(OPEN).map(|found| at + found) {
        let inside = lower[open..].find('>').map(|found| open + found + 1);
        let close =
            inside.and_then(|inside| lower[inside..].find(CLOSE).map(|found| (inside, inside + found)));
        let Some((inside, close)) = close else { break };
        answer.push_str(&text[at..open]);
        thoughts.push(text[inside..close].trim());
        at = close + CLOSE.len();
    }
    answer.push_str(&text[at..]);
    (without_gaps(&answer), thoughts.join("\n"))
}

/// Runs of blank lines become one.
fn without_gaps(text: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for line in text.trim().split('\n') {
        let is_gap = line.trim().is_empty();
        if is_gap && kept.last().is_some_and(|last| last.is_empty()) {
            continue;
        }
        kept.push(if is_gap { "" } else { line });
    }
    kept.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn thoughts_are_separated_from_the_answer() {
        for (text, answer, thought) in [
            ("plain", "plain", ""),
            ("<think>\nhm\n</think>Yes", "Yes", "hm"),
            ("a<THINK>b</think>c<think x>d</think>", "ac", "b\nd"),
            ("<think>never closed", "<think>never closed", ""),
            ("a\n\n \n\nb", "a\n\nb", ""),
            ("İ<think>ü</think>İ", "İİ", "ü"),
        ] {
            assert_eq!(separate(text), (answer.to_owned(), thought.to_owned()), "{text}");
        }
    }

    #[test]
    fn structured_answers_are_found_bare_and_fenced() {
        assert_eq!(structured("{\"a\": 1}"), Some(json!({"a": 1})));
        assert_eq!(structured("Here:\n```json\n{\"a\": {\"b\": 2}}\n```"), Some(json!({"a": {"b": 2}})));
        assert_eq!(structured("no"), None);
        assert_eq!(structured("} {"), None);
        assert_eq!(structured("[1]"), None);
    }
}
