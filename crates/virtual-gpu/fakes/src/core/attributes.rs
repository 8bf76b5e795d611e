//! What a card says of itself. Runtime and driver number the attributes alike.

use crate::machine::{bus, machine};

fn int(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// The value of an attribute; None for one that is not known here.
pub(crate) fn attribute(number: i32, card_at: usize) -> Option<i32> {
    let card = crate::machine::card(card_at);
    let (major, minor) = card.compute_capability;
    let managed = 1;
    Some(match number {
        1..=3 => 1024,         // threads a block, its x and y
        4 => 64,               // its z
        5 | 11 => i32::MAX,    // grid x, pitch
        6 | 7 => 65_535,       // grid y and z
        8 => 48 << 10,         // shared memory a block
        9 | 12 | 82 => 65_536, // constant memory, registers
        10 | 32 => {
            if number == 10 {
                32
            } else {
                i32::from(card.ecc)
            }
        } // warp, ECC
        13 => int(card.clock_khz),
        14 => 512,              // texture alignment
        15 | 19 | 31 | 41 => 1, // overlap, host mapping, concurrent kernels, unified addressing
        16 => int(card.sm_count),
        33 => int(bus(card_at)),
        36 => int(card.memory_clock_khz),
        37 => int(card.memory_bus_bits),
        38 => int(card.l2_cache),
        39 => int(card.threads_per_sm),
        40 => 2,  // copy engines
        51 => 32, // texture pitch alignment
        75 => int(major),
        76 => int(minor),
        78..=80 => 1, // priorities, L1 caches
        81 => int(card.shared_memory_per_sm),
        83 | 89 => managed,
        85 => int(u32::try_from(card_at).unwrap_or(0)),
        87 => {
            if matches!((major, minor), (8, 6 | 9) | (12, _)) {
                64
            } else {
                2
            }
        } // f32 to f64
        90 | 95 => 1,                       // preemption, cooperative launch
        91..=94 => i32::from(number != 93), // host pointers, stream memory operations
        97 => int(card.shared_memory_per_block),
        99 => 1, // host registration
        102 => i32::from(machine().virtual_memory),
        103 => i32::from(machine().virtual_memory), // handles by file descriptor
        106 => int(card.blocks_per_sm),
        108 => int(card.l2_cache / 2), // of it that may persist
        109 => 128 << 20,              // window of an access policy
        111 => 1 << 10,                // shared memory that the system keeps a block
        112 | 113 | 114 => 1,
        115 | 119 => 1,                     // memory pools, and their handles
        118 => 1,                           // deferred arrays
        120 | 127 => i32::from(major >= 9), // clusters, tensor maps
        121 | 122 | 129 => 1,
        17
        | 18
        | 20
        | 34
        | 35
        | 50
        | 84
        | 86
        | 88
        | 96
        | 98
        | 100
        | 101
        | 110
        | 116
        | 117
        | 123..=126
        | 128 => 0,
        130 => -1, // no NUMA node of its own
        _ => return None,
    })
}
