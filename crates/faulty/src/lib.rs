//! A model provider that fails on request: what the demo calls, and what tests rehearse failures with.
//!
//! It speaks the dialects of OpenAI, Azure, Anthropic, Gemini, Bedrock and Cohere, each by its own paths, and plays every
//! failure that a gateway must know ([`Fault`]). On a port of its own `POST /faults` switches, and `GET /faults` tells what
//! is on and how many were called. Promises: the same question gets the same answer; a fault hits exactly the calls that its [`Plan`] says; it
//! listens on the loopback interface only. It asks for no key unless told to, and knows nothing of gateways.

mod connection;
mod dialect;
mod door;
mod fault;
mod mind;
mod play;
mod server;
mod switch;

pub use fault::{Fault, Plan};
pub use mind::{Mind, Question, Said, ToolUse, echo};
pub use server::{Call, End, Moves, Options, Pace, Place, Provider};
