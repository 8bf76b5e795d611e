//! What of this machine's main memory a program can take.

use vramplan_planner::units::Bytes;

/// What Linux says is available without swapping; nothing elsewhere.
pub fn available_memory() -> Option<Bytes> {
    let text = fs_err::read_to_string("/proc/meminfo").ok()?;
    available_in(&text)
}

/// `MemAvailable`, which is in KiB.
fn available_in(text: &str) -> Option<Bytes> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Bytes::new(kib).times(1024).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read() {
        let text = "MemTotal:       24000000 kB\nMemAvailable:    1000 kB\n";
        assert_eq!(available_in(text), Some(Bytes::new(1_024_000)));
        assert_eq!(available_in("MemFree: 1 kB"), None);
        assert_eq!(available_in("MemAvailable: many kB"), None);
    }
}
