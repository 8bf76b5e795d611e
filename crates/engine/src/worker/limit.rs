//! How much memory this process may take.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use vramplan_planner::units::Bytes;

/// Limits what this process can map beyond what it has now, so that it holds `capacity` in all once all
/// that it maps is written to.
///
/// `RLIMIT_DATA = VmData + (capacity − VmRSS)`: private memory that is mapped later counts at its full
/// size, whether it was written to or not. What runs out is told to whoever allocates.
///
/// # Errors
/// Where the process holds more already, or the system refuses.
pub fn limit_memory(capacity: Bytes) -> Result<(), String> {
    let status = fs_err::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    let of = |key| field(&status, key).ok_or_else(|| format!("the system does not say `{key}`"));
    let (mapped, held) = (of("VmData")?, of("VmRSS")?);
    let more = capacity.minus(held).ok_or_else(|| {
        format!("it holds {held} before it loads anything: expected less than {capacity}")
    })?;
    let limit = mapped.plus(more).map_err(|error| error.to_string())?;
    let maximum = getrlimit(Resource::Data).maximum;
    let limit = Rlimit { current: Some(limit.get()), maximum };
    setrlimit(Resource::Data, limit).map_err(|error| error.to_string())
}

/// A size of `/proc/self/status`.
fn field(status: &str, key: &str) -> Option<Bytes> {
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Bytes::KIB.times(kib).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_by_their_whole_name() {
        let status = "VmDataX:\t9 kB\nVmData:\t     12 kB\nVmRSS:\t 3 pages\n";
        assert_eq!(field(status, "VmData"), Some(Bytes::new(12 << 10)));
        assert_eq!(field(status, "VmRSS"), None);
        assert_eq!(field(status, "VmSize"), None);
    }
}
