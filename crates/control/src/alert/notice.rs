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
    pub(crate) at: Micros,
}

/// One delivery for each receiver that wants it. The ids are made from the notice, so that a control that dies
/// between storing the alert and this can do it again without telling anybody twice.
pub(crate) fn deliveries(notice: &Notice<'_>, receivers: &[Receiver]) -> Vec<NewDelivery> {
    let Notice { what, alert_id, number, severity, component, state, reason, summary, at } = notice;
    let payload = json!({
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
    let wanted = receivers.iter().filter(|receiver| *severity >= receiver.min_severity);
    wanted
        .map(|receiver| NewDelivery {
            id: format!("alert-{alert_id}-{what}-{number}-{}", receiver.name),
            kind: DeliveryKind::Alert,
            run_id: None,
            url: receiver.url.clone(),
            payload: Some(payload.clone()),
        })
        .collect()
}
