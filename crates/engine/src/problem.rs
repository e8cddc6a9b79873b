//! Why an app cannot be run.

/// One thing that is wrong with an app. A check returns all of them at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct Problem {
    /// Where, such as `workflow.graph.nodes[llm].prompt_template`.
    pub path: String,
    pub node_id: Option<String>,
    pub node_type: Option<String>,
    pub message: String,
}

impl From<mainstay_wire::dsl::Problem> for Problem {
    fn from(problem: mainstay_wire::dsl::Problem) -> Problem {
        let mainstay_wire::dsl::Problem { path, message } = problem;
        Problem { path, node_id: None, node_type: None, message }
    }
}
