//! A step of the evicting cache allocates nothing.

#![cfg(feature = "h2o")]
#![allow(unsafe_code, reason = "a global allocator that counts cannot be written without")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use vramplan::h2o::{Heads, OwnedCache, Policy, Tokens};

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

#[test]
fn steps_allocate_nothing() {
    let heads = Heads::new(10, 2, 64).unwrap();
    let policy = Policy::new(32, 256, 128).unwrap();
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
        let mut steps = |cache: &mut OwnedCache| {
            cache.step(all, &mut output).unwrap();
            cache.step(one, &mut output[..heads.query_width()]).unwrap();
        };
        steps(&mut cache);
        let before = CALLS.load(SeqCst);
        cache.pin(all, &mut vec![0.0; queries.len()]).unwrap();
        let pinned = CALLS.load(SeqCst);
        assert_eq!(pinned - before, 1, "the output of this test alone");
        (0..40).for_each(|_| steps(&mut cache));
        assert_eq!(CALLS.load(SeqCst) - pinned, 0);
        assert!(cache.written() > 4 * policy.max_cache_tokens(), "it evicted");
    });
}
