"""``python -m tests.support.faults MODE SEED COUNT``: COUNT rounds, from that seed on; a line of JSON for each."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from anaheadless.x11.display_number import NUMBERS
from tests.support.faults.ground import (
    SOCKETS,
    Stranger,
    User,
    command_of,
    everybody,
    files,
    furnish,
    go_on_as_a_child,
    ourselves,
    pids,
    take_over,
    wait_until,
)
from tests.support.faults.trial import LIMIT, MOMENTS, SIGNALS, STARTS, VICTIMS, Trial, let_go_on

STORM, SESSIONS = 20, 5  # signals, and sessions at a time
FREE, NOBODY = 12, 65534
KILLING = [signal.SIGKILL, signal.SIGTERM]


class Round:
    """What is done to some sessions, and what has come of it: *counts*, and *words* on all that should not be."""

    def __init__(self, mode: str, seed: int, users: list[User]) -> None:
        self.seed, self.users = seed, users
        self.chance = random.Random(seed)
        self.strangers = [Stranger(user) for user in users for _ in range(2)]
        self.before = files()
        self.trials: list[Trial] = []
        self.planted: set[Path] = set()
        self.words: list[str] = []
        self.counts = dict.fromkeys(("faults", "hits", "processes", "files", "strangers", "statuses", "swept"), 0)
        MODES[mode](self)
        self.look()

    def trial(self, start: str | None = None, moment: str | None = None, user: User | None = None) -> Trial:
        start, moment = start or self.chance.choice(STARTS), moment or self.chance.choice(list(MOMENTS))
        self.trials.append(Trial(user or self.users[0], start, moment, self.chance))
        return self.trials[-1]

    def strike(self, trial: Trial, victim: str, number: int) -> dict[int, str]:
        hit = trial.strike(victim, number, self.chance)
        self.counts["faults"] += 1
        self.counts["hits"] += bool(hit)
        return hit

    def fault(self) -> None:
        """One signal, to one process or several of a session."""
        trial = self.trial()
        trial.await_moment(self.chance)
        number = self.chance.choice(SIGNALS)
        hit = self.strike(trial, self.chance.choice(VICTIMS), number)
        if number == signal.SIGSTOP:
            time.sleep(self.chance.uniform(0, 0.2))
            let_go_on(hit)

    def storm(self) -> None:
        """Many signals, over many sessions at the same time; others are started in the place of those that end."""
        stopped: dict[int, str] = {}
        for _ in range(STORM):
            living = [trial for trial in self.trials if trial.process.poll() is None]
            for _ in range(SESSIONS - len(living)):
                living.append(self.trial())
            time.sleep(self.chance.uniform(0, 0.1))
            number = self.chance.choice(SIGNALS)
            hit = self.strike(self.chance.choice(living), self.chance.choice(VICTIMS), number)
            let_go_on(stopped)
            stopped = hit if number == signal.SIGSTOP else {}
        let_go_on(stopped)

    def reuse(self) -> None:
        """Whoever ends gives its number to a stranger at once, while keeper, front and `stop` still think of it."""
        trial = self.trial(self.chance.choice([*STARTS, "timeout", "timeout"]), "running")
        trial.await_moment(self.chance)
        display = trial.display()
        frozen, stops = {}, []
        if self.chance.random() < 0.5:
            who = self.chance.choice(["keeper", "front"]) if trial.kind == "supervise" else "keeper"
            frozen = trial.strike(who, signal.SIGSTOP, self.chance)
            time.sleep(LIMIT if trial.kind == "timeout" else 0)
        else:
            stops = [trial.user.call("stop", "--grace", "0.5", self.chance.choice([display, str(trial.process.pid)]))]
            trial.may_be_stopped = True
            time.sleep(self.chance.uniform(0, 0.5))
        hit = trial.strike(
            self.chance.choice(["target"] * 3 + ["keeper", "server", "all"]), signal.SIGKILL, self.chance
        )
        taken: dict[int, Stranger] = {}

        def take() -> bool:
            trial.parts()
            trial.process.poll()
            for pid in trial.seen - taken.keys():
                stranger = None if os.path.exists(f"/proc/{pid}") else take_over(pid, trial.user)
                if stranger:
                    taken[pid] = stranger
                    self.strangers.append(stranger)
            return trial.seen <= taken.keys()

        wait_until(take, 0.2)
        let_go_on({pid: role for pid, role in frozen.items() if pid not in taken})
        trial.release()
        wait_until(take, 1.5)
        self.counts.update(faults=1, hits=bool(hit and taken))
        stops += [trial.user.call(*words) for words in (["stop", display], ["stop", str(trial.process.pid)], ["clean"])]
        for process in stops:
            process.wait()

    def attack(self) -> None:
        """Root and two others at the same time, with few free numbers; one is hit, and another user is at its files."""
        trials = [self.trial(user=user) for user in self.users]
        victim = self.chance.choice(trials)
        victim.await_moment(self.chance)
        attacker = self.chance.choice([user for user in self.users[1:] if user != victim.user])
        targets = [str(victim.process.pid)]
        for path in SOCKETS.glob("X*"):
            if str(path) not in self.before and owner(path) == victim.user.uid:
                number = path.name[1:]
                targets.append(f":{number}")
                for name in f".X{number}-lock", f".tX{number}-lock", f"server-{number}.xkm":
                    self.plant(Path("/tmp", name), attacker, f"{self.strangers[0].process.pid:10d}\n")
        self.strike(victim, self.chance.choice(VICTIMS), self.chance.choice(KILLING))
        for process in [attacker.call(*words) for words in (["stop", self.chance.choice(targets)], ["clean"])]:
            process.wait()

    def plant(self, path: Path, user: User, text: str) -> None:
        with suppress(FileExistsError), open(path, "x") as file:
            file.write(text)
            os.chown(path, user.uid, user.uid)
            self.planted.add(path)

    def look(self) -> None:
        """Have all end, and count what should not be."""
        for trial in self.trials:
            trial.release()
        for trial in self.trials:
            self.note("statuses", [f"{trial}: {wrong}" for wrong in trial.finish()])
        left = self.settled()
        self.note("processes", [f"process {pid} is left by {self}: {command_of(pid)}" for pid in left])
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for path in self.planted:
            path.unlink(missing_ok=True)
        remains = files() - self.before
        if remains and any(trial.may_leave_files for trial in self.trials):
            self.sweep(remains)
            self.counts["swept"] = len(remains - files())
        now = files()
        self.note("files", [f"{name} is left by {self}" for name in sorted(now - self.before)])
        for name in now - self.before:  # it is not the next round's
            with suppress(OSError):
                os.unlink(name)
        self.note("strangers", [f"{name} is gone after {self}" for name in sorted(self.before - now)])
        self.note(
            "strangers", [f"a stranger got {each.state()} from {self}" for each in self.strangers if each.state()]
        )
        for stranger in self.strangers:
            stranger.end()
        for trial in self.trials:
            trial.remove()

    def __str__(self) -> str:
        return "; ".join(map(str, self.trials))

    def note(self, what: str, wrong: list[str]) -> None:
        self.counts[what] += len(wrong)
        self.words += wrong

    def settled(self) -> set[int]:
        """Who is there, after some time, and should not be. A zombie counts: its threads may hold something still."""
        known = {1, os.getpid(), *(stranger.process.pid for stranger in self.strangers)}
        wait_until(lambda: pids() <= known)
        return pids() - known

    def sweep(self, names: set[str]) -> None:
        """Have what a killed keeper has left removed by the next start, or `clean`, of its user.

        A start that happens to take the dead display's number leaves its cookie to the start after that.
        """
        for name in names:  # what is younger than a second may be about to be used
            with suppress(FileNotFoundError):
                os.utime(name, (1, 1), follow_symlinks=False)
        for user in [*self.users, *self.users]:
            user.call(*self.chance.choice([["clean"], ["exec", "--gl", "none", "true"]])).wait()
        self.settled()


MODES = {"faults": Round.fault, "storm": Round.storm, "reused PIDs": Round.reuse, "users": Round.attack}


def owner(path: Path) -> int:
    try:
        return path.lstat().st_uid
    except FileNotFoundError:
        return -1


def furnish_for(users: list[User]) -> None:
    """What is there before: the folders that stay, what a first run remembers, and the files of others."""
    os.mkdir(SOCKETS)
    SOCKETS.chmod(0o1777)
    for name in "X1", "X2500":
        (SOCKETS / name).touch()
    for name in ".X1-lock", ".X2500-lock", "server-1.xkm":
        Path("/tmp", name).touch()
    for user in users:
        for with_runtime_folder in False, True:
            user.call("run", "--gl", "none", "-c", "pass", with_runtime_folder=with_runtime_folder).wait()
        user.call("exec", "--gl", "none", "true").wait()
    wait_until(lambda: pids() <= {1, os.getpid()})
    if len(users) > 1:  # few numbers are free
        for number in set(NUMBERS) - set(random.Random(0).sample(NUMBERS, FREE)):
            path = Path(f"/tmp/.X{number}-lock")
            path.touch()
            os.chown(path, NOBODY, NOBODY)


def main(mode: str, seed: int, count: int) -> None:
    for number in signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM:  # nohup, and a shell's &, ignore them
        signal.signal(number, signal.SIG_DFL)
    furnish()
    go_on_as_a_child()
    users = everybody() if mode == "users" else [ourselves()]
    if not users:
        print(json.dumps({"skipped": "no interpreter that an ordinary user can run"}))
        return
    furnish_for(users)
    for each in range(seed, seed + count):
        done = Round(mode, each, users)
        print(json.dumps({"mode": mode, "seed": each, **done.counts, "words": done.words}), flush=True)


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
