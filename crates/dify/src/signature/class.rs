//! The closed vocabulary of what goes wrong in a Dify, and whose doing each word is.

use mainstay_base::{Class as ModelClass, Fault as ModelFault};
use serde::{Deserialize, Serialize};

/// What kind of failure a row of the catalogue is about. Small enough for a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    ProviderRateLimited,
    /// The account at the provider is used up.
    ProviderQuota,
    /// The provider refuses the key.
    ProviderAuth,
    ProviderTimeout,
    ProviderOverloaded,
    ProviderError,
    ProviderUnreachable,
    ModelMissing,
    ContextOverflow,
    ContentFilter,
    /// A model's answer is not of the form that was asked for.
    BadOutput,
    /// A plugin's own error, or a plugin that does not fit.
    Plugin,
    PluginDaemon,
    /// Dify cannot read, or does not have, the credentials it should use.
    Credentials,
    Database,
    DatabasePool,
    Migration,
    Redis,
    Queue,
    Worker,
    Schedule,
    Sandbox,
    /// The code that an app's author wrote.
    Code,
    /// What an HTTP node or a tool calls.
    HttpRequest,
    VectorStore,
    Storage,
    /// A limit of Dify's, or of the app.
    Limit,
    /// Between the caller and the API: proxies, load balancers, addresses.
    Edge,
    Tracing,
    Caller,
    Stopped,
    /// A mistake in an app, or in Dify.
    Bug,
    /// No row knows it.
    Unknown,
}

/// Whose doing a failure is: what a service level may count, and what it must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    Caller,
    /// Who made the app.
    Author,
    Provider,
    /// Dify and what it stands on.
    Platform,
    Nobody,
    Unknown,
}

impl Class {
    pub const ALL: [Class; 33] = [
        Class::ProviderRateLimited,
        Class::ProviderQuota,
        Class::ProviderAuth,
        Class::ProviderTimeout,
        Class::ProviderOverloaded,
        Class::ProviderError,
        Class::ProviderUnreachable,
        Class::ModelMissing,
        Class::ContextOverflow,
        Class::ContentFilter,
        Class::BadOutput,
        Class::Plugin,
        Class::PluginDaemon,
        Class::Credentials,
        Class::Database,
        Class::DatabasePool,
        Class::Migration,
        Class::Redis,
        Class::Queue,
        Class::Worker,
        Class::Schedule,
        Class::Sandbox,
        Class::Code,
        Class::HttpRequest,
        Class::VectorStore,
        Class::Storage,
        Class::Limit,
        Class::Edge,
        Class::Tracing,
        Class::Caller,
        Class::Stopped,
        Class::Bug,
        Class::Unknown,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Class::ProviderRateLimited => "provider_rate_limited",
            Class::ProviderQuota => "provider_quota",
            Class::ProviderAuth => "provider_auth",
            Class::ProviderTimeout => "provider_timeout",
            Class::ProviderOverloaded => "provider_overloaded",
            Class::ProviderError => "provider_error",
            Class::ProviderUnreachable => "provider_unreachable",
            Class::ModelMissing => "model_missing",
            Class::ContextOverflow => "context_overflow",
            Class::ContentFilter => "content_filter",
            Class::BadOutput => "bad_output",
            Class::Plugin => "plugin",
            Class::PluginDaemon => "plugin_daemon",
            Class::Credentials => "credentials",
            Class::Database => "database",
            Class::DatabasePool => "database_pool",
            Class::Migration => "migration",
            Class::Redis => "redis",
            Class::Queue => "queue",
            Class::Worker => "worker",
            Class::Schedule => "schedule",
            Class::Sandbox => "sandbox",
            Class::Code => "code",
            Class::HttpRequest => "http_request",
            Class::VectorStore => "vector_store",
            Class::Storage => "storage",
            Class::Limit => "limit",
            Class::Edge => "edge",
            Class::Tracing => "tracing",
            Class::Caller => "caller",
            Class::Stopped => "stopped",
            Class::Bug => "bug",
            Class::Unknown => "unknown",
        }
    }

    pub fn parse(text: &str) -> Option<Class> {
        Class::ALL.into_iter().find(|class| class.as_str() == text)
    }

    /// The same failure as the gateway names it at its own calls of models; `None` where it is not one of those.
    pub fn of_model(self) -> Option<ModelClass> {
        Some(match self {
            Class::ProviderRateLimited => ModelClass::RateLimited,
            Class::ProviderQuota => ModelClass::QuotaExhausted,
            Class::ProviderAuth => ModelClass::BadKey,
            Class::ProviderTimeout => ModelClass::TotalTimeout,
            Class::ProviderOverloaded => ModelClass::Overloaded,
            Class::ProviderError => ModelClass::ServerError,
            Class::ProviderUnreachable => ModelClass::Connect,
            Class::ModelMissing => ModelClass::ModelMissing,
            Class::ContextOverflow => ModelClass::ContextOverflow,
            Class::ContentFilter => ModelClass::ContentFilter,
            _ => return None,
        })
    }

    pub fn fault(self) -> Fault {
        match self {
            Class::Caller => Fault::Caller,
            Class::Code | Class::HttpRequest | Class::BadOutput | Class::Bug | Class::Plugin => Fault::Author,
            Class::Stopped => Fault::Nobody,
            Class::Unknown => Fault::Unknown,
            Class::PluginDaemon
            | Class::Credentials
            | Class::Database
            | Class::DatabasePool
            | Class::Migration
            | Class::Redis
            | Class::Queue
            | Class::Worker
            | Class::Schedule
            | Class::Sandbox
            | Class::VectorStore
            | Class::Storage
            | Class::Limit
            | Class::Edge
            | Class::Tracing => Fault::Platform,
            _ => match self.of_model().map(ModelClass::fault) {
                Some(ModelFault::Caller) => Fault::Caller,
                _ => Fault::Provider,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_spelled_once_and_read_back() {
        for class in Class::ALL {
            assert_eq!(Class::parse(class.as_str()), Some(class));
            assert_eq!(serde_json::to_value(class).unwrap(), class.as_str());
        }
        let spellings: std::collections::BTreeSet<_> = Class::ALL.map(Class::as_str).into_iter().collect();
        assert_eq!(spellings.len(), Class::ALL.len());
    }

    #[test]
    fn a_prompt_that_is_too_long_is_its_callers_and_a_slow_model_its_providers() {
        assert_eq!(Class::ContextOverflow.fault(), Fault::Caller);
        assert_eq!(Class::ProviderTimeout.fault(), Fault::Provider);
        assert_eq!(Class::ProviderQuota.fault(), Fault::Provider);
        assert_eq!(Class::Sandbox.fault(), Fault::Platform);
    }
}
