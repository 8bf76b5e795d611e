//! What a run needs of a device beside its operations.

use crate::{Backend, Config, EngineError};
use vramplan_planner::units::Bytes;

/// A device that is measured while it runs.
pub trait Device: Backend + Clone {
    /// What makes the device look smaller for as long as it is kept.
    type Ballast;

    /// Loads the libraries and kernels that operations on this model need, so that what they hold is
    /// there before the weights.
    ///
    /// # Errors
    /// Where one is missing.
    fn load_libraries(&self, config: &Config) -> Result<(), EngineError>;

    /// What the allocator's pool has handed out at most and taken from the device at most, ballast
    /// excluded; nothing where there is no pool.
    ///
    /// # Errors
    /// Where the device does not answer.
    fn pool(&self) -> Result<Option<Pool>, EngineError>;

    /// Makes the device look as if it had `capacity` in all.
    ///
    /// # Errors
    /// Where so much is in use already, or the device is no larger.
    fn restrict(&self, capacity: Bytes) -> Result<Restricted<Self::Ballast>, EngineError>;
}

/// The high-water marks of an allocator's pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Of what was handed out.
    pub used: Bytes,
    /// Of what was taken from the device.
    pub reserved: Bytes,
}

/// A device that looks smaller.
#[derive(Debug)]
pub struct Restricted<T> {
    /// What makes it so.
    pub ballast: T,
    /// What of it counts as held on the device.
    pub held: Bytes,
}
