//! Empty shared libraries, written byte by byte: a soname, and a dependency on the fakes.
//!
//! The loader compares the soname of a library that it maps with the name that a program needs, so
//! one library cannot answer for many names by itself. A shim holds no code and no symbol: what a
//! program looks up in it is found in its dependency.

/// What a shim says of itself.
#[derive(Debug, Clone, Copy)]
pub struct Shim<'a> {
    /// The name that programs ask for.
    pub soname: &'a str,
    /// The library that holds the functions, looked for beside the shim.
    pub needed: &'a str,
    /// The version node that it defines.
    pub version: Option<&'a str>,
}

const EHDR: usize = 64;
const PHDR: usize = 56;
const SEGMENTS: usize = 3;
const PAGE: u64 = 0x1000;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_GNU_STACK: u32 = 0x6474_e551;
const READ_WRITE: u32 = 6;

const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_STRSZ: u64 = 10;
const DT_SYMENT: u64 = 11;
const DT_SONAME: u64 = 14;
const DT_RUNPATH: u64 = 29;
const DT_VERSYM: u64 = 0x6fff_fff0;
const DT_VERDEF: u64 = 0x6fff_fffc;
const DT_VERDEFNUM: u64 = 0x6fff_fffd;

/// `e_machine` of the processor that this was built for.
pub const MACHINE: u16 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };

impl Shim<'_> {
    /// The file, for a 64-bit little-endian Linux.
    pub fn bytes(&self) -> Vec<u8> {
        let mut strings = Strings::default();
        let soname = strings.add(self.soname);
        let needed = strings.add(self.needed);
        let runpath = strings.add("$ORIGIN");
        let version = self.version.map(|name| (name, strings.add(name)));

        let mut body = Body::new(EHDR + SEGMENTS * PHDR);
        let symtab = body.place(&[0; 24]); // the null symbol
        let versym = body.place(&[0; 8]);
        // One bucket that is empty, one symbol.
        let hash = body.place(&words(&[1, 1, 0, 0]));
        let verdef = version.map(|(name, at)| body.place(&verdef(self.soname, soname, name, at)));
        let strtab = body.place(&strings.bytes);

        let mut entries = vec![
            (DT_NEEDED, needed as u64),
            (DT_SONAME, soname as u64),
            (DT_RUNPATH, runpath as u64),
            (DT_HASH, hash),
            (DT_STRTAB, strtab),
            (DT_SYMTAB, symtab),
            (DT_STRSZ, strings.bytes.len() as u64),
            (DT_SYMENT, 24),
        ];
        if let Some(verdef) = verdef {
            entries.extend([(DT_VERSYM, versym), (DT_VERDEF, verdef), (DT_VERDEFNUM, 2)]);
        }
        entries.push((DT_NULL, 0));
        let dynamic: Vec<u8> = entries
            .iter()
            .flat_map(|(tag, value)| [tag.to_le_bytes(), value.to_le_bytes()])
            .flatten()
            .collect();
        let at = body.place(&dynamic);

        let mut file = header();
        file.extend(segment(PT_LOAD, 0, body.bytes.len() as u64, PAGE));
        file.extend(segment(PT_DYNAMIC, at, dynamic.len() as u64, 8));
        file.extend(segment(PT_GNU_STACK, 0, 0, 16));
        body.bytes[..file.len()].copy_from_slice(&file);
        body.bytes
    }
}

#[derive(Default)]
struct Strings {
    bytes: Vec<u8>,
}

impl Strings {
    fn add(&mut self, text: &str) -> usize {
        if self.bytes.is_empty() {
            self.bytes.push(0);
        }
        let at = self.bytes.len();
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
        at
    }
}

struct Body {
    bytes: Vec<u8>,
}

impl Body {
    fn new(header: usize) -> Self {
        Self { bytes: vec![0; header] }
    }

    /// Appends a part, aligned to 8, and says where it lies. Addresses are offsets of the file.
    fn place(&mut self, part: &[u8]) -> u64 {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        let at = self.bytes.len() as u64;
        self.bytes.extend(part);
        at
    }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn header() -> Vec<u8> {
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let half = |file: &mut Vec<u8>, n: u16| file.extend(n.to_le_bytes());
    half(&mut file, 3); // a shared object
    half(&mut file, MACHINE);
    file.extend(1u32.to_le_bytes());
    file.extend(0u64.to_le_bytes()); // no entry point
    file.extend((EHDR as u64).to_le_bytes());
    file.extend(0u64.to_le_bytes()); // no sections
    file.extend(0u32.to_le_bytes());
    for n in [EHDR, PHDR, SEGMENTS, 64, 0, 0] {
        half(&mut file, u16::try_from(n).unwrap_or(0));
    }
    file
}

fn segment(kind: u32, at: u64, len: u64, align: u64) -> Vec<u8> {
    let mut bytes = words(&[kind, READ_WRITE]);
    for word in [at, at, at, len, len, align] {
        bytes.extend(word.to_le_bytes());
    }
    bytes
}

/// Two definitions: the file's own name, and the version node.
fn verdef(soname: &str, soname_at: usize, version: &str, version_at: usize) -> Vec<u8> {
    let one = |flags: u16, index: u16, name: &str, at: usize, next: u32| {
        let mut bytes = Vec::new();
        for half in [1, flags, index, 1] {
            bytes.extend(half.to_le_bytes());
        }
        bytes.extend(words(&[sysv_hash(name), 20, next]));
        bytes.extend(words(&[u32::try_from(at).unwrap_or(0), 0]));
        bytes
    };
    let mut bytes = one(1, 1, soname, soname_at, 28);
    bytes.extend(one(0, 2, version, version_at, 0));
    bytes
}

/// The hash of the System V ABI, figure 5-13.
fn sysv_hash(name: &str) -> u32 {
    name.bytes().fold(0u32, |hash, byte| {
        let hash = (hash << 4).wrapping_add(u32::from(byte));
        let high = hash & 0xf000_0000;
        (hash ^ (high >> 24)) & !high
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_abis() {
        assert_eq!(sysv_hash("GLIBC_2.2.5"), 0x0969_1a75);
    }

    /// The loader itself is the judge: it maps the shim and says its soname.
    #[test]
    fn the_loader_takes_a_shim() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libshim.so.7");
        let shim =
            Shim { soname: "libshim.so.7", needed: "libc.so.6", version: Some("libshim.so.7") };
        fs_err::write(&path, shim.bytes()).unwrap();
        let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        let symbol = c"getpid";
        // SAFETY: the library has no constructors; the handle and the symbol are checked.
        unsafe {
            let handle = libc::dlopen(name.as_ptr(), libc::RTLD_NOW);
            assert!(!handle.is_null());
            assert!(!libc::dlsym(handle, symbol.as_ptr()).is_null(), "found in its dependency");
            let again = libc::dlopen(c"libshim.so.7".as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD);
            assert_eq!(again, handle, "known by its soname");
        }
    }
}
