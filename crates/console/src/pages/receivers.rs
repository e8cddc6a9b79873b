//! Receivers: who is told, since when one is not reached, and what became of each notice.

use askama::Template;
use http::StatusCode;
use mainstay_base::Micros;
use mainstay_control::delivery::{ReceiverState, TestRefused};
use mainstay_store::{
    NoticeFilter,
    model::{Delivery, DeliveryState},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{given, query, word};
use crate::{
    App, Failure,
    action::{Action, Done, NoInput},
    auth::Actor,
    page::{Chrome, Page},
};

const NOTICES_SHOWN: u32 = 50;

#[derive(Serialize)]
pub(crate) struct Receivers {
    pub(crate) receivers: Vec<ReceiverState>,
    /// Notices, newest first.
    pub(crate) deliveries: Vec<Delivery>,
    /// The cursor of the next page of notices: give it as `before`.
    pub(crate) next_before: Option<i64>,
    #[serde(skip)]
    pub(crate) older: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct ReceiversQuery {
    /// One delivery.
    id: Option<String>,
    receiver: Option<String>,
    state: Option<String>,
    before: Option<i64>,
}

#[derive(Template)]
#[template(path = "receivers.html")]
struct ReceiversHtml<'a> {
    chrome: &'a Chrome,
    page: &'a Receivers,
}

impl Page for Receivers {
    const SECTION: &'static str = "alerts";
    const TOPICS: &'static str = "alerts";
    type Query = ReceiversQuery;

    async fn load(app: &App, _: &str, asked: ReceiversQuery) -> Result<Receivers, Failure> {
        let ReceiversQuery { id, receiver, state, before } = asked;
        let known = ["pending", "delivered", "failed", "superseded"];
        let (receiver, state) = (given(receiver), word("state", state, DeliveryState::parse, &known)?);
        let filter = NoticeFilter {
            id: given(id),
            receiver: receiver.clone(),
            state,
            before: before.map(Micros),
            limit: NOTICES_SHOWN,
            ..NoticeFilter::default()
        };
        let deliveries = app.ports.store.outbox().notices(filter).await?;
        let last = deliveries.last().filter(|_| deliveries.len() >= NOTICES_SHOWN as usize);
        let next_before = last.map(|delivery| delivery.created_at.0);
        let older = next_before.map(|before| {
            let before = before.to_string();
            let state = state.map(DeliveryState::as_str);
            format!(
                "/receivers{}",
                query(&[("receiver", receiver.as_deref()), ("state", state), ("before", Some(&before))])
            )
        });
        Ok(Receivers { receivers: app.ports.control.receivers().await?, deliveries, next_before, older })
    }

    fn title(&self) -> String {
        "Receivers".to_owned()
    }

    fn html(&self, chrome: &Chrome) -> Result<String, askama::Error> {
        ReceiversHtml { chrome, page: self }.render()
    }
}

/// Sends a notice that says it is a test.
pub(crate) struct TestReceiver;

impl Action for TestReceiver {
    type Input = NoInput;

    async fn perform(app: &App, actor: &Actor, name: &str, _: NoInput) -> Result<Done, Failure> {
        let tested = app.ports.control.test_receiver(name.to_owned(), actor.name.clone()).await;
        let id = tested.map_err(|refused| match refused {
            TestRefused::NoReceiver(name, _) => Failure::not_found("receiver", &name),
            TestRefused::Store(error) => error.into(),
        })?;
        Ok(Done {
            status: StatusCode::ACCEPTED,
            body: json!({ "receiver": name, "delivery": id }),
            to: "/receivers".to_owned(),
            notice: "receiver-tested",
            page: None,
        })
    }
}
