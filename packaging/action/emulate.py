"""Runs the steps of a composite action as a GitHub runner does, as far as `action.yml` needs it.

Expressions are those that `action.yml` has: `${{ inputs.X }}`, `${{ steps.ID.outputs.X }}`, `${{ github.X }}`. One that is
none of them is an error, and so is an input that the action does not have.
"""

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import yaml

EXPRESSION = re.compile(r"\$\{\{\s*([^}]+?)\s*\}\}")


@dataclass
class Run:
    """What a run of the action left behind."""

    code: int = 0
    log: str = ""
    summary: str = ""
    outputs: dict[str, str] = field(default_factory=dict)


class Action:
    """A composite action in a folder, whose `action.yml` says what it does."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.description = yaml.safe_load((folder / "action.yml").read_text(encoding="utf-8"))

    def run(self, workspace: Path, inputs: dict[str, str], github: dict[str, str]) -> Run:
        """Runs every step in `workspace`; later steps are left out where one fails."""
        known = self.description["inputs"]
        unknown = inputs.keys() - known.keys()
        if unknown:
            raise ValueError(f"the action has no inputs {sorted(unknown)}: expected {sorted(known)}")
        inputs = {name: value.get("default", "") for name, value in known.items()} | inputs
        context = {"inputs": inputs, "github": github, "steps": {}}
        run = Run()
        with tempfile.TemporaryDirectory() as scratch:
            for number, step in enumerate(self.description["runs"]["steps"]):
                files = [Path(scratch, f"{number}-{kind}") for kind in ("output", "summary")]
                self._step(step, workspace, Path(scratch), files, context, run)
                if run.code != 0:
                    break
            for name, output in self.description["outputs"].items():
                run.outputs[name] = expand(output["value"], context)
        return run

    def _step(self, step, workspace, scratch, files, context, run):
        output, summary = files
        for file in files:
            file.touch()
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(scratch),
            "GITHUB_ACTION_PATH": str(self.folder),
            "GITHUB_OUTPUT": str(output),
            "GITHUB_STEP_SUMMARY": str(summary),
            "RUNNER_TEMP": str(scratch),
            "RUNNER_OS": "Linux",
            "RUNNER_ARCH": "X64",
        }
        environment |= {name: expand(str(value), context) for name, value in step.get("env", {}).items()}
        if step["shell"] != "bash":
            raise ValueError(f"step {step['id']}: expected `shell: bash`")
        # As GitHub starts bash: errors end a step, those within a pipe too.
        script = expand(step["run"], context)
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
        ended = subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True, check=False)
        run.code = ended.returncode
        run.log += ended.stdout + ended.stderr
        run.summary += summary.read_text(encoding="utf-8")
        lines = output.read_text(encoding="utf-8").splitlines()
        context["steps"][step["id"]] = {"outputs": dict(line.split("=", 1) for line in lines)}


def expand(text: str, context: dict) -> str:
    """A text with its expressions replaced; an output of a step that did not run is empty."""

    def value(match: re.Match) -> str:
        path = match[1].split(".")
        if path[0] == "steps" and len(path) == 4 and path[2] == "outputs":
            return context["steps"].get(path[1], {"outputs": {}})["outputs"].get(path[3], "")
        if path[0] in ("inputs", "github") and len(path) == 2 and path[1] in context[path[0]]:
            return context[path[0]][path[1]]
        raise ValueError(f"`{match[0]}` is nothing that is emulated")

    return EXPRESSION.sub(value, text)
