"""Finds the command and asks it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any, Iterable, List, Mapping, Optional, Union

Flag = Union[None, bool, int, float, str, "os.PathLike[str]", Iterable[Union[int, float, str]]]
"""What a flag may be given: ``None`` and ``False`` say nothing, ``True`` says a flag without a value."""

DONE, DOES_NOT_FIT = 0, 3
"""Exit codes with an answer."""


class VramplanError(Exception):
    """The command has no answer: ``message`` says why, ``hints`` what to do about it."""

    def __init__(self, message: str, hints: Iterable[str] = ()) -> None:
        self.message = message
        self.hints: List[str] = list(hints)
        super().__init__("\n".join([message, *(f"hint: {hint}" for hint in self.hints)]))


class NoCommand(VramplanError):
    """The command is nowhere."""


def command() -> Path:
    """The command: ``$VRAMPLAN``, that of this environment, or the first of the ``PATH``."""
    named = os.environ.get("VRAMPLAN")
    if named:
        if not (os.path.isfile(named) and os.access(named, os.X_OK)):
            raise NoCommand(f"`{named}` of $VRAMPLAN is no program")
        return Path(named)
    for scheme in (sysconfig.get_default_scheme(), _user_scheme()) if _HAS_SCHEMES else (None,):
        folder = sysconfig.get_path("scripts", scheme) if scheme else sysconfig.get_path("scripts")
        found = shutil.which("vramplan", path=folder)
        if found:
            return Path(found)
    found = shutil.which("vramplan")
    if found is None:
        raise NoCommand("`vramplan` is nowhere", ["install the package `vramplan`, or name the program with $VRAMPLAN"])
    return Path(found)


_HAS_SCHEMES = hasattr(sysconfig, "get_default_scheme")
"""Since Python 3.10."""


def _user_scheme() -> str:
    return sysconfig.get_preferred_scheme("user")


def arguments(flags: Mapping[str, Flag]) -> List[str]:
    """Flags as the command line has them. A value never becomes a flag of its own."""
    words: List[str] = []
    for name, value in flags.items():
        flag = "--" + name.replace("_", "-")
        if value is None or value is False:
            continue
        if value is True:
            words.append(flag)
        elif isinstance(value, (str, int, float, os.PathLike)):
            words.append(f"{flag}={os.fspath(value) if isinstance(value, os.PathLike) else value}")
        else:
            words.extend(f"{flag}={one}" for one in value)
    return words


def ask(subcommand: str, flags: Mapping[str, Flag], timeout: Optional[float] = None) -> Any:
    """The command's JSON."""
    words = [str(command()), subcommand, "--json", *arguments(flags)]
    ran = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False)
    if ran.returncode not in (DONE, DOES_NOT_FIT):
        raise _error(ran.stderr.decode("utf-8", "replace"), ran.returncode)
    return json.loads(ran.stdout)


def _error(said: str, code: int) -> VramplanError:
    lines = said.strip().splitlines()
    hints = [line[len("hint: ") :] for line in lines if line.startswith("hint: ")]
    rest = "\n".join(line for line in lines if not line.startswith("hint: ")).strip()
    message = rest[len("error: ") :] if rest.startswith("error: ") else rest
    return VramplanError(message or f"`vramplan` ended with {code}", hints)
