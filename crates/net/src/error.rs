//! What can go wrong before an answer's head is there, in classes a caller can act on.

use mainstay_base::Kind;
use serde::Serialize;

/// Where an exchange failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// The request cannot be sent at all: its URL is not absolute, or its scheme is neither http nor https.
    InvalidRequest,
    /// The name did not resolve.
    Dns,
    /// The address guard refused every address the name resolved to.
    AddressRefused,
    /// No address could be connected to.
    Connect,
    ConnectTimeout,
    Tls,
    /// Connected and sent, but no head of an answer in time.
    FirstByteTimeout,
    /// The time for the whole exchange was over before the head came.
    TotalTimeout,
    /// The peer closed the connection, or sent what is not HTTP.
    Closed,
    /// The request's own body failed while it was sent.
    RequestBody,
}

impl Class {
    pub fn as_str(self) -> &'static str {
        match self {
            Class::InvalidRequest => "invalid_request",
            Class::Dns => "dns",
            Class::AddressRefused => "address_refused",
            Class::Connect => "connect",
            Class::ConnectTimeout => "connect_timeout",
            Class::Tls => "tls",
            Class::FirstByteTimeout => "first_byte_timeout",
            Class::TotalTimeout => "total_timeout",
            Class::Closed => "closed",
            Class::RequestBody => "request_body",
        }
    }
}

/// No answer came. The message names the peer (never a path or a query) and the cause; it is for operators.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{peer}: {message}")]
pub struct SendError {
    class: Class,
    peer: String,
    message: String,
    before_send: bool,
}

impl SendError {
    pub(crate) fn new(class: Class, peer: &str, message: impl Into<String>, before_send: bool) -> SendError {
        SendError { class, peer: peer.to_owned(), message: message.into(), before_send }
    }

    pub fn class(&self) -> Class {
        self.class
    }

    /// Scheme, host and port of whom the request was for.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// Whether the request surely did not reach the peer, so that sending it elsewhere cannot do work twice.
    pub fn is_before_send(&self) -> bool {
        self.before_send
    }

    pub fn kind(&self) -> Kind {
        match self.class {
            Class::InvalidRequest | Class::AddressRefused | Class::RequestBody => Kind::Caller,
            Class::Dns
            | Class::Connect
            | Class::ConnectTimeout
            | Class::Tls
            | Class::FirstByteTimeout
            | Class::TotalTimeout
            | Class::Closed => Kind::Unavailable,
        }
    }
}
