"""Functions taken out of SGLang's wheels, and run with stand-ins for what they ask of a GPU.

Nothing of SGLang is imported: a file is parsed, the functions asked for are compiled as they stand, without decorators,
annotations and their own imports of SGLang, and see the names that they are given. What a stand-in lacks is an error.
"""

import ast
import copy
import dataclasses
import logging
import math
import types
import typing
from bisect import bisect_right
from pathlib import Path

NS = types.SimpleNamespace


class Dtype:
    def __init__(self, itemsize):
        self.itemsize = itemsize

    def __repr__(self):
        return f"{self.itemsize} B"


BF16, FP8, F32, U8 = Dtype(2), Dtype(1), Dtype(4), Dtype(1)
TORCH = NS(
    bfloat16=BF16, float16=Dtype(2), float32=F32, float8_e4m3fn=FP8, uint8=U8, dtype=Dtype,
    _utils=NS(_element_size=lambda dtype: dtype.itemsize), int64="int64", iinfo=lambda _: NS(max=(1 << 63) - 1),
)
QUIET = logging.getLogger("sglang")
QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False
LOGGING = NS(warning=lambda *_: None, info=lambda *_: None)
LOGGER = NS(warning=lambda *_: None, info=lambda *_: None, debug=lambda *_: None)


class Strip(ast.NodeTransformer):
    """Without SGLang's own imports, decorators but those of data, and annotations of arguments."""

    def visit_ImportFrom(self, node):
        return ast.Pass() if (node.module or "").startswith("sglang") else node

    def visit_FunctionDef(self, node):
        keep = ("property", "staticmethod", "classmethod")
        node.decorator_list = [d for d in node.decorator_list if getattr(d, "id", "") in keep]
        self.generic_visit(node)
        return node

    def visit_ClassDef(self, node):
        node.decorator_list = [d for d in node.decorator_list if "dataclass" in ast.unparse(d)]
        node.bases = [base for base in node.bases if ast.unparse(base) != "ABC"]
        self.generic_visit(node)
        return node


class Wheel:
    def __init__(self, folder, version):
        self.root = Path(folder) / version / "sglang" / "srt"
        self.version = tuple(int(n) for n in version.split(".")[1:3])

    def tree(self, file):
        return ast.parse((self.root / file).read_text())

    def take(self, file, *names, **given):
        """The names of a file in one namespace: functions, classes, constants, and `Class.method` as functions."""
        space = dict(
            torch=TORCH, math=math, logger=LOGGER, logging=LOGGING, copy=copy, bisect_right=bisect_right,
            dataclass=dataclasses.dataclass, field=dataclasses.field, _is_npu=False, _is_hip=False, _is_cpu=False,
            TYPE_CHECKING=False, **{name: getattr(typing, name) for name in ("Any", "Optional", "List", "Dict", "Union")},
        )
        space.update(given)
        nodes = self.tree(file).body
        for name in names:
            for node in found(nodes, name):
                self.run([node], space)
        return space

    @staticmethod
    def run(nodes, space):
        module = Strip().visit(ast.Module(body=copy.deepcopy(nodes), type_ignores=[]))
        flags = __import__("__future__").annotations.compiler_flag
        exec(compile(ast.fix_missing_locations(module), "wheel", "exec", flags=flags), space)

    def ifs(self, file, function, *tests):
        """The `if` statements of a function whose conditions begin so."""
        (node,) = found(self.tree(file).body, function)
        inside = [each for each in ast.walk(node) if isinstance(each, ast.If)]
        return [next(each for each in inside if ast.unparse(each.test).startswith(test)) for test in tests]


def found(nodes, name):
    outer, _, inner = name.partition(".")
    named = [node for node in nodes if outer in names_of(node)]
    if not named:
        raise KeyError(name)
    return found(named[0].body, inner) if inner else named[:1]


def names_of(node):
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return []
