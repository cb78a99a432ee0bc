"""A session that something is done to, and whether its exit status is the truth."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from anaheadless.x11.servers.choice import KINDS
from tests.support.faults.ground import PATIENCE, WORK, Process, User, command_of, home_of, processes, wait_until

STARTS = ("run", "exec", "supervise", "timeout", "start", "display")
VICTIMS = ("target", "front", "keeper", "server", "helper", "all", "group")
# Each with the seconds within which the fault comes.
MOMENTS = {"before ready": 0.25, "probing": 0.9, "warm start": 0.15, "running": 0.03, "ending": 0.03}

GENTLE = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
)  # keeper and server outlive them
SIGNALS = (*[signal.SIGKILL] * 4, *[signal.SIGSTOP] * 2, *GENTLE, signal.SIGSEGV, signal.SIGABRT)

OWN, BLIND, FAILED = 7, 3, 125  # the target's own status with its display, and without; the launcher's
LIMIT, GRACE = 0.4, 0.2

SERVERS = {os.path.basename(program) for kind in KINDS for program in kind.programs}

# Here the shell is the target. What starts and stops the display for it is a helper.
SHELL = f"""
words=$("$@") || exit {FAILED}
eval "$words"
echo ready
read -r _
"$1" -m anaheadless stop --unset >/dev/null || exit {FAILED}
exit {OWN}
"""


class Trial:
    """A session from its start to its end.

    *sent*: role and signal, of all that has reached a living process of it. *seen*: every PID that it had.
    *was_early*: a signal came when its target was not to end yet. *may_leave_files*: who would have removed them was
    killed. *may_be_stopped*: by `anaheadless stop`.
    """

    def __init__(self, user: User, start: str, moment: str, chance: random.Random) -> None:
        self.user, self.kind, self.moment = user, start, moment
        self.is_stubborn = start == "timeout" and chance.random() < 0.5
        self.sent: list[tuple[str, int]] = []
        self.seen: set[int] = set()
        self.is_released = self.was_early = self.may_leave_files = self.may_be_stopped = False
        self.home = Path(tempfile.mkdtemp(prefix="trial-", dir=WORK))
        cache = self.home / "cache"
        if moment not in ("before ready", "probing"):
            shutil.copytree(user.folder("cache"), cache)
        for path in self.home, *self.home.rglob("*"):
            os.chown(path, user.uid, user.uid)
        with open(self.home / "out", "wb") as out, open(self.home / "err", "wb") as errors:
            self.process = user.start(
                self.command(),
                env=user.environ(self.home, cache, chance.random() < 0.5),
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=errors,
                start_new_session=True,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
            )

    def command(self) -> list[str]:
        gl = ("--gl", "auto" if self.moment == "probing" else "none")
        script = (self.user.witness(), str(OWN))
        limit = ("--timeout", str(LIMIT), "--grace", str(GRACE))
        ours = self.user.anaheadless
        return {
            "run": ours("run", *gl, *script),
            "exec": ours("exec", *gl, self.user.python, *script),
            "supervise": ours("run", "--supervise", *gl, *script),
            "timeout": ours("run", *limit, *gl, *script, *(["stubborn"] if self.is_stubborn else [])),
            "start": ["sh", "-c", SHELL, "sh", *ours("start", *gl)],
            "display": [self.user.python, *script, "display", gl[1]],
        }[self.kind]

    def is_ready(self) -> bool:
        return b"ready" in (self.home / "out").read_bytes()

    def await_moment(self, chance: random.Random) -> None:
        if self.moment in ("running", "ending"):
            wait_until(lambda: self.is_ready() or self.process.poll() is not None)
        if self.moment == "ending":
            self.release()
            time.sleep(LIMIT if self.kind == "timeout" else 0)
        time.sleep(chance.uniform(0, MOMENTS[self.moment]))  # the moment is what is tried

    def parts(self) -> dict[int, str]:
        """The role of each of its processes. The launcher is the target, or is about to be."""
        all_of_them = processes()
        found = {
            pid: self.role(each, all_of_them) for pid, each in all_of_them.items() if home_of(pid) == str(self.home)
        }
        self.seen |= found.keys()
        return found

    def display(self) -> str:
        """As its server has it; or where there is none, a display that nobody has."""
        servers = [pid for pid, role in self.parts().items() if role == "server"]
        words = command_of(servers[0]).split() if servers else []
        return next((word for word in words if word.startswith(":")), ":1999")

    def role(self, process: Process, all_of_them: dict[int, Process]) -> str:
        first = self.process.pid
        if process.pid == first:
            return "front" if self.kind == "supervise" else "target"
        if process.name in SERVERS:
            return "server"
        parent = all_of_them.get(process.parent)
        if process.session != first and (parent is None or parent.name not in SERVERS):
            return "keeper"
        return "target" if self.kind == "supervise" and process.parent == first else "helper"

    def strike(self, victim: str, number: int, chance: random.Random) -> dict[int, str]:
        """Send a signal to the *victim*, or to what was started, where there is none; return whom it hit."""
        parts = self.parts()
        if victim == "all":
            victims = list(parts)
        elif victim == "group":
            living = processes()
            victims = [pid for pid in parts if pid in living and living[pid].group == self.process.pid]
        else:
            same = [pid for pid, role in parts.items() if role == victim]
            victims = [chance.choice(same)] if same else [pid for pid in parts if pid == self.process.pid]
        hit = {}
        for pid in victims:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
                hit[pid] = parts[pid]
        self.sent += [(role, number) for role in hit.values()]
        if hit and number not in (*GENTLE, signal.SIGSTOP):
            self.may_leave_files |= "keeper" in hit.values() or "keeper" not in parts.values()
        self.was_early = self.was_early or not self.is_released
        return hit

    def keeper_is_killed(self) -> bool:
        return any(role == "keeper" and number not in (*GENTLE, signal.SIGSTOP) for role, number in self.sent)

    def release(self) -> None:
        """Let the target end, unless it is its time limit that has to end it."""
        if self.kind != "timeout" or self.keeper_is_killed():
            assert self.process.stdin
            self.process.stdin.close()
            self.is_released = True

    def finish(self) -> list[str]:
        """Wait for its end; return what is wrong about that."""
        self.release()
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.strike("all", signal.SIGKILL, random.Random())
            self.process.wait()
            return [f"it does not end. {self.errors()}"]
        finally:
            assert self.process.stdin
            self.process.stdin.close()
        return [] if self.is_true(status) else [f"status {status}. {self.errors()}"]

    def errors(self) -> str:
        return (self.home / "err").read_text(errors="replace")

    def is_true(self, status: int) -> bool:
        """Whether *status*, and what was said on stderr, is what has to come of what was *sent*."""
        sent = {(role, number) for role, number in self.sent if number != signal.SIGSTOP}
        fatal = {number for role, number in sent if role in ("target", "front")}
        is_spoiled = self.may_be_stopped or any(
            role == "helper" or (role in ("keeper", "server") and number not in GENTLE) for role, number in sent
        )
        errors = self.errors()
        # That is how Python dies of it.
        is_interrupted = "KeyboardInterrupt" in errors and signal.SIGINT in {number for _, number in sent}
        if not is_interrupted and ("Traceback" in errors or "Exception ignored" in errors):
            return False
        if status == FAILED and self.kind == "start":  # the shell says so when what it has called is killed, too
            return is_spoiled
        if status == FAILED:
            return is_spoiled and not self.is_ready() and "anaheadless: " in errors
        true = {-number for number in fatal}
        if is_interrupted and signal.SIGINT in fatal:
            true.add(1)  # Python itself was starting
        if self.kind == "timeout":
            true.add(-signal.SIGKILL if self.is_stubborn else -signal.SIGTERM)
        if self.may_be_stopped:
            true |= {-signal.SIGTERM, -signal.SIGKILL}
        may_end_itself = self.kind != "timeout" or self.is_released
        if may_end_itself and not (fatal and self.was_early and not self.is_stubborn):
            true |= {OWN, BLIND} if is_spoiled else {OWN}
        # A shell that is killed leaves a `stop` whose session has ended with it.
        may_complain = is_spoiled or is_interrupted or (fatal and self.kind == "start")
        is_quiet = may_complain or all(line.startswith("anaheadless: PID") for line in errors.splitlines())
        return status in true and is_quiet

    def remove(self) -> None:
        shutil.rmtree(self.home)

    def __str__(self) -> str:
        sent = ", ".join(f"{signal.Signals(number).name} to {role}" for role, number in self.sent)
        kind = f"{self.kind} (stubborn)" if self.is_stubborn else self.kind
        return f"{kind} of user {self.user.uid}, {self.moment}: {sent or 'nobody hit'}"


def let_go_on(hit: dict[int, str]) -> None:
    """End a SIGSTOP."""
    for pid in hit:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
