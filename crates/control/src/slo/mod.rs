//! Service levels: what is counted, what is promised, how it stands, and who has to know.
//!
//! [`Rollup`] counts in every process that carries requests; minutes reach the store. The control that acts reads them,
//! judges each objective by `mainstay_signal::slo`, says in the store how it stands, and gives those in trouble to the
//! alert step as components. Refuses to know: the arithmetic of judgement, HTTP and SQL.

pub mod admin;
mod blame;
mod choosing;
pub mod defaults;
mod document;
mod ended;
pub mod endpoint;
mod engine;
mod fault;
mod figures;
pub mod history;
mod judging;
pub mod openslo;
pub mod plan;
mod read;
mod rollup;
pub mod rules;
mod tell;
mod terms;
mod tracked;
pub mod view;

pub use document::{Alerting, Calendar, Document, Selector, Sli, Source, Window};
pub(crate) use ended::Ended;
pub use figures::{Figures, source};
pub(crate) use judging::Judging;
pub use judging::LOOK_EVERY;
pub use read::{Problem, document};
pub use rollup::{MAX_SERIES, MAX_WAITING, Rollup, Totals};
pub(crate) use tell::unjudged;

const MINUTE_US: i64 = 60_000_000;
const HOUR_US: i64 = 60 * MINUTE_US;
