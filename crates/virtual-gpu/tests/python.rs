//! Python programs: what they find first, and that it does not get into their way.
#![cfg(target_os = "linux")]

mod common;

use std::process::Command;

use common::{Shown, l4, rehearse_command};
use vramplan_virtual_gpu::Machine;

fn python(machine: &Machine, arguments: &[&str], path: Option<&std::path::Path>) -> Shown {
    let mut command = Command::new("python3");
    command.args(arguments).env_remove("PYTHONPATH");
    if let Some(path) = path {
        command.env("PYTHONPATH", path);
    }
    rehearse_command(machine, command)
}

/// Reads memory of the card, and memory that it has not.
const CARD: &str = r#"
import ctypes, os, sys
from vramplan_shadow import fakes
runtime = ctypes.CDLL("libcudart.so.12")
at = ctypes.c_size_t()
print(runtime.cudaMalloc(ctypes.byref(at), 4096))
at = at.value
print(fakes.keeps_values(at, 4096), fakes.keeps_values(at + (4 << 20), 8), fakes.keeps_values(id(at), 8))
print(fakes.reachable(at, at + 4095), fakes.reachable(at, id(at)), fakes.reachable(16, at))
ctypes.memset(at, 7, 4096)
host = (ctypes.c_ubyte * 4)()
print(runtime.cudaMemcpy(host, ctypes.c_void_p(at + 8), 4, 2), list(host))
fakes.remark("a sentence of the shadow")
"#;

#[test]
fn values_are_kept_where_the_shadow_may_write() {
    let shown = python(&Machine::of(vec![l4()]), &["-c", CARD], None);
    assert_eq!(shown.stderr, "");
    let expected = "0\nTrue False False\nTrue True False\n0 [7, 7, 7, 7]\n";
    assert_eq!(shown.stdout, expected);
    assert_eq!(shown.report.remarks, ["a sentence of the shadow"]);
}

/// Registers an image for `sm_86`, forks, and asks in the child which image its kernel is.
const FORK: &str = r#"
import ctypes, os, struct
runtime = ctypes.CDLL("libcudart.so.12")
container = ctypes.create_string_buffer(80)
struct.pack_into("<IHHQ", container, 0, 0xBA55ED50, 1, 16, 64)
struct.pack_into("<HHIQ", container, 16, 2, 0x101, 64, 0)
struct.pack_into("<I", container, 16 + 28, 86)
wrapper = ctypes.create_string_buffer(24)
struct.pack_into("<IIQQ", wrapper, 0, 0x466243B1, 1, ctypes.addressof(container), 0)
register = getattr(runtime, "__cudaRegisterFatBinary")
register.restype = ctypes.c_void_p
module = ctypes.c_void_p(register(wrapper))
kernel = ctypes.c_void_p(0x1230)
getattr(runtime, "__cudaRegisterFunction")(module, kernel, None, b"k", -1, None, None, None, None, None)
child = os.fork()
if child == 0:
    attributes = (ctypes.c_int * 36)()
    print(runtime.cudaFuncGetAttributes(attributes, kernel), attributes[9], flush=True)
else:
    os.waitpid(child, 0)
"#;

#[test]
fn a_fork_before_the_first_use_of_the_card_keeps_the_programs_kernels() {
    let shown = python(&Machine::of(vec![l4()]), &["-c", FORK], None);
    assert_eq!(shown.stderr, "");
    assert_eq!(shown.stdout, "0 86\n");
}

#[test]
fn the_users_own_customization_runs_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let own = "import sys\nprint('own', 'vramplan_shadow' in sys.modules)\n";
    fs_err::write(folder.path().join("sitecustomize.py"), own).unwrap();
    let machine = Machine::of(vec![l4()]);
    let look = ["-c", "import sys; print(sys.modules['sitecustomize'].__file__)"];
    let shown = python(&machine, &look, Some(folder.path()));
    assert_eq!(shown.stderr, "");
    let path = folder.path().join("sitecustomize.py");
    assert_eq!(shown.stdout, format!("own True\n{}\n", path.display()));
}

#[test]
fn the_shadow_can_be_switched_off() {
    let on_l4 = Machine::of(vec![l4()]);
    let machine = Machine { shadow_elements: 0, ..on_l4.clone() };
    let look = ["-c", "import sys; print([type(finder).__name__ for finder in sys.meta_path])"];
    let (off, on) = (python(&machine, &look, None), python(&on_l4, &look, None));
    assert!(!off.stdout.contains("_AfterImport"), "{}", off.stdout);
    assert!(on.stdout.contains("_AfterImport"), "{}", on.stdout);
}
