"""Runs a worker, passes on what it says, and kills it as soon as a stage begins; then itself, as a shell would."""

import os
import signal
import subprocess
import sys

worker, stage = sys.argv[1:]
child = subprocess.Popen([worker], stdout=subprocess.PIPE)
for line in child.stdout:
    wanted = line.strip() == b'{"type":"begin","phase":"%s"}' % stage.encode()
    if wanted:
        child.kill()
    os.write(1, line)
    if wanted:
        break
child.wait()
os.kill(os.getpid(), signal.SIGKILL)
