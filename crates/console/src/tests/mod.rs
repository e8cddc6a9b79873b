//! The console as its users meet it: through its router, over a real store.

mod actions;
mod assets;
mod auth;
mod control;
mod dify;
mod escape;
mod names;
mod pages;
mod quiet;
mod routing;
mod slos;
mod world;
