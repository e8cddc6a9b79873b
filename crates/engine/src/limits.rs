//! How much one run may take.

use std::time::Duration;

/// Every limit of a run, by name. The defaults are Dify's own where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Node executions of a run, those inside iterations included.
    pub max_steps: u64,
    pub max_time: Duration,
    /// Nodes of one run (or of one item of an iteration) that wait for others at the same time.
    pub max_parallel_nodes: usize,
    pub max_iteration_items: usize,
    /// Iterations within iterations.
    pub max_call_depth: usize,
    pub max_template_output_bytes: usize,
    pub max_http_text_bytes: usize,
    pub max_model_answer_bytes: usize,
    /// Bytes of one variable's value.
    pub max_variable_bytes: usize,
    /// Whether the outcome lists its node executions.
    pub keep_nodes: bool,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_steps: 500,
            max_time: Duration::from_secs(1200),
            max_parallel_nodes: 10,
            max_iteration_items: 1_000,
            max_call_depth: 5,
            max_template_output_bytes: 400_000,
            max_http_text_bytes: 1024 * 1024,
            max_model_answer_bytes: 4 * 1024 * 1024,
            max_variable_bytes: 2 * 1024 * 1024,
            keep_nodes: true,
        }
    }
}
