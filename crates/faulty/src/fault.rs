//! What can be wrong with a provider, and which calls it hits.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One way to fail. Counts of events mean events that carry content.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    #[default]
    None,
    /// This status with an error body of the dialect.
    Status { status: u16 },
    /// 429, with `Retry-After` when said.
    RateLimited {
        #[serde(default)]
        retry_after_s: Option<u64>,
    },
    /// 429 (or what the dialect says) because the account is used up.
    QuotaExhausted,
    /// 503 or 529: no room.
    Overloaded,
    /// 401 (or what the dialect says): the key is refused, and repeated in the message as some providers do.
    BadKey,
    /// 404: no such model.
    ModelMissing,
    /// 400: too many tokens.
    ContextOverflow,
    /// 400: the prompt is refused by a filter.
    FilteredPrompt,
    /// The answer is cut short by a filter.
    FilteredAnswer,
    /// 400: the request is wrong.
    BadRequest,
    /// Waits before the head of the answer.
    SlowFirstByte { delay_ms: u64 },
    /// The head comes at once, the first content late.
    SlowFirstToken { delay_ms: u64 },
    /// Every event is late.
    SlowTokens { gap_ms: u64 },
    /// Sends so many events, then nothing more, with the connection open.
    Stall { after_events: usize },
    /// Sends so many events and some bytes of the next, then ends the connection in the middle.
    Cut {
        after_events: usize,
        #[serde(default)]
        and_bytes: usize,
    },
    /// Sends so many events, then ends the answer in good order, as if that were all.
    EndEarly { after_events: usize },
    /// Sends so many events, then an error in band.
    ErrorInBand { after_events: usize },
    /// Reads the request and closes the connection.
    Close,
    /// Resets each new connection as soon as anything is said on it.
    Reset,
    /// Nobody listens: connections are refused, and those there are end.
    Refuse,
    /// Nobody answers who wants to connect, and the connections there are end.
    Unreachable,
    /// Its address is spoken to by TLS, which it does not speak. Needs somebody who tells callers the address.
    Tls,
    /// Its address has a name that does not resolve. Needs somebody who tells callers the address.
    Dns,
    /// Reads the request and never answers.
    Hang,
    /// 200 and JSON that is no answer.
    Garbage,
    /// A page for humans, with this status.
    Html {
        #[serde(default = "ok")]
        status: u16,
    },
    /// 200 with an error inside.
    ErrorInside,
    /// 200 without content.
    Empty,
    /// 200 with JSON that ends too early, in good order.
    TruncatedJson,
    /// A whole answer to a call that asked for a stream.
    NotStreamed,
    /// Streams without usage.
    NoUsage,
    /// Streams without their last word (`[DONE]`, `message_stop`).
    NoDone,
    /// Streams with CR LF line ends and comments between events.
    CarriageReturns,
}

fn ok() -> u16 {
    200
}

/// A fault and the calls that it hits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    #[serde(flatten)]
    pub fault: Fault,
    /// Of the calls that match, this share is hit, evenly: 0.5 is every second one.
    #[serde(default = "all")]
    pub share: f64,
    /// After so many hits the fault is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// Only calls with a credential that contains this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Only calls of this model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

fn all() -> f64 {
    1.0
}

impl Plan {
    /// From an object of JSON, read strictly: what is misspelt would be a fault that hits nobody, or all.
    pub(crate) fn read(value: &Value) -> Result<Plan, String> {
        let plan = Plan::deserialize(value).map_err(|error| error.to_string())?;
        plan.check()?;
        let known = serde_json::to_value(&plan).map_err(|error| error.to_string())?;
        let is_known = |name: &String| {
            known.get(name).is_some() || matches!(name.as_str(), "share" | "times" | "key" | "model")
        };
        let mut names = value.as_object().into_iter().flat_map(serde_json::Map::keys);
        match names.find(|name| !is_known(name)) {
            Some(name) => Err(format!("{} takes no `{name}`", known["mode"])),
            None => Ok(plan),
        }
    }

    /// What can be written and not be played.
    fn check(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.share) {
            return Err(format!("share is {}, and must be between 0 and 1", self.share));
        }
        let is_for_some =
            self.share < 1.0 || self.times.is_some() || self.key.is_some() || self.model.is_some();
        match self.fault {
            Fault::Reset | Fault::Refuse | Fault::Unreachable | Fault::Tls | Fault::Dns if is_for_some => {
                Err("it hits every new connection: it takes no share, times, key or model".to_owned())
            }
            Fault::Status { status } if !(400..=599).contains(&status) => {
                Err(format!("status is {status}, and must be between 400 and 599"))
            }
            Fault::Html { status } if !(200..=599).contains(&status) => {
                Err(format!("status is {status}, and must be between 200 and 599"))
            }
            _ => Ok(()),
        }
    }
}

impl From<Fault> for Plan {
    fn from(fault: Fault) -> Plan {
        Plan { fault, share: 1.0, times: None, key: None, model: None }
    }
}

impl Default for Plan {
    fn default() -> Plan {
        Plan::from(Fault::None)
    }
}

/// A plan and how far it has come.
#[derive(Debug, Default)]
pub(crate) struct Running {
    pub(crate) plan: Plan,
    matched: u64,
    hits: u64,
}

impl Running {
    pub(crate) fn of(plan: Plan) -> Running {
        Running { plan, matched: 0, hits: 0 }
    }

    /// The fault of this call.
    pub(crate) fn next(&mut self, credential: &str, model: &str) -> Fault {
        let plan = &self.plan;
        let key_fits = plan.key.as_deref().is_none_or(|key| credential.contains(key));
        let model_fits = plan.model.as_deref().is_none_or(|wanted| wanted == model);
        if !key_fits || !model_fits || plan.times.is_some_and(|times| self.hits >= times) {
            return Fault::None;
        }
        self.matched += 1;
        let due = (self.matched as f64 * plan.share.clamp(0.0, 1.0)).floor() as u64;
        if due <= self.hits {
            return Fault::None;
        }
        self.hits += 1;
        plan.fault.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_hits_evenly_and_ends_after_its_times() {
        let mut running = Running::of(Plan { share: 0.5, times: Some(2), ..Plan::from(Fault::Close) });
        let hits: Vec<bool> = (0..8).map(|_| running.next("", "") == Fault::Close).collect();
        assert_eq!(hits, [false, true, false, true, false, false, false, false]);
    }

    #[test]
    fn a_plan_is_read_from_a_line_of_json() {
        let plan: Plan = serde_json::from_str(r#"{"mode":"cut","after_events":2,"key":"sk-a"}"#).unwrap();
        assert_eq!(plan.fault, Fault::Cut { after_events: 2, and_bytes: 0 });
        let mut running = Running::of(plan);
        assert_eq!(running.next("Bearer sk-b", "m"), Fault::None);
        assert_ne!(running.next("Bearer sk-a", "m"), Fault::None);
        assert!(serde_json::from_str::<Plan>(r#"{"mode":"unheard_of"}"#).is_err());
    }
}
