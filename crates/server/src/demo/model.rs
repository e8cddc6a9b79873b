//! What the demo's model answers: always the same to the same question, so that runs can be compared.

use mainstay_faulty::Question;

/// Longest question that is repeated in an answer.
const MAX_QUOTE_CHARS: usize = 200;

pub(super) fn answer(question: &Question) -> String {
    let last = question.user.last().map(String::as_str).unwrap_or_default();
    match choices(&question.system) {
        Some(choices) => choose(&choices, last),
        None => reply(last, question.user.len().saturating_sub(1)),
    }
}

/// The options of an instruction such as "Answer with one of: billing, bug, other."
fn choices(instruction: &str) -> Option<Vec<String>> {
    let (_, list) = instruction.split_once("one of:")?;
    let list = list.split(['.', '\n']).next()?;
    Some(list.split(',').map(|choice| choice.trim().to_owned()).filter(|choice| !choice.is_empty()).collect())
}

/// The first option that the question mentions, else the last one.
fn choose(choices: &[String], question: &str) -> String {
    let question = question.to_lowercase();
    let mentioned = choices.iter().find(|choice| question.contains(&choice.to_lowercase()));
    mentioned.or(choices.last()).cloned().unwrap_or_default()
}

fn reply(question: &str, earlier: usize) -> String {
    let quote: String = question.chars().take(MAX_QUOTE_CHARS).collect();
    match earlier {
        0 => format!("Thank you for your message. You wrote: {quote}"),
        1 => format!("Thank you for coming back. You wrote one message before this one, and now: {quote}"),
        _ => format!(
            "Thank you for coming back. You wrote {earlier} messages before this one, and now: {quote}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(system: &str, user: &[&str], expected: &str) {
        let user = user.iter().map(|text| (*text).to_owned()).collect();
        let question = Question { system: system.to_owned(), user, ..Question::default() };
        assert_eq!(answer(&question), expected);
    }

    #[test]
    fn an_instruction_with_options_gets_one_of_them() {
        let system = "Classify. Answer with one of: billing, bug, other.";
        check(system, &["There is a BUG in the export"], "bug");
        check(system, &["Hello"], "other");
    }

    #[test]
    fn other_questions_are_repeated() {
        check("Be kind.", &["Hello"], "Thank you for your message. You wrote: Hello");
        check(
            "",
            &["Hello", "Again"],
            "Thank you for coming back. You wrote one message before this one, and now: Again",
        );
        check("", &[], "Thank you for your message. You wrote: ");
    }
}
