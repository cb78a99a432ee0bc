"""The resident process of a session: starts the X server, ends it when the target has ended, leaves nothing.

It runs alone, as ``python -I -S keeper.py DISPLAY TARGET_PID TARGET_START SOCKET LISTENERS TIMEOUT GRACE PICTURE SERVER
[ARGUMENT]...``, on the standard library and little of it, since it stays for as long as the target. Whoever starts it
gives it these descriptors and reaps its first process; the second one is in nobody's way.

====  ==========================================================================================
0     /dev/null
1     the control socket: it says ``KEEPER_PID SERVER_PID`` there, and obeys READY and END
2     the server's messages (and its own), a memfd
3, 4  the display's listening sockets, for the server; LISTENERS is 2 (or 0: the server makes its own)
5     the cookie, a memfd
6     what the launcher has to say of the session, a memfd
7     the log
====  ==========================================================================================

Clients and the launcher reach the memfds as ``/proc/KEEPER_PID/fd/N``: there is no file to be left behind.

TIMEOUT seconds after the launcher has become the target (0: never), it saves the screen as PICTURE, if that is not
empty, and sends SIGTERM to the target, and to its process group where that is its own; GRACE seconds later, SIGKILL.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

CONTROL, MESSAGES, FIRST_LISTENER, COOKIE, NOTES, LOG = 1, 2, 3, 5, 6, 7
READY, GROUP, END = b"R", b"G", b"E"

# A stop by systemd, or the end of some batch jobs, signals every process; the target may still need its display.
DEAF_TO = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2)
STOP = signal.SIGRTMIN  # ends the session, and is sent by nobody else
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
POLL_SECONDS = 0.1
CAMERA_SECONDS = 5.0

# Takes the picture, in a process of its own: it is no small import, and may hang as the server does.
CAMERA = """\
import signal, sys
signal.alarm(10)
sys.path.insert(0, sys.argv.pop(1))
from anaheadless import screenshot
screenshot.save(*sys.argv[1:])
"""


def main(argv: list[str]) -> None:
    display, target, target_start, socket_path, listeners, timeout, grace, picture, *command = argv
    activated = listeners != "0"
    # Whoever started us has blocked these, so that none could come before we are deaf.
    for number in DEAF_TO:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.setsid()  # ^Z, or a KILL of the target's group, is not for us
    if os.fork():
        os._exit(0)
    mask = os.umask(0o077)
    os.chdir("/")
    passed_on = {FIRST_LISTENER, FIRST_LISTENER + 1} if activated else set()
    # Who waits for the end of a pipe must not wait for the keeper.
    close_descriptors_except({0, CONTROL, MESSAGES, COOKIE, NOTES, LOG} | passed_on)

    lock = lock_path(display[1:])
    identity = file_identity(socket_path) if activated else None
    server: int | None = None
    own_group = False
    word = b""
    signal.signal(STOP, stop)
    try:
        server = start_server(command, activated)
        log(f"display {display} for process {target}: X server {server}, keeper {os.getpid()}")
        if activated:
            # The abstract socket stays open here: nobody gets the number before all is cleaned up.
            os.close(FIRST_LISTENER)
        with suppress(BrokenPipeError):  # the launcher was killed: found out below
            os.write(CONTROL, b"%d %d" % (os.getpid(), server))
        for word in wait_for_end(int(target), target_start, server):
            # The lock keeps other servers off a display; here the sockets themselves do, from before it is written.
            # Without it, even a SIGKILL of every process of the session leaves no file that could mislead anyone.
            if word == READY and activated and names(lock, server):
                os.unlink(lock)
            own_group = own_group or word == GROUP
            if not word and float(timeout):
                is_wanted = partial(is_alive, int(target), target_start)
                camera = partial(photograph, display, picture, mask, is_wanted)
                limit(int(target), target_start, own_group, float(timeout), float(grace), camera)
        if word == END:
            log("given up by the launcher")
        elif is_running(server):
            log("the target has ended")
        else:
            log("the X server has ended")
            if float(timeout):  # the target has to end in time all the same
                end(server, lock, socket_path, identity)
                server = identity = None
                if activated:
                    os.close(FIRST_LISTENER + 1)  # nobody is to wait for an answer there
                for _ in wait_for_end(int(target), target_start, None):
                    pass
                log("the target has ended")
    finally:
        try:
            signal.signal(STOP, signal.SIG_IGN)  # nothing is to interrupt what comes now
        finally:
            end(server, lock, socket_path, identity)
            log_messages()
            log("nothing is left")


def stop(*_: object) -> None:
    signal.signal(STOP, signal.SIG_IGN)
    log("stopped")
    sys.exit()


def limit(
    target: int, target_start: str, own_group: bool, timeout: float, grace: float, photograph: Callable[[], None]
) -> None:
    """Have the target end within *timeout* and *grace* seconds.

    :param own_group: it leads a process group that was made for it, and that ends with it.
    """
    steps = [(signal.SIGKILL, grace), (signal.SIGTERM, timeout)]
    due = time.monotonic() + timeout

    def step(*_: object) -> None:
        nonlocal due
        left = due - time.monotonic()
        if left > 0:  # somebody else's signal
            signal.setitimer(signal.ITIMER_REAL, left)
            return
        signal.signal(signal.SIGALRM, signal.SIG_IGN)  # nor is one meant that comes meanwhile, or after the last step
        number, seconds = steps.pop()
        if number == signal.SIGTERM:
            photograph()
        if not is_alive(target, target_start):
            return
        log(f"the target is still there after {seconds:g} s: {number.name}")
        for each in number, signal.SIGCONT:  # it may be stopped
            try:
                os.killpg(target, each) if own_group else os.kill(target, each)
            except ProcessLookupError:
                break
            except PermissionError as error:  # it has become another user's
                log(f"the target can't be ended: {error.strerror}")
                break
        if steps:
            due = time.monotonic() + grace
            signal.signal(signal.SIGALRM, step)
            signal.setitimer(signal.ITIMER_REAL, grace)

    signal.signal(signal.SIGALRM, step)
    signal.setitimer(signal.ITIMER_REAL, timeout)


def photograph(display: str, picture: str, mask: int, is_wanted: Callable[[], bool]) -> None:
    """Save the screen as the file *picture*, if that is not empty, and as long as it *is_wanted*.

    What goes wrong is in the log.
    """
    if not picture:
        return
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    isolated = "-I" if sys.flags.isolated else "-s"
    words = [
        sys.executable,
        isolated,
        "-S",
        "-c",
        CAMERA,
        package,
        display,
        f"/proc/{os.getpid()}/fd/{COOKIE}",
        picture,
    ]
    streams = [(os.POSIX_SPAWN_DUP2, LOG, 1), (os.POSIX_SPAWN_DUP2, LOG, 2)]
    os.umask(mask)
    try:
        camera = os.posix_spawn(words[0], words, os.environ, file_actions=streams, setsigdef=[signal.SIGALRM])
    except OSError as error:  # no memory, or the interpreter is there no more
        log(f"the screen could not be saved: {error.strerror}")
        return
    finally:
        os.umask(0o077)
    ended, deadline = (0, 1), time.monotonic() + CAMERA_SECONDS
    try:
        while not ended[0] and is_wanted() and time.monotonic() < deadline:
            time.sleep(0.02)
            ended = os.waitpid(camera, os.WNOHANG)
    finally:
        if not ended[0]:
            os.kill(camera, signal.SIGKILL)
            os.waitpid(camera, 0)
    log("the screen could not be saved" if ended[1] or not ended[0] else f"the screen is saved as {picture}")


def log(event: str) -> None:
    text = f"{time.strftime('%Y-%m-%d %H:%M:%S')} anaheadless: {event}\n"
    with suppress(OSError):  # its disk is full: no reason to leave a server behind
        os.write(LOG, text.encode(errors="surrogateescape"))


def log_messages() -> None:
    """What the server has said."""
    with suppress(OSError):
        for line in os.pread(MESSAGES, 1 << 16, 0).decode(errors="replace").splitlines():
            log(f"X server: {line}")


def is_running(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def end(server: int | None, lock: str, socket_path: str, identity: tuple[int, int] | None) -> None:
    """End the server, and remove the files that are its own or, by *identity*, the launcher's."""
    ours = False
    if server is not None:
        ours = names(lock, server)
        os.killpg(server, signal.SIGKILL)
        os.waitpid(server, 0)
        ours = ours or names(lock, server)
    if ours:
        remove(lock)
    if ours or (identity is not None and file_identity(socket_path) == identity):
        remove(socket_path)
        remove(lock.replace("/.X", "/.tX"))  # the unfinished lock of a server that found /tmp full


def start_server(command: list[str], activated: bool) -> int:
    """Fork and execute the server, as the leader of its own process group; return its PID."""
    keeper = os.getpid()
    server = os.fork()
    if server:
        with suppress(PermissionError):  # it has done so itself, and more
            os.setpgid(server, server)
        return server
    try:
        os.setpgid(0, 0)
        import ctypes  # not in the keeper, which stays for hours

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper:  # it died before the kernel knew whom to watch
            os._exit(1)
        # Blocked, not ignored: the server installs handlers of its own. SIGUSR1 must not stay ignored: to an X
        # server that means a parent that waits for one.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
        for number in DEAF_TO:
            signal.signal(number, signal.SIG_DFL)
        os.dup2(MESSAGES, 1)
        environ = dict(os.environ)
        if os.path.dirname(command[0]) in ("/usr/bin", "/bin"):
            # Meant for the target: the system's server draws with the system's libraries, and dies of others.
            environ.pop("LD_LIBRARY_PATH", None)
        if activated:
            # sd_listen_fds(3); the kind of socket is seen by the server itself.
            environ.update(LISTEN_FDS="2", LISTEN_PID=str(os.getpid()))
        os.execve(command[0], command, environ)
    except BaseException as error:
        os.write(MESSAGES, f"{command[0]}: {error}\n".encode(errors="surrogateescape"))
    finally:
        os._exit(127)


def wait_for_end(target: int, target_start: str, server: int | None) -> Iterator[bytes]:
    """Yield the words that come over the control socket until target or server has ended, or END comes.

    :param server: None: it has ended, and there is nothing to be heard any more.
    """
    poll = select.poll()
    if server is not None:
        poll.register(CONTROL, select.POLLIN)
    pidfds, polled = set(), []
    watched = [(target, target_start), *([] if server is None else [(server, None)])]
    for process in watched:
        pidfd = open_pidfd(process[0])
        if pidfd is None:
            polled.append(process)
        else:
            pidfds.add(pidfd)
            poll.register(pidfd, select.POLLIN)
    # A target that ended before its pidfd was open may have given its number to another process. (Where /proc hides
    # it, as with hidepid, there is no telling.)
    if process_state(target)[1] not in (target_start, ""):
        return
    while all(is_alive(*process) for process in polled):
        ready = [descriptor for descriptor, _ in poll.poll(POLL_SECONDS * 1000 if polled else None)]
        if CONTROL in ready:
            try:
                word = os.read(CONTROL, 1)
            except ConnectionResetError:  # the launcher was killed before it had read what we said
                word = b""
            if word == END:
                yield word
                return
            if not word:  # the launcher has become the target, or is gone
                poll.unregister(CONTROL)
            yield word
        if not pidfds.isdisjoint(ready):
            return


def open_pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (OSError, AttributeError):  # gone; or forbidden; or a kernel, or a Python's build, before Linux 5.3
        return None


def is_alive(pid: int, start: str | None = None) -> bool:
    """Whether *pid* runs, and is the process that started at *start* (a PID is given out again one day)."""
    state, started = process_state(pid)
    if start not in (None, started):
        return False
    # A process whose main thread has ended looks like a zombie while its other threads run on.
    return state not in ("", "Z", "X") or (state == "Z" and thread_count(pid) > 1)


def process_state(pid: int) -> tuple[str, str]:
    """State letter and start time (clock ticks since boot) of a process, proc(5); empty when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name in parentheses may hold anything, spaces and parentheses too.
            fields = file.read().rpartition(b")")[2].decode().split()
    except OSError:
        return "", ""
    return fields[0], fields[19]


def thread_count(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return 0


def lock_path(number: str) -> str:
    return f"/tmp/.X{number}-lock"


def names(lock: str, server: int) -> bool:
    """Whether the X lock file *lock* names *server*, or a process that it started (Xvfb may be a wrapper script)."""
    try:
        with open(lock, "rb") as file:
            return os.getpgid(int(file.read(16))) == server
    except (OSError, ValueError):
        return False


def remove(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def file_identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def close_descriptors_except(kept: set[int]) -> None:
    for descriptor in set(map(int, os.listdir("/proc/self/fd"))) - kept:
        with suppress(OSError):  # the one that listed the folder
            os.close(descriptor)


if __name__ == "__main__":
    main(sys.argv[1:])
