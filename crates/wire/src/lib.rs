//! Bytes in, values out: every format that Mainstay speaks, without I/O, clocks or runtimes.

pub mod celery;
pub mod dify;
pub mod dsl;
pub mod llm;
pub mod notify;
pub mod openai;
pub mod python_json;
pub mod sse;
pub mod webhook;
pub mod yaml;
