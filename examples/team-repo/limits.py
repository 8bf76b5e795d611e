"""Cache limits by GPU and model, from the table that `vramplan check` keeps true.

>>> get_optimal_limits("L4", "qwen2.5-14b")
{'max_cache_tokens': 26768, 'recent_window': 13384}
>>> get_optimal_limits("rtx 3060", "qwen2.5-14b", tier="conservative")
{'max_cache_tokens': 6540, 'recent_window': 3270}
>>> get_optimal_limits("T4", "qwen2.5-14b")
Traceback (most recent call last):
    ...
KeyError: 'no limits for qwen2.5-14b on T4: add a [[scenario]] to limits.toml'
"""

import tomllib
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("limits.toml")


@cache
def scenarios() -> list[dict]:
    """Every scenario of the table, with the flags that all share."""
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    defaults = table.get("defaults", {})
    return [defaults | scenario for scenario in table["scenario"]]


def get_optimal_limits(gpu: str, model: str, tier: str = "balanced") -> dict[str, int]:
    """The cache size and the recent window of a tier; zero tokens where nothing fits."""
    wanted = (gpu.casefold(), model.casefold())
    for scenario in scenarios():
        if (scenario["gpu"].casefold(), scenario["model"].casefold()) == wanted:
            limits = scenario["limits"]
            return {key: limits[key][tier] for key in ("max_cache_tokens", "recent_window")}
    raise KeyError(f"no limits for {model} on {gpu}: add a [[scenario]] to {TABLE.name}")
