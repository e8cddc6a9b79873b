//! How busy the provider is, and what its model wrote that nobody can read.

use mainstay_base::Class;

use super::Rule;

pub(super) const RULES: &[Rule] = &[
    Rule {
        class: Class::Overloaded,
        statuses: &[],
        codes: &[
            "overloaded_error",
            "engine_overloaded_error",
            "server_overloaded",
            "server_is_overloaded",
            "serveroverloaded",
            "service_unavailable_error",
            "service_tier_capacity_exceeded",
            // Zhipu: too many ask for this model.
            "1305",
            "serviceunavailableexception",
            "modelnotreadyexception",
            "service_unavailable",
            "unavailable",
            "system_cpu_overloaded",
        ],
        phrases: &[],
    },
    Rule {
        class: Class::Overloaded,
        statuses: &[200, 429, 498, 500, 502, 503, 504, 529],
        codes: &[],
        phrases: &[
            "overloaded",
            "over capacity",
            "at capacity",
            "no capacity",
            "currently loading",
            "server is busy",
            "server busy",
            "high demand",
            "no available channel",
            "capacity exceeded",
            "上游负载已饱和",
        ],
    },
    Rule {
        class: Class::RateLimited,
        statuses: &[],
        codes: &[
            "rate_limit_exceeded",
            "rate_limit_error",
            "rate_limit_reached_error",
            "rate_limit",
            "ratelimited",
            "too_many_requests",
            "toomanyrequests",
            "toomanyrequestsexception",
            "throttlingexception",
            "servicequotaexceededexception",
            "throttling",
            "throttling.ratequota",
            "throttling.allocationquota",
            "throttling.burstrate",
            "throttling.user",
            "limit_requests",
            "limit_burst_rate",
            "resource_exhausted",
            "concurrency_limit_exceeded",
            // Zhipu.
            "1302",
            "1303",
        ],
        phrases: &[],
    },
    // MiniMax, which answers 200; elsewhere these numbers mean something else.
    Rule { class: Class::RateLimited, statuses: &[200], codes: &["1002", "1039", "1041"], phrases: &[] },
    // The model wrote no call, or no JSON, that can be read: not the caller's fault, and another may do better.
    Rule {
        class: Class::ErrorInside,
        statuses: &[200, 400],
        codes: &["tool_use_failed", "json_validate_failed"],
        phrases: &[],
    },
    Rule {
        class: Class::RateLimited,
        statuses: &[200, 403, 500, 502, 503],
        codes: &[],
        phrases: &["rate limit", "rate-limit", "ratelimit", "too many requests"],
    },
];
