//! The engine from outside: whole apps, checked and run.

mod common;
mod nodes;
mod samples;
mod shapes;
mod walks;
