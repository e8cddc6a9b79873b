//! What providers say, by what it means. A rule fits when the status is one of its own (none named: any) and a code is one
//! of its codes, or a message has one of its phrases. Phrases are only believed at the statuses where providers use them,
//! because a message may quote what a caller wrote.

use mainstay_base::Class;

mod account;
mod load;
mod missing;
mod prompt;
mod target;

pub(super) struct Rule {
    pub(super) class: Class,
    /// Empty: any.
    pub(super) statuses: &'static [u16],
    /// Lower case; matched whole, at any status of the rule.
    pub(super) codes: &'static [&'static str],
    /// Lower case; matched anywhere in the message.
    pub(super) phrases: &'static [&'static str],
}

/// 200 stands for an error inside an answer or a stream.
const REFUSED: &[u16] = &[200, 400, 402, 403, 404, 413, 422, 429, 500];

/// Their order counts: the first rule that fits decides.
pub(super) fn rules() -> impl Iterator<Item = &'static Rule> {
    [account::RULES, prompt::RULES, target::RULES, load::RULES, missing::RULES].into_iter().flatten()
}
