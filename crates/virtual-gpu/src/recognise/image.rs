//! The little of an ELF file that says how its program finds CUDA.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::elf;

const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_LOAD: u32 = 1;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_STRSZ: u64 = 10;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;
/// A table larger than this is not read: it would be another file's.
const LARGEST: u64 = 256 << 20;

/// What was read.
pub(super) struct Image {
    pub(super) interpreter: Option<String>,
    pub(super) needed: Vec<String>,
    run_paths: Vec<String>,
    sections: Vec<String>,
    registers_elsewhere: bool,
}

impl Image {
    /// None where the file is not an ELF file for this machine.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let file = fs_err::File::open(path).ok()?.into_parts().0;
        let head = Reader(&file).at(0, 64)?;
        if head[..6] != *b"\x7fELF\x02\x01" || half(&head, 18) != elf::MACHINE {
            return None;
        }
        Reader(&file).image(&head)
    }

    /// Whether kernels register with a runtime that is inside the file: it has the section that
    /// `nvcc` writes for them, and does not ask another library for `__cudaRegisterFatBinary`.
    pub(super) fn has_runtime(&self) -> bool {
        self.sections.iter().any(|name| name == ".nvFatBinSegment") && !self.registers_elsewhere
    }

    /// Folders in which the loader looks for what the file needs.
    pub(super) fn search<'a>(
        &'a self,
        file: &'a Path,
        library_path: Option<&'a OsStr>,
    ) -> impl Iterator<Item = PathBuf> + 'a {
        let origin = file.parent().unwrap_or(Path::new("/"));
        let own = self.run_paths.iter().flat_map(|list| list.split(':')).map(move |folder| {
            PathBuf::from(
                folder
                    .replace("${ORIGIN}", &origin.to_string_lossy())
                    .replace("$ORIGIN", &origin.to_string_lossy()),
            )
        });
        own.chain(library_path.into_iter().flat_map(std::env::split_paths))
    }
}

struct Reader<'a>(&'a File);

impl Reader<'_> {
    fn at(&self, offset: u64, len: u64) -> Option<Vec<u8>> {
        if len > LARGEST || offset.checked_add(len)? > self.0.metadata().ok()?.len() {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(len).ok()?];
        self.0.read_exact_at(&mut bytes, offset).ok()?;
        Some(bytes)
    }

    fn image(&self, head: &[u8]) -> Option<Image> {
        let (at, size, count) = (long(head, 32), half(head, 54), half(head, 56));
        let table = self.at(at, u64::from(size) * u64::from(count))?;
        let segments: Vec<&[u8]> = table.chunks_exact(usize::from(size).max(56)).collect();
        let of = |kind| segments.iter().find(|s| word(s, 0) == kind);
        let interpreter = match of(PT_INTERP) {
            Some(s) => Some(text(&self.at(long(s, 8), long(s, 32))?, 0)),
            None => None,
        };
        let mut image = Image {
            interpreter,
            needed: Vec::new(),
            run_paths: Vec::new(),
            sections: Vec::new(),
            registers_elsewhere: false,
        };
        if let Some(dynamic) = of(PT_DYNAMIC) {
            self.dynamic(dynamic, &segments, &mut image)?;
        }
        self.sections(head, &mut image);
        Some(image)
    }

    fn dynamic(&self, dynamic: &[u8], segments: &[&[u8]], image: &mut Image) -> Option<()> {
        let entries = self.at(long(dynamic, 8), long(dynamic, 32))?;
        let entries: Vec<(u64, u64)> =
            entries.chunks_exact(16).map(|e| (long(e, 0), long(e, 8))).collect();
        let value = |tag| entries.iter().find(|e| e.0 == tag).map(|e| e.1);
        let strings = self.at(offset(segments, value(DT_STRTAB)?)?, value(DT_STRSZ)?)?;
        let texts = |tag: u64| {
            let of_tag = entries.iter().filter(move |e| e.0 == tag);
            of_tag.map(|e| text(&strings, usize::try_from(e.1).unwrap_or(usize::MAX)))
        };
        image.needed = texts(DT_NEEDED).collect();
        image.run_paths = texts(DT_RPATH).chain(texts(DT_RUNPATH)).collect();
        Some(())
    }

    /// Section names, and whether `.dynsym` leaves the runtime's registration undefined. A file
    /// without sections says nothing, and is taken for one that can be rehearsed.
    fn sections(&self, head: &[u8], image: &mut Image) -> Option<()> {
        let (at, size, count, names) =
            (long(head, 40), half(head, 58), half(head, 60), half(head, 62));
        let table = self.at(at, u64::from(size) * u64::from(count))?;
        let sections: Vec<&[u8]> = table.chunks_exact(usize::from(size).max(64)).collect();
        let body = |s: &[u8]| self.at(long(s, 24), long(s, 32));
        let labels = body(sections.get(usize::from(names))?)?;
        image.sections = sections.iter().map(|s| text(&labels, word(s, 0) as usize)).collect();
        let position = |name: &str| image.sections.iter().position(|n| n == name);
        let symbols = body(sections[position(".dynsym")?])?;
        let strings = body(sections[position(".dynstr")?])?;
        image.registers_elsewhere = symbols.chunks_exact(24).any(|symbol| {
            half(symbol, 6) == 0
                && text(&strings, word(symbol, 0) as usize) == "__cudaRegisterFatBinary"
        });
        Some(())
    }
}

/// Where in the file the byte at a virtual address lies.
fn offset(segments: &[&[u8]], address: u64) -> Option<u64> {
    let holds = |s: &&&[u8]| {
        word(s, 0) == PT_LOAD && (long(s, 16)..long(s, 16) + long(s, 32)).contains(&address)
    };
    let segment = segments.iter().find(holds)?;
    Some(address - long(segment, 16) + long(segment, 8))
}

fn half(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from(half(bytes, at)) | u32::from(half(bytes, at + 2)) << 16
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}

fn text(bytes: &[u8], at: usize) -> String {
    let rest = bytes.get(at..).unwrap_or_default();
    let end = rest.iter().position(|&byte| byte == 0).unwrap_or(rest.len());
    String::from_utf8_lossy(&rest[..end]).into_owned()
}
