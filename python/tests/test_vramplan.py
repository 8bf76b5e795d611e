"""The module against a real command: `$VRAMPLAN`, or what `cargo build` made.

    python3 -m unittest discover -s python/tests
"""

import doctest
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "python"))
if "VRAMPLAN" not in os.environ:
    built = [ROOT / "target" / profile / "vramplan" for profile in ("debug", "release")]
    found = [path for path in built if path.exists()]
    if not found:
        raise SystemExit("error: no command is built: run `cargo build -p vramplan`, or name one with $VRAMPLAN")
    os.environ["VRAMPLAN"] = str(max(found, key=lambda path: path.stat().st_mtime))
os.environ["HF_HUB_OFFLINE"] = "1"

import vramplan  # noqa: E402
from vramplan import _command, _limits, _plan  # noqa: E402


def printed(*words):
    ran = subprocess.run([os.environ["VRAMPLAN"], *words], capture_output=True, check=False)
    return json.loads(ran.stdout)


class Plans(unittest.TestCase):
    def test_figures_are_the_commands(self):
        plan = vramplan.plan("L4", "qwen2.5-14b", kv="q8_0", runtime="llama.cpp")
        said = printed("budget", "--json", "--gpu", "L4", "--model", "qwen2.5-14b", "--kv", "q8_0", "--runtime", "llama.cpp")
        self.assertEqual(plan.document, said)
        self.assertEqual(plan.peak.expected, said["peak"]["expected"])
        self.assertEqual(sum(one.expected for one in plan.components), plan.peak.expected)
        self.assertLess(plan.peak.low, plan.peak.high)
        self.assertTrue(plan.fits)
        self.assertEqual(plan.component("weights").basis, "modelled")
        with self.assertRaises(KeyError):
            plan.component("magic")
        with self.assertRaisesRegex(ValueError, "conservative, balanced, aggressive"):
            plan.tier("bold")

    def test_a_plan_that_does_not_fit_is_a_plan(self):
        plan = vramplan.plan("T4", "llama-3.3-70b", runtime="vllm")
        self.assertEqual(plan.verdict, "does_not_fit")
        self.assertGreater(plan.short_by, 0)
        self.assertFalse(plan.fits)

    def test_what_cannot_be_planned_says_why(self):
        with self.assertRaises(vramplan.VramplanError) as caught:
            vramplan.plan("L5", "qwen2.5-14b")
        self.assertIn("L5", caught.exception.message)
        self.assertTrue(caught.exception.hints)
        with self.assertRaisesRegex(vramplan.VramplanError, "--colour"):
            vramplan.plan("L4", "qwen2.5-14b", colour="red")

    def test_another_schema_is_refused(self):
        with self.assertRaisesRegex(vramplan.VramplanError, "plan/v9"):
            vramplan.Plan.from_json({"schema": "vramplan/plan/v9"})


class Sizes(unittest.TestCase):
    def test_limits_are_those_of_the_tier(self):
        said = printed("budget", "--json", "--gpu", "L4", "--model", "qwen2.5-14b")["recommendation"]["tiers"]
        for tier in said:
            found = vramplan.limits("L4", "qwen2.5-14b", tier["name"])
            self.assertEqual((found.max_cache_tokens, found.recent_window), (tier["max_cache_tokens"], tier["recent_window"]))

    def test_where_nothing_fits_that_is_said(self):
        with self.assertRaises(vramplan.DoesNotFit) as caught:
            vramplan.limits("T4", "llama-3.3-70b", runtime="vllm")
        self.assertGreater(caught.exception.short_by, 0)


class Commands(unittest.TestCase):
    def test_flags_become_words_and_no_value_becomes_a_flag(self):
        flags = {"gpu": "--help", "batch": 2, "swa_full": True, "cpu_moe": False, "ngl": None, "lora": ["a", "b"], "draft": Path("m.gguf")}
        words = ["--gpu=--help", "--batch=2", "--swa-full", "--lora=a", "--lora=b", "--draft=m.gguf"]
        self.assertEqual(_command.arguments(flags), words)

    def test_the_command_is_that_of_the_environment_before_that_of_the_path(self):
        named = os.environ.pop("VRAMPLAN")
        path = os.environ["PATH"]
        try:
            with tempfile.TemporaryDirectory() as folder:
                other = Path(folder) / "vramplan"
                other.write_text("#!/bin/sh\n")
                other.chmod(0o755)
                os.environ["PATH"] = folder
                scripts = _command.sysconfig.get_path("scripts")
                expected = Path(scripts) / "vramplan"
                self.assertEqual(vramplan.command(), expected if expected.exists() else other)
                os.environ["PATH"] = ""
                if not expected.exists():
                    with self.assertRaises(vramplan.NoCommand):
                        vramplan.command()
            # A folder that may be entered is no program, either.
            for wrong in (str(ROOT / "no-such-program"), str(ROOT / "python")):
                os.environ["VRAMPLAN"] = wrong
                with self.assertRaisesRegex(vramplan.NoCommand, "VRAMPLAN"):
                    vramplan.command()
        finally:
            os.environ["VRAMPLAN"], os.environ["PATH"] = named, path


def load_tests(loader, tests, pattern):
    for module in (vramplan, _limits, _plan):
        tests.addTests(doctest.DocTestSuite(module))
    return tests


if __name__ == "__main__":
    unittest.main()
