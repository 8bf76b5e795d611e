"""A tensor of the card as the CPU sees it."""

import ctypes

import torch

from vramplan_shadow import fakes


class Unreachable(Exception):
    """The tensor's memory cannot be read by the host."""


def on_host(tensor):
    """A CPU tensor of the same shape, strides and type, over the same memory."""
    if not tensor.is_cuda:
        return tensor
    if tensor.is_conj() or tensor.is_neg() or tensor.layout != torch.strided:
        raise Unreachable
    if tensor.numel() == 0:
        return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device="cpu")
    last = sum((n - 1) * step for n, step in zip(tensor.size(), tensor.stride()))
    length = (last + 1) * tensor.element_size()
    address = tensor.data_ptr()
    if not fakes.keeps_values(address, length):
        raise Unreachable
    memory = (ctypes.c_char * length).from_address(address)
    flat = torch.frombuffer(memory, dtype=tensor.dtype)
    return flat.as_strided(tensor.size(), tensor.stride(), 0)


def on_card(value, device):
    """A new tensor of the card with a CPU tensor's values."""
    card = torch.empty_strided(value.size(), value.stride(), dtype=value.dtype, device=device)
    on_host(card).copy_(value)
    return card


def flat(*values):
    """The tensors in arguments or results, lists of them included."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from flat(*value)
        elif isinstance(value, dict):
            yield from flat(*value.values())


def mapped(function, value):
    """The same nest of lists with a function applied to what is not a list."""
    if isinstance(value, (list, tuple)):
        return type(value)([mapped(function, item) for item in value])
    if isinstance(value, dict):
        return {key: mapped(function, item) for key, item in value.items()}
    return function(value)


_noise = torch.Generator(device="cpu")
_noise.manual_seed(0)


def generator():
    """The shadow's own source of random numbers: the program's is left alone."""
    return _noise


def fill_unknown(tensor):
    """Gives a result that was not computed values that do no harm: positive noise, or 0.

    A router's scores become noise, so that experts are chosen evenly; an index becomes one that
    every table has.
    """
    host = on_host(tensor)
    if host.dtype.is_floating_point:
        host.uniform_(2**-10, 1, generator=_noise)
    elif not host.dtype.is_complex:
        host.zero_()
