//! Service levels: what is counted for them ([`Slis`]), their documents and how they stand ([`Slos`]).

mod count;
mod document;
mod ended;

pub use count::{MAX_SLI_ROWS, Slis};
pub use document::Slos;
