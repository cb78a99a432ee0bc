"""What is released: one version, the same requirements everywhere, and nothing forgotten or too much in it."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

import anaheadless
from anaheadless import packages
from tests.support.helpers import CHECKOUT, run, run_python

CONFIG = configparser.ConfigParser()
CONFIG.read(CHECKOUT / "setup.cfg")
RECIPE = yaml.safe_load((CHECKOUT / "recipe" / "recipe.yaml").read_text())


def lines_of(section: str, key: str) -> list[str]:
    return CONFIG[section][key].split("\n")[1:]


def steps_of(workflow: str, job: str) -> list[dict[str, Any]]:
    text = (CHECKOUT / ".github" / "workflows" / workflow).read_text()
    steps: list[dict[str, Any]] = yaml.safe_load(text)["jobs"][job]["steps"]
    return steps


def test_there_is_one_version() -> None:
    feature = json.loads((CHECKOUT / "integrations/devcontainer/anaheadless/devcontainer-feature.json").read_text())
    debian = re.match(r"anaheadless \(([^)]*)\)", (CHECKOUT / "debian" / "changelog").read_text())
    changes = re.search(r"^(\d\S*) \(", (CHECKOUT / "CHANGELOG.rst").read_text(), re.MULTILINE)
    assert debian
    assert changes
    versions = {RECIPE["context"]["version"], feature["version"], debian[1], changes[1]}
    assert versions == {anaheadless.__version__}


def test_recipe_has_the_requirements_and_commands_of_the_package() -> None:
    required = {re.sub(r"\s*;.*", "", line).lower() for line in lines_of("options", "install_requires")}
    wanted = {line.replace("pyqt5>=5.15", "pyqt>=5.15,<6") for line in required}
    xvfb = packages.PACKAGES["Xvfb"]["conda"]
    assert {line.replace(" ", "") for line in RECIPE["requirements"]["run"]} == {*wanted, "python>=3.9", xvfb}
    assert RECIPE["build"]["python"]["entry_points"] == lines_of("options.entry_points", "console_scripts")


@pytest.mark.skipif("DIST" not in os.environ, reason="nothing is built: `make release-check` does that")
def test_what_is_built_is_complete() -> None:
    built = CHECKOUT / os.environ["DIST"]
    (wheel,), (source,) = built.glob("*.whl"), built.glob("*.tar.gz")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    files = set(tracked.rstrip("\0").split("\0"))
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    unwanted = {".ci/run", ".gitignore", ".pre-commit-config.yaml"}
    assert {name for name in files - names if not name.startswith((".github/", "debian/", "recipe/"))} == unwanted
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    names = {re.sub(r"^[^/]*\.data/data/share/man/man1/", "docs/man/", name) for name in names}
    assert names == {name for name in files if name.startswith(("anaheadless/", "docs/man/"))}


def release_step(name: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    (script,) = [step["run"] for step in steps_of("release.yml", "build") if step.get("name") == name]
    environ = {**os.environ, "HOME": str(folder), "GNUPGHOME": str(folder / "theirs"), **variables}
    return run("-eo", "pipefail", "-c", script, command="bash", cwd=folder / "clone", env=environ)


@pytest.mark.needs("git", "gpg")
@pytest.mark.parametrize("signed", [True, False, "by another"])
def test_only_a_signed_tag_is_released(signed: bool | str, tmp_path: Path) -> None:
    """With real keys; in a clone that has only the commit of the tag, as the runner's."""
    home = Path(os.environ.get("TMPDIR", "/tmp")) / f"anaheadless-gpg-{os.getpid()}"  # agents have sockets there
    environ = {**os.environ, "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}

    def call(*command: str, key: str = "ours", **settings: Any) -> str:
        home.joinpath(key).mkdir(mode=0o700, parents=True, exist_ok=True)
        given = {**environ, "GNUPGHOME": str(home / key)}
        return str(subprocess.run(command, env=given, capture_output=True, text=True, check=True, **settings).stdout)

    try:
        for key in "ours", "stranger":
            call("gpg", "--batch", "--passphrase", "", "--quick-gen-key", "me@example.org", "ed25519", key=key)
        keys = call("gpg", "--armor", "--export")
        (tmp_path / "theirs").mkdir(mode=0o700)
        origin = tmp_path / "origin"
        call("git", "init", "-q", str(origin))
        for name, value in ("user.name", "Me"), ("user.email", "me@example.org"), ("user.signingkey", "me@example.org"):
            call("git", "config", name, value, cwd=origin)
        call("git", "commit", "-q", "--allow-empty", "-m", "First", cwd=origin)
        kind = ("-s",) if signed else ("-a",)
        call("git", "tag", *kind, "-m", "v1", "v1", cwd=origin, key="stranger" if signed == "by another" else "ours")
        clone = tmp_path / "clone"
        call("git", "clone", "-q", "--no-tags", str(origin), str(clone))
        call("git", "tag", "v1", cwd=clone)  # as actions/checkout has it: of the commit
        name = "The tag is signed by somebody who may release"
        variables = {"GITHUB_REF_NAME": "v1", "RELEASE_KEYS": keys, "GNUPGHOME": str(home / "theirs")}
        (home / "theirs").mkdir(mode=0o700)
        output = release_step(name, tmp_path, **variables)
        assert (output.returncode == 0) == (signed is True), output
        assert ("Good signature" in output.stderr) == (signed is True)
    finally:
        for each in home.iterdir():
            subprocess.run(["gpgconf", "--kill", "all"], env={**os.environ, "GNUPGHOME": str(each)}, check=True)
        shutil.rmtree(home)


@pytest.mark.parametrize(("tag", "status"), [(f"v{anaheadless.__version__}", 0), ("v9.9", 1)])
def test_the_tag_has_to_be_the_version(tag: str, status: int, tmp_path: Path) -> None:
    (tmp_path / "clone").symlink_to(CHECKOUT)
    assert release_step("The tag is the version", tmp_path, GITHUB_REF_NAME=tag).returncode == status


@pytest.mark.soak
@pytest.mark.needs("dpkg-buildpackage", "dh", "git")
def test_debian_package_runs_a_program(tmp_path: Path) -> None:
    """It is unpacked, not installed: with the requirements of the tests' environment."""
    subprocess.run(["make", "deb"], cwd=CHECKOUT, check=True, stdout=subprocess.DEVNULL, timeout=300)
    (package,) = (CHECKOUT / "build" / "deb").glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", package, tmp_path], check=True)
    depends = run("-f", package, "Depends", command="dpkg-deb").stdout
    # dh_python3 leaves a requirement out if its marker is not plain.
    for line in lines_of("options", "install_requires"):
        if "python_version" not in line:
            assert f"python3-{re.split('[<>=;]', line)[0].lower()}" in depends
    modules = tmp_path / "usr" / "lib" / "python3" / "dist-packages"
    output = run_python(
        tmp_path / "usr" / "bin" / "anaheadless",
        *("run", "--gl", "none", "-c", "import anaheadless; print(anaheadless.__file__)"),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(modules)},
    )
    assert (output.returncode, output.stdout) == (0, f"{modules}/anaheadless/__init__.py\n"), output
