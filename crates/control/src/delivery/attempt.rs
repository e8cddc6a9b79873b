//! One attempt of one delivery, and what is noted of it.

use mainstay_store::model::{Delivery, DeliveryKind};
use mainstay_wire::notify::{Answer, Notice};
use tracing::{info, warn};

use super::{
    Receiver, Tries,
    ask::TEST_KEY,
    callback,
    schedule::{MAX_RETRY_AFTER, Next, Verdict, next, next_notice},
    send::Context,
    tell::{Told, Try, tell},
};

pub(super) async fn deliver(context: &Context, delivery: Delivery) {
    let Came { status, verdict, is_lost } = match (delivery.kind, receiver_of(context, &delivery)) {
        (DeliveryKind::Alert, Some(Ok(receiver))) => told(context, &delivery, &receiver).await,
        (DeliveryKind::Alert, Some(Err(error))) => {
            Came::new(None, Verdict::Failed { error, retry_after: None })
        }
        _ => {
            let (status, verdict) = callback::attempt(context, &delivery).await;
            Came::new(status, verdict)
        }
    };
    let (outbox, now) = (context.store.outbox(), context.clock.now());
    let status = status.map(i64::from);
    let count = |add: fn(&mut Tries)| {
        if let Some(receiver) = &delivery.receiver {
            context.sent.count(receiver, add);
        }
    };
    let stored = match verdict {
        Verdict::Delivered => {
            count(|tries| tries.delivered += 1);
            outbox.delivered(&delivery.id, status.unwrap_or(0)).await
        }
        Verdict::Refused(error) => {
            count(|tries| tries.given_up += 1);
            warn!(webhook.id = %delivery.id, %error, "delivery refused for good");
            outbox.failed(&delivery.id, status, &error, None).await
        }
        Verdict::Failed { error, retry_after } => {
            let random = uuid::Uuid::new_v4().as_u64_pair().1;
            let next = if delivery.kind == DeliveryKind::Alert { next_notice } else { next };
            let next_at = match next(delivery.attempts, delivery.created_at, retry_after, random, now) {
                Next::At(at) => Some(at),
                Next::GiveUp => None,
            };
            let again = if next_at.is_some() { "again later" } else { "given up" };
            count(if next_at.is_some() { |tries| tries.again += 1 } else { |tries| tries.given_up += 1 });
            info!(webhook.id = %delivery.id, attempt = delivery.attempts, %error, again, "delivery failed");
            match is_lost {
                true => outbox.lost(&delivery.id, &error, next_at).await,
                false => outbox.failed(&delivery.id, status, &error, next_at).await,
            }
        }
    };
    if let Err(error) = stored {
        // It comes again when its lease ends, under the same id: the receiver can tell.
        warn!(webhook.id = %delivery.id, %error, "cannot store what came of a delivery");
    }
}

/// What came of one attempt.
struct Came {
    status: Option<u16>,
    verdict: Verdict,
    /// Nobody knows whether it arrived.
    is_lost: bool,
}

impl Came {
    fn new(status: Option<u16>, verdict: Verdict) -> Came {
        Came { status, verdict, is_lost: false }
    }
}

/// Whom an alert is for, by the configuration that is in force now. `None`: it was enqueued before notices had names.
fn receiver_of(context: &Context, delivery: &Delivery) -> Option<Result<Receiver, String>> {
    let name = delivery.receiver.as_ref()?;
    let options = context.options.borrow().clone();
    let known = options.receivers.iter().find(|receiver| receiver.name == *name).cloned();
    // Another process may know it; an address that was taken out is not called.
    Some(known.ok_or_else(|| format!("no receiver {name} is configured here (any more)")))
}

async fn told(context: &Context, delivery: &Delivery, receiver: &Receiver) -> Came {
    let payload = delivery.payload.clone().unwrap_or_default();
    let notice = match serde_json::from_value::<Notice>(payload) {
        Ok(notice) => notice,
        Err(error) => {
            return Came::new(None, Verdict::Refused(format!("its notice cannot be read: {error}")));
        }
    };
    let now = context.clock.now();
    let is_test = notice.key.starts_with(TEST_KEY);
    // It was taken while another notice learned that the receiver wants none now. Whoever tries it out wants to know.
    let rest = context.rests.lock().get(&receiver.name).cloned();
    if let Some((until, why)) = rest.filter(|(until, _)| *until > now && !is_test) {
        let error = format!("waits, because the receiver wants none now: {why}");
        return Came::new(None, Verdict::Failed { error, retry_after: Some(until.since(now)) });
    }
    let one = Try { id: &delivery.id, may_repeat: delivery.may_repeat };
    let Told { status, answer, is_lost } =
        tell(&context.client, receiver, &notice, one, now, &context.timeouts).await;
    let verdict = match answer {
        Answer::Delivered => Verdict::Delivered,
        Answer::Refused(error) => Verdict::Refused(error),
        // Whoever tries it out looks at it now.
        Answer::Failed { error, .. } if is_test => Verdict::Refused(error),
        Answer::Failed { error, rest } => {
            if let Some(rest) = rest {
                let until = now + rest.min(MAX_RETRY_AFTER);
                context.rests.lock().insert(receiver.name.clone(), (until, error.clone()));
            }
            Verdict::Failed { error, retry_after: rest }
        }
    };
    Came { status, verdict, is_lost }
}
