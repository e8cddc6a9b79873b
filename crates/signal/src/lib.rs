//! Arithmetic of judgement, without I/O: breakers, budgets of retries, latencies, limits, the order of a chain.
//!
//! Promises: pure state machines; time comes in as a value, chance as a number, so that a seeded simulation can run
//! any schedule. Refuses to know HTTP, dialects and storage.
