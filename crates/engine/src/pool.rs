//! The values of a run: what each node gave, and the variables that belong to no node.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;

use crate::{
    Fields, segment,
    selector::{NodeIndex, Selector, Source},
    template::{Segment, Template},
};

/// Values that are the same everywhere in a run, iterations included.
#[derive(Debug)]
pub(crate) struct Globals {
    pub(crate) system: Fields,
    pub(crate) environment: Arc<Fields>,
    /// Assigner nodes change these while the run goes on.
    pub(crate) conversation: Mutex<Fields>,
}

/// Outputs by node. An item of an iteration works on a copy, which shares the values.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    outputs: Vec<Option<Arc<Fields>>>,
}

impl Pool {
    pub(crate) fn new(nodes: usize) -> Pool {
        Pool { outputs: vec![None; nodes] }
    }

    pub(crate) fn set(&mut self, node: NodeIndex, outputs: Arc<Fields>) {
        if let Some(slot) = self.outputs.get_mut(node as usize) {
            *slot = Some(outputs);
        }
    }
}

/// A pool and its globals: everything a node can look at.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) pool: &'a Pool,
    pub(crate) globals: &'a Globals,
}

impl View<'_> {
    /// The value a selector points at; `None` when there is none (a null is a value).
    pub(crate) fn get(&self, selector: &Selector) -> Option<Arc<Value>> {
        let name = &*selector.name;
        let value = match selector.source {
            Source::Node(node) => self.pool.outputs.get(node as usize)?.as_ref()?.get(name).cloned(),
            Source::System => self.globals.system.get(name).cloned(),
            Source::Environment => self.globals.environment.get(name).cloned(),
            Source::Conversation => self.globals.conversation.lock().get(name).cloned(),
        }?;
        selector.descend(&value)
    }

    /// A text with its references replaced. A reference to nothing becomes its own name, as in Dify.
    pub(crate) fn text(&self, template: &Template) -> String {
        self.write(template, segment::write_text)
    }

    pub(crate) fn markdown(&self, template: &Template) -> String {
        self.write(template, segment::write_markdown)
    }

    fn write(&self, template: &Template, write: fn(&mut String, &Value)) -> String {
        let mut text = String::new();
        for segment in &template.segments {
            match segment {
                Segment::Text(part) => text.push_str(part),
                Segment::Variable(selector) => match self.get(selector) {
                    Some(value) => write(&mut text, &value),
                    None => text.push_str(&selector.parts.join(".")),
                },
                Segment::Context | Segment::Histories => {}
            }
        }
        text
    }
}
