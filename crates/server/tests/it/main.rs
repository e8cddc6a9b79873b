//! The binary from outside: real processes, real ports, real signals.

mod check;
mod commands;
mod demo;
mod kill;
mod scenario;
mod support;
