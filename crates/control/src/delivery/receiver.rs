//! Who is told of alerts.

use mainstay_store::model;
use mainstay_wire::notify::{Channel, Notice, Words};

use super::template::Templates;

/// Where alerts are sent.
#[derive(Clone, Debug)]
pub struct Receiver {
    pub name: String,
    pub channel: Channel,
    pub min_severity: model::Severity,
    pub templates: Templates,
}

impl Receiver {
    /// A webhook that is told of everything; `secret` (`whsec_…`) signs.
    pub fn webhook(name: &str, url: &str, secret: Option<&str>) -> Receiver {
        let secret = secret.map(mainstay_base::Secret::new);
        Receiver {
            name: name.to_owned(),
            channel: Channel::Webhook { url: mainstay_base::Secret::new(url), secret },
            min_severity: model::Severity::Info,
            templates: Templates::default(),
        }
    }

    pub(crate) fn words(&self, notice: &Notice) -> Words {
        self.templates.words(notice, self.channel.kind())
    }
}
