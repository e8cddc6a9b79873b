//! The demo's model providers: `mainstay-faulty` with the demo's model behind it, whatever model is asked for.

use std::{sync::Arc, time::Duration};

use mainstay_faulty::{Options, Pace, Provider, Question, Said};

use super::model;

/// How long a provider thinks, and how fast it writes.
const PACE: Pace = Pace { first: Duration::from_millis(15), next: Duration::from_millis(2) };

pub(crate) async fn start() -> std::io::Result<Provider> {
    Provider::start(Options { mind: Arc::new(think), pace: PACE, ..Options::default() }).await
}

fn think(question: &Question) -> Said {
    let text = model::answer(question);
    let words = |text: &str| text.split_whitespace().count() as u64;
    Said {
        input_tokens: question.user.iter().map(|text| words(text)).sum::<u64>() + words(&question.system),
        output_tokens: words(&text),
        text,
        tool: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_question_gets_the_same_answer_with_its_words_counted() {
        let question = Question { user: vec!["Hi there".to_owned()], ..Question::default() };
        let said = think(&question);
        assert!(said.text.contains("You wrote: Hi there"), "{said:?}");
        assert_eq!((said.input_tokens, said.output_tokens), (2, 9));
        assert_eq!(think(&question), said);
    }
}
