//! What receivers are sent.

use mainstay_base::Micros;
use mainstay_store::model::{DeliveryKind, NewDelivery, Severity};
use serde_json::json;

use crate::{health::iso_text, options::Receiver};

/// One thing worth telling about an alert.
pub(crate) struct Notice<'a> {
    /// `firing`, `escalated`, `reminder`, `acknowledged` or `resolved`.
    pub(crate) what: &'a str,
    pub(crate) alert_id: &'a str,
    /// Distinguishes notices of the same kind for one alert.
    pub(crate) number: i64,
    pub(crate) severity: Severity,
    pub(crate) component: &'a str,
    pub(crate) state: &'a str,
    pub(crate) reason: &'a str,
    pub(crate) summary: &'a str,
    /// Why, and what to do, where a look at a Dify said it; else empty.
    pub(crate) cause: &'a str,
    pub(crate) remedy: &'a str,
    pub(crate) at: Micros,
}

const ID_PREFIX: &str = "alert-";

/// One delivery for each receiver that wants it. The ids are made from the notice, so that a control that dies
/// between storing the alert and this can do it again without telling anybody twice.
pub(crate) fn deliveries(notice: &Notice<'_>, receivers: &[Receiver]) -> Vec<NewDelivery> {
    let Notice { what, alert_id, number, severity, component, state, reason, summary, cause, remedy, at } =
        notice;
    let mut payload = json!({
        "type": format!("alert.{what}"),
        "timestamp": iso_text(*at),
        "data": {
            "alert_id": alert_id,
            "severity": severity.as_str(),
            "component": component,
            "state": state,
            "reason": reason,
            "summary": summary,
        },
    });
    for (name, words) in [("cause", cause), ("remedy", remedy)] {
        if !words.is_empty() {
            payload["data"][name] = json!(words);
        }
    }
    let wanted = receivers.iter().filter(|receiver| *severity >= receiver.min_severity);
    wanted
        .map(|receiver| NewDelivery {
            id: format!("{ID_PREFIX}{alert_id}-{what}-{number}-{}", receiver.name),
            kind: DeliveryKind::Alert,
            run_id: None,
            receiver: Some(receiver.name.clone()),
            topic: Some((*alert_id).to_owned()),
            replaces: *what != "acknowledged",
            url: String::new(),
            payload: Some(payload.clone()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use mainstay_base::id;

    use super::*;

    #[test]
    fn a_delivery_tells_whom_it_is_for() {
        let receiver = |name: &str| Receiver {
            name: name.to_owned(),
            url: "http://a".to_owned(),
            key: None,
            min_severity: Severity::Info,
        };
        let names = ["pager", "on-call", "b-on-call", "-", "1-2-3"];
        let alert_id = id::new();
        let notice = Notice {
            what: "firing",
            alert_id: &alert_id,
            number: 12,
            severity: Severity::Page,
            component: "store",
            state: "down",
            reason: "",
            summary: "",
            cause: "",
            remedy: "",
            at: Micros(0),
        };
        let made = deliveries(&notice, &names.map(receiver));
        let told: Vec<_> = made.iter().map(|delivery| delivery.receiver.as_deref().unwrap()).collect();
        assert_eq!(told, names);
    }
}
