//! Apple's chips by name and memory, such as `M3 Max 64GB`: there are too many of both for a profile of each.

use crate::spec::{Basis, Bounds, CalibratedParts, ComputeCapability, Ecc, Fact, GpuSpec, Maker};
use crate::units::Bytes;

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// Peak bandwidth of their memory, 10⁹ bytes a second, and GPU cores of the largest variant.
struct Chip {
    name: &'static str,
    bandwidth: u64,
    cores: u64,
}

const fn chip(name: &'static str, bandwidth: u64, cores: u64) -> Chip {
    Chip { name, bandwidth, cores }
}

/// Apple's technical specifications. Where variants of a chip differ in bandwidth, the lower one.
const CHIPS: [Chip; 18] = [
    chip("M1", 68, 8),
    chip("M1 Pro", 200, 16),
    chip("M1 Max", 400, 32),
    chip("M1 Ultra", 800, 64),
    chip("M2", 100, 10),
    chip("M2 Pro", 200, 19),
    chip("M2 Max", 400, 38),
    chip("M2 Ultra", 800, 76),
    chip("M3", 100, 10),
    chip("M3 Pro", 150, 18),
    chip("M3 Max", 300, 40),
    chip("M3 Ultra", 819, 80),
    chip("M4", 120, 10),
    chip("M4 Pro", 273, 20),
    chip("M4 Max", 410, 40),
    chip("M5", 153, 10),
    chip("M5 Pro", 307, 20),
    chip("M5 Max", 460, 40),
];

/// GiB of memory that they are sold with.
const SOLD: [u64; 13] = [8, 16, 18, 24, 32, 36, 48, 64, 96, 128, 192, 256, 512];

/// More than any of them has.
const MOST_GIB: u64 = 1024;

/// What is known of a name.
#[derive(Debug, PartialEq, Eq)]
pub enum Named {
    /// A chip with its memory.
    Chip(Box<GpuSpec>),
    /// A chip whose memory is not named.
    WithoutMemory(&'static str),
}

/// The chip of a name such as `M3 Max 64GB`, `Apple M1 16 GB` or `m2-ultra-192gb`; nothing where it is none.
pub fn named(name: &str) -> Option<Named> {
    let text = name.to_ascii_lowercase().replace(['-', '_', '(', ')', ','], " ");
    let mut words: Vec<&str> = text.split_whitespace().flat_map(apart).collect();
    words.drain(..machine(&words));
    words.retain(|word| !FILLERS.contains(word));
    let memory = memory(&mut words);
    let wanted = words.join(" ");
    let chip = CHIPS.iter().find(|chip| chip.name.eq_ignore_ascii_case(&wanted))?;
    Some(match memory {
        Some(gib) => Named::Chip(Box::new(spec(chip, gib))),
        None => Named::WithoutMemory(chip.name),
    })
}

/// `m3max` as the two words that it is.
fn apart(word: &str) -> impl Iterator<Item = &str> {
    let at = ["pro", "max", "ultra"].iter().find_map(|kind| {
        let chip = word.strip_suffix(kind)?;
        let generation = chip.strip_prefix('m')?;
        let is_chip = !generation.is_empty() && generation.bytes().all(|b| b.is_ascii_digit());
        is_chip.then_some(chip.len())
    });
    let (chip, kind) = word.split_at(at.unwrap_or(word.len()));
    [chip, kind].into_iter().filter(|part| !part.is_empty())
}

/// Words that say nothing of which chip it is.
const FILLERS: [&str; 6] = ["chip", "with", "ram", "unified", "memory", "gpu"];

/// How many words before the chip's name the machine that has it: `MacBook Pro M3 Max`.
fn machine(words: &[&str]) -> usize {
    const MACHINES: [&str; 8] = ["apple", "mac", "macbook", "pro", "air", "studio", "mini", "imac"];
    words.iter().take_while(|word| MACHINES.contains(word)).count()
}

/// Takes `64gb`, `64gib` or `64 gb` from the end, or from the front. Apple's GB of memory are GiB.
fn memory(words: &mut Vec<&str>) -> Option<u64> {
    if let Some(gib) = memory_behind(words) {
        return Some(gib);
    }
    let has_unit = words.get(1).is_some_and(|word| matches!(*word, "gb" | "gib"));
    let first = if has_unit { 2 } else { 1 };
    let mut turned = words.clone();
    turned.rotate_left(first.min(words.len()));
    let gib = memory_behind(&mut turned)?;
    *words = turned;
    Some(gib)
}

fn memory_behind(words: &mut Vec<&str>) -> Option<u64> {
    let is_unit = |word: &str| matches!(word, "gb" | "gib" | "g");
    let digits = |word: &str| word.parse::<u64>().ok().filter(|gib| (4..=MOST_GIB).contains(gib));
    let found = match words.as_slice() {
        [.., number, unit] if is_unit(unit) => digits(number).map(|gib| (gib, 2)),
        [.., word] => {
            let number = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let unit = &word[number.len()..];
            // A number alone is a memory where chips are sold with that much.
            let is_memory = |gib: &u64| is_unit(unit) || (unit.is_empty() && SOLD.contains(gib));
            digits(number).filter(is_memory).map(|gib| (gib, 1))
        }
        [] => None,
    };
    let (gib, taken) = found?;
    words.truncate(words.len() - taken);
    Some(gib)
}

/// What Metal lets a process take by default (`recommendedMaxWorkingSetSize`): two thirds of 32 GiB and less, three
/// quarters of more. Later releases of macOS give more, by no rule that is known, which makes it an assumption.
const WORKING_SET: &str = "Metal's `recommendedMaxWorkingSetSize`: 10922.67 of 16384 MiB, 21845.34 of 32768 \
     (llama.cpp's logs: ollama#434, llama-cpp-python#687), 48 of 64 GiB (llama.cpp#1870, lmstudio-bug-tracker#2017); later \
     releases of macOS were seen to give 13.32 of 18, 24.96 of 32, 28.08 of 36 (Ollama's logs) and 107.5 of 128 GiB \
     (antirez/ds4#893). `sudo sysctl iogpu.wired_limit_mb=…` raises it";
const SPECIFICATIONS: &str = "Apple's technical specifications, from memory";

fn spec(chip: &Chip, gib: u64) -> GpuSpec {
    let total = gib * GIB;
    let working_set = if gib <= 32 { total / 3 * 2 } else { total / 4 * 3 };
    // Metal keeps pipelines and command buffers; nobody measured how much of the working set that is.
    let process = Bounds::new(Bytes::ZERO, Bytes::new(100 * MIB), Bytes::new(400 * MIB));
    GpuSpec {
        name: format!("{} {gib}GB", chip.name),
        aliases: Vec::new(),
        maker: Maker::Apple,
        total: Fact::new(Bytes::new(total), Basis::Exact, "the memory as named"),
        reserved: Fact::new(Bytes::new(total - working_set), Basis::Assumed, WORKING_SET),
        reserved_range: None,
        // Before tensor cores: what is fused for them on NVIDIA's cards is not fused here.
        compute_capability: ComputeCapability { major: 7, minor: 0 },
        sm_count: Fact::new(chip.cores, Basis::Assumed, SPECIFICATIONS),
        bandwidth: Fact::new(
            Bytes::new(chip.bandwidth * 1_000_000_000),
            Basis::Assumed,
            SPECIFICATIONS,
        ),
        ecc: Ecc::None,
        context: Some(Fact::new(process, Basis::Assumed, "Metal's own, not measured")),
        unified: true,
        calibrated: CalibratedParts::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usable(name: &str) -> (String, Bytes) {
        match named(name) {
            Some(Named::Chip(gpu)) => (gpu.name.clone(), gpu.visible()),
            other => panic!("{name}: {other:?}"),
        }
    }

    /// The sums that llama.cpp prints on such machines, in MiB.
    #[test]
    fn usable_memory_is_the_working_set() {
        let mib = |name: &str| usable(name).1.get() / MIB;
        assert_eq!(mib("M1 16GB"), 10_922);
        assert_eq!(mib("M2 Max 32GB"), 21_845);
        assert_eq!(mib("M2 Max 64GB"), 48 * 1024);
    }

    #[test]
    fn names_are_written_in_many_ways() {
        for name in [
            "m3 max 64gb",
            "Apple M3 Max 64 GB",
            "64GB M3 Max",
            "64 GB m3 max",
            "M3-Max-64GB",
            "M3 Max (64GB)",
            "M3 Max 64GiB",
            "M3 Max 64",
            "M3Max-64GB",
            "m3max 64gb",
            "MacBook Pro M3 Max 64GB",
            "Mac Studio M3 Max with 64GB unified memory",
        ] {
            assert_eq!(usable(name).0, "M3 Max 64GB", "{name}");
        }
        assert_eq!(named("M4 Pro"), Some(Named::WithoutMemory("M4 Pro")));
        for other in
            ["M60", "M3 Mega 64GB", "M3 Max 64TB", "M3 Max 2GB", "", "64GB", "Apple", "M40 24GB"]
        {
            assert_eq!(named(other), None, "{other}");
        }
    }
}
