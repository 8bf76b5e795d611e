"""Bytes that caches of transformers hold after a pass of small models on the CPU.

    python cache.py variations 300 > cache.csv

What a `DynamicCache` keeps of so many tokens: every tensor of every layer, 16 bits an element where the model's are.
"""

import csv
import glob
import os
import sys

import torch

from meta import build_on, read


def held(cache):
    seen, total = set(), 0

    def visit(value):
        nonlocal total
        if torch.is_tensor(value):
            storage = value.untyped_storage()
            if storage.data_ptr() not in seen:
                seen.add(storage.data_ptr())
                total += value.numel() * value.element_size()
        elif isinstance(value, dict):
            for item in value.values():
                visit(item)
        elif isinstance(value, (list, tuple)):
            for item in value:
                visit(item)

    for layer in cache.layers:
        visit(vars(layer))
    return total


def main():
    folder, tokens = sys.argv[1], int(sys.argv[2])
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["name", "tokens", "bytes"])
    for path in sorted(glob.glob(os.path.join(folder, "*.json"))):
        name = os.path.basename(path)[:-5]
        try:
            model = build_on("cpu", read(path)).eval()
            with torch.no_grad():
                ids = torch.randint(3, 900, (1, tokens))
                cache = model(input_ids=ids, use_cache=True).past_key_values
            out.writerow([name, tokens, held(cache)])
            sys.stdout.flush()
        except Exception as error:
            print(name, repr(error)[:300], file=sys.stderr)


main()
