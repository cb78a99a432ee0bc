"""What the documentation shows is what happens: its commands are run as they stand there."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import yaml
from docutils import nodes
from PyQt5.QtCore import QSize
from PyQt5.QtGui import QImage

from anaheadless import packages
from anaheadless.session import viewer
from tests.support.clusters import dask_cluster
from tests.support.documentation import BLOCKS, PAGES, assert_well, shell
from tests.support.helpers import BIN, CHECKOUT, DOUBLES, PATIENCE, SUPPORT, holding, run, run_python
from tests.support.namespaces import namespaces, needs_namespaces
from tests.support.pictures import read_png


def commands(name: str) -> list[str]:
    return [line[2:] for line in BLOCKS[name].splitlines() if line.startswith("$ ")]


def test_every_block_is_one_that_is_tested() -> None:
    assert set(BLOCKS) == {
        *("install", "install-pipx", "install-conda", "install-dnf", "packages", "own-python", "uv"),
        *("checkout", "contribute", "completion", "xvfb-run"),
        *("hello", "use", "doctor", "shebang", "shebang-options", "cron", "cron-timeout", "batch"),
        *("slurm", "slurm-array", "slurm-merge"),
        *(
            "github",
            "github-workflow",
            "github-action-start",
            "github-steps",
            "github-start",
            "gitlab-template",
            "gitlab",
        ),
        *("container", "image", "devcontainer", "window-manager", "servers", "el10"),
        *(f"workflow-{name}" for name in ("script", "snakefile", "snakemake", "nipype-script", "nipype", "nextflow")),
        *(f"workflow-joblib{name}" for name in ("", "-threads", "-workers")),
        *("notebook", "notebook-picture", "notebook-extension", "notebook-server"),
        *(f"pytest-{name}" for name in ("run", "ini", "failed", "film", "github", "fixture", "marker", "hook")),
        *("settings", "config", "show-config", "config-shown"),
        *("see-sessions", "view", "view-web", "record", "start", "clean"),
        *("map", "map-script", "map-inputs", "map-function", "map-faster", "map-safely", "map-failed", "gallery"),
        *("map-in-python", "map-pool", "map-cluster", "dask-displays"),
        *("relaunch", "setup", "setup-with", "displays", "anatomist"),
        *(
            f"from-{name}"
            for name in ("xvfb-run", "pyvirtualdisplay", "xvfbwrapper", "soma", "anatomist", "pytest-xvfb")
        ),
    }


def test_every_block_that_can_be_run_has_a_name_of_its_own() -> None:
    """Those without a language are drawings, or what a program prints."""
    blocks = [block for page in PAGES.values() for block in page.findall(nodes.literal_block)]
    assert [block.astext() for block in blocks if "code" in block["classes"] and not block["names"]] == []
    assert len(BLOCKS) == sum(bool(block["names"]) for block in blocks)


@pytest.mark.parametrize("name", ["checkout", "contribute", "gallery"])
def test_commands_for_a_checkout_are_targets_of_make(name: str) -> None:
    for command in commands(name):
        subprocess.run(["make", "--dry-run", command.split()[1]], cwd=CHECKOUT, check=True, stdout=subprocess.DEVNULL)


@pytest.mark.skipif(not shutil.which("apt-get"), reason="no Debian")
def test_install(home: Path) -> None:
    """Each command in a shell of its own: pip is not to be that of the new environment, which would use the network."""
    (home / "venv").unlink()
    for command in commands("install"):
        assert_well(shell(command, home))


@pytest.mark.skipif(not shutil.which("apt-get"), reason="no Debian")
def test_install_as_a_tool(home: Path) -> None:
    (home / "anaheadless").symlink_to(CHECKOUT)
    assert_well(shell("\n".join(commands("install-pipx")), home))


def test_completion(home: Path) -> None:
    output = shell(f"{BLOCKS['completion']}\n. ~/.bashrc; complete -p anaheadless", home)
    assert_well(output)
    assert "_anaheadless_completion" in output.stdout


@pytest.mark.parametrize("name", ["install-conda", "install-dnf", "packages"])
def test_install_elsewhere(name: str, home: Path) -> None:
    for command in commands(name):
        output = shell(command, home)
        assert output.returncode in ((0, 1) if name == "packages" else (0,))
        assert output.stderr == ""


@pytest.mark.parametrize("command", commands("own-python"))
def test_python_of_a_project(command: str, home: Path) -> None:
    assert_well(shell(command, home))
    assert (home / "hello.png").exists()


def test_batch(home: Path) -> None:
    (command,) = commands("batch")
    output = shell(command, home)
    assert_well(output)
    # They write at the same time; with PYTHONUNBUFFERED, two of them may share a line.
    assert sorted("".join(output.stdout.split())) == ["a", "b", "c", "d"]


def test_slurm(home: Path) -> None:
    (home / "hello.py").rename(home / "render.py")
    (home / "job").write_text(BLOCKS["slurm"])
    assert_well(shell("bash job", home))
    assert (home / "hello.png").exists()


@pytest.mark.needs("openbox", "xprop")
@pytest.mark.needs("xprop")
def test_window_manager(home: Path) -> None:
    """It is there when a window manager has said so, as the specification has it, on the root window."""
    (home / "tests" / "test_display.py").write_text(
        "import subprocess\n"
        "def test() -> None:\n"
        "    assert '0x' in subprocess.run(['xprop', '-root', '_NET_SUPPORTING_WM_CHECK'],\n"
        "                                  capture_output=True, text=True, check=True).stdout\n"
    )
    (command,) = commands("window-manager")
    output = shell(command, home)
    assert output.returncode == 0, output
    assert " 1 passed" in output.stdout


@pytest.mark.needs("Xwayland")
def test_servers(home: Path) -> None:
    (command,) = commands("servers")
    assert_well(shell(command, home))
    assert (home / "hello.png").exists()


def test_el10() -> None:
    """The package is the one that messages name there."""
    (command,) = commands("el10")
    assert command.split()[-1] == packages.PACKAGES["Xwayland"]["dnf"]


def test_notebook(home: Path) -> None:
    (home / "notebook.ipy").write_text(BLOCKS["notebook"] + "\n" + BLOCKS["notebook-picture"])
    output = shell("python -m IPython --no-banner notebook.ipy", home)
    assert_well(output)
    assert re.fullmatch(r":\d+ \w+ .+\n", output.stdout)
    assert (home / "hello.png").exists()


def test_notebook_extension(home: Path) -> None:
    (home / "notebook.ipy").write_text(BLOCKS["notebook-extension"])
    assert_well(shell("python -m IPython --no-banner notebook.ipy", home))
    assert read_png(home / "empty.png").size == (1280, 1024)


def test_notebook_server(home: Path) -> None:
    (command,) = commands("notebook-server")
    output = shell(command, home)
    assert_well(output)
    assert re.fullmatch(r"lab on display :\d+\n", output.stdout)


@pytest.mark.parametrize("command", commands("use") + commands("doctor"))
def test_use(command: str, home: Path) -> None:
    output = shell(command, home)
    if " -v " in command:
        assert all(line.startswith("anaheadless: ") for line in output.stderr.splitlines())
        output.stderr = ""
    assert_well(output)
    if "--render" in command:
        assert (home / "proof.png").exists()
    if "hello.py" in command:
        assert (home / "hello.png").read_bytes().startswith(b"\x89PNG")
    else:
        assert output.stdout


@pytest.mark.parametrize(("name", "said"), [("shebang", "xcb"), ("shebang-options", "PyQt5.QtCore.QSize(1280, 1024)")])
def test_shebang(name: str, said: str, home: Path) -> None:
    script = home / "script"
    script.write_text(BLOCKS[name])
    script.chmod(0o755)
    output = shell("./script", home)
    assert_well(output)
    assert output.stdout == f"{said}\n"


def test_settings(home: Path) -> None:
    script, config = home / "render.py", home / ".config" / "anaheadless" / "config.toml"
    script.write_text(BLOCKS["settings"])
    script.chmod(0o755)
    config.parent.mkdir(parents=True)
    config.write_text(BLOCKS["config"])
    plain = {"env": {"HOME": str(home), "PATH": f"{BIN}:/usr/bin:/bin"}}
    output = shell("./render.py", home, **plain)
    assert_well(output)
    assert output.stdout == "PyQt5.QtCore.QSize(960, 540) 2.0\n"
    (command,) = commands("show-config")
    output = shell(command, home, **plain)
    assert_well(output)
    assert set(BLOCKS["config-shown"].replace("/home/me", str(home)).splitlines()) <= set(output.stdout.splitlines())


def cron(line: str, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Cron mails whatever a job says; it runs it by sh, with little of an environment."""
    *schedule, command = line.split(None, 5)
    assert schedule == ["0", "3", "*", "*", "*"]
    environ = {"HOME": str(home), "LOGNAME": "me", "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin", **variables}
    return run("-c", command, command="/bin/sh", env=environ, cwd=home)


@pytest.mark.parametrize("name", ["cron", "cron-timeout"])
def test_cron_mails_nothing(name: str, home: Path) -> None:
    (home / "hello.py").rename(home / "render.py")
    output = cron(BLOCKS[name], home)
    assert (output.returncode, output.stdout, output.stderr) == (0, "", "")
    assert (home / "hello.png").exists()
    assert not (home / "hung.png").exists()


def test_cron_ends_what_hangs(home: Path) -> None:
    (home / "render.py").write_text("import time\ntime.sleep(1000)\n")
    assert BLOCKS["cron-timeout"].count("2h") == 1
    output = cron(BLOCKS["cron-timeout"].replace("2h", ".3"), home, ANAHEADLESS_GL="none")
    assert output.returncode in (-15, 143)  # the shell may have become the launcher
    assert (home / "hung.png").read_bytes().startswith(b"\x89PNG")
    assert ": SIGTERM\n" in (home / "render.log").read_text()


def test_sessions(home: Path) -> None:
    """Others may run at the same time, so it is said which is meant."""
    look, save, end = commands("see-sessions")
    with holding("--gl", "none") as session:
        (line,) = [line for line in shell(look, home).stdout.splitlines() if line.startswith(session.display)]
        assert "hold.py" in line
        inside = f"export DISPLAY={session.display} ANAHEADLESS_SESSION={session.display},{session.keeper.pid}; "
        assert_well(shell(inside + save, home))
        assert QImage(str(home / "hung.png")).size() == QSize(1280, 1024)
        assert_well(shell(end.replace(":4711", session.display), home))
        assert session.process.wait(PATIENCE) == -signal.SIGTERM


def test_view() -> None:
    """What it does is in tests/session/test_viewer.py."""
    command, *said = BLOCKS["view"].splitlines()
    assert "Usage: anaheadless view " in run(*command.split()[2:], "--help").stdout
    assert viewer.invitation(":4711", 5901, "h7Kd2mPq", "node17").splitlines() == said


def test_view_in_the_browser() -> None:
    command, *said = BLOCKS["view-web"].splitlines()
    assert " --web " in run(*command.split()[2:], "--help").stdout
    address = said[1].strip()
    assert viewer.invitation(":4711", 6080, "", "node17", address).splitlines() == said


@pytest.mark.needs("ffmpeg")
def test_record(home: Path) -> None:
    (command,) = commands("record")
    assert_well(shell(command, home))
    assert b"moov" in (home / "film.mp4").read_bytes()


def test_clean(home: Path) -> None:
    (command,) = commands("clean")
    with holding("--gl", "none") as session:
        assert_well(shell(command, home))
        assert session.socket.exists()


@pytest.mark.needs("xdpyinfo")
def test_start_for_a_shell(home: Path) -> None:
    output = shell(f"unset ANAHEADLESS_SESSION; {BLOCKS['start']}", home)
    assert_well(output)
    assert re.fullmatch(r" +dimensions: +1280x1024 .*\n", output.stdout)
    assert (home / "hello.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["github", "github-action-start", "github-start"])
def test_jobs_of_github_actions(name: str, home: Path) -> None:
    (home / "job.yml").write_text(BLOCKS[name])
    output = shell(f"python {SUPPORT}/github_runner.py job.yml {home}", home)
    assert output.returncode == 0, output
    assert " 1 passed" in output.stderr


@pytest.mark.parametrize("command", ["python", "anaheadless run"])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("relaunch", {"python": r"PyQt5.QtCore.QSize\(1920, 1080\)", "run": r"PyQt5.QtCore.QSize\(1280, 1024\)"}),
        (
            "setup-with",
            {"python": r"(?s).*dimensions:    800x600 pixels.*", "run": r"(?s).*dimensions:    1280x1024 pixels.*"},
        ),
        ("setup", r":\d+ (virtualgl|nvidia|native|mesa) .+\nxcb"),
        ("displays", ""),
    ],
)
def test_from_python(name: str, said: str | dict[str, str], command: str, home: Path) -> None:
    (home / "script.py").write_text(BLOCKS[name])
    output = shell(f"{command} script.py", home)
    assert_well(output)
    expected = said if isinstance(said, str) else said[command.split()[-1]]
    assert re.fullmatch(expected, output.stdout.rstrip("\n")), output.stdout
    if name == "displays":
        assert (home / "hello.png").read_bytes().startswith(b"\x89PNG")


def test_anatomist_in_a_session(home: Path) -> None:
    """Anatomist comes with BrainVISA only: the one here is a double."""
    (home / "script.py").write_text(BLOCKS["anatomist"])
    output = shell(f"PYTHONPATH={DOUBLES} anaheadless run script.py", home)
    assert_well(output)
    assert QImage(str(home / "brain.png")).size() == QSize(1920, 1080)


@pytest.mark.skipif(not shutil.which("apt-get"), reason="no Debian")
def test_github_actions_steps(home: Path) -> None:
    for step in yaml.safe_load(BLOCKS["github-steps"]):
        assert_well(shell(step["run"], home))


@pytest.mark.skipif(not shutil.which("apt-get"), reason="no Debian")
def test_gitlab_job(home: Path) -> None:
    job = yaml.safe_load(BLOCKS["gitlab"])["render"]
    for command in job["script"]:
        assert_well(shell(command, home))
    for path in job["artifacts"]["paths"]:
        assert (home / path).exists()


def image() -> list[str]:
    return BLOCKS["container"].replace("\\\n", "").splitlines()


@pytest.mark.skipif(not shutil.which("apt-get"), reason="no Debian")
def test_gitlab_job_that_extends_the_template(home: Path) -> None:
    """As GitLab's runner runs it: before_script and script in one shell, with the variables of both."""
    project = yaml.safe_load(BLOCKS["gitlab-template"])
    (home / "anaheadless").symlink_to(CHECKOUT)
    template = yaml.safe_load((home / project["include"][0]["local"]).read_text())[project["test"]["extends"]]
    variables = {"CI_PROJECT_DIR": str(home), **template["variables"], **project["test"]["variables"]}
    exports = "".join(f'export {name}="{value}"\n' for name, value in variables.items())
    assert_well(shell(exports + "\n".join([*template["before_script"], *project["test"]["script"]]), home))


@pytest.mark.skipif(not shutil.which("apt-get"), reason="no Debian")
def test_making_of_an_image(home: Path) -> None:
    for line in image():
        if line.startswith("RUN "):
            assert_well(shell(line[4:], home))


def test_use_of_the_image(home: Path) -> None:
    """What it does is in tests/integrations/test_image.py."""
    (home / "bin" / "podman").write_text(
        "#!/bin/sh\n"
        '[ "$*" != "build -t anaheadless ." ] || exit 0\n'
        'case "$*" in "run "*" -v $PWD:/work anaheadless "*) ;; *) exit 1 ;; esac\n'
        'while [ "$1" != anaheadless ]; do shift; done\n'
        "shift\n"
        'exec anaheadless run "$@"\n'
    )
    (home / "bin" / "podman").chmod(0o755)
    assert_well(shell("\n".join(commands("image")), home))
    assert (home / "hello.png").exists()


def test_dev_container() -> None:
    """The feature has the options that are set; tests/integrations/test_ci.py installs it."""
    ((path, given),) = json.loads(BLOCKS["devcontainer"])["features"].items()
    feature = json.loads((CHECKOUT / "integrations" / "devcontainer" / path / "devcontainer-feature.json").read_text())
    assert set(given) == set(feature["options"])


@needs_namespaces
def test_entry_point_of_a_container(home: Path) -> None:
    instructions = dict(line.split(" ", 1) for line in image())
    words = [*json.loads(instructions["ENTRYPOINT"]), *json.loads(instructions["CMD"])]
    assert_well(shell(shlex.join([*namespaces(), *words]), home))
    assert (home / "hello.png").read_bytes().startswith(b"\x89PNG")


def test_many_inputs(home: Path) -> None:
    for folder in "subjects", "pics":
        (home / folder).mkdir()
    for name in "a b", "c":
        (home / "subjects" / f"{name}.gii").touch()
    (home / "subjects.csv").write_text("id,hemi\n1,left\n2,right\n")
    (home / "render.py").write_text(BLOCKS["map-script"])
    (home / "drawing.py").write_text(BLOCKS["map-function"])
    made = {"a b.png", "c.png"}
    for name in "map", "map-inputs", "map-faster", "map-safely", "map-failed":
        for command in commands(name):
            output = shell(command, home)
            assert output.returncode == 0, output
        assert {path.name for path in (home / "pics").iterdir()} >= made, name
    assert {path.name for path in (home / "pics").iterdir()} == {*made, "1-left.png", "2-right.png"}
    assert (home / "report.html").read_text().count("<img") == 2
    (home / "pictures.py").write_text(BLOCKS["map-in-python"])
    (home / "pool.py").write_text(BLOCKS["map-pool"])
    output = shell("python pictures.py && anaheadless run pool.py", home)
    assert output.returncode == 0, output
    assert sorted(line.split(" ok")[0] for line in output.stdout.splitlines()) == ["subjects/a b.gii", "subjects/c.gii"]
    pictures = {f"{prefix}{number}.png" for prefix in ("", "pool-") for number in (0, 1)}
    assert {path.name for path in (home / "pics").iterdir()} >= pictures


def test_maps_on_a_cluster_are_understood(home: Path) -> None:
    (home / "subjects").mkdir()
    (home / "subjects" / "a.gii").touch()
    (home / "render.py").touch()
    for command in commands("map-cluster"):
        output = shell(command.replace("map ", "map --dry-run ", 1), home)
        assert output.stdout.endswith(" render.py subjects/a.gii pics/a.png\n"), output


@pytest.mark.soak
def test_workers_of_dask_get_displays(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="needs anaheadless[cluster]")
    with dask_cluster(tmp_path) as cluster:
        code = BLOCKS["dask-displays"].replace("tls://node0:8786", cluster.address)
        question = repr("__import__('os').environ['DISPLAY']")
        code += f"\nprint(sorted(client.run(eval, {question}).values()))"
        output = run_python("-c", f"{code}\nclient.unregister_worker_plugin(Displays.name)")
        assert re.fullmatch(r"\[':\d+', ':\d+'\]\n", output.stdout), output
