//! Small hostile files must not make the readers allocate much.
#![allow(unsafe_code, reason = "a global allocator that counts cannot be written without")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use vramplan::cli::deployment;
use vramplan_disk::Disk;
use vramplan_planner::deployment::Question;
use vramplan_planner::limits_table::LimitsTable;
use vramplan_planner::read::{gguf, hf_config, profile, safetensors};

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(HELD.fetch_add(layout.size(), SeqCst) + layout.size(), SeqCst);
        // SAFETY: the caller's contract is that of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), SeqCst);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MIB: usize = 1 << 20;
const BOUND: usize = 64 * MIB;

/// What `read` allocates at its peak for a file of these bytes.
fn peak<T>(bytes: &[u8], read: impl FnOnce(&Path) -> T) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    fs_err::write(&path, bytes).unwrap();
    let before = HELD.load(SeqCst);
    PEAK.store(before, SeqCst);
    drop(read(&path));
    PEAK.load(SeqCst) - before
}

/// `item(0)`, `item(1)`… separated by commas, until a MiB is full.
fn full(item: impl Fn(usize) -> String) -> String {
    let mut text = String::new();
    for n in 0.. {
        let next = item(n);
        if text.len() + next.len() + 100 > MIB {
            break;
        }
        if n > 0 {
            text.push(',');
        }
        text.push_str(&next);
    }
    text
}

fn json_bombs() -> Vec<String> {
    vec![
        format!("{{\"a\": [{}]}}", full(|_| "0".to_owned())),
        format!("{{\"a\": [{}]}}", full(|_| "{}".to_owned())),
        format!("{{\"a\": [{}]}}", full(|_| "\"\"".to_owned())),
        format!("{{{}}}", full(|n| format!("\"{n:x}\":0"))),
        format!("{{\"__metadata__\": {{{}}}}}", full(|n| format!("\"{n:x}\":\"\""))),
        format!(
            "{{{}}}",
            full(|n| format!(r#""{n:x}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#))
        ),
        format!(
            r#"{{"a":{{"dtype":"U8","shape":[{}],"data_offsets":[0,1]}}}}"#,
            full(|_| "1".to_owned())
        ),
        "[".repeat(MIB - 1),
        "{\"a\":".repeat(MIB / 6),
    ]
}

fn gguf_bombs() -> Vec<Vec<u8>> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let file = |tensors: u64, pairs: u64, mut body: Vec<u8>| {
        body.truncate(MIB - 24);
        [&b"GGUF\x03\0\0\0"[..], &tensors.to_le_bytes(), &pairs.to_le_bytes(), &body].concat()
    };
    let pair = |n: usize| [text(&format!("{n:x}")), vec![0, 0, 0, 0, 1]].concat();
    let tensor = |n: usize| {
        let dims = [&1u32.to_le_bytes()[..], &1u64.to_le_bytes(), &24u32.to_le_bytes()].concat();
        [text(&format!("{n:x}")), dims, (n as u64 * 32).to_le_bytes().to_vec()].concat()
    };
    let array = |ty: u8, len: u64| {
        [text("a"), vec![9, 0, 0, 0, ty, 0, 0, 0], len.to_le_bytes().to_vec(), vec![0; MIB]]
            .concat()
    };
    vec![
        file(0, 60_000, (0..60_000).flat_map(pair).collect()),
        file(25_000, 0, (0..25_000).flat_map(tensor).collect()),
        file(0, 1, array(8, 130_000)),
        file(0, 1, array(4, 200_000)),
        file(u64::MAX, u64::MAX, vec![0; MIB]),
        file(30_000, 60_000, vec![0; MIB]),
    ]
}

fn toml_bombs() -> Vec<String> {
    let filled = |line: &dyn Fn(usize) -> String, size: usize| {
        let mut text = String::from("schema = 1\n");
        for n in 0.. {
            let line = line(n);
            if text.len() + line.len() > size {
                break;
            }
            text.push_str(&line);
        }
        text
    };
    // As large as is read, and beyond.
    let sizes = [MIB / 4, MIB];
    sizes
        .into_iter()
        .flat_map(|size| {
            [
                filled(&|n| format!("a{n:x}=1\n"), size),
                filled(&|_| "[[scenario]]\n".to_owned(), size),
                format!("a=[{}1]\n", "1,".repeat(size / 2 - 4)),
                format!("a={}", "[".repeat(size - 2)),
                format!("a={}", "{a=".repeat(size / 3 - 1)),
            ]
        })
        .collect()
}

fn read_table(path: &Path) -> bool {
    profile::text_of(&Disk, path).is_ok_and(|text| LimitsTable::parse(&text).is_ok())
}

fn check_toml() {
    let catalog = vramplan::cli::args::CatalogArgs { offline: true, ..Default::default() }.known();
    for toml in toml_bombs() {
        let start: String = toml.chars().take(40).collect();
        let costs = [
            peak(toml.as_bytes(), |path: &Path| profile::read_model(&Disk, path)),
            peak(toml.as_bytes(), |path: &Path| profile::read_gpu(&Disk, path)),
            peak(toml.as_bytes(), read_table),
            peak(toml.as_bytes(), |path| {
                deployment(&Question::default(), Some(path), &catalog).is_ok()
            }),
        ];
        assert!(costs.iter().all(|cost| *cost < BOUND), "{} B of {start}: {costs:?}", toml.len());
    }
}

/// One test, for the allocator counts what all threads hold.
#[test]
fn files_of_a_mib_cost_less_than_64_mib() {
    for json in json_bombs() {
        let start: String = json.chars().take(60).collect();
        let config = peak(json.as_bytes(), |path: &Path| hf_config::read(&Disk, path));
        assert!(config < BOUND, "config.json {start}: {config}");
        let header = [&(json.len() as u64).to_le_bytes()[..], json.as_bytes()].concat();
        let header = peak(&header, |path: &Path| safetensors::read(&Disk, path));
        assert!(header < BOUND, "safetensors {start}: {header}");
    }
    for (n, bytes) in gguf_bombs().iter().enumerate() {
        let header = peak(bytes, |path: &Path| gguf::read(&Disk, path));
        assert!(header < BOUND, "GGUF {n}: {header}");
    }
    check_toml();
    // The measure itself works.
    assert!(peak(&vec![0; 8 * MIB], |path| fs_err::read(path).unwrap()) >= 8 * MIB);
}
