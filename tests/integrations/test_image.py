"""The container image: what its file says can be had, and where there is an engine, it is made and used."""

from __future__ import annotations

import configparser
import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from anaheadless import packages
from tests.support.documentation import BLOCKS
from tests.support.helpers import CHECKOUT

LINES = (CHECKOUT / "Containerfile").read_text().replace("\\\n", " ").splitlines()
INSTRUCTIONS = [tuple(line.split(None, 1)) for line in LINES if line and not line.startswith("#")]
# What is no library or program that anaheadless knows, and no requirement of it.
OTHERS = {"python3", "python3-venv", "python3-pyqt5.qtopengl", "fonts-dejavu-core", "xauth"}


def test_what_is_copied_is_there_and_sent_to_the_engine() -> None:
    ignored = [line for line in (CHECKOUT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    copied = [words.split()[:-1] for name, words in INSTRUCTIONS if name == "COPY" and "--from" not in words]
    assert {source for sources in copied for source in sources} == {rule[1:] for rule in ignored if rule[0] == "!"}
    for sources in copied:
        for source in sources:
            assert (CHECKOUT / source).exists(), source
            assert any(fnmatch.fnmatch(source, rule) for rule in ignored)


def test_its_packages_are_those_that_anaheadless_needs() -> None:
    named = {
        word
        for name, words in INSTRUCTIONS
        if name == "RUN"
        for command in words.split("&&")
        if "apt-get install" in command
        for word in shlex.split(re.sub(r"\$\(.*?\)", "", command))[2:]
        if not word.startswith("-")
    }
    config = configparser.ConfigParser()
    config.read(CHECKOUT / "setup.cfg")
    requirements = [line for line in config["options"]["install_requires"].splitlines() if line and "<" not in line]
    required = {f"python3-{re.split('[<>=;]', line)[0].strip().lower()}" for line in requirements}
    assert required <= named
    assert named <= required | OTHERS | {row["apt"] for row in packages.PACKAGES.values()}


def test_it_is_run_by_an_ordinary_user() -> None:
    """Each stage goes on from the one before; the last one that names a user decides."""
    stages: list[dict[str, str]] = []
    for name, words in INSTRUCTIONS[1:]:
        if name == "FROM":
            base = next((stage for stage in stages if stage["AS"] == words.split()[0]), {})
            stages.append({**base, "AS": words.partition(" AS ")[2]})
        else:
            stages[-1][name] = words
    _build, slim, recording, default = stages
    assert (slim["AS"], recording["AS"]) == ("slim", "recording")
    for stage in slim, recording, default:
        assert stage["USER"] == "user"
        assert json.loads(stage["ENTRYPOINT"]) == ["anaheadless", "run"]


def _engine() -> str | None:
    for name in "podman", "docker":
        if shutil.which(name) and subprocess.run([name, "info"], capture_output=True).returncode == 0:
            return name
    return None


@pytest.fixture(scope="module")
def image() -> Iterator[tuple[str, str]]:
    """An engine, and the image that it has made: of Debian, or of what IMAGE_BASE names."""
    engine = _engine()
    if engine is None:
        pytest.skip("there is no container engine here")
    name = f"anaheadless-test-{os.getpid()}"
    base = [f"--build-arg=BASE={os.environ['IMAGE_BASE']}"] if "IMAGE_BASE" in os.environ else []
    command = [engine, "build", "-q", "-f", "Containerfile", *base, "-t", name, "."]
    subprocess.run(command, cwd=CHECKOUT, check=True, timeout=900)
    try:
        yield engine, name
    finally:
        subprocess.run([engine, "rmi", "-f", name], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.soak
@pytest.mark.parametrize("user", [[], ["--user=4321"]], ids=["user", "other"])
def test_a_script_of_a_shared_folder_is_run(user: list[str], image: tuple[str, str], tmp_path: Path) -> None:
    engine, name = image
    (tmp_path / "hello.py").write_text(BLOCKS["hello"])
    tmp_path.chmod(0o777)
    command = [engine, "run", "--rm", "--network=none", *user, f"--volume={tmp_path}:/work", name, "hello.py"]
    output = subprocess.run(command, capture_output=True, text=True)
    assert (output.returncode, output.stdout) == (0, ""), output
    assert (tmp_path / "hello.png").read_bytes().startswith(b"\x89PNG")
    assert os.geteuid() != 0 or (tmp_path / "hello.png").stat().st_uid != 0
