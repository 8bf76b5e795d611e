"""Puts the page into one file that needs nothing else: `assemble.py MODULE.wasm OUT.html`.

The module is compressed and carried as text, since a page that is opened from a disk may read no file beside itself. What
may run is named by its hash; nothing else may.
"""

import base64
import gzip
import hashlib
import pathlib
import sys

SCRIPTS = ["text", "planner", "files", "fields", "form", "bars", "results", "main"]
# The hub's own hosts: files are handed out by others than the one that is asked.
HUB = "https://huggingface.co https://*.huggingface.co https://*.hf.co"


def hashed(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return "'sha256-" + base64.b64encode(digest).decode() + "'"


def main() -> None:
    module, out = map(pathlib.Path, sys.argv[1:3])
    here = pathlib.Path(__file__).parent
    read = lambda name: (here / name).read_text(encoding="utf-8")
    style = "\n" + read("style.css")
    parts = [f"// {name}.js\n{read(name + '.js')}" for name in SCRIPTS]
    script = '\n"use strict";\n(() => {\n' + "\n".join(parts) + "})();\n"
    for name, text in [("scripts", script), ("worker", read("worker.js"))]:
        assert "</script" not in text.lower() and "<!--" not in text, f"{name} would end their element"
    policy = (
        f"default-src 'none'; script-src {hashed(script)} 'wasm-unsafe-eval'; style-src {hashed(style)}; "
        f"worker-src blob:; connect-src {HUB}; img-src data:; base-uri 'none'; form-action 'none'"
    )
    packed = base64.b64encode(gzip.compress(module.read_bytes(), 9, mtime=0)).decode()
    page = read("index.html")
    # What is put in last may hold anything: it is not searched again.
    for mark, text in [("@CSP@", policy), ("@STYLE@", style), ("@WORKER@", read("worker.js"))]:
        page = page.replace(mark, text)
    before, after = page.split("@MODULE@")
    between, rest = after.split("@SCRIPT@")
    page = before + packed + between + script + rest
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8", newline="\n")
    size = len(gzip.compress(page.encode(), 9))
    print(f"{out}: {len(page.encode())} B, {size} B compressed")
    if size > 2_000_000:
        sys.exit("error: the page is more than 2 MB compressed")


main()
