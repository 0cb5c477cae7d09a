"""Call a function in another process, which is stopped if it takes too long or too much memory, or crashes.

Media files are parsed by code that was written for speed. A broken or hostile file can make it run for ever,
take all memory, or crash its process; in a process of its own, that is one failed call.

A process is kept for the next call, since starting one takes longer than checking a short clip. After a
hundred calls, or a call that had to be stopped, it is replaced.
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
    """The call has no result; the message is one line with the reason."""


def guarded_call(function: Callable, *args, seconds: float = 600.0, memory: int = 2 << 30) -> Any:
    """`function(*args)`, in a process that may be killed.

    Args:
        function: a function of a module that can be imported (not one defined in a notebook).
        args: its arguments; they and the result must be picklable.
        seconds: the time limit. The process is killed together with the processes that it has started.
        memory: the limit in bytes, on top of the memory of the process before the call. Linux only: Windows
            and macOS have no such limit, and there the time limit is the only protection.

    Returns:
        The result of the function.

    Raises:
        CallStopped: too long, too much memory, or a crash.
        Exception: any error of the function.

    Example:
        >>> guarded_call(time.sleep, 60, seconds=0.5)
        Traceback (most recent call last):
        ...
        fomm_lib.media.sandbox.CallStopped: stopped: not done after 0.5 s
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
    """A child process that takes one call after another, and may be killed at any time."""

    def __init__(self):
        # The child can import all that this process can: a notebook may have extended `sys.path`.
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        # One call uses one core; more threads would only take memory.
        one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        self.child = subprocess.Popen(
            [sys.executable, "-c", "from fomm_lib.media.sandbox import serve; serve()"],
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
            command = f"{sys.executable} -c 'import fomm_lib.media.sandbox'"
            raise RuntimeError(f"cannot start {command}; run it in a terminal to see why")

    def ask(self, request: tuple, seconds: float) -> tuple[Any, Exception | None]:
        """(result, None) or (None, the error that was raised instead)."""
        self.calls += 1
        question = pickle.dumps(request)
        timer = threading.Timer(seconds, self._stop_late)
        timer.daemon = True
        timer.start()
        try:
            with contextlib.suppress(OSError):  # it has ended, and the answer will be missing too
                self.child.stdin.write(question)
                self.child.stdin.flush()
            answer = self._read()
        except BaseException:  # Ctrl-C: the answer is not read any more
            self.kill()
            raise
        finally:
            timer.cancel()
        return answer or (None, CallStopped(self._exit_reason(seconds)))

    def _read(self) -> Any:
        try:
            return pickle.load(self.child.stdout)
        except (EOFError, pickle.UnpicklingError):  # it ended before it had written all of the answer
            return None

    def _exit_reason(self, seconds: float) -> str:
        try:
            code = self.child.wait(timeout=5)
        except subprocess.TimeoutExpired:  # it still runs, although its answer could not be read
            self.kill()
            code = self.child.wait()
        if self.late:
            return f"stopped: not done after {seconds:g} s"
        return f"crashed ({signal.Signals(-code).name})" if code < 0 else f"crashed (exit code {code})"

    def is_usable(self) -> bool:
        mine = self.owner == os.getpid()  # after a fork, the process belongs to the parent
        return mine and not self.late and self.calls < _CALLS_A_PROCESS and self.child.poll() is None

    def _stop_late(self) -> None:
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
    """End the processes that wait for a call. Optional clean-up: they end with this process in any case."""
    while _IDLE:
        _IDLE.pop().close()


def serve() -> None:
    """The loop of the child process: answer one call after another, until the parent closes the pipe."""
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # output of a library must not be read as an answer
    _answer(answers, "ready")
    while True:
        try:
            function, args, memory, seconds = pickle.load(questions)
        except EOFError:
            return
        # The parent enforces the time limit; this one is for the case that the parent was killed.
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
    # A library that is first imported under the limit may find no memory for its code; the linker reports
    # this as a text only.
    return (
        isinstance(error, MemoryError)
        or getattr(error, "errno", None) == errno.ENOMEM
        or (isinstance(error, ImportError) and "failed to map segment" in str(error))
    )


def _limit_memory(allowance: int) -> None:
    """Limit the writable memory of this process (RLIMIT_DATA) to its current usage plus `allowance` bytes.

    Not the address space (RLIMIT_AS): glibc reserves 64 MiB of it for a thread's allocations. They would
    count as used before the call, so a call could use them on top of its limit.
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
