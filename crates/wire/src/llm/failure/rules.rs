//! The table by which status, code and words become a class. Its order counts: the first rule that fits decides.
//!
//! A rule fits when the status is one of its own (none named: any) and a code is one of its codes, or a message has
//! one of its phrases. Phrases are only believed at the statuses where providers use them, because a message may quote
//! what a caller wrote.

use mainstay_base::{Class, snapshot::Dialect};

use super::body::Spoken;

struct Rule {
    class: Class,
    /// Empty: any.
    statuses: &'static [u16],
    /// Lower case; matched whole, at any status of the rule.
    codes: &'static [&'static str],
    /// Lower case; matched anywhere in the message.
    phrases: &'static [&'static str],
}

/// 200 stands for an error inside an answer or a stream.
const REFUSED: &[u16] = &[200, 400, 402, 403, 404, 413, 422, 429, 500];

const RULES: &[Rule] = &[
    // "Request too large … on tokens per min": no context is overrun, another key or a minute's wait helps.
    Rule {
        class: Class::RateLimited,
        statuses: &[200, 413, 429],
        codes: &[],
        phrases: &["tokens per min", "requests per min"],
    },
    Rule {
        class: Class::QuotaExhausted,
        statuses: &[],
        codes: &[
            "insufficient_quota",
            "insufficient_user_quota",
            "exceeded_current_quota_error",
            "billing_not_active",
            "billing_hard_limit_reached",
            "billing_error",
            "account_deactivated",
            "arrearage",
            "insufficientbalance",
            "insufficient_balance",
            "insufficient_credits",
            "payment_required",
            "access_terminated",
            "quota_exhausted",
            "quota_exceeded",
            "allocationquota.freetieronly",
            "accountoverdueerror",
            "pre_consume_token_quota_failed",
            // Zhipu: no money, and the limits of a day, five hours, a week; MiniMax.
            "1113",
            "1304",
            "1308",
            "1310",
            "1008",
            "2056",
        ],
        phrases: &[],
    },
    Rule {
        class: Class::QuotaExhausted,
        statuses: &[200, 400, 401, 402, 403, 412, 429],
        codes: &[],
        phrases: &[
            "exceeded your current quota",
            "too many tokens per day",
            "tokens per day limit exceeded",
            "free-models-per-day",
            "balance is insufficient",
            "api calls / month",
            "credit balance is too low",
            "insufficient balance",
            "insufficient credit",
            "insufficient account balance",
            "not enough credits",
            "requires more credits",
            "out of credits",
            "account is not active, please check your billing",
            "billing hard limit",
            "spending limit",
            "specified api usage limits",
            "free tier of the model has been exhausted",
            "monthly usage limit",
            "in good standing",
        ],
    },
    Rule {
        class: Class::ContextOverflow,
        statuses: &[],
        codes: &[
            "context_length_exceeded",
            "context_window_exceeded",
            "model_context_window_exceeded",
            "exceed_context_size_error",
            "input_too_long",
            "1261",
        ],
        phrases: &[],
    },
    Rule {
        class: Class::ContextOverflow,
        statuses: REFUSED,
        codes: &[],
        phrases: &[
            "maximum context length",
            "maximum prompt length",
            "model's context length",
            "context length exceeded",
            "exceeds the context",
            "exceed the context",
            "exceed context limit",
            "exceeds the available context",
            "context window",
            "prompt is too long",
            "prompt too long",
            "input is too long",
            "too many input tokens",
            "too many tokens:",
            "input tokens exceed",
            "exceeds the maximum number of tokens",
            "exceeds maximum number of tokens",
            "exceeded model token limit",
            "range of input length should be",
            "reduce the length of the messages",
            "reduce the length of your prompt",
            "maximum input length",
            "longer than the maximum model length",
            "prompt contains more tokens",
            "`inputs` tokens + `max_new_tokens` must be",
            "less than max_seq_len",
            "less than or equal to max_seq_len",
            "greater than the context length",
            "with context length of only",
        ],
    },
    Rule {
        class: Class::ContentFilter,
        statuses: &[],
        codes: &[
            "content_filter",
            "content_filter_error",
            "responsibleaipolicyviolation",
            "content_policy_violation",
            "contentpolicyviolation",
            "datainspectionfailed",
            "data_inspection_failed",
            "prohibited_content",
            "moderation_blocked",
            "content_moderation",
            "sensitive_content",
            "sensitivecontentdetected",
            "inputtextsensitivecontentdetected",
            "outputtextsensitivecontentdetected",
            // Zhipu, MiniMax.
            "1301",
            "1026",
            "1027",
        ],
        phrases: &[],
    },
    Rule {
        class: Class::ContentFilter,
        statuses: &[200, 400, 403, 422],
        codes: &[],
        phrases: &[
            "content management policy",
            "content filtering policy",
            "flagged as potentially violating",
            "content exists risk",
            "inappropriate content",
            "our safety system",
            "input was flagged",
            "requires moderation",
            "violates our usage policies",
            "blocked by guardrail",
            "considered high risk",
            // Gemini names its reason in the words.
            "prohibited_content",
            "blocked due to safety",
        ],
    },
    Rule {
        class: Class::ModelMissing,
        statuses: &[],
        codes: &[
            "model_not_found",
            "modelnotfound",
            "deploymentnotfound",
            "model_not_available",
            "modelnotopen",
            "operationnotsupported",
            "model_decommissioned",
            "model_terms_required",
            "model.accessdenied",
            "resourcenotfoundexception",
            "unsupported_country_region_territory",
            // Zhipu.
            "1211",
        ],
        phrases: &[],
    },
    Rule {
        class: Class::ModelMissing,
        statuses: &[200, 400, 401, 403, 404, 422],
        codes: &[],
        phrases: &[
            "does not have access to model",
            "do not have access to it",
            "don't have access to the model",
            "access to the model is denied",
            "model access is denied",
            "model not exist",
            "model does not exist",
            "model not found",
            "no such model",
            "unknown model",
            "invalid model name",
            "not a valid model",
            "not found, try pulling it first",
            "no endpoints found",
            "no allowed providers",
            "is not found for api version",
            "model identifier is invalid",
            "on-demand throughput isn",
            "reached the end of its life",
            "model has been decommissioned",
            "modelcode: does not exist",
            "model has been deprecated",
            "location is not supported",
            "territory not supported",
        ],
    },
    Rule {
        class: Class::BadKey,
        statuses: &[],
        codes: &[
            "invalid_api_key",
            "incorrect_api_key",
            "invalidapikey",
            "api_key_invalid",
            "api_key_service_blocked",
            "api_key_http_referrer_blocked",
            "api_key_ip_address_blocked",
            "access_token_expired",
            "authentication_error",
            "invalid_authentication_error",
            "incorrect_api_key_error",
            "invalid_iam_token",
            "permission_error",
            "permission_denied",
            "unauthenticated",
            "unrecognizedclientexception",
            "invalidsignatureexception",
            "incompletesignatureexception",
            "missingauthenticationtokenexception",
            "expiredtokenexception",
            "expiredtoken",
            "invalidclienttokenid",
            "signaturedoesnotmatch",
            "accessdeniedexception",
            "ip_not_authorized",
            // MiniMax.
            "1004",
            "2049",
        ],
        phrases: &[],
    },
    Rule {
        class: Class::BadKey,
        statuses: &[200, 400, 401, 403, 404],
        codes: &[],
        phrases: &[
            "api key not valid",
            "api key expired",
            "api key not found",
            "invalid api key",
            "invalid api-key",
            "invalid x-api-key",
            "incorrect api key",
            "invalid api token",
            "api key was reported as leaked",
            "invalid subscription key",
            "no auth credentials",
            "authentication fails",
            "signature expired",
            "security token included in the request is",
            "request signature we calculated does not match",
            "organization has been disabled",
        ],
    },
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
    // A wrong base URL is no missing model.
    Rule {
        class: Class::NotAnAnswer,
        statuses: &[404],
        codes: &[],
        phrases: &[
            "invalid url",
            "unknown url",
            "unknown request url",
            "unrecognized request url",
            "no route",
            "page not found",
            "cannot post",
            "resource not found",
            "path not found",
        ],
    },
    // What a caller refers to by id is gone for the caller, wherever it asks.
    Rule {
        class: Class::CallerError,
        statuses: &[404],
        codes: &["previous_response_not_found"],
        phrases: &["previous response", "no file found", "file not found", "item with id"],
    },
];

/// Codes that are plain numbers mean something with one family of providers only, and elsewhere are HTTP's.
pub(super) fn class(dialect: &Dialect, status: u16, spoken: &Spoken) -> Class {
    if spoken.is_page {
        return of_page(status);
    }
    let message = spoken.message.to_ascii_lowercase();
    let codes: Vec<String> = spoken.codes.iter().map(|code| spelled(code)).collect();
    // A relay's 200 or 502 may carry the provider's own status inside. A 400 in there blames nobody for sure.
    let status_inside =
        spoken.status.filter(|inside| matches!(status, 200 | 500 | 502) && !matches!(inside, 400 | 404));
    let seen_as = status_inside.unwrap_or(status);
    if let Some(class) = gemini_quota(dialect, &codes, &message) {
        return class;
    }
    let found = RULES.iter().find(|rule| fits(rule, status, seen_as, &codes, &message));
    found.map_or_else(|| by_status(seen_as, spoken), |rule| rule.class)
}

/// `ThrottlingException` and `com.amazon.coral#ThrottlingException` are one.
fn spelled(code: &str) -> String {
    code.rsplit('#').next().unwrap_or(code).to_ascii_lowercase()
}

/// Gemini says "You exceeded your current quota" of quotas of a minute as of a day: only the quota's id tells.
fn gemini_quota(dialect: &Dialect, codes: &[String], message: &str) -> Option<Class> {
    let is_exhausted = codes.iter().any(|code| code == "resource_exhausted");
    if *dialect != Dialect::Gemini && !is_exhausted {
        return None;
    }
    let says = |word: &str| codes.iter().any(|code| code.contains(word)) || message.contains(word);
    match () {
        () if !is_exhausted => None,
        () if says("perday") => Some(Class::QuotaExhausted),
        () => Some(Class::RateLimited),
    }
}

fn fits(rule: &Rule, status: u16, seen_as: u16, codes: &[String], message: &str) -> bool {
    let is_its_status =
        rule.statuses.is_empty() || rule.statuses.contains(&status) || rule.statuses.contains(&seen_as);
    is_its_status
        && (codes.iter().any(|code| rule.codes.contains(&code.as_str()))
            || rule.phrases.iter().any(|phrase| message.contains(phrase)))
}

/// What a status means that came with no telling words.
fn by_status(seen_as: u16, spoken: &Spoken) -> Class {
    match seen_as {
        200..=299 => Class::ErrorInside,
        401 | 403 => Class::BadKey,
        402 => Class::QuotaExhausted,
        // Without any words of the dialect nobody said that a model is missing.
        404 if spoken.message.is_empty() || is_bare_not_found(&spoken.message) => Class::NotAnAnswer,
        404 => Class::ModelMissing,
        408 | 424 | 425 | 499 => Class::ServerError,
        429 => Class::RateLimited,
        400..=498 => Class::CallerError,
        503 | 529 => Class::Overloaded,
        500..=599 => Class::ServerError,
        // 1xx, 3xx and what no standard knows.
        _ => Class::NotAnAnswer,
    }
}

fn is_bare_not_found(message: &str) -> bool {
    matches!(
        message.trim().trim_end_matches('.').to_ascii_lowercase().as_str(),
        "not found" | "404 not found"
    )
}

/// A page comes from something in between: it knows nothing of keys, models or prompts.
fn of_page(status: u16) -> Class {
    match status {
        413 => Class::CallerError,
        429 => Class::RateLimited,
        503 => Class::Overloaded,
        500..=599 => Class::ServerError,
        _ => Class::NotAnAnswer,
    }
}
