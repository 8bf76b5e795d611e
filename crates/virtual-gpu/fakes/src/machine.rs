//! The machine as this process sees it.

use std::ffi::{CStr, c_int, c_void};
use std::fmt::Write;
use std::sync::OnceLock;

use vramplan_virtual_gpu::contract::{self, Card, Machine};

use crate::core::events;
use crate::error::{Code, Result};

/// The described machine; without a description one that has no card.
pub(crate) fn machine() -> &'static Machine {
    static MACHINE: OnceLock<Machine> = OnceLock::new();
    MACHINE.get_or_init(|| match std::env::var(contract::MACHINE) {
        Ok(json) => Machine::from_json(&json).unwrap_or_else(|error| {
            events::remark(&format!("the machine's description is not understood: {error}"));
            Machine::default()
        }),
        Err(_) => Machine::default(),
    })
}

/// The cards that CUDA shows this process, as numbers of the machine's: `CUDA_VISIBLE_DEVICES`,
/// which ends at the first entry that names no card.
pub(crate) fn visible() -> &'static [usize] {
    static VISIBLE: OnceLock<Vec<usize>> = OnceLock::new();
    VISIBLE.get_or_init(|| match std::env::var("CUDA_VISIBLE_DEVICES") {
        Ok(list) => chosen(&list, machine().cards.len()),
        Err(_) => (0..machine().cards.len()).collect(),
    })
}

fn chosen(list: &str, cards: usize) -> Vec<usize> {
    let mut chosen = Vec::new();
    for entry in list.split(',').map(str::trim) {
        let by_number = entry.parse().ok().filter(|&n| n < cards);
        let by_uuid = || (0..cards).find(|&n| entry.len() > 4 && uuid_text(n).starts_with(entry));
        match by_number.or_else(by_uuid) {
            Some(card) if !chosen.contains(&card) => chosen.push(card),
            _ => break,
        }
    }
    chosen
}

/// The machine's card behind CUDA's ordinal.
pub(crate) fn ordinal(device: c_int) -> Result<usize> {
    if visible().is_empty() {
        return Err(Code::NO_DEVICE);
    }
    let at = usize::try_from(device).map_err(|_| Code::INVALID_DEVICE)?;
    visible().get(at).copied().ok_or(Code::INVALID_DEVICE)
}

/// CUDA's ordinal of a machine's card.
pub(crate) fn device_of(card: usize) -> c_int {
    let at = visible().iter().position(|&c| c == card);
    at.and_then(|at| c_int::try_from(at).ok()).unwrap_or(-2)
}

pub(crate) fn card(number: usize) -> &'static Card {
    &machine().cards[number]
}

/// Bus number of a card; its PCI address is `0000:BB:00.0`.
pub(crate) fn bus(card: usize) -> u32 {
    u32::try_from(card).unwrap_or(0) + 1
}

pub(crate) fn uuid(card: usize) -> [u8; 16] {
    let mut uuid = *b"virtual\0vramplan";
    uuid[7] = u8::try_from(card).unwrap_or(0);
    uuid
}

/// As `nvidia-smi` prints it.
pub(crate) fn uuid_text(card: usize) -> String {
    let mut text = "GPU-".to_owned();
    for (at, byte) in uuid(card).iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The CUDA major version of the runtime that this process opened. The functions are the same, some
/// structures are not. By the newest shim of a runtime that is mapped; where only the driver is
/// used, the machine's.
pub(crate) fn runtime_major() -> u32 {
    // Asked each time until a runtime is seen: a program may open one later.
    static SEEN: OnceLock<u32> = OnceLock::new();
    if let Some(major) = SEEN.get() {
        return *major;
    }
    let mut newest = 0u32;
    // SAFETY: the callback below only reads what it is given, during the call.
    unsafe { libc::dl_iterate_phdr(Some(runtime_shim), (&raw mut newest).cast()) };
    if newest == 0 { machine().cuda_major } else { *SEEN.get_or_init(|| newest) }
}

unsafe extern "C" fn runtime_shim(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    newest: *mut c_void,
) -> c_int {
    // SAFETY: the loader passes its own structure, whose name is a C string or null, and the pointer
    // that `runtime_major` gave it.
    let (name, newest) = unsafe { ((*info).dlpi_name, &mut *newest.cast::<u32>()) };
    if name.is_null() {
        return 0;
    }
    // SAFETY: as above.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
    let base = name.rsplit('/').next().unwrap_or_default();
    if base.starts_with("libcudart.so") {
        let major = vramplan_virtual_gpu::sonames::major(base);
        *newest = major.unwrap_or(machine().cuda_major).max(*newest);
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visible_devices_end_at_the_first_wrong_entry() {
        assert_eq!(chosen("1,0", 2), [1, 0]);
        assert_eq!(chosen("1,7,0", 2), [1]);
        assert_eq!(chosen("", 2), [0; 0]);
        assert_eq!(chosen("0,0", 2), [0]);
        assert_eq!(chosen(&uuid_text(1), 2), [1]);
        assert_eq!(chosen("-1", 2), [0; 0]);
    }
}
