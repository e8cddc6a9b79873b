//! Who is told of alerts.

use std::fmt;

use mainstay_net::{Client, ClientOptions, authorities};
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
    /// Whose certificates it may have besides those of public authorities.
    pub trust: Option<Trust>,
}

/// Authorities of a company's own, and a client that trusts them too.
#[derive(Clone)]
pub struct Trust {
    pub(super) client: Client,
    pem: Vec<u8>,
}

impl fmt::Debug for Trust {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Trust")
    }
}

impl Trust {
    /// From the text of a PEM file.
    pub fn new(pem: &[u8]) -> Result<Trust, String> {
        let client = Client::new(ClientOptions { extra_roots: authorities(pem)? });
        Ok(Trust { client: client.map_err(|error| error.to_string())?, pem: pem.to_vec() })
    }

    pub(super) fn pem(&self) -> &[u8] {
        &self.pem
    }
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
            trust: None,
        }
    }

    pub(crate) fn words(&self, notice: &Notice) -> Words {
        self.templates.words(notice, self.channel.kind())
    }
}
