//! What a card says of itself. Runtime and driver number the attributes alike (`cudaDeviceAttr`,
//! `CUdevice_attribute`).

use vramplan_virtual_gpu::Card;

use crate::machine::{bus, card, machine};

/// What every card here answers alike, by number.
const COMMON: &[(i32, i32)] = &[
    (1, 1024),        // threads a block
    (2, 1024),        // its x
    (3, 1024),        // its y
    (4, 64),          // its z
    (5, i32::MAX),    // grid x
    (6, 65_535),      // grid y
    (7, 65_535),      // grid z
    (8, 48 << 10),    // shared memory a block
    (9, 65_536),      // constant memory
    (10, 32),         // threads a warp
    (11, i32::MAX),   // pitch
    (12, 65_536),     // registers a block
    (14, 512),        // texture alignment
    (15, 1),          // copies and kernels overlap
    (17, 0),          // a time limit for kernels
    (18, 0),          // integrated
    (19, 1),          // host memory can be mapped
    (20, 0),          // compute mode
    (31, 1),          // kernels run together
    (34, 0),          // device number on the bus
    (35, 0),          // a Tesla driver
    (40, 2),          // copy engines
    (41, 1),          // unified addressing
    (50, 0),          // PCI domain
    (51, 32),         // texture pitch alignment
    (78, 1),          // stream priorities
    (79, 1),          // globals in L1
    (80, 1),          // locals in L1
    (82, 65_536),     // registers an SM
    (83, 1),          // managed memory
    (84, 0),          // several cards on one board
    (86, 0),          // native atomics between host and card
    (88, 0),          // pageable memory
    (89, 1),          // managed memory used by both at once
    (90, 1),          // preemption
    (91, 1),          // host pointers of registered memory
    (92, 1),          // stream memory operations
    (93, 0),          // of 64 bits
    (94, 1),          // waiting for NOR
    (95, 1),          // cooperative launches
    (96, 0),          // on several cards
    (98, 0),          // flushing of remote writes
    (99, 1),          // host memory can be registered
    (100, 0),         // pageable memory by the host's page tables
    (101, 0),         // managed memory read by the host in place
    (104, 0),         // Windows handles
    (105, 0),         // older Windows handles
    (107, 0),         // compressible memory
    (109, 128 << 20), // window of an access policy
    (110, 0),         // remote direct access with virtual memory
    (111, 1 << 10),   // shared memory that the system keeps a block
    (112, 1),         // sparse arrays
    (113, 1),         // read-only registration
    (114, 1),         // timeline semaphores
    (115, 1),         // memory pools
    (116, 0),         // remote direct access
    (117, 0),         // how its writes are flushed
    (118, 0),         // how they are ordered
    (119, 1),         // handles of pools: file descriptors
    (121, 1),         // deferred arrays
    (122, 1),         // 64-bit stream memory operations
    (123, 1),         // waiting for NOR in them
    (124, 0),         // DMA buffers
    (125, 0),         // events between processes on other systems
    (126, 0),         // memory-synchronisation domains
    (128, 0),         // unified function pointers
    (129, 0),         // NUMA configuration
    (130, -1),        // NUMA node
    (132, 0),         // multicast
];

/// The value of an attribute; None for one that is not known here.
pub(crate) fn attribute(number: i32, at: usize) -> Option<i32> {
    let common = COMMON.iter().find(|(n, _)| *n == number).map(|(_, value)| *value);
    common.or_else(|| of_card(number, card(at), at))
}

fn of_card(number: i32, card: &Card, at: usize) -> Option<i32> {
    let (major, minor) = card.compute_capability;
    let value = match number {
        13 => card.clock_khz,
        16 => card.sm_count,
        32 => u32::from(card.ecc),
        33 => bus(at),
        36 => card.memory_clock_khz,
        37 => card.memory_bus_bits,
        38 => card.l2_cache,
        39 => card.threads_per_sm,
        75 => major,
        76 => minor,
        81 => card.shared_memory_per_sm,
        85 => u32::try_from(at).unwrap_or(0),
        // Throughput of f32 to f64.
        87 => match (major, minor) {
            (8, 6 | 9) | (12, _) => 64,
            (7, 5) => 32,
            _ => 2,
        },
        97 => card.shared_memory_per_block,
        // Virtual memory management, and handles by file descriptor.
        102 | 103 => u32::from(machine().virtual_memory),
        106 => card.blocks_per_sm,
        // Of the L2 cache that may persist.
        108 => card.l2_cache / 2,
        // Clusters, tensor maps.
        120 | 127 => u32::from(major >= 9),
        _ => return None,
    };
    Some(i32::try_from(value).unwrap_or(i32::MAX))
}
