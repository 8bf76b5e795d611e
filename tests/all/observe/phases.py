"""Allocates in phases, as an inference run does, and says which. Python's standard library only."""

import json
import os
import sys
import time

MIB = 1 << 20


def say(**what):
    os.write(int(os.environ["VRAMPLAN_PHASE_FD"]), (json.dumps(what) + "\n").encode())


def enter(phase):
    """The pause keeps what follows out of the phase before, should the line be read late."""
    say(phase=phase)
    time.sleep(0.03)


def hold(mib):
    """Memory whose pages are all touched."""
    return b"x" * (mib * MIB)


pause = float(sys.argv[1]) if len(sys.argv) > 1 else 0.1

enter("load")
weights = hold(64)
say(component="weights", bytes=len(weights))
time.sleep(pause)

enter("prefill")
cache = hold(32)
scratch = hold(48)
time.sleep(pause)
del scratch

enter("decode")
print("generating", flush=True)
time.sleep(pause)
