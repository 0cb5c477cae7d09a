"""Nothing here speaks to the network unasked: every verb, both backends and every notebook, cut off from it.

The verbs run in a network namespace of their own where the system allows it (`unshare`), under `strace` where
that is installed, and with a Python that refuses other hosts in any case. A look-up or a connection that
fails silently is seen too: by the file in which that Python notes it, and by the system calls.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from fomm_lib.cli.app import app
from fomm_lib.cli.main import AFTER_STOP
from fomm_lib.releases import without_telemetry
from tests.support.paths import OFFLINE, ROOT

HERE = re.compile(r'inet_addr\("127\.|inet_pton\(AF_INET6, "::1"|inet_addr\("0\.0\.0\.0"')
NEEDS = re.compile(r"not installed|EGL|pip install|data_folder|needs ")
# What verbs may write into the home folder: caches of matplotlib and of PyTorch.
CACHES = (
    ".cache/matplotlib",
    ".config/matplotlib",
    ".cache/torch",
    ".cache/fontconfig",
    ".cache/mesa",
    ".ipython",
)


def cut_off(folder: Path) -> list[str]:
    """What a command begins with, to run where no other machine is reached, and calls are noted."""
    begins = []
    unshare = ["unshare", "--map-root-user", "--net"]
    if shutil.which("unshare") and subprocess.run([*unshare, "true"], capture_output=True).returncode == 0:
        begins += unshare
    strace = ["strace", "-f", "-qq", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o"]
    if (
        shutil.which("strace")
        and subprocess.run([*strace, os.devnull, "true"], capture_output=True).returncode == 0
    ):
        begins += [*strace, str(folder / "calls")]
    return begins


def run_cut_off(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess:
    home = folder / "home"
    home.mkdir()
    return subprocess.run(
        [*cut_off(folder), sys.executable, *command],
        env={
            **os.environ,
            "HOME": str(home),
            "XDG_CACHE_HOME": str(home / ".cache"),
            "PYTHONPATH": os.pathsep.join([str(OFFLINE), str(ROOT)]),
            "FOMM_ASKED_FOR": str(folder / "asked"),
            "OMP_NUM_THREADS": "1",
            "MPLBACKEND": "Agg",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=1500,
    )


def asked_for(folder: Path) -> list[str]:
    """Look-ups and connections beyond this machine."""
    asked, calls = folder / "asked", folder / "calls"
    found = asked.read_text().splitlines() if asked.exists() else []
    for line in calls.read_text(errors="replace").splitlines() if calls.exists() else ():
        if "sa_family=AF_INET" in line and (not HERE.search(line) or "htons(53)" in line):
            found.append(line)
    return found


def verbs() -> list[str]:
    """All verbs of `fomm`, e.g. "animate" and "family train"."""
    command = typer.main.get_command(app)
    groups = {name: getattr(one, "commands", None) for name, one in command.commands.items()}
    return [
        verb
        for name, inner in groups.items()
        for verb in ([f"{name} {last}" for last in inner] if inner else [name])
    ]


@pytest.mark.needs_system
def test_no_verb_and_no_notebook_speaks_to_the_network(tmp_path, request):
    done = run_cut_off(tmp_path, "-m", "tests.support.every_verb", str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    ended = json.loads((tmp_path / "ended.json").read_text())
    assert asked_for(tmp_path) == []

    missing = [verb for verb in verbs() if not any(ran.startswith(verb) for ran in ended)]
    assert missing == [], "add them to tests/support/every_verb.py"
    notebooks = [path.name for path in (ROOT / "notebooks").glob("[0-9]*.py")]
    assert len(notebooks) >= 10 and all(ended[name] == 0 for name in notebooks), done.stderr[-3000:]
    for backend in ("onnxruntime", "openvino"):
        assert any(f"--backend {backend}" in ran for ran in ended)
    failed = {ran: code for ran, code in ended.items() if code and not ran.startswith("voxceleb")}
    if failed and not request.config.getoption("--strict-system"):
        assert NEEDS.search(done.stderr), done.stderr[-3000:]  # an extra, or EGL, is missing
    else:
        assert failed == {}, done.stderr[-3000:]

    written = [path.relative_to(tmp_path / "home").as_posix() for path in (tmp_path / "home").rglob("*")]
    assert [name for name in written if not name.startswith(CACHES) and f"{name}/" not in str(CACHES)] == []


@pytest.mark.parametrize(
    "script",
    [
        "import socket; socket.getaddrinfo('example.org', 80)",
        "import socket; socket.create_connection(('192.0.2.1', 80), 1)",
        "import urllib.request; urllib.request.urlopen('http://example.org')",
    ],
)
def test_whoever_asks_is_seen_even_if_it_hides_the_error(tmp_path, script):
    hidden = f"try:\n    {script}\nexcept Exception:\n    pass"
    assert run_cut_off(tmp_path, "-c", hidden).returncode == 0
    assert asked_for(tmp_path) != []


@pytest.mark.needs_system
def test_what_no_python_sees_is_seen_by_its_calls(tmp_path):
    if not any("strace" in word for word in cut_off(tmp_path)):
        pytest.skip("strace is not installed, or not allowed here")
    # Without the Python that refuses: as a library in C++ would do it.
    script = "import socket\ntry:\n    socket.getaddrinfo('example.org', 80)\nexcept OSError:\n    pass"
    assert run_cut_off(tmp_path, "-c", script, PYTHONPATH=str(ROOT)).returncode == 0
    assert not (tmp_path / "asked").exists()
    if not asked_for(tmp_path):  # a machine without a name server asks nobody
        assert "nameserver" not in Path("/etc/resolv.conf").read_text()


def test_this_machine_is_no_network(tmp_path):
    script = (
        "import socket; s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname())"
    )
    up = "from tests.support.every_verb import switch_loopback_on; switch_loopback_on()"
    done = run_cut_off(tmp_path, "-c", f"{up}; {script}")
    assert done.returncode == 0, done.stderr
    assert asked_for(tmp_path) == []


def test_telemetry_is_off_while_a_backend_is_imported(monkeypatch):
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    with without_telemetry():
        assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
        with pytest.raises(ImportError):
            import openvino_telemetry  # noqa: F401
    assert "openvino_telemetry" not in sys.modules
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1", "onnxruntime also reads it later"


def test_verbs_that_can_be_stopped_are_verbs():
    assert set(AFTER_STOP) <= set(verbs())
