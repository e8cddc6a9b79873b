//! From notices to what lies in the outbox.

use mainstay_store::model::{DeliveryKind, NewDelivery};
use mainstay_wire::notify::{Notice, What};

use super::Reach;
use crate::options::Receiver;

/// A receiver as far as dispatch needs to know it.
pub(crate) fn reach(receiver: &Receiver) -> Reach {
    Reach {
        name: receiver.name.clone(),
        min_severity: receiver.min_severity,
        wants_acknowledged: receiver.channel.kind().wants(What::Acknowledged),
    }
}

/// One delivery for each receiver. The ids are made from the notice, so that the same notice is never enqueued twice.
pub(crate) fn deliveries(notice: &Notice, receivers: &[String]) -> Vec<NewDelivery> {
    let payload = serde_json::to_value(notice).ok();
    let delivery = |receiver: &String| NewDelivery {
        id: format!("alert-{}-{}-{}-{receiver}", notice.key, notice.what.as_str(), notice.number),
        kind: DeliveryKind::Alert,
        run_id: None,
        receiver: Some(receiver.clone()),
        topic: Some(notice.key.clone()),
        replaces: notice.what.replaces_earlier(),
        url: String::new(),
        payload: payload.clone(),
    };
    receivers.iter().map(delivery).collect()
}
