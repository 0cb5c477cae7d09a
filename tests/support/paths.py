"""Where things lie, for tests that read the repository."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).resolve().parent / "golden"
OFFLINE = Path(__file__).resolve().parent / "offline"  # its sitecustomize.py cuts the network off
