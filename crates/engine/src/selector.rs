//! Where a value is found: a node's output, a system, environment or conversation variable, and a path into it.

use std::sync::Arc;

use serde_json::Value;

use crate::segment;

pub(crate) type NodeIndex = u32;

/// The names that stand for variables and not for nodes.
pub(crate) const SYSTEM: &str = "sys";
pub(crate) const ENVIRONMENT: &str = "env";
pub(crate) const CONVERSATION: &str = "conversation";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Node(NodeIndex),
    System,
    Environment,
    Conversation,
}

/// A compiled selector: no text is compared but the variable's name.
#[derive(Clone, Debug)]
pub(crate) struct Selector {
    pub(crate) source: Source,
    pub(crate) name: Arc<str>,
    /// Into an object, or one attribute of a file.
    pub(crate) path: Box<[Arc<str>]>,
    /// As written: the source's id, the name, the path.
    pub(crate) parts: Arc<[Arc<str>]>,
}

impl Selector {
    /// The value at the path below a variable's value.
    pub(crate) fn descend(&self, value: &Arc<Value>) -> Option<Arc<Value>> {
        let Some(first) = self.path.first() else {
            return Some(Arc::clone(value));
        };
        if let Value::Object(map) = &**value
            && segment::is_file(map)
        {
            return segment::file_attribute(map, first).map(Arc::new);
        }
        let mut at: &Value = value;
        for key in &self.path {
            at = at.as_object()?.get(&**key)?;
        }
        // A null on the way is "not there", as in Dify.
        Some(Arc::new(at.clone()))
    }

    /// Python's `repr` of the selector, as in Dify's messages.
    pub(crate) fn repr(&self) -> String {
        crate::python::repr_list(self.parts.iter().map(|part| &**part))
    }

    /// `a.b.c` without the source.
    pub(crate) fn dotted_name(&self) -> Arc<str> {
        match self.path.is_empty() {
            true => Arc::clone(&self.name),
            false => self.parts[1..].join(".").into(),
        }
    }
}
