"""Allocates in phases, as an inference run does, and says which. Python's standard library only."""

import json
import os
import sys
import time

MIB = 1 << 20


def say(**what):
    os.write(int(os.environ["VRAMPLAN_PHASE_FD"]), (json.dumps(what) + "\n").encode())


def hold(mib):
    """Memory whose pages are all touched."""
    return b"x" * (mib * MIB)


pause = float(sys.argv[1]) if len(sys.argv) > 1 else 0.1

say(phase="load")
weights = hold(64)
say(component="weights", bytes=len(weights))
time.sleep(pause)

say(phase="prefill")
cache = hold(32)
scratch = hold(48)
time.sleep(pause)
del scratch

say(phase="decode")
print("generating", flush=True)
time.sleep(pause)
