//! A step of the evicting cache allocates nothing.

#![allow(unsafe_code, reason = "a global allocator that counts cannot be written without")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use vramplan_engine::h2o::{Heads, OwnedCache, Policy, Tokens};

struct Counting;

static CALLS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, SeqCst);
        // SAFETY: the caller's contract is that of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The fewest allocations of so many runs, by any thread. What threads and their queues allocate now and
/// then does not count; what every run allocates does.
fn fewest(runs: usize, mut run: impl FnMut()) -> usize {
    let one = |_| {
        let before = CALLS.load(SeqCst);
        run();
        CALLS.load(SeqCst) - before
    };
    (0..runs).map(one).min().unwrap()
}

#[test]
fn steps_allocate_nothing() {
    let heads = Heads::new(10, 2, 64).unwrap();
    let policy = Policy::new(256, 256, 128).unwrap();
    let (chunk, width) = (32, heads.kv_width());
    let queries = vec![0.5; chunk * heads.query_width()];
    let keys = vec![0.25; chunk * width];
    let mut output = vec![0.0; queries.len()];
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    pool.install(|| {
        let mut cache = OwnedCache::new(heads, policy, chunk);
        let all = Tokens { queries: &queries, keys: &keys, values: &keys };
        let one = Tokens {
            queries: &queries[..heads.query_width()],
            keys: &keys[..width],
            values: &keys[..width],
        };
        assert_eq!(fewest(8, || cache.pin(all, &mut output).unwrap()), 0);
        assert_eq!(fewest(40, || cache.step(all, &mut output).unwrap()), 0);
        let output = &mut output[..heads.query_width()];
        assert_eq!(fewest(40, || cache.step(one, output).unwrap()), 0);
        assert!(cache.written() > 4 * policy.max_cache_tokens(), "it evicted");
        assert_eq!(fewest(8, || drop(vec![0.0_f32; 8])), 1, "the counter counts");
    });
}
