"""What the fake libraries say about the card's memory."""

import ctypes
import json
import os

_GRANULE = 21
_library = None
_known = set()


def limit():
    """Elements up to which a tensor's values are computed; 0 where nothing is to be computed."""
    try:
        return int(json.loads(os.environ["VRAMPLAN_VIRTUAL_GPU"])["shadow_elements"])
    except (KeyError, ValueError):
        return 0


def _fakes():
    global _library
    if _library is None:
        folder = os.environ["VRAMPLAN_VIRTUAL_GPU_FOLDER"]
        _library = ctypes.CDLL(os.path.join(folder, "libvramplan_gpu.so"))
        _library.vramplan_gpu_keeps_values.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
        _library.vramplan_gpu_reachable.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
        _library.vramplan_gpu_remark.argtypes = [ctypes.c_char_p]
    return _library


def keeps_values(address, length):
    """Whether a range is memory of a virtual card that the host can read and write."""
    granules = range(address >> _GRANULE, ((address + length - 1) >> _GRANULE) + 1)
    if all(granule in _known for granule in granules):
        return True
    if _fakes().vramplan_gpu_keeps_values(address, length) != 1:
        return False
    # Such memory stays readable when it is given back.
    _known.update(granules)
    return True


def reachable(first, last):
    """Whether two addresses can be read and written: of a card, or of the host."""
    if first >> _GRANULE in _known and last >> _GRANULE in _known:
        return True
    return _fakes().vramplan_gpu_reachable(first, last) == 1


def remark(text):
    """Says something in the rehearsal's report."""
    _fakes().vramplan_gpu_remark(text.encode())
