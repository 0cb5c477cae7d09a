"""What it costs to start: processor seconds until a command has done its first work.

    python -m benchmarks.startup
    python -m benchmarks.startup --rounds 9                  # on a machine that has other work
    PYTHONPATH=OTHER_TREE python benchmarks/startup.py       # another version of the library, by this script

Each row is a process of its own; the rows take turns. The value is the least of the rounds, because other
work can only add to it. "PyTorch alone" is `import torch`: nothing that uses it can start faster. "before the
network" is `fomm animate` until it hands the portrait to the network: the weights are loaded, the driving
video is open. "first frame" is until that frame goes to the encoder. "modules" are those imported by then;
`python -X importtime -m fomm_lib animate --help` says what each of them costs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

DATA = Path(__file__).parents[1] / "data"
REPORT = """
import json, os, resource, sys
def report(*_, **__):
    used = resource.getrusage(resource.RUSAGE_SELF)
    with open(result, "w") as file:
        json.dump([used.ru_utime + used.ru_stime, len(sys.modules)], file)
    os._exit(0)
def run(*words):
    from fomm_lib.cli.main import main
    try:
        main(list(words))
    except SystemExit:
        report()
"""
ANIMATE = (
    "run('animate', '--source', portrait, '--driving', driving, '--weights', 'heads-64', '--output', out)"
)
ROWS = {  # name: the program, after REPORT
    "PyTorch alone": "import torch; report()",
    "fomm --help": "run('--help')",
    "fomm animate --help": "run('animate', '--help')",
    "fomm animate, before the network": f"""
from fomm_lib.animation.animator import Animator
Animator.__init__ = report
{ANIMATE}""",
    "fomm animate, first frame": f"""
from fomm_lib.media.encoding import VideoWriter
VideoWriter.write = report
{ANIMATE}""",
}


def main() -> None:
    """Print a row for every command."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--rounds", type=int, default=5, help="processes of each, at least 1")
    arguments = options.parse_args()
    runs = [{name: started(row) for name, row in ROWS.items()} for _ in range(max(1, arguments.rounds))]
    print(f"{'command':34}   CPU s  modules")
    for name in ROWS:
        seconds, modules = min(run[name] for run in runs)
        print(f"{name:34} {seconds:7.2f}  {modules:7d}")


def started(program: str) -> tuple[float, int]:
    """Processor seconds and modules of a process that runs REPORT and then `program`."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result.json")
        paths = {"portrait": DATA / "portrait.jpg", "driving": DATA / "driving.mp4"}
        paths |= {"out": Path(folder, "out.mp4"), "result": result}
        files = "".join(f"{name} = {str(path)!r}\n" for name, path in paths.items())
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", REPORT + files + program]
        run = subprocess.run(command, capture_output=True, text=True, env=environment)
        if not result.is_file():
            raise SystemExit(f"it did not start:\n{run.stderr}")
        return tuple(json.loads(result.read_text()))


if __name__ == "__main__":
    main()
