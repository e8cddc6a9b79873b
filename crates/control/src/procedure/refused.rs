//! Why a procedure is refused, and what to do instead.

use mainstay_store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum ProcedureRefused {
    #[error("there is no provider `{name}`; there are: {known}")]
    NoProvider { name: String, known: String },
    #[error("provider {provider} serves no model `{model}`; it serves: {known}")]
    NoModel { provider: String, model: String, known: String },
    #[error("provider {provider} serves models without a route only; say which model to ask it for")]
    WhichModel { provider: String },
    #[error("without {provider}, no provider that is in rotation and not down would be left for {}", models.join(", "))]
    LeftAlone { provider: String, models: Vec<String> },
    #[error("a provider cannot fail over to itself")]
    ToItself,
    #[error("no model is served by both {from} and {to}")]
    NothingShared { from: String, to: String },
    #[error("{to} cannot take over: it is {why}")]
    CannotTakeOver { to: String, why: String },
    #[error("{from} fails over to {to} already")]
    FailsOverAlready { from: String, to: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ProcedureRefused {
    /// What to do instead.
    pub fn next(&self) -> String {
        match self {
            ProcedureRefused::NoProvider { .. } => "see mainstay provider list".to_owned(),
            ProcedureRefused::NoModel { .. } | ProcedureRefused::WhichModel { .. } => {
                "see mainstay provider show".to_owned()
            }
            ProcedureRefused::LeftAlone { .. } => {
                "give these models another target first, or force it: their calls still try the drained provider last"
                    .to_owned()
            }
            ProcedureRefused::ToItself => "name another provider".to_owned(),
            ProcedureRefused::NothingShared { .. } => {
                "give a model targets at both; see mainstay model list".to_owned()
            }
            ProcedureRefused::CannotTakeOver { .. } => {
                "restore or repair it, choose another, or force it".to_owned()
            }
            ProcedureRefused::FailsOverAlready { from, .. } => {
                format!("undo that first: mainstay provider failover {from} --undo")
            }
            ProcedureRefused::Store(_) => "see mainstay health".to_owned(),
        }
    }
}
