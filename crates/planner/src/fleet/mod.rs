//! Calibration of a whole fleet, on the scheduler that it has.
//!
//! ```text
//! sinfo, kubectl, a list ─ nodes ─→ Inventory ─ plan, beside what is known ─→ FleetPlan ─ emit ─→ jobs
//!        jobs' records and marks ─ merge ─→ Merged ─ status, beside the plan ─→ labels, metrics
//! ```
//!
//! Pure: what lists nodes and what runs jobs is the command's. Lists and records come from elsewhere: they are bounded,
//! and what they call things is made safe before it is printed or put into a job.

pub mod emit;
mod job;
mod merge;
mod nodes;
mod plan;
mod status;
mod text;

pub use job::{JOB_SCHEMA, JobMark, JobState};
pub use merge::{MERGED_SCHEMA, Merged, MergedDoc, RefusedDoc};
pub use nodes::{Inventory, MOST_NODES, Node, NodeCards, NodesError, Scheduler, Types, nodes};
pub use plan::{FleetPlan, KindDoc, PLAN_SCHEMA, State, Wanted};
pub use status::{to_labels, to_prometheus};
pub use text::{merged_text, plan_text};
