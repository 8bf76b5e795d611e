"""Tries `action.yml` and the GitLab component: their own steps, run against a command and a release that is served here.

    check_action.py REPOSITORY VRAMPLAN
"""

import functools
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
from pathlib import Path

import yaml
from emulate import Action

DRIFTED = """\
schema = 1

[[scenario]]
gpu = "L4"
model = "qwen2.5-14b"
runtime = "vramplan"

[scenario.limits]
verdict = "fits"
max_cache_tokens = { balanced = 19000 }
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A server of files that says nothing."""

    def log_message(self, *_):
        """Says nothing."""


class Checks:
    """The checks, each a method, and what they share."""

    def __init__(self, repository: Path, command: Path, scratch: Path):
        self.repository = repository
        self.command = command
        self.scratch = scratch
        self.action = Action(repository)
        self.version = subprocess.check_output([command, "--version"], text=True).split()[1]
        self.workspace = scratch / "workspace"
        (self.workspace / "deep, down").mkdir(parents=True)
        (self.workspace / "deep, down" / "limits.toml").write_text(DRIFTED, encoding="utf-8")
        shutil.copy(repository / "examples/team-repo/limits.toml", self.workspace / "limits.toml")
        self.releases = scratch / "releases"
        self.release()
        handler = functools.partial(Quiet, directory=self.releases)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.server = f"http://127.0.0.1:{server.server_port}"

    def release(self):
        """A release as the workflow makes it: an archive with a folder, and SHA256SUMS."""
        name = f"vramplan-{self.version}-x86_64-unknown-linux-gnu"
        folder = self.releases / "owner/vramplan/releases/download" / f"v{self.version}"
        folder.mkdir(parents=True)
        archive = folder / f"{name}.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(self.command, f"{name}/vramplan")
        self.sum = hashlib.sha256(archive.read_bytes()).hexdigest()
        (folder / "SHA256SUMS").write_text(f"{'0' * 64}  other.tar.gz\n{self.sum}  {archive.name}\n", encoding="utf-8")

    def run(self, ref="main", **inputs):
        """The action, as a workflow that names these inputs runs it."""
        github = {"server_url": self.server, "action_repository": "owner/vramplan", "action_ref": ref}
        inputs = {name.replace("_", "-"): str(value) for name, value in inputs.items()}
        return self.action.run(self.workspace, inputs, github)

    def check_limits_that_hold(self):
        run = self.run(command=self.command)
        assert run.code == 0, run.log
        assert run.outputs["result"] == "same" and run.outputs["drifted"] == "0", run.outputs
        assert run.outputs["version"] == self.version, run.outputs
        assert "### Limits are up to date" in run.summary and "3 scenarios" in run.summary, run.summary

    def check_drift_is_annotated_from_the_root(self):
        run = self.run(command=self.command, working_directory="./deep, down/")
        assert run.code == 4, run.log
        assert run.outputs["result"] == "drifted" and run.outputs["drifted"] == "1", run.outputs
        assert "::error file=deep%2C down/limits.toml,line=8,title=limits drifted::" in run.log, run.log
        assert "| limits.toml:8 | L4 · qwen2.5-14b" in run.summary, run.summary
        assert "19000 → " in run.summary, run.summary

    def check_several_tables_and_arguments(self):
        tables = "limits.toml\ndeep, down/limits.toml\n"
        run = self.run(command=self.command, table=tables, args=f"--profiles\n{self.repository}/profiles")
        assert run.code == 4 and "1 of 4 scenarios differ" in run.summary, run.log + run.summary
        assert "::error file=deep%2C down/limits.toml" in run.log, run.log

    def check_update_passes(self):
        copy = self.workspace / "updated.toml"
        copy.write_text(DRIFTED, encoding="utf-8")
        run = self.run(command=self.command, table="updated.toml", args="--update")
        assert run.code == 0, run.log
        assert self.run(command=self.command, table="updated.toml").code == 0

    def check_errors_are_errors(self):
        run = self.run(command=self.command, table="missing.toml")
        assert run.code == 1 and run.outputs["result"] == "failed", run.log
        assert "`missing.toml` does not exist" in run.log and run.summary == "", run.log
        run = self.run(command="no-such-command")
        assert run.code == 1 and "there is no command `no-such-command`" in run.log, run.log
        assert run.outputs["result"] == "", run.outputs

    def check_words_are_not_read_by_a_shell(self):
        run = self.run(command=self.command, table="$(touch owned); `touch owned`\n; touch owned")
        assert run.code == 1 and not (self.workspace / "owned").exists(), run.log

    def check_a_release_is_installed(self):
        for inputs in ({"ref": f"v{self.version}"}, {"version": self.version}, {"version": f"v{self.version}"}):
            run = self.run(**inputs)
            assert run.code == 0 and run.outputs["version"] == self.version, run.log
        assert run.outputs["command"].endswith("-x86_64-unknown-linux-gnu/vramplan"), run.outputs

    def check_another_archive_is_refused(self):
        assert self.run(version=self.version, checksum=self.sum.upper()).code == 0
        run = self.run(version=self.version, checksum="0" * 64)
        assert run.code == 1 and f"has the checksum {self.sum}, expected {'0' * 64}" in run.log, run.log
        run = self.run(version=self.version, checksum="short")
        assert run.code == 1 and "expected 64 hexadecimal digits" in run.log, run.log

    def check_no_release_is_an_error(self):
        run = self.run(ref="main")
        assert run.code == 1 and "`main` is no version" in run.log, run.log
        run = self.run(version="99.0.0")
        assert run.code == 1 and "is there such a release?" in run.log, run.log

    def check_the_component_of_gitlab(self):
        head, body = (self.repository / "templates/check/template.yml").read_text(encoding="utf-8").split("\n---\n")
        inputs = {name: value["default"] for name, value in yaml.safe_load(head)["spec"]["inputs"].items()}
        assert inputs["version"] == self.version, f"{inputs['version']} is not {self.version}"
        for folder, code, findings in ((".", 0, 0), ("deep, down", 4, 1)):
            text = body
            for name, value in inputs.items():
                text = text.replace(f"$[[ inputs.{name} ]]", value)
            assert "$[[" not in text, text
            job = yaml.safe_load(text)["vramplan-check"]
            workspace = self.workspace / folder
            bin_folder = self.scratch / "bin"
            bin_folder.mkdir(exist_ok=True)
            shutil.copy(self.command, bin_folder / "vramplan")
            environment = {"PATH": f"{bin_folder}:{os.environ['PATH']}", "HOME": str(self.scratch)}
            environment["CI_PROJECT_DIR"] = str(self.scratch / "gitlab")
            # As GitLab's runner does: all lines in one shell, which ends at the first that fails.
            script = "set -eo pipefail\n" + "\n".join(job["script"])
            ended = subprocess.run(
                ["bash", "-c", script], cwd=workspace, env=environment, capture_output=True, text=True, check=False
            )
            assert ended.returncode == code, ended.stdout + ended.stderr
            report = json.loads((workspace / job["artifacts"]["reports"]["codequality"]).read_text(encoding="utf-8"))
            assert len(report) == findings, report
            for finding in report:
                assert finding["location"] == {"path": "limits.toml", "lines": {"begin": 8}}, finding


def main() -> int:
    repository, command = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        checks = Checks(repository, command, Path(scratch))
        names = [name for name in dir(checks) if name.startswith("check_")]
        for name in names:
            getattr(checks, name)()
            print(f"ok: {name.removeprefix('check_').replace('_', ' ')}")
    print(f"{len(names)} checks of the action and the component passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
