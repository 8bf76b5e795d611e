//! The CPU: threads instead of a context, a limit instead of ballast.

use super::device::{Device, Pool, Restricted};
use super::limit::limit_memory;
use crate::{Config, Cpu, EngineError};
use vramplan_planner::units::Bytes;

impl Device for Cpu {
    type Ballast = ();

    /// The engine's own are in the program.
    fn load_libraries(&self, _: &Config) -> Result<(), EngineError> {
        Ok(())
    }

    /// The system's allocator says nothing of the kind.
    fn pool(&self) -> Result<Option<Pool>, EngineError> {
        Ok(None)
    }

    /// What the process may map beyond what it holds now is what is missing to `capacity`.
    fn restrict(&self, capacity: Bytes) -> Result<Restricted<()>, EngineError> {
        limit_memory(capacity)
            .map_err(|error| EngineError::device("limiting this process's memory", error))?;
        Ok(Restricted { ballast: (), held: Bytes::ZERO })
    }
}
