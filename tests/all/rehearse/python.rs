//! What is put into Python says: what PyTorch's allocator holds, when transformers loads and generates. Both are
//! stood in for here, by modules of their names that allocate through the runtime.

use std::path::Path;

use super::{L4_CONTEXT, MIB, bytes, rehearse_command, stderr};

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(path, text).unwrap();
}

/// A folder with a `torch` and a `transformers` that allocate as little as it takes to be seen.
fn modules() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let torch = "\
import ctypes
runtime = ctypes.CDLL('libcudart.so.12')
held = 0
def take(mib):
    global held
    at = ctypes.c_void_p()
    if runtime.cudaMalloc(ctypes.byref(at), ctypes.c_size_t(mib << 20)):
        raise MemoryError('CUDA out of memory.')
    held += mib << 20
class cuda:
    is_initialized = staticmethod(lambda: held > 0)
    device_count = staticmethod(lambda: 1)
    @staticmethod
    def memory_stats(device):
        sizes = {'requested': held - 3, 'allocated': held - 2, 'reserved': held}
        stats = {f'{name}_bytes.all.{when}': size for name, size in sizes.items() for when in ('current', 'peak')}
        return stats | {'inactive_split_bytes.all.current': 1, 'num_alloc_retries': 5, 'num_ooms': 0}
";
    write(folder.path(), "torch.py", torch);
    write(folder.path(), "transformers/__init__.py", "");
    let modeling = "\
import torch
class PreTrainedModel:
    @classmethod
    def from_pretrained(cls, name):
        torch.take(1000)
        return cls()
";
    write(folder.path(), "transformers/modeling_utils.py", modeling);
    write(folder.path(), "transformers/generation/__init__.py", "");
    let generation = "\
import torch
class GenerationMixin:
    def generate(self, tokens):
        torch.take(200)
        for _ in range(tokens):
            self._update_model_kwargs_for_generation()
            torch.take(10)
        return tokens
    def _update_model_kwargs_for_generation(self):
        pass
";
    write(folder.path(), "transformers/generation/utils.py", generation);
    let script = "\
from transformers.modeling_utils import PreTrainedModel
from transformers.generation.utils import GenerationMixin
class Model(PreTrainedModel, GenerationMixin): pass
model = Model.from_pretrained('x')
assert model.generate(3) == 3
import sitecustomize
print('own', sitecustomize.OWN)
";
    write(folder.path(), "script.py", script);
    // The environment's own runs, too.
    write(folder.path(), "sitecustomize.py", "OWN = 7\n");
    folder
}

#[test]
fn phases_and_the_allocator_are_told() {
    let folder = modules();
    let script = folder.path().join("script.py");
    let mut run = rehearse_command(&["--gpu", "L4"], "python3", &[script.to_str().unwrap()]);
    run.command.env("PYTHONPATH", folder.path());
    let (document, output) = run.json();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("own 7"), "{}", stderr(&output));
    let run = &document["runs"][0];
    let phases = run["phases"].as_array().unwrap();
    let peak = |name: &str| {
        let phase = phases
            .iter()
            .find(|phase| phase["name"] == name)
            .unwrap_or_else(|| panic!("{phases:?}"));
        (bytes(&phase["cards"][0]["peak"]) - L4_CONTEXT) / MIB
    };
    assert_eq!([peak("load"), peak("prefill"), peak("decode")], [1000, 1200, 1230]);
    let torch = run["torch"].as_array().unwrap();
    let at = |phase: &str| {
        torch.iter().find(|at| at["phase"] == phase).unwrap_or_else(|| panic!("{torch:?}"))
    };
    assert_eq!(bytes(&at("load")["reserved"]), 1000 * MIB);
    assert_eq!(bytes(&at("prefill")["allocated"]), 1200 * MIB - 2);
    let last = torch.iter().find(|at| at["phase"].is_null()).unwrap();
    assert_eq!(
        (bytes(&last["reserved"]), bytes(&last["unused"]), bytes(&last["retries"])),
        (1230 * MIB, 2, 5)
    );
}

#[test]
fn a_program_that_fails_does_so_as_it_would() {
    let folder = modules();
    let code = "import torch; torch.take(30000)";
    let mut run = rehearse_command(&["--gpu", "L4"], "python3", &["-c", code]);
    run.command.env("PYTHONPATH", folder.path());
    let (document, output) = run.json();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert_eq!(document["runs"][0]["outcome"]["code"], 1);
    assert!(stderr(&output).contains("MemoryError: CUDA out of memory."), "{}", stderr(&output));
}
