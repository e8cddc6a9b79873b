//! What the end of a node means: for the pool, for its edges, and for who listens.

use std::{sync::Arc, time::Duration};

use super::{Failure, Landed, Walk, edges::Taken};
use crate::{
    Event, Fields, NodeExecution, NodeStatus,
    node::{Done, Failed, NodeResult, Role, Started},
    plan::Strategy,
    selector::NodeIndex,
};

const FAIL_BRANCH: &str = "fail-branch";

impl Walk<'_> {
    pub(super) async fn finish(
        &mut self,
        index: NodeIndex,
        started: Started,
        result: NodeResult,
    ) -> Result<(), Failure> {
        match result {
            Ok(done) => {
                self.succeed(index, started, done).await;
                Ok(())
            }
            Err(failed) => self.fail(index, started, *failed).await,
        }
    }

    async fn succeed(&mut self, index: NodeIndex, started: Started, done: Done) {
        let node = self.run.plan.node(index);
        let Done { inputs, process_data, outputs, handle, usage, metadata } = done;
        if let Some(usage) = &usage {
            self.usage.add(usage);
        }
        self.pool.set(index, Arc::clone(&outputs));
        self.flush_streams().await;
        let handle = match (&handle, &node.strategy) {
            (Some(handle), _) => Taken::One(handle),
            (None, Strategy::FailBranch) => Taken::Success,
            (None, _) => Taken::All,
        };
        self.leave(index, &handle).await;
        if node.role == Role::Response {
            self.gather(&outputs);
        }
        if self.place.is_some() && node.role == Role::Root {
            return;
        }
        let end =
            Ending { status: NodeStatus::Succeeded, inputs, process_data, outputs, error: None, metadata };
        self.tell(index, started, end).await;
    }

    async fn fail(&mut self, index: NodeIndex, started: Started, failed: Failed) -> Result<(), Failure> {
        let run = self.run;
        let node = run.plan.node(index);
        self.exceptions += 1;
        if let Some(usage) = &failed.usage {
            self.usage.add(usage);
        }
        let state = &mut self.states[index as usize];
        if state.failures < node.retry.most {
            state.failures += 1;
            let retry_index = state.failures;
            self.retry(index, started, failed, retry_index).await;
            return Ok(());
        }
        let Failed { inputs, process_data, outputs, error, error_type, kind, usage: _ } = failed;
        let error_pair = Some((error.clone(), error_type));
        let (outputs, strategy) = match &node.strategy {
            Strategy::Abort => {
                let end = Ending {
                    status: NodeStatus::Failed,
                    inputs,
                    process_data,
                    outputs,
                    error: error_pair,
                    metadata: Fields::new(),
                };
                self.tell(index, started, end).await;
                return Err(Failure { error, kind });
            }
            Strategy::FailBranch => (Fields::with_capacity(2), FAIL_BRANCH),
            Strategy::DefaultValue(defaults) => (defaults.clone(), "default-value"),
        };
        let outputs = Arc::new(with_error(outputs, &error, error_type));
        self.pool.set(index, Arc::clone(&outputs));
        let taken = if strategy == FAIL_BRANCH { Taken::One(FAIL_BRANCH) } else { Taken::All };
        self.leave(index, &taken).await;
        if node.role == Role::Response {
            self.gather(&outputs);
        }
        let metadata = Fields::from([("error_strategy", strategy.into())]);
        let end = Ending {
            status: NodeStatus::Exception,
            inputs,
            process_data,
            outputs,
            error: error_pair,
            metadata,
        };
        self.tell(index, started, end).await;
        Ok(())
    }

    async fn retry(&mut self, index: NodeIndex, started: Started, failed: Failed, retry_index: u64) {
        let run = self.run;
        let interval = run.plan.node(index).retry.interval;
        if run.is_heard() {
            let Failed { inputs, process_data, outputs, error, error_type, .. } = failed;
            let end = Ending {
                status: NodeStatus::Retry,
                inputs,
                process_data,
                outputs,
                error: Some((error, error_type)),
                metadata: Fields::new(),
            };
            let execution = Arc::new(self.execution(index, started.clone(), end));
            run.emit(Event::NodeRetry { execution, retry_index }).await;
        }
        run.open(index, &started);
        self.flights.push(Box::pin(async move {
            if interval > Duration::ZERO {
                tokio::time::sleep(interval).await;
            }
            run.close(&started);
            Landed::Again { index, started }
        }));
    }

    /// Adds a response node's outputs to the run's.
    fn gather(&mut self, outputs: &Fields) {
        for (name, value) in outputs.iter() {
            let known = self.outputs.get(name).and_then(|known| known.as_str());
            match (known, value.as_str()) {
                (Some(known), Some(more)) if &**name == "answer" && !known.is_empty() => {
                    let joined = format!("{known}{more}");
                    self.outputs.set(Arc::clone(name), serde_json::Value::String(joined));
                }
                _ => self.outputs.set(Arc::clone(name), Arc::clone(value)),
            }
        }
    }

    async fn tell(&mut self, index: NodeIndex, started: Started, end: Ending) {
        if !self.run.keeps() {
            return;
        }
        let execution = Arc::new(self.execution(index, started, end));
        self.run.keep(&execution);
        if self.run.is_heard() {
            self.run.emit(Event::NodeFinished(execution)).await;
        }
    }

    fn execution(&self, index: NodeIndex, started: Started, end: Ending) -> NodeExecution {
        let node = self.run.plan.node(index);
        let Ending { status, inputs, process_data, outputs, error, mut metadata } = end;
        if let Some(place) = &started.place {
            metadata.set("iteration_id", serde_json::Value::String(place.iteration_id.to_string()));
            metadata.set("iteration_index", serde_json::Value::from(place.index));
        }
        let (error, error_type) = error.unzip();
        NodeExecution {
            id: started.id,
            node_id: Arc::clone(&node.id),
            node_type: node.kind,
            title: Arc::clone(&node.title),
            index: started.index,
            predecessor_node_id: started.predecessor.map(|index| Arc::clone(&self.run.plan.node(index).id)),
            iteration: started.place,
            status,
            inputs,
            process_data,
            outputs,
            error,
            error_type: error_type.map(str::to_owned),
            metadata,
            started_at: started.at,
            finished_at: self.run.now(),
        }
    }
}

struct Ending {
    status: NodeStatus,
    inputs: Arc<Fields>,
    process_data: Arc<Fields>,
    outputs: Arc<Fields>,
    error: Option<(String, &'static str)>,
    metadata: Fields,
}

fn with_error(mut outputs: Fields, error: &str, error_type: &str) -> Fields {
    outputs.set("error_message", serde_json::Value::String(error.to_owned()));
    outputs.set("error_type", serde_json::Value::String(error_type.to_owned()));
    outputs
}
