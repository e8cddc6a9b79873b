//! The demo's model providers: `mainstay-faulty` with the demo's model behind it, whatever model is asked for.
//!
//! What no provider can do itself, having another address, the demo does for it: a configuration with the wrong address
//! is put in force, by the way that every changed configuration takes.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures_util::future::BoxFuture;
use mainstay_faulty::{Moves, Options, Pace, Place, Provider, Question, Said};
use parking_lot::Mutex;

use super::model;
use crate::{config::Config, failure::Failure, reload::Reloader};

/// How long a provider thinks, and how fast it writes.
const PACE: Pace = Pace { first: Duration::from_millis(15), next: Duration::from_millis(2) };

/// Longer than a name may be (63 letters between dots), so that no resolver is even asked.
const NO_NAME: &str = "a-name-that-never-resolves-because-it-is-longer-than-any-name-may-be.invalid";

pub(super) const NAMES: [&str; 3] = ["primary", "reserve", "vectors"];

/// The providers, in the order of their names, and where callers are told that they are.
pub(super) struct Providers {
    pub(super) all: [Provider; 3],
    pub(super) places: Arc<Places>,
}

pub(super) async fn start() -> std::io::Result<Providers> {
    let places = Arc::new(Places::default());
    let start = |index: usize| {
        let moves = moves(Arc::clone(&places), index);
        Provider::start(Options {
            mind: Arc::new(think),
            pace: PACE,
            moves: Some(moves),
            ..Options::default()
        })
    };
    let all = [start(0).await?, start(1).await?, start(2).await?];
    *places.urls.lock() = all.each_ref().map(Provider::url);
    Ok(Providers { all, places })
}

/// Where callers are told that the providers are.
#[derive(Default)]
pub(super) struct Places {
    urls: Mutex<[String; 3]>,
    tell: OnceLock<Tell>,
}

/// The configuration for providers at these addresses.
type Make = Box<dyn Fn(&[String; 3]) -> Result<Config, Failure> + Send + Sync>;

/// What makes the configuration, and who puts it in force.
struct Tell {
    config: Make,
    reloader: Arc<Reloader>,
}

impl Places {
    pub(super) fn urls(&self) -> [String; 3] {
        self.urls.lock().clone()
    }

    /// From now on providers can be moved.
    pub(super) fn tell(
        &self,
        reloader: Arc<Reloader>,
        config: impl Fn(&[String; 3]) -> Result<Config, Failure> + Send + Sync + 'static,
    ) {
        let _ = self.tell.set(Tell { config: Box::new(config), reloader });
    }

    async fn move_to(&self, index: usize, place: Place) -> Result<(), String> {
        let tell = self.tell.get().ok_or("the demo is not ready")?;
        let mut urls = self.urls();
        let address = urls[index].rsplit(':').next().unwrap_or_default();
        urls[index] = match place {
            Place::Here => format!("http://127.0.0.1:{address}"),
            Place::BehindTls => format!("https://127.0.0.1:{address}"),
            Place::Unresolvable => format!("http://{NO_NAME}:{address}"),
        };
        let config = (tell.config)(&urls).map_err(|failure| failure.to_string())?;
        tell.reloader.put(config, &format!("faults of {}", NAMES[index])).await?;
        *self.urls.lock() = urls;
        Ok(())
    }
}

fn moves(places: Arc<Places>, index: usize) -> Moves {
    Arc::new(move |place| -> BoxFuture<'static, Result<(), String>> {
        let places = Arc::clone(&places);
        Box::pin(async move { places.move_to(index, place).await })
    })
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
