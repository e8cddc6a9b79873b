//! What a receiver would read, by its templates and in its own form. Nothing is sent.

use askama::Template;
use mainstay_control::{
    alert::What,
    delivery::{self, PreviewRefused},
};
use mainstay_store::model::{Alert, AlertFilter};
use serde::{Deserialize, Serialize};

use super::{given, word};
use crate::{
    App, Failure,
    page::{Chrome, Page},
};

/// Alerts that can be chosen, the latest.
const ALERTS_OFFERED: u32 = 50;

#[derive(Serialize)]
pub(crate) struct Preview {
    pub(crate) receiver: String,
    pub(crate) what: &'static str,
    /// `None`: the sample.
    pub(crate) alert: Option<String>,
    #[serde(flatten)]
    pub(crate) shown: delivery::Preview,
    #[serde(skip)]
    pub(crate) alerts: Vec<Alert>,
}

#[derive(Deserialize)]
pub(crate) struct PreviewQuery {
    what: Option<String>,
    alert: Option<String>,
}

#[derive(Template)]
#[template(path = "preview.html")]
struct PreviewHtml<'a> {
    chrome: &'a Chrome,
    page: &'a Preview,
}

impl Page for Preview {
    const SECTION: &'static str = "alerts";
    const TOPICS: &'static str = "";
    type Query = PreviewQuery;

    async fn load(app: &App, receiver: &str, asked: PreviewQuery) -> Result<Preview, Failure> {
        let known = What::ALL.map(What::as_str);
        let what = word("what", asked.what, What::parse, &known)?.unwrap_or(What::Firing);
        let alert = given(asked.alert);
        let shown = app.ports.control.preview(receiver.to_owned(), what, alert.clone()).await;
        let shown = shown.map_err(|refused| match refused {
            PreviewRefused::NoReceiver(name, _) => Failure::not_found("receiver", &name),
            PreviewRefused::NoAlert(id) => Failure::not_found("alert", &id),
            PreviewRefused::Store(error) => error.into(),
        })?;
        let filter = AlertFilter { limit: ALERTS_OFFERED, ..AlertFilter::default() };
        let alerts = app.ports.store.alerts().list(filter).await?;
        Ok(Preview { receiver: receiver.to_owned(), what: what.as_str(), alert, shown, alerts })
    }

    fn title(&self) -> String {
        format!("What {} would read", self.receiver)
    }

    fn html(&self, chrome: &Chrome) -> Result<String, askama::Error> {
        PreviewHtml { chrome, page: self }.render()
    }
}

impl Preview {
    /// The sorts of notices, and whether each is the one that is shown.
    pub(crate) fn sorts(&self) -> [(&'static str, bool); 6] {
        What::ALL.map(|what| (what.as_str(), what.as_str() == self.what))
    }

    pub(crate) fn is_chosen(&self, alert: &str) -> bool {
        self.alert.as_deref() == Some(alert)
    }
}
