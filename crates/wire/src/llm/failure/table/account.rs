//! The account: what it may still spend. What sounds like a prompt that is too long and is a limit of a minute stands first.

use mainstay_base::Class;

use super::Rule;

pub(super) const RULES: &[Rule] = &[
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
];
