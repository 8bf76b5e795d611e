#!/usr/bin/env python3
"""Asks the registries for the newest release of each engine, compares a few rows with the committed results, and says what
moved.

    python track.py                   # checked.csv against the registries: who has a release that was not compared
    python track.py rows [ENGINE...]  # asks the engines that are installed here for the rows of `rows.csv`, and compares

Registries are asked through their own clients, `pip index versions` and `cargo info`. Neither form changes a file unless
`--record` is given: then `checked.csv` says what was found. Exits with 1 where something moved.
"""

import argparse
import csv
import datetime
import importlib.metadata
import io
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
EVIDENCE = HERE.parent
COLUMNS = "engine registry package newest compared rows moved on".split()


def newest(registry, package):
    """The newest release on a registry; nothing where its client does not say."""
    if registry == "pypi":
        said = run([sys.executable, "-m", "pip", "index", "versions", package])
        found = re.match(rf"{re.escape(package)} \(([^)]+)\)", said)
    else:
        found = re.search(r"^version: (\S+)", run(["cargo", "info", package]), re.MULTILINE)
    return found[1] if found else ""


def run(command, **arguments):
    return subprocess.run(command, capture_output=True, text=True, **arguments).stdout


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def vllm_rows():
    """Pools and parameters of a few models, under the release that is installed."""
    sys.path[:0] = [str(EVIDENCE / "vllm")]
    import ask

    # Another release than those that are committed writes rows of its own: compared are those of the newest.
    kept = newest_file("vllm/kv-*.csv"), newest_file("vllm/weights-*.csv")
    pools = {key(row, "card model kv ranks stages stage"): row for row in read(kept[0])}
    held = {key(row, "card model weights ranks stages stage"): row for row in read(kept[1])}
    for case in [(*told, 1) for told in VLLM]:
        _, answer = ask.ask(case)
        name, model, weights, kv, tp, pp = case
        if isinstance(answer, str):
            yield f"vllm {model} {kv}", "an answer", answer.strip().splitlines()[-1]
            continue
        ranks, blocks, tokens, limits = answer
        told = [*blocks[0], *tokens, *limits]
        columns = "groups group_layers block_tokens blocks bytes tokens longest max_seqs chunk captured".split()
        row = pools[name, model, kv, str(tp), str(pp), "0"]
        for column, ours in zip(columns, told):
            yield f"vllm {model} {kv}: {column}", row[column], str(ours)
        if (name, model, weights, str(tp), str(pp), "0") in held:
            row = held[name, model, weights, str(tp), str(pp), "0"]
            for column, ours in zip("parameters bytes absorbed tables".split(), ranks[0]):
                yield f"vllm {model} {weights}: {column}", row[column], str(ours)


# Card, model, formats of weights and of the cache, ranks.
VLLM = [
    ("h100", "llama-3.1-8b", "bf16", "bf16", 1),
    ("h100", "qwen3-8b", "bf16", "bf16", 1),
    ("h100", "qwen3-30b-a3b", "bf16", "bf16", 1),
    ("h100", "gemma-3-27b", "bf16", "bf16", 1),
    ("h100", "deepseek-v2-lite", "bf16", "bf16", 1),
    ("h100", "qwen3.5-27b", "bf16", "bf16", 1),
    ("h100", "qwen3-8b", "bf16", "fp8", 2),
    ("h100", "deepseek-v2-lite", "bf16", "fp8", 2),
]


def key(row, columns):
    return tuple(row[name] for name in columns.split())


def newest_file(pattern):
    def release(path):
        return [int(part) for part in re.findall(r"\d+", path.stem)]

    return max(EVIDENCE.glob(pattern), key=release)


TRANSFORMERS = ["llama-3.2-1b", "qwen3-0.6b", "gemma-3-1b"]


def transformers_rows():
    """A forward pass of small models, on the meta device."""
    names = "model attention cache phase rows past batch logits capture"
    kept = {key(row, names): row for row in read(EVIDENCE / "transformers/transformers.csv")}
    models = [name for name in TRANSFORMERS if any(row[0] == name for row in kept)] or [next(iter(kept))[0]]
    asked = [argument for name in models for argument in ("--model", name)]
    said = run([sys.executable, "track.py", *asked], cwd=EVIDENCE / "transformers")
    for row in csv.DictReader(io.StringIO(said)):
        for column in ("kv_before", "kv_after", "live_peak"):
            theirs = kept[key(row, names)][column]
            yield "transformers " + " ".join(key(row, names)) + f": {column}", theirs, row[column]


ROWS = {"vllm": vllm_rows, "transformers": transformers_rows}


def compare(engine):
    """The release that was asked, how many figures were compared, and those that moved."""
    figures = list(ROWS[engine]())
    moved = [(what, before, after) for what, before, after in figures if before != after]
    return importlib.metadata.version(engine), len(figures), moved


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=["newest", "rows"], default="newest")
    parser.add_argument("engine", nargs="*")
    parser.add_argument("--record", action="store_true", help="write checked.csv")
    told = parser.parse_args()
    checked = read(HERE / "checked.csv")
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    changed = False
    for row in checked:
        if told.engine and row["engine"] not in told.engine:
            continue
        if told.what == "newest":
            found = newest(row["registry"], row["package"])
            state = "the registry did not answer" if not found else "newer" if found != row["compared"] else "compared"
            print(f"{row['package']}: newest {found or '?'}, compared {row['compared'] or 'never'}: {state}")
            changed |= state == "newer"
            row["newest"], row["on"] = found or row["newest"], today
        elif row["engine"] in ROWS:
            row["compared"], row["rows"], moved = compare(row["engine"])
            row["moved"], row["on"] = len(moved), today
            print(f"{row['engine']} {row['compared']}: {row['rows']} figures, {len(moved)} moved")
            for what, before, after in moved:
                print(f"  {what}: {before} before, {after} now")
            changed |= bool(moved)
    if told.record:
        with open(HERE / "checked.csv", "w", encoding="utf-8", newline="") as file:
            made = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            made.writeheader()
            made.writerows(checked)
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
