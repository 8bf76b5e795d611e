//! Compiles kernels for the CPU with g++ and runs them.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::ffi::{CStr, CString, c_char, c_void};
use std::fmt::Write as _;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};

use libloading::Library;
use vramplan_engine::launch::{Gpu, Launch, Op, Span};

use crate::kernels::device::Device;

type LaunchFunction = unsafe extern "C" fn(
    name: *const c_char,
    count: usize,
    parameters: *const *const u64,
    grid: Dim3,
    block: Dim3,
    shared: u32,
    seed: u64,
) -> *const c_char;

#[repr(C)]
#[derive(Clone, Copy)]
struct Dim3 {
    x: u32,
    y: u32,
    z: u32,
}

/// A GPU that is a CPU.
pub struct Emulator {
    runtime: Arc<Library>,
    buffers: Vec<(String, Span)>,
    seed: u64,
    gpu: Gpu,
}

impl Emulator {
    /// With few multiprocessors: what splits work does not need many to be seen.
    pub fn new(seed: u64) -> Self {
        let gpu = Gpu { multiprocessors: 6, capability: (9, 0) };
        Self { runtime: runtime(), buffers: Vec::new(), seed, gpu }
    }
}

/// An emulator for a test.
pub fn open(seed: u64) -> Box<dyn Device> {
    Box::new(Emulator::new(seed))
}

impl Device for Emulator {
    fn speed(&self) -> usize {
        1
    }

    fn gpu(&self) -> Gpu {
        self.gpu
    }

    fn upload(&mut self, name: &str, bytes: &[u8]) -> Span {
        let c_name = CString::new(name).unwrap();
        // SAFETY: the signature is that of `emu_allocate` in kernels/emulator/emulator.cpp; the memory
        // is fresh and as long as `bytes`.
        let address = unsafe {
            let allocate = self
                .runtime
                .get::<unsafe extern "C" fn(usize, *const c_char) -> *mut c_void>(b"emu_allocate")
                .unwrap();
            let data = allocate(bytes.len(), c_name.as_ptr());
            assert!(!data.is_null(), "no memory for `{name}`");
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), data.cast(), bytes.len());
            data as u64
        };
        let span = Span { address, bytes: bytes.len() as u64 };
        self.buffers.push((name.to_owned(), span));
        span
    }

    fn download(&self, span: Span) -> Vec<u8> {
        assert!(self.buffers.iter().any(|(_, known)| *known == span));
        // SAFETY: the span is one of `upload`'s, and alive until `release`.
        unsafe { std::slice::from_raw_parts(span.address as *const u8, span.bytes as usize) }
            .to_vec()
    }

    fn run(&mut self, launch: &Launch) -> Result<(), String> {
        let module = module(launch.op);
        let name = CString::new(launch.function).unwrap();
        let parameters: Vec<_> = launch.arguments.addresses().collect();
        let [x, y, z] = launch.grid;
        self.seed += 1;
        // SAFETY: the signature is that of `module_launch` in kernels/emulator/module.h, which checks
        // the number of arguments; that they are of the kernel's types is what is tested.
        let error = unsafe {
            let call = module.get::<LaunchFunction>(b"module_launch").unwrap();
            call(
                name.as_ptr(),
                parameters.len(),
                parameters.as_ptr(),
                Dim3 { x, y, z },
                Dim3 { x: launch.block, y: 1, z: 1 },
                launch.shared_bytes,
                self.seed,
            )
        };
        message(error)
    }

    fn release(&mut self) -> Result<(), String> {
        let mut result = Ok(());
        for (_, span) in self.buffers.drain(..) {
            // SAFETY: the signature is that of `emu_free`; every buffer is released once.
            let error = unsafe {
                let free = self
                    .runtime
                    .get::<unsafe extern "C" fn(*mut c_void) -> *const c_char>(b"emu_free")
                    .unwrap();
                free(span.address as *mut c_void)
            };
            result = result.and(message(error));
        }
        result
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let released = self.release();
        if !std::thread::panicking() {
            released.unwrap();
        }
    }
}

/// The message that a function of the emulator returned, if any.
fn message(error: *const c_char) -> Result<(), String> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: the emulator returns a C string that lives until this thread's next call.
    Err(unsafe { CStr::from_ptr(error) }.to_string_lossy().into_owned())
}

fn kernels() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kernels")
}

/// The emulator itself, one for all kernels.
fn runtime() -> Arc<Library> {
    static RUNTIME: OnceLock<Arc<Library>> = OnceLock::new();
    let compiled = || {
        let source = kernels().join("emulator/emulator.cpp");
        Arc::new(load(&compile("emulator", &source, &["-O2"], &[])))
    };
    Arc::clone(RUNTIME.get_or_init(compiled))
}

/// The module of an op. Different ops compile at the same time, one op once.
fn module(op: Op) -> Arc<Library> {
    type Slot = Arc<OnceLock<Arc<Library>>>;
    static MODULES: OnceLock<Mutex<HashMap<Op, Slot>>> = OnceLock::new();
    let slot =
        Arc::clone(MODULES.get_or_init(Mutex::default).lock().unwrap().entry(op).or_default());
    Arc::clone(slot.get_or_init(|| Arc::new(load(&compile_op(op)))))
}

fn load(path: &Path) -> Library {
    // SAFETY: the library was compiled just now from this repository; it has no initializers.
    unsafe { Library::new(path) }.unwrap()
}

fn compile_op(op: Op) -> PathBuf {
    let folders = [kernels(), Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/all/kernels")];
    let mut files = folders.iter().map(|folder| folder.join(op.name).with_extension("cu"));
    let file = files.find(|file| file.exists()).unwrap();
    let source = fs_err::read_to_string(&file).unwrap();
    let file = file.display();
    let mut unit = format!("#include \"{file}\"\n#include \"emulator/module.h\"\nEMU_KERNELS(");
    for name in kernel_names(&source) {
        write!(unit, "{{\"{name}\", emu::unpack<{name}>, emu::count_of({name})}}, ").unwrap();
    }
    unit = format!("{})\n", unit.trim_end_matches(", "));
    let stem = op.head_dim.map_or(op.name.to_owned(), |dim| format!("{}.d{dim}", op.name));
    let unit_path = folder().join(format!("{stem}.cpp"));
    fs_err::write(&unit_path, unit).unwrap();
    let runtime = compile("emulator", &kernels().join("emulator/emulator.cpp"), &["-O2"], &[]);
    let dim = op.head_dim.map(|dim| format!("-DHEAD_DIM={dim}"));
    // What C++ leaves undefined, misaligned vectors among it, stops the kernel where it happens.
    let mut flags = vec![
        "-O2",
        "-fsanitize=alignment,bounds,shift,integer-divide-by-zero,null",
        "-fsanitize-undefined-trap-on-error",
        "-fno-extern-tls-init",
        "-Wl,-Bsymbolic", // not the C library's function of the same name
        "-DVRAMPLAN_EMULATOR",
    ];
    flags.extend(dim.as_deref());
    compile(&stem, &unit_path, &flags, &[runtime])
}

/// The names of a file's kernels, those that a macro defines included.
fn kernel_names(source: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut pieces = source.split("extern \"C\" __global__").skip(1);
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '#';
    for piece in pieces.by_ref() {
        let head = &piece[..piece.find(['{', ';']).unwrap()];
        let opening = head.match_indices('(').map(|(at, _)| at);
        // The last word before a parenthesis that is not an attribute's.
        let name = opening
            .map(|at| head[..at].rsplit(|c| !is_name(c)).next().unwrap())
            .find(|name| !name.is_empty() && !name.starts_with("__"))
            .unwrap();
        let Some(stem) = name.find("##").map(|at| &name[..at]) else {
            names.push(name.to_owned());
            continue;
        };
        let macro_name = stem.to_uppercase();
        let used = source.lines().filter_map(|line| {
            let rest = line.strip_prefix(macro_name.trim_end_matches('_'))?.strip_prefix('(')?;
            Some(format!("{stem}{}", rest.split([',', ')']).next()?))
        });
        names.extend(used);
    }
    names
}

fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulator");
    fs_err::create_dir_all(&folder).unwrap();
    folder
}

/// Compiles a shared library, unless one of the same sources and flags is there.
fn compile(stem: &str, unit: &Path, flags: &[&str], libraries: &[PathBuf]) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    (flags, fs_err::read(unit).unwrap(), sources()).hash(&mut hasher);
    let library = folder().join(format!("lib{stem}-{:016x}.so", hasher.finish()));
    if library.exists() {
        return library;
    }
    let temporary = library.with_extension(format!("{}.tmp", std::process::id()));
    let include = format!("-I{}", kernels().display());
    let emulator = format!("-I{}", kernels().join("emulator").display());
    let mut command = Command::new("g++");
    command.args(["-std=c++17", "-g1", "-fPIC", "-shared", "-ffp-contract=off", "-march=native"]);
    command.args(["-Wall", "-Wno-unknown-pragmas", "-Wno-attributes", "-Wno-sign-compare"]);
    command.args(flags).args([&include, &emulator]);
    command.args(["-include", "emulator.h"]).arg(unit).arg("-o").arg(&temporary).args(libraries);
    let output = command.output().unwrap_or_else(|error| {
        panic!(
            "`g++` cannot be run ({error}): these tests compile the kernels for the CPU; install it \
             (Debian, Ubuntu: `apt install g++`; Fedora: `dnf install gcc-c++`)"
        )
    });
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "g++ {stem}:\n{errors}");
    fs_err::rename(&temporary, &library).unwrap();
    library
}

/// Every source that a kernel may include.
fn sources() -> Vec<Vec<u8>> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/all/kernels");
    let mut paths: Vec<_> = [kernels(), kernels().join("emulator"), tests]
        .iter()
        .flat_map(|folder| fs_err::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()))
        .filter(|path| path.is_file() && path.extension().is_none_or(|ending| ending != "rs"))
        .collect();
    paths.sort();
    paths.iter().map(|path| fs_err::read(path).unwrap()).collect()
}
