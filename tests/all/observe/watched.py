"""Holds 256 MiB in a phase of its own and prints more lines than a screen has, until a line is typed."""

import os

with open(os.environ["VRAMPLAN_PHASE_PATH"], "w", encoding="utf-8") as phases:
    phases.write('{"phase":"load"}\n')
held = bytearray(os.urandom(1 << 20) * 256)
for number in range(1, 61):
    print("line", number, flush=True)
input()
print(len(held), flush=True)
