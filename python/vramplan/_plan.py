"""A plan as dataclasses: what ``vramplan budget --json`` says, schema ``vramplan/plan/v2``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional

from ._command import Flag, VramplanError, ask

SCHEMA = "vramplan/plan/v2"


@dataclass(frozen=True)
class Bounds:
    """Bytes: hardly ever less than ``low``, hardly ever more than ``high``."""

    low: int
    expected: int
    high: int


@dataclass(frozen=True)
class Component:
    """What a component holds at the peak, in bytes."""

    id: str
    low: int
    expected: int
    high: int
    basis: str
    """``exact``, ``modelled``, ``calibrated`` or ``assumed``: how the largest part of it is known."""
    formula: str
    source: str


@dataclass(frozen=True)
class Phase:
    """What a phase holds, in bytes."""

    id: str
    low: int
    expected: int
    high: int


@dataclass(frozen=True)
class Tier:
    """A size of the cache, with how certain it is."""

    name: str
    max_cache_tokens: int
    """0 where nothing fits."""
    recent_window: int
    peak: Bounds
    headroom: int
    fails_if: str


@dataclass(frozen=True)
class Advice:
    """What would save memory, or how to spend what is left."""

    code: str
    text: str
    saves: int


@dataclass(frozen=True)
class Plan:
    """A plan with its recommendation."""

    verdict: str
    """``fits``, ``tight`` or ``does_not_fit``."""
    short_by: int
    usable: int
    """Bytes of the card that a run can take."""
    peak_phase: str
    peak: Bounds
    components: List[Component]
    phases: List[Phase]
    tiers: List[Tier]
    hard_max_cache_tokens: int
    limited_by: str
    advice: List[Advice]
    resolved: Dict[str, Any]
    """The question with every default filled in."""
    document: Dict[str, Any]
    """Everything that the command says."""

    @property
    def fits(self) -> bool:
        """Whether even the high bound leaves the headroom free."""
        return self.verdict == "fits"

    def component(self, id: str) -> Component:
        """A component by its name, such as ``weights``."""
        for component in self.components:
            if component.id == id:
                return component
        raise KeyError(id)

    def tier(self, name: str = "balanced") -> Tier:
        """A tier: ``conservative``, ``balanced`` or ``aggressive``."""
        for tier in self.tiers:
            if tier.name == name:
                return tier
        known = ", ".join(tier.name for tier in self.tiers)
        raise ValueError(f"no tier is called {name!r}: expected one of {known}")

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Plan":
        """Reads what ``vramplan budget --json`` printed."""
        schema = document.get("schema")
        if schema != SCHEMA:
            raise VramplanError(f"the plan's schema is {schema!r}: expected {SCHEMA!r}", ["use the command that was installed with this package"])
        recommendation = document["recommendation"]
        return cls(
            verdict=document["verdict"],
            short_by=document["short_by"],
            usable=document["capacity"]["usable"],
            peak_phase=document["peak"]["phase"],
            peak=_bounds(document["peak"]),
            components=[_component(one) for one in document["components"]],
            phases=[Phase(one["id"], one["low"], one["expected"], one["high"]) for one in document["phases"]],
            tiers=[_tier(one) for one in recommendation["tiers"]],
            hard_max_cache_tokens=recommendation["hard_max_cache_tokens"],
            limited_by=recommendation["limited_by"],
            advice=[Advice(one["code"], one["text"], one["saves"]) for one in document["advice"]],
            resolved=dict(document["deployment"]["resolved"]),
            document=dict(document),
        )


def _bounds(said: Mapping[str, Any]) -> Bounds:
    return Bounds(said["low"], said["expected"], said["high"])


def _component(said: Mapping[str, Any]) -> Component:
    return Component(**{name: said[name] for name in Component.__dataclass_fields__})


def _tier(said: Mapping[str, Any]) -> Tier:
    fields = {name: said[name] for name in Tier.__dataclass_fields__}
    return Tier(**{**fields, "peak": _bounds(said["peak"])})


def plan(gpu: str, model: str, *, timeout: Optional[float] = None, **flags: Flag) -> Plan:
    """Plans a model on a GPU; ``flags`` are those of ``vramplan budget``.

    A plan that does not fit is a plan. Raises :class:`VramplanError` where there is none, and
    ``subprocess.TimeoutExpired`` where the command takes longer than ``timeout`` seconds.
    """
    return Plan.from_json(ask("budget", {"gpu": gpu, "model": model, **flags}, timeout))
