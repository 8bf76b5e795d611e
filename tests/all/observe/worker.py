#!/usr/bin/env python3
"""A worker that follows a script instead of running an engine.

WORKER_SCRIPT holds a step a line: a message of the protocol, as it is, or one of

    hold MIB | sleep SECONDS | die SIGNAL | exit CODE | hang | deaf | stderr TEXT | say TEXT | child TEXT | touch PATH |
    gpu KEY=VALUE...
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time

order = json.loads(sys.stdin.readline())
assert order["protocol"] == 3, order
with open("order.json", "w", encoding="utf-8") as file:
    json.dump(order, file)


def end_with_the_supervisor():
    sys.stdin.read()
    os._exit(99)


threading.Thread(target=end_with_the_supervisor, daemon=True).start()
held = []
for step in os.environ["WORKER_SCRIPT"].splitlines():
    step = step.strip()
    if step.startswith("{"):
        print(step, flush=True)
        continue
    verb, _, rest = step.partition(" ")
    if verb == "hold":
        held.append(b"x" * (int(rest) << 20))
    elif verb == "sleep":
        time.sleep(float(rest))
    elif verb == "die":
        os.kill(os.getpid(), getattr(signal, rest))
    elif verb == "exit":
        sys.exit(int(rest))
    elif verb == "hang":
        time.sleep(600)
    elif verb == "deaf":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif verb == "stderr":
        print(rest, file=sys.stderr, flush=True)
    elif verb == "say":
        print(rest, flush=True)
    elif verb == "child":
        subprocess.Popen(["bash", "-c", "sleep 600; : " + rest], start_new_session=True)
    elif verb == "gpu":
        subprocess.run(["sh", "-c", f'. "$TESTS/gpu.sh"; gpu {rest}'], check=True)
    elif verb == "touch":
        open(rest, "w", encoding="utf-8").close()
    elif verb:
        raise ValueError(step)
