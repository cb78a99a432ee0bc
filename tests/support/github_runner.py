"""Runs the steps of a GitHub Actions job as GitHub's runner does: ``python github_runner.py JOB.yml FOLDER [OS]``.

JOB.yml is a list of steps, FOLDER the workspace. Beside it are made: ``temp``, ``cache`` (of actions/cache, by key) and
``artifacts`` (of actions/upload-artifact, by name). The actions of others are stand-ins. At the end, it prints the
steps that have run, as JSON, and its status is 1 if one has failed.

It is a program of its own because a display that is started for a job lasts as long as the process that runs its steps.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).parents[2]
# With their inputs, as far as they are used here; an unknown one would be ignored with a warning that nobody reads.
INPUTS = {
    "actions/cache@v5": {"path", "key"},
    "actions/checkout@v6": {"path", "repository"},
    "actions/setup-python@v6": {"python-version"},
    "actions/upload-artifact@v7": {"name", "path", "if-no-files-found"},
}
STATUS_FUNCTIONS = ("success", "failure", "always", "cancelled")
_TOKEN = re.compile(r"\s*('(?:[^']|'')*'|==|!=|&&|\|\||[!()]|[\w.-]+)")


class Runner:
    """The state of a job."""

    def __init__(self, workspace: Path, system: str) -> None:
        self.workspace, self.system = workspace.resolve(), system
        self.temp, self.artifacts, self.cache = (workspace.parent / name for name in ("temp", "artifacts", "cache"))
        for folder in self.temp, self.artifacts, self.cache:
            folder.mkdir(exist_ok=True)
        self.environ = dict(os.environ)
        self.failed = False
        self.at_the_end: list[Callable[[], None]] = []
        self.ran: list[dict[str, Any]] = []

    def run(self, steps: list[dict[str, Any]], inputs: Mapping[str, str] | None = None, action: str = "") -> None:
        """Run the steps of the job; or of a composite *action*, in this folder, with its *inputs*."""
        outputs: dict[str, dict[str, str]] = {}
        failed_before = self.failed
        self.failed = False
        for number, step in enumerate(steps):
            look_up = self._context(inputs or {}, outputs, action)
            condition = str(step.get("if", "success()"))
            if not any(f"{function}()" in condition for function in STATUS_FUNCTIONS):
                condition = f"success() && ({condition})"
            if not self._evaluate(condition, look_up):
                continue
            values = {name: self._expand(str(value), look_up) for name, value in step.get("with", {}).items()}
            environ = {name: self._expand(str(value), look_up) for name, value in step.get("env", {}).items()}
            if "uses" in step:
                self._use(step["uses"], values)
            else:
                assert action == "" or "shell" in step, "a step of an action has to name its shell"
                folder = self._expand(step.get("working-directory", "."), look_up)
                said = self._shell(self._expand(step["run"], look_up), folder, environ, action, "shell" in step)
                outputs[step.get("id", str(number))] = said
        self.failed |= failed_before

    def _context(
        self, inputs: Mapping[str, str], outputs: Mapping[str, Mapping[str, str]], action: str
    ) -> Callable[[str], str]:
        known = {"runner.os": self.system, "runner.temp": str(self.temp), "github.action_path": action}

        def look_up(name: str) -> str:
            first, _, rest = name.partition(".")
            if first == "steps":
                step, _, output = rest.partition(".outputs.")
                return outputs.get(step, {}).get(output, "")
            return inputs[rest] if first == "inputs" else known[name]

        return look_up

    def _evaluate(self, expression: str, look_up: Callable[[str], str]) -> Any:
        words, place = [], 0
        expression = expression.strip()
        while place < len(expression):
            token = _TOKEN.match(expression, place)
            assert token, f"not understood: {expression[place:]}"
            place = token.end()
            word = token[1]
            if word in STATUS_FUNCTIONS:
                words.append(f"(lambda: {word == 'always' or (word == 'failure') == self.failed})")
            elif re.match(r"[\w-]", word):
                words.append(repr(look_up(word)))
            elif word.startswith("'"):
                words.append(repr(word[1:-1].replace("''", "'")))
            else:
                words.append({"&&": " and ", "||": " or ", "!": " not "}.get(word, word))
        return eval("".join(words), {"__builtins__": {}})  # of literals, operators and parentheses

    def _expand(self, text: str, look_up: Callable[[str], str]) -> str:
        return re.sub(r"\$\{\{(.*?)\}\}", lambda match: str(self._evaluate(match[1], look_up)), text)

    def _shell(
        self, script: str, folder: str, environ: Mapping[str, str], action: str, bash_is_named: bool
    ) -> dict[str, str]:
        """Run a step, and return its outputs."""
        files = {name: self.temp / name for name in ("GITHUB_ENV", "GITHUB_PATH", "GITHUB_OUTPUT")}
        for file in files.values():
            file.write_text("")
        step = self.temp / "step.sh"
        step.write_text(script)
        options = ["--noprofile", "--norc", "-eo", "pipefail"] if bash_is_named else ["-e"]
        given = {
            **self.environ,
            **{name: str(file) for name, file in files.items()},
            "GITHUB_ACTIONS": "true",
            "GITHUB_ACTION_PATH": action,
            "GITHUB_JOB": "test",
            "GITHUB_WORKSPACE": str(self.workspace),
            "RUNNER_OS": self.system,
            "RUNNER_TEMP": str(self.temp),
            **environ,
        }
        # What they say is for people.
        status = subprocess.run(
            ["bash", *options, step],
            cwd=self.workspace / folder,
            env=given,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
        ).returncode
        self.failed |= status != 0
        self.ran.append({"run": script, "status": status})
        self.environ.update(parse_assignments(files["GITHUB_ENV"].read_text()))
        for line in files["GITHUB_PATH"].read_text().splitlines():
            self.environ["PATH"] = f"{line}:{self.environ['PATH']}"
        return parse_assignments(files["GITHUB_OUTPUT"].read_text())

    def _use(self, name: str, given: dict[str, str]) -> None:
        self.ran.append({"uses": name, "with": given})
        if name in ("./", "OWNER/anaheadless@v1"):
            action = yaml.safe_load((CHECKOUT / "action.yml").read_text())
            assert set(given) <= set(action["inputs"]), f"inputs that there are not: {given}"
            inputs = {key: str(given.get(key, value["default"])) for key, value in action["inputs"].items()}
            self.run(action["runs"]["steps"], inputs, str(CHECKOUT))
            return
        assert set(given) <= INPUTS[name], f"inputs that there are not: {given}"
        if name.startswith("actions/cache@"):
            path, kept = Path(given["path"]), self.cache / given["key"]
            if kept.exists():
                shutil.copytree(kept, path)
            else:
                self.at_the_end.append(lambda: self._keep(path, kept))
        elif name.startswith("actions/upload-artifact@"):
            folder = self.workspace / given["path"]
            if folder.exists():
                shutil.copytree(folder, self.artifacts / given["name"])  # fails if the name is taken, as GitHub's does

    def _keep(self, path: Path, kept: Path) -> None:
        if path.exists() and not self.failed:
            shutil.copytree(path, kept)


def parse_assignments(text: str) -> dict[str, str]:
    """Read what a step has written to GITHUB_ENV or GITHUB_OUTPUT."""
    found, lines = {}, iter(text.splitlines())
    for line in lines:
        name, separator, value = line.partition("=")
        if "<<" in name or not separator:
            name, _, end = line.partition("<<")
            assert end, f"not an assignment: {line}"
            value = "\n".join(iter(lambda end=end: next(lines), end))  # type: ignore[misc]
        found[name] = value
    return found


def main() -> None:
    job, workspace, system = (*sys.argv[1:], "Linux")[:3]
    runner = Runner(Path(workspace), system)
    runner.run(yaml.safe_load(Path(job).read_text()))
    for finish in runner.at_the_end:
        finish()
    print(json.dumps(runner.ran))
    sys.exit(runner.failed)


if __name__ == "__main__":
    main()
