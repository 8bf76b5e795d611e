"""How large a cache can be: the question that vramplan began with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from ._command import Flag, VramplanError
from ._plan import plan


@dataclass(frozen=True)
class Limits:
    """Tokens of a cache that fits."""

    max_cache_tokens: int
    recent_window: int
    """Of these, how many are never evicted because they are recent; 0 under a runtime that evicts none."""


class DoesNotFit(VramplanError):
    """No cache fits; ``short_by`` is what is missing, in bytes."""

    def __init__(self, gpu: str, model: str, tier: str, short_by: int) -> None:
        self.short_by = short_by
        super().__init__(f"no {tier} cache of {model} fits {gpu}", ["`vramplan.plan(…).advice` says what would help"])


def limits(gpu: str, model: str, tier: str = "balanced", *, timeout: Optional[float] = None, **flags: Flag) -> Limits:
    """The cache that fits: ``conservative``, ``balanced`` or ``aggressive``. Raises :class:`DoesNotFit` where none does.

    In the place of a table by hand:

    >>> def get_optimal_limits(gpu: str, model: str) -> dict:
    ...     found = limits(gpu, model, runtime="transformers", weights="nf4-dq", kv="hqq8")
    ...     return {"max_cache_tokens": found.max_cache_tokens, "recent_window": found.recent_window}
    """
    planned = plan(gpu, model, timeout=timeout, **flags)
    found = planned.tier(tier)
    if found.max_cache_tokens == 0:
        raise DoesNotFit(gpu, model, tier, planned.short_by)
    return Limits(found.max_cache_tokens, found.recent_window)
