//! Whom a task is about, where its arguments tell. Names of arguments are those of Dify's tasks.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Ids listed of one task.
const MAX_DOCUMENTS: usize = 20;
/// A longer text is no id.
const MAX_ID_CHARS: usize = 100;
/// `workflow_based_app_execution_task` carries its parameters as JSON in a text; longer ones are not read.
const MAX_PAYLOAD_BYTES: usize = 256 * 1024;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct About {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub documents: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// The row of `workflow_trigger_logs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger_log: Option<String>,
}

/// Reads arguments by name, those in a first argument that is an object, and those in a payload that is JSON.
pub fn about(args: &[Value], kwargs: &Map<String, Value>) -> About {
    let mut about = About::default();
    about.take(kwargs);
    let payloads = args.iter().take(2).chain(kwargs.get("payload"));
    for value in payloads {
        match value {
            Value::Object(object) => about.take(object),
            Value::String(text) if text.starts_with('{') && text.len() <= MAX_PAYLOAD_BYTES => {
                if let Ok(object) = serde_json::from_str::<Map<String, Value>>(text) {
                    about.take(&object);
                }
            }
            _ => {}
        }
    }
    about
}

impl About {
    fn take(&mut self, object: &Map<String, Value>) {
        let text = |name: &str| {
            let text = object.get(name).and_then(Value::as_str)?;
            (!text.is_empty() && text.len() <= MAX_ID_CHARS).then(|| text.to_owned())
        };
        let fill = |field: &mut Option<String>, names: &[&str]| {
            if field.is_none() {
                *field = names.iter().find_map(|name| text(name));
            }
        };
        fill(&mut self.tenant, &["tenant_id"]);
        fill(&mut self.app, &["app_id"]);
        fill(&mut self.dataset, &["dataset_id"]);
        fill(&mut self.run, &["workflow_run_id"]);
        fill(&mut self.trigger_log, &["workflow_trigger_log_id"]);
        if self.documents.is_empty() {
            let many = object.get("document_ids").and_then(Value::as_array).into_iter().flatten();
            let one = object.get("document_id");
            let ids = many.chain(one).filter_map(Value::as_str).filter(|id| id.len() <= MAX_ID_CHARS);
            self.documents = ids.take(MAX_DOCUMENTS).map(str::to_owned).collect();
        }
    }
}
