"""GPU memory of language models, planned before anything runs.

Asks the ``vramplan`` command, which is installed with this package, and gives its answer as dataclasses:

>>> import vramplan
>>> vramplan.limits("L4", "qwen2.5-14b").max_cache_tokens
26768
>>> plan = vramplan.plan("T4", "llama-3.1-8b", runtime="llama.cpp", kv="q8_0", context="16k")
>>> plan.verdict, plan.fits
('fits', True)
>>> max(plan.components, key=lambda component: component.expected).id
'weights'

Flags of ``vramplan budget`` are keyword arguments, with ``_`` for ``-``. Sizes are bytes. Nothing needs a GPU.
"""

from ._command import NoCommand, VramplanError, command
from ._limits import DoesNotFit, Limits, limits
from ._plan import Advice, Bounds, Component, Phase, Plan, Tier, plan

__all__ = [
    "Advice",
    "Bounds",
    "Component",
    "DoesNotFit",
    "Limits",
    "NoCommand",
    "Phase",
    "Plan",
    "Tier",
    "VramplanError",
    "command",
    "limits",
    "plan",
]
