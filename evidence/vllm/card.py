"""vLLM on a card that is not there: its own code, with what a driver would answer put in its place.

What is replaced, all of it here, and why no size depends on it:

- *the driver*: vLLM's compiled kernels are linked against `libcuda.so.1`. An empty library of that name lets them load:
  they declare the operations, and none of them is run.
- *the card*: `Card` is vLLM's CUDA platform with the answers of NVML written down (compute capability, memory, name).
  Which kernels, attention backends and defaults are chosen is vLLM's own code, which asks it.
- *the other ranks*: groups are vLLM's own, over PyTorch's `fake` backend, which has any number of ranks and sends nothing.
- *memory*: tensors are on the meta device, which has shapes and types and no values.
"""

import contextlib
import ctypes
import importlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import types

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "transformers")]
os.environ |= {"VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "OMP_NUM_THREADS": "1"}

import torch
from torch.overrides import TorchFunctionMode


def load_kernels():
    """vLLM's compiled operations, declared and never run."""
    with tempfile.TemporaryDirectory() as folder:
        library = f"{folder}/libcuda.so.1"
        flags = ["-shared", "-x", "c", os.devnull, "-Wl,-soname,libcuda.so.1"]
        subprocess.run(["cc", *flags, "-o", library], check=True)
        sys.setdlopenflags(os.RTLD_LAZY | os.RTLD_GLOBAL)
        ctypes.CDLL(library, mode=os.RTLD_GLOBAL | os.RTLD_LAZY)
    # What a release has of them: names changed from one to the next.
    for name in ("_C", "_C_stable_libtorch", "_moe_C", "_moe_C_stable_libtorch"):
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(f"vllm.{name}")


class Driver:
    """What Triton's modules ask of a driver when they are imported: no kernel is compiled."""

    def get_current_target(self):
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", 90, 32)

    def get_device_interface(self):
        return torch.cuda

    def get_current_device(self):
        return 0

    utils = types.SimpleNamespace(
        get_device_properties=lambda index: dict(multiprocessor_count=132, max_shared_mem=232_448, warpSize=32)
    )


def offer_triton():
    """Triton's decorators without a driver: kernels are declared and never compiled."""
    from triton.backends import backends
    from triton.runtime import driver

    if "nvidia" in backends:
        backends["nvidia"].driver.is_active = staticmethod(lambda: True)
    driver.driver.set_active(Driver()) if hasattr(driver, "driver") else driver.set_active(Driver())


offer_triton()
load_kernels()

import vllm.model_executor.models.registry
import vllm.platforms
from vllm.platforms.cuda import CudaPlatformBase
from vllm.platforms.interface import DeviceCapability
from vllm.utils import torch_utils


class Card(CudaPlatformBase):
    """An H100 unless told otherwise."""

    name, capability, memory, units = "NVIDIA H100 80GB HBM3", (9, 0), 85_028_634_624, 132

    @classmethod
    def get_device_capability(cls, device_id=0):
        return DeviceCapability(*cls.capability)

    @classmethod
    def get_device_name(cls, device_id=0):
        return cls.name

    @classmethod
    def get_device_uuid(cls, device_id=0):
        return "GPU-0"

    @classmethod
    def get_device_total_memory(cls, device_id=0):
        return cls.memory

    @classmethod
    def is_fully_connected(cls, device_ids):
        return True

    @classmethod
    def num_compute_units(cls, device_id=0):
        return cls.units

    # A rank talks to nobody.
    @classmethod
    def get_device_communicator_cls(cls):
        return "vllm.distributed.device_communicators.base_device_communicator.DeviceCommunicatorBase"

    @classmethod
    def use_custom_allreduce(cls):
        return False


vllm.platforms._current_platform = Card()
# A model's class is looked at in this process, not in one of its own that imports everything again.
vllm.model_executor.models.registry._run_in_subprocess = lambda look: look()
torch_utils._cuda_device_count_stateless = lambda *_: 8
torch.cuda.current_device = lambda: torch.device("meta")


def properties(*_):
    """What PyTorch says of the card."""
    major, minor = Card.capability
    return types.SimpleNamespace(
        name=Card.name, major=major, minor=minor, total_memory=Card.memory, multi_processor_count=Card.units,
        shared_memory_per_block_optin=232_448, L2_cache_size=50 << 20, warp_size=32,
    )


torch.cuda.get_device_properties = properties
torch.cuda.get_device_name = lambda *_: Card.name
torch.cuda.get_device_capability = lambda *_: Card.capability


class Nothing:
    """A stream or an event: neither holds memory."""

    def __init__(self, *_, **__):
        pass


torch.cuda.Stream = torch.cuda.Event = Nothing


class OnMeta(TorchFunctionMode):
    """Tensors that vLLM wants on the card go to the meta device."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if str(kwargs.get("device", "")).startswith("cuda"):
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


import track
from torch.testing._internal.distributed.fake_pg import FakeStore
from vllm.config import set_current_vllm_config
from vllm.distributed import parallel_state
from vllm.engine.arg_utils import EngineArgs
from vllm.usage.usage_lib import UsageContext

CARDS = {
    "h100": dict(name="NVIDIA H100 80GB HBM3", capability=(9, 0), memory=85_028_634_624, units=132),
    "a100-80gb": dict(name="NVIDIA A100-SXM4-80GB", capability=(8, 0), memory=85_094_825_984, units=108),
    "l4": dict(name="NVIDIA L4", capability=(8, 9), memory=23_034_855_424, units=58),
    "b200": dict(name="NVIDIA B200", capability=(10, 0), memory=191_503_532_032, units=148),
}


def insert(card):
    """Makes `card` the one that vLLM finds."""
    for name, value in CARDS[card].items():
        setattr(Card, name, value)


def architecture(config):
    if config.architectures:
        return config.architectures[0]
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[config.model_type]


def engine(config, tp=1, pp=1, quantization=None, **arguments):
    """vLLM's configuration for a model: what `vllm serve` makes of a folder with a `config.json`."""
    made = config.to_dict() | {"architectures": [architecture(config)], "dtype": "bfloat16"}
    made.pop("quantization_config", None)
    if quantization:
        made["quantization_config"] = quantization
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "config.json").write_text(json.dumps(made, default=str))
        arguments = dict(max_model_len=8192, skip_tokenizer_init=True, load_format="dummy") | arguments
        return EngineArgs(
            model=folder, tensor_parallel_size=tp, pipeline_parallel_size=pp, **arguments
        ).create_engine_config(UsageContext.OPENAI_API_SERVER)


@contextlib.contextmanager
def ranks(vllm_config, rank=0):
    """This process as one rank of those that the configuration has."""
    parallel = vllm_config.parallel_config
    ranks = parallel.tensor_parallel_size * parallel.pipeline_parallel_size
    world = ranks * parallel.data_parallel_size
    original = torch.distributed.new_group
    torch.distributed.new_group = lambda members=None, *_, **__: original(members, backend="fake")
    parallel_state.in_the_same_node_as = lambda group, source_rank=0: [True] * world
    parallel_state._node_count = lambda group: 1
    torch.distributed.init_process_group("fake", store=FakeStore(), rank=rank, world_size=world)
    init = parallel_state.init_model_parallel_group
    parallel_state.init_model_parallel_group = lambda *args, **kwargs: init(
        *args, **kwargs | {"use_message_queue_broadcaster": False}
    )
    with set_current_vllm_config(vllm_config):
        parallel_state.init_distributed_environment(ranks, rank, "env://", rank, "fake")
        parallel_state.initialize_model_parallel(
            parallel.tensor_parallel_size, parallel.pipeline_parallel_size, backend="fake"
        )
        yield
    parallel_state.destroy_model_parallel()
    parallel_state.destroy_distributed_environment()
    torch.distributed.new_group, parallel_state.init_model_parallel_group = original, init


def build(vllm_config):
    """vLLM's model on the meta device, as its loader makes it before it reads a file."""
    from vllm.model_executor.model_loader.utils import initialize_model
    from vllm.utils.torch_utils import set_default_torch_dtype

    with set_default_torch_dtype(vllm_config.model_config.dtype), OnMeta(), torch.device("meta"):
        return initialize_model(vllm_config=vllm_config, model_config=vllm_config.model_config)
