//! The rows of the store as plain values. Time is [`Micros`](mainstay_base::Micros), ids are strings, JSON is
//! [`serde_json::Value`] and never filtered on.

mod alerting;
mod app;
mod call;
mod chat;
mod dify;
mod job;
mod operations;
mod run;
mod slo;

pub use alerting::{AlertBook, AlertGroup, Decided, Fence, OnCallOverride, Silence};
pub use app::{App, Imported, NewApp, NewKey, Version, VersionInfo};
pub use call::{Allowance, CallCursor, CallFilter, CallPage, Stood};
pub use chat::{
    ChatResult, Conversation, ConversationSort, EndUser, Feedback, File, Message, MessageStatus, NewFile,
    Page, Rating,
};
pub use dify::{
    DifyAdd, DifyBatch, DifyCounted, DifyCursor, DifyFilter, DifyItem, DifyListed, DifySeries, DifyState,
    DifyTaken, DifyTotal, Sketch,
};
pub use job::{
    Cancelled, DeadJob, Finish, Finished, Held, Idempotency, Job, JobKind, JobState, NewJob, QueueStats,
    Replayed, Submitted,
};
pub use operations::{
    Alert, AlertFilter, AlertState, ChainBreak, Delivery, DeliveryKind, DeliveryState, Execution,
    ExecutionFilter, Lease, NewDelivery, NewEvent, Policy, RecordFilter, Setting, Severity, Swept,
    TimelineEvent, TimelineFilter, Verified, Worker,
};
pub use run::{
    LogFilter, LogPage, NewRun, NodeExecution, Run, RunEvent, RunFilter, RunJob, RunResult, RunStatus,
    RunSummary, Tally,
};
pub use slo::{
    ENDED_US, EndedRuns, SLI_SLOT_US, SLI_SLOTS, SliBatch, SliCounts, SliRow, SliSeries, SloChange, SloRow,
    SloState,
};
