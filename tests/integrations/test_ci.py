"""The GitHub Action and the feature for dev containers do what is promised; the files can be read by their readers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from PyQt5.QtCore import QSize
from PyQt5.QtGui import QImage

import anaheadless
from tests.support.documentation import BLOCKS
from tests.support.helpers import BIN, CHECKOUT, SUPPORT, run_python, wait_until, write_program

FEATURE = CHECKOUT / "integrations" / "devcontainer" / "anaheadless"
RAN_ON = 'echo "on ${DISPLAY-no display}" >>said\n'


@dataclass
class Job:
    """A job with the action, in a folder of its own.

    :param path: what the machine has as PATH.
    """

    folder: Path
    path: str

    def run(self, *steps: dict[str, Any], system: str = "Linux", status: int = 0) -> list[dict[str, Any]]:
        """Run the steps; return those that have run."""
        (self.folder / "workspace").mkdir(exist_ok=True)
        (self.folder / "job.yml").write_text(yaml.safe_dump(list(steps)))
        environ = {**os.environ, "PATH": self.path}
        for name in "DISPLAY", "ANAHEADLESS_SESSION", "ANAHEADLESS_PYTHON":
            environ.pop(name, None)
        args = (SUPPORT / "github_runner.py", self.folder / "job.yml", self.folder / "workspace", system)
        self.output = run_python(*args, env=environ, timeout=600)
        assert self.output.returncode == status, self.output
        return [{"name": "", **step} for step in json.loads(self.output.stdout)]

    @property
    def said(self) -> list[str]:
        return (self.folder / "workspace" / "said").read_text().splitlines()


def action(**inputs: str) -> dict[str, Any]:
    return {"uses": "OWNER/anaheadless@v1", "with": inputs}


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A job on a machine that has everything."""
    return Job(tmp_path, f"{BIN}:{os.environ['PATH']}")


@pytest.fixture
def bare(tmp_path: Path) -> Job:
    """A job on a machine without anaheadless: apt-get only simulates, and pip takes it from the tests' environment."""
    tools = tmp_path / "tools"
    real = shutil.which("python3", path="/usr/bin:/bin") or sys.executable
    write_program(
        tools / "python3",
        f'[ "$1 $2" = "-m venv" ] || exec {real} "$@"',
        f'mkdir -p "$3/bin" && cp {tools}/pip "$3/bin"',
    )
    write_program(
        tools / "pip",
        f'[ "$*" = "install -q --disable-pip-version-check {CHECKOUT}" ] && mkdir -p "$PIP_CACHE_DIR" || exit 1',
        f'ln -s {BIN}/anaheadless {BIN}/anaheadless-python "$(dirname "$0")"',
    )
    # Without lists of packages, as in a fresh container, only what comes after an update can succeed.
    write_program(
        tools / "apt-get",
        f'echo "$*" >>{tmp_path}/apt',
        f'case "$*" in *update) touch {tmp_path}/lists ;; *) [ -e {tmp_path}/lists ] ;; esac',
    )
    return Job(tmp_path, f"{tools}:/usr/bin:/bin")


def test_commands_run_on_a_display_of_their_own(job: Job) -> None:
    job.run(action(options="--screen 800x600 --gl none", run=f"{RAN_ON}anaheadless screenshot picture.png"))
    (said,) = job.said
    assert re.fullmatch(r"on :\d+", said)
    assert QImage(str(job.folder / "workspace" / "picture.png")).size() == QSize(800, 600)
    assert list((job.folder / "artifacts").iterdir()) == []


def test_the_steps_that_follow_get_a_display_until_the_end_of_the_job(job: Job) -> None:
    job.run(action(options="--gl none"), {"run": RAN_ON}, {"run": f"{RAN_ON}anaheadless list --json >sessions"})
    first, second = job.said
    assert first == second != "on no display"
    (session,) = [
        each
        for each in json.loads((job.folder / "workspace" / "sessions").read_text())
        if f"on {each['session']}" == first
    ]
    wait_until(lambda: not psutil.pid_exists(session["keeper"]), "the display has ended")


def test_pictures_of_a_failure_are_uploaded(job: Job) -> None:
    commands = "mkdir -p shots\necho picture >shots/test.png\nfalse | true\ntouch after\n"
    ran = job.run(
        {"run": "mkdir sub"},
        action(options="--gl none", run=commands, screenshots="shots", **{"working-directory": "sub"}),
        {"run": "touch never"},
        {"if": "failure()", "run": RAN_ON},
        status=1,
    )
    uploads = [step["with"] for step in ran if "upload-artifact" in step.get("uses", "")]
    (artifact,) = (job.folder / "artifacts").iterdir()
    assert [upload["name"] for upload in uploads] == [artifact.name]
    assert artifact.name.startswith("headless-screenshots-test-")
    assert (artifact / "test.png").read_text() == "picture\n"
    assert not QImage(str(artifact / "display.png")).isNull()
    assert not (job.folder / "workspace" / "sub" / "after").exists()
    assert not (job.folder / "workspace" / "never").exists()
    assert job.said == ["on no display"]


def test_what_it_is_given_is_not_taken_for_code(job: Job) -> None:
    commands = "echo '$(touch wrong) `touch wrong`' \"${DISPLAY:+two\nlines}\" >said"
    job.run(action(options="--gl none", run=commands))
    assert job.said == ["$(touch wrong) `touch wrong` two", "lines"]
    assert not (job.folder / "workspace" / "wrong").exists()


@pytest.mark.parametrize("system", ["macOS", "Windows"])
def test_elsewhere_the_commands_run_as_they_are(system: str, job: Job) -> None:
    ran = job.run(action(), action(run=f"{RAN_ON}set -o | grep pipefail >>said", packages="nonsense"), system=system)
    assert job.said == ["on no display", "pipefail       \ton"]
    assert job.output.stderr.count(f"::notice title=anaheadless::No virtual display: {system} has one of its own.") == 2
    assert [step for step in ran if step.get("uses", "").startswith("actions/")] == []
    assert job.run(action(run="exit 3"), system=system, status=1)[-1]["status"] == 3


def test_what_is_missing_is_installed_and_cached(bare: Job) -> None:
    """The second job finds the packages in the cache; neither has anything of anaheadless's in its own Python."""
    for number in range(2):
        (bare.folder / "lists").unlink(missing_ok=True)
        steps = bare.run(
            action(run="which anaheadless >>said", packages="ffmpeg  x11vnc"), {"run": "which python3 >>said"}
        )
        assert [step["with"]["key"] for step in steps if "cache" in step.get("uses", "")] == [
            path.name for path in (bare.folder / "cache").iterdir()
        ]
        assert bare.said[2 * number :] == [
            f"{bare.folder}/temp/anaheadless/commands/anaheadless",
            f"{bare.folder}/tools/python3",
        ]
        calls = (bare.folder / "apt").read_text().splitlines()
        assert len(calls) == 3, calls
        for call in calls[0], calls[2]:
            assert call.endswith(calls[0][calls[0].index("install -y") :])
            assert {"ffmpeg", "x11vnc"} <= set(call.split())
            assert f"Dir::Cache::archives={bare.folder}/temp/anaheadless-cache/apt" in call
        assert calls[1].endswith(" update")
        shutil.rmtree(bare.folder / "temp")
        (bare.folder / "apt").unlink()


def test_a_package_that_there_is_not_is_an_error(bare: Job) -> None:
    write_program(bare.folder / "tools" / "apt-get", "echo E: Unable to locate package >&2; exit 100")
    assert bare.run(action(packages="nonsense"), status=1)[-1]["status"] == 100
    assert "Unable to locate package" in bare.output.stderr


@pytest.mark.soak
def test_it_is_really_installed(tmp_path: Path) -> None:
    """From the network: with everything that the package requires."""
    job = Job(tmp_path, "/usr/local/bin:/usr/bin:/bin")
    job.run(action(run=f"{RAN_ON}anaheadless run -c 'import sys; print(sys.prefix)' >>said"))
    assert re.fullmatch(r"on :\d+", job.said[0])
    assert job.said[1] != str(tmp_path / "temp" / "anaheadless")  # the job's own Python


# The schemas of those who run them, as check-jsonschema has them.
@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ("github-actions", CHECKOUT / "action.yml"),
        ("gitlab-ci", CHECKOUT / "integrations" / "gitlab.yml"),
        *(("github-workflows", path) for path in sorted((CHECKOUT / ".github" / "workflows").glob("*.yml"))),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_files_are_what_their_readers_expect(schema: str, path: Path) -> None:
    pytest.importorskip("check_jsonschema")
    transform = ("--data-transform", "gitlab-ci") if schema == "gitlab-ci" else ()
    output = run_python("-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", *transform, path)
    assert output.returncode == 0, output


def test_the_guides_workflow_is_one(tmp_path: Path) -> None:
    (tmp_path / "tests.yml").write_text(BLOCKS["github-workflow"])
    test_files_are_what_their_readers_expect("github-workflows", tmp_path / "tests.yml")
    assert BLOCKS["github-workflow"].rstrip().endswith("run: pytest --headless tests")


@pytest.mark.needs("actionlint")
def test_actionlint_has_no_complaint() -> None:
    output = subprocess.run(["actionlint", "-color=false"], cwd=CHECKOUT, capture_output=True, text=True)
    assert (output.returncode, output.stdout) == (0, "")


def test_feature_has_the_version_and_the_options_of_its_script() -> None:
    feature = json.loads((FEATURE / "devcontainer-feature.json").read_text())
    assert (feature["id"], feature["version"]) == (FEATURE.name, anaheadless.__version__)
    # It is given the options in capital letters.
    used = set(re.findall(r"\$\{([A-Z]+):-", (FEATURE / "install.sh").read_text()))
    assert used == {name.upper() for name in feature["options"]}


@pytest.mark.skipif(not shutil.which("apt-get"), reason="no Debian")
def test_feature_installs_what_it_is_asked_for(bare: Job) -> None:
    """Its folder in /usr/local is another one here; for the rest, it is as it stands."""
    script, local = (FEATURE / "install.sh").read_text(), bare.folder / "local"
    assert script.count("/usr/local") == 2
    (local / "bin").mkdir(parents=True)
    script = script.replace("/usr/local", str(local)).replace("/var/lib/apt/lists", str(bare.folder / "lists.d"))
    write_program(
        bare.folder / "tools" / "pip",
        '[ "$*" = "install --no-cache-dir --disable-pip-version-check anaheadless==9" ] || exit 1',
        f'ln -s {BIN}/anaheadless {BIN}/anaheadless-python {BIN}/python "$(dirname "$0")"',
    )
    output = subprocess.run(
        ["sh", "-c", script],
        env={"PATH": bare.path, "REQUIREMENT": "anaheadless==9", "PACKAGES": "ffmpeg"},
        capture_output=True,
        text=True,
    )
    assert output.returncode == 0, output
    assert (local / "bin" / "anaheadless").samefile(BIN / "anaheadless")
    *_, install = (bare.folder / "apt").read_text().splitlines()
    assert install.endswith(" ffmpeg")
