"""Calls that hang, crash or eat memory, and what is left of them."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fomm_lib.media import sandbox
from fomm_lib.media.sandbox import CallStopped, close_idle, guarded_call


@pytest.fixture(autouse=True)
def _no_process_left():
    yield
    close_idle()


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/stat")  # one that waits to be collected has ended
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")


def wait_until_gone(process: int, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while is_running(process) and time.monotonic() < end:
        time.sleep(0.02)
    return not is_running(process)


def test_it_is_the_call():
    assert guarded_call(math.hypot, 3.0, 4.0) == 5.0
    assert guarded_call(os.getpid) != os.getpid()
    assert len(guarded_call(bytes, 5_000_000)) == 5_000_000


def test_an_error_is_the_functions_own():
    with pytest.raises(ValueError, match="math domain error"):
        guarded_call(math.sqrt, -1)
    assert guarded_call(math.sqrt, 4) == 2


def test_a_process_serves_again_and_retires(monkeypatch):
    monkeypatch.setattr(sandbox, "_CALLS_A_PROCESS", 3)
    served = [guarded_call(os.getpid) for _ in range(7)]
    assert [served.count(process) for process in dict.fromkeys(served)] == [3, 3, 1]
    assert not is_running(served[0])


def test_too_long():
    started = time.monotonic()
    with pytest.raises(CallStopped, match=r"^stopped: not done after 0\.3 s$"):
        guarded_call(time.sleep, 60, seconds=0.3)
    assert time.monotonic() - started < 10
    assert guarded_call(math.sqrt, 4) == 2


@pytest.mark.skipif(os.name == "nt", reason="a group of processes is killed as one on POSIX only")
def test_too_long_takes_its_own_children_along(tmp_path):
    script = f"sleep 60 & echo $! > {tmp_path / 'pid'}; wait"
    with pytest.raises(CallStopped):
        guarded_call(os.system, script, seconds=2.0)
    assert wait_until_gone(int((tmp_path / "pid").read_text()))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="a memory limit needs Linux")
def test_too_much_memory():
    assert len(guarded_call(bytes, 10 << 20, memory=256 << 20)) == 10 << 20
    with pytest.raises(CallStopped, match=r"^stopped: needs more than 256 MiB of memory$"):
        guarded_call(bytes, 300 << 20, memory=256 << 20)
    assert len(guarded_call(bytes, 300 << 20, memory=1 << 30)) == 300 << 20  # the next has its own limit


def _allocate_beside_other_threads(megabytes: int) -> int:
    """In small pieces, each thread from the address space that glibc has reserved for it."""
    kept, started, go_on = [], threading.Barrier(3), threading.Event()

    def wait():
        started.wait()
        go_on.wait()

    def work():
        started.wait()
        kept.extend(bytearray(100_000) for _ in range(megabytes * 10))

    threads = [threading.Thread(target=wait), threading.Thread(target=work)]
    for thread in threads:
        thread.start()
    started.wait()
    threads[1].join()
    go_on.set()
    threads[0].join()
    return len(kept)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="a memory limit needs Linux")
def test_memory_that_was_reserved_and_not_used_counts_when_it_is_used():
    assert guarded_call(_allocate_beside_other_threads, 1, memory=256 << 20) == 10  # reserves it
    assert guarded_call(_allocate_beside_other_threads, 40, memory=16 << 20) < 400


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
def test_a_crash():
    with pytest.raises(CallStopped, match=r"^crashed \(SIGABRT\)$"):
        guarded_call(os.abort)
    assert guarded_call(math.sqrt, 4) == 2


def test_an_exit():
    with pytest.raises(CallStopped, match=r"^crashed \(exit code 3\)$"):
        guarded_call(os._exit, 3)


def test_what_a_function_prints_is_not_its_result():
    assert guarded_call(print, "not a pickle") is None
    assert guarded_call(math.sqrt, 4) == 2


def test_calls_from_several_threads_have_a_process_each():
    processes, barrier = set(), threading.Barrier(3)

    def work():
        barrier.wait()
        guarded_call(time.sleep, 0.5)
        processes.add(guarded_call(os.getpid))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(processes) == 3


def test_idle_processes_can_be_ended():
    process = guarded_call(os.getpid)
    assert is_running(process)
    close_idle()
    assert not is_running(process)


@pytest.mark.skipif(os.name == "nt", reason="kill -9 is POSIX")
def test_the_process_ends_with_a_parent_that_is_killed():
    script = (
        "import os, time; from fomm_lib.media.sandbox import guarded_call;"
        "print(guarded_call(os.getpid), flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    assert is_running(child)
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    assert wait_until_gone(child)


@pytest.mark.skipif(os.name == "nt", reason="kill -9 is POSIX")
def test_a_hanging_call_ends_although_its_parent_was_killed(tmp_path):
    """The parent watches the clock; when it is gone, the child's own clock ends it, two seconds late."""
    script = (
        "import os, time; from fomm_lib.media.sandbox import guarded_call;"
        "print(guarded_call(os.getpid), flush=True); guarded_call(time.sleep, 60, seconds=1)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    time.sleep(0.5)
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    assert is_running(child)
    assert wait_until_gone(child, seconds=12)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_after_a_fork_the_processes_stay_the_parents():
    mine = guarded_call(os.getpid)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, str(guarded_call(os.getpid)).encode())
        close_idle()
        os._exit(0)
    os.waitpid(child, 0)
    assert int(os.read(reader, 100)) != mine
    assert guarded_call(os.getpid) == mine


def test_a_python_that_does_not_start(monkeypatch):
    monkeypatch.setattr(sys, "executable", sys.executable)
    monkeypatch.setattr(sandbox.sys, "path", ["/nowhere"])
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    close_idle()
    with pytest.raises(RuntimeError, match="cannot start"):
        guarded_call(math.sqrt, 4)


def _no_room_for_code():
    raise ImportError("stream.so: failed to map segment from shared object")


def test_a_library_that_finds_no_room_is_too_much_memory():
    with pytest.raises(CallStopped, match=r"^stopped: needs more than 1 MiB of memory$"):
        guarded_call(_no_room_for_code, memory=1 << 20)


def _no_such_library():
    raise ImportError("No module named 'av'")


def test_a_missing_library_is_no_question_of_memory():
    with pytest.raises(ImportError, match="No module"):
        guarded_call(_no_such_library)
