//! Dead letters. Running one again is an action of [`super::runs`].

use askama::Template;
use mainstay_store::model::DeadJob;
use serde::Serialize;

use crate::{
    App, Failure,
    page::{Chrome, NoQuery, Page},
};

const DEAD_SHOWN_MAX: u32 = 200;

#[derive(Serialize)]
pub(crate) struct Dead {
    pub(crate) dead: Vec<DeadJob>,
    /// Whether there may be more than are listed.
    pub(crate) limited: bool,
}

#[derive(Template)]
#[template(path = "dead.html")]
struct DeadHtml<'a> {
    chrome: &'a Chrome,
    page: &'a Dead,
}

impl Page for Dead {
    const SECTION: &'static str = "dead";
    const TOPICS: &'static str = "queue";
    type Query = NoQuery;

    async fn load(app: &App, _: &str, _: NoQuery) -> Result<Dead, Failure> {
        let dead = app.ports.store.jobs().dead(DEAD_SHOWN_MAX).await?;
        let limited = dead.len() >= DEAD_SHOWN_MAX as usize;
        Ok(Dead { dead, limited })
    }

    fn title(&self) -> String {
        "Dead letters".to_owned()
    }

    fn html(&self, chrome: &Chrome) -> Result<String, askama::Error> {
        DeadHtml { chrome, page: self }.render()
    }
}
