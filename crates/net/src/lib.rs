//! The one way out of the process over HTTP: one client with one pool, every wait by name, and the guard that keeps
//! addresses given by others away from places of ours.
//!
//! Promises: no request waits longer than its [`base::snapshot::Timeouts`](mainstay_base::snapshot::Timeouts) say;
//! a refused address is never connected to, whatever its name resolves to by then; a resolver that fails or freezes
//! takes no peer away that was there before ([`resolve`]); dropping a [`Body`] closes the
//! exchange with the peer. Refuses to know: what the bytes mean, whether a request may be sent twice, redirects.

mod authority;
pub mod body;
pub mod client;
mod connect;
mod error;
pub mod guard;
mod pool;
pub mod resolve;
mod timed;

pub use authority::authorities;
pub use body::{Body, BodyError, CollectError, boxed, channel, collect, empty, full, stream};
pub use client::{Client, ClientOptions};
pub use connect::tune;
pub use error::{Class, SendError};
pub use guard::{AddressRule, Allowed};
pub use resolve::Resolver;
pub use timed::timed;
