"""Call a function in another process, and stop it when it takes too long or too much memory, or crashes.

Media files are parsed by code that was written for speed. A broken or hostile one can make it run for ever,
take all memory there is, or crash the process it runs in; in a process of its own, that is one failed call.

A process waits for the next call, since starting one takes longer than checking a short clip. After a hundred
calls, or one that had to be stopped, a fresh one takes its place.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import faulthandler
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None

_CALLS_A_PROCESS = 100


class CallStopped(Exception):
    """The call has no result; the message is one line that says why."""


def guarded_call(function: Callable, *args, seconds: float = 600.0, memory: int = 2 << 30) -> Any:
    """`function(*args)`, in a process that may be killed.

    Args:
        function: a function of a module that can be imported (not one defined in a notebook).
        args: its arguments; they and the result must be picklable.
        seconds: the time limit. The process is killed with all that it has started.
        memory: the limit in bytes, on top of what the process takes before the call. Linux only: Windows and
            macOS have no such limit, and there the time limit alone protects.

    Returns:
        What the function returns.

    Raises:
        CallStopped: too long, too much memory, or a crash.
        Exception: whatever the function raises.

    Example:
        >>> guarded_call(time.sleep, 60, seconds=0.5)
        Traceback (most recent call last):
        ...
        fomm_lib.guard.CallStopped: stopped: not done after 0.5 s
    """
    process = _borrow()
    try:
        result, error = process.ask((function, args, memory, seconds), seconds)
    finally:
        if process.is_usable():
            _IDLE.append(process)
        else:
            process.close()
    if error is not None:
        raise error
    return result


class _Process:
    """A child that takes one call after another, and may be killed at any moment."""

    def __init__(self):
        # What can be imported here can be imported there: a notebook may have put the repository on its path.
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        # Threads of its own would only take memory: one call, one core.
        one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        self.child = subprocess.Popen(
            [sys.executable, "-c", "from fomm_lib.guard import _serve; _serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **one_thread, "PYTHONPATH": paths},
            start_new_session=True,  # a group of its own, to be killed as one
        )
        self.owner = os.getpid()
        self.calls = 0
        self.late = False
        if self._read() != "ready":
            self.close()
            raise RuntimeError(f"cannot start {sys.executable} -c 'import fomm_lib.guard'; try it by hand")

    def ask(self, request: tuple, seconds: float) -> tuple[Any, Exception | None]:
        """The result, and what was raised instead of giving one."""
        self.calls += 1
        question = pickle.dumps(request)
        timer = threading.Timer(seconds, self._too_late)
        timer.daemon = True
        timer.start()
        try:
            with contextlib.suppress(OSError):  # it is dead, and the answer will be missing too
                self.child.stdin.write(question)
                self.child.stdin.flush()
            answer = self._read()
        except BaseException:  # Ctrl-C: nobody waits for the answer any more
            self.kill()
            raise
        finally:
            timer.cancel()
        return answer or (None, CallStopped(self._last_words(seconds)))

    def _read(self) -> Any:
        try:
            return pickle.load(self.child.stdout)
        except (EOFError, pickle.UnpicklingError):  # it did not live to say it, or to say all of it
            return None

    def _last_words(self, seconds: float) -> str:
        try:
            code = self.child.wait(timeout=5)
        except subprocess.TimeoutExpired:  # it lives, and yet its answer could not be read
            self.kill()
            code = self.child.wait()
        if self.late:
            return f"stopped: not done after {seconds:g} s"
        return f"crashed ({signal.Signals(-code).name})" if code < 0 else f"crashed (exit code {code})"

    def is_usable(self) -> bool:
        mine = self.owner == os.getpid()  # after a fork, it is the parent's
        return mine and not self.late and self.calls < _CALLS_A_PROCESS and self.child.poll() is None

    def _too_late(self) -> None:
        self.late = True
        self.kill()

    def kill(self) -> None:
        with contextlib.suppress(OSError):  # it has ended already
            if hasattr(os, "killpg"):
                os.killpg(self.child.pid, signal.SIGKILL)
            else:
                self.child.kill()

    def close(self) -> None:
        if self.owner == os.getpid():
            self.kill()
            self.child.wait()
        for pipe in (self.child.stdin, self.child.stdout):
            with contextlib.suppress(OSError):
                pipe.close()


_IDLE: list[_Process] = []


def _borrow() -> _Process:
    while _IDLE:
        process = _IDLE.pop()
        if process.is_usable():
            return process
        process.close()
    return _Process()


@atexit.register
def close_idle() -> None:
    """End the processes that wait for a call. They end with this one in any case; this is for the tidy."""
    while _IDLE:
        _IDLE.pop().close()


# --- inside the child ----------------------------------------------------------------------------------


def _serve() -> None:
    """Its whole life: answer one call after another, until the parent closes the pipe or is gone."""
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # what a library prints must not look like an answer
    _answer(answers, "ready")
    while True:
        try:
            function, args, memory, seconds = pickle.load(questions)
        except EOFError:
            return
        # The parent watches the clock; should it have been killed, nobody would.
        faulthandler.dump_traceback_later(seconds + 2, exit=True)
        _limit_memory(memory)
        try:
            answer = function(*args), None
        except Exception as error:
            too_large = CallStopped(f"stopped: needs more than {memory >> 20} MiB of memory")
            answer = None, too_large if _is_out_of_memory(error) else error
        faulthandler.cancel_dump_traceback_later()
        _answer(answers, answer)


def _answer(answers, answer: Any) -> None:
    pickle.dump(answer, answers)
    answers.flush()


def _is_out_of_memory(error: Exception) -> bool:
    # A library that is first needed under the limit may not find room for its own code; the linker says so in
    # words only.
    return (
        isinstance(error, MemoryError)
        or getattr(error, "errno", None) == errno.ENOMEM
        or (isinstance(error, ImportError) and "failed to map segment" in str(error))
    )


def _limit_memory(allowance: int) -> None:
    """Limit the writable memory of this process (RLIMIT_DATA) to what it has now and `allowance` bytes.

    Not the address space (RLIMIT_AS): glibc reserves 64 MiB of it for a thread's allocations, which count as
    taken before a byte of them is used, so that a call could use them up unnoticed.
    """
    if resource is None:
        return
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[5])
    except OSError:  # not Linux: current usage is unknown, and the limit is hardly enforced
        pages = 0
    limit = pages * resource.getpagesize() + allowance
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
