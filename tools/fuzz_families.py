"""What `fuzz` does with media, with the other files that people bring.

    python -m tools.fuzz --family states --count 300 --seed 7

playlists: texts that name other files, under the names of videos; none of those files may be opened.
clocks:    videos with odd clocks; the times of their frames must be right.
weights:   files of weights with strange tensors, names and configs, and damaged ones.
configs:   YAML files with absurd numbers, nesting, references and texts, and damaged ones.
states:    states of a training that is to be resumed, with parts of other kinds, and damaged ones.
names:     names of files; tables must be read again as they were written, and lines must be plain.
"""

from __future__ import annotations

import copy
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
import yaml
from PIL import Image
from safetensors.torch import save as save_tensors
from tqdm.auto import tqdm

from fomm_lib.checkpoints import describe
from fomm_lib.config import load_config
from fomm_lib.data.cleaning import FileReport
from fomm_lib.data.report import REPORT
from fomm_lib.data.tables import read_cells, write_cells
from fomm_lib.errors import InputError, printable
from fomm_lib.evaluation.comparison import markdown_table
from fomm_lib.family.config import family_config
from fomm_lib.family.training import train_family
from fomm_lib.files import data_path
from fomm_lib.media.video import VideoReader, read_image
from fomm_lib.model import FirstOrderMotionModel, load_model
from fomm_lib.training.state import StateFolder
from tools import fuzz
from tools.kills import small_config

Case = tuple[str, str, bytes]  # name, mutation, content

# --- values that no config and no state has -----------------------------------------------------------------

NUMBERS = [0, -1, 1, 2**31, 2**64, 10**12, 10**30, 10**5000, -(10**12), True]
NUMBERS += [0.0, -0.5, 1e-320, 5e-324, 1e20, 1e308, float("inf"), float("-inf"), float("nan")]
TEXTS = ["", "x", "1e9999", "\x1b[2J", "a\nb", "\u202e", "x" * 2_000_000, "../../etc/passwd"]


def strange(rng: np.random.Generator) -> Any:
    """A number, a text, or something nested."""
    kind = rng.integers(6)
    if kind < 3:
        return NUMBERS[rng.integers(len(NUMBERS))]
    if kind == 3:
        return TEXTS[rng.integers(len(TEXTS))]
    if kind == 4:
        value: Any = []
        for _ in range(rng.integers(1, 200)):
            value = [value] if rng.integers(2) else {"a": value}
        return value
    return [None, [], {}, [0] * 20_000, {"a": 1}, (1, 2)][rng.integers(6)]


def replaced(content: dict, rng: np.random.Generator, value: Any) -> str:
    """Put a value in a random place of nested dicts and lists, or remove what is there; gives the place."""
    where, names = content, []
    while True:
        keys = list(where) if isinstance(where, dict) else list(range(len(where)))
        key = keys[rng.integers(len(keys))]
        names.append(str(key))
        inner = where[key]
        if not isinstance(inner, (dict, list)) or not inner or rng.random() < 0.25:
            break
        where = inner
    if rng.random() < 0.15:
        del where[key]
    elif rng.random() < 0.1 and isinstance(where, dict):
        where[value if isinstance(value, (str, int, float, bool)) else "surplus"] = inner
    else:
        where[key] = value
    return ".".join(names)


def damaged(content: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """One of the mutations of `fuzz`."""
    mutate = fuzz.MUTATIONS[rng.integers(len(fuzz.MUTATIONS))]
    return mutate.__name__, bytes(mutate(bytearray(content), rng))


# --- playlists and clocks -----------------------------------------------------------------------------------

PLAYLISTS = [
    "ffconcat version 1.0\nfile '{other}'\n",
    "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{other}\n#EXT-X-ENDLIST\n",
    "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{this}\n",
    "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet><Representation id="0">'
    "<BaseURL>{other}</BaseURL></Representation></AdaptationSet></Period></MPD>",
    "<SmoothStreamingMedia><c n='0'>{other}</c></SmoothStreamingMedia>",
    "[playlist]\nFile1={other}\n",
    "# imf\n<AssetMap><Path>{other}</Path></AssetMap>",
    "ffmetadata\n;FFMETADATA1\ntitle={other}\n",
]
PLAYLIST_SUFFIXES = (
    ".mp4",
    ".m3u8",
    ".mov",
    ".mkv",
    ".txt",
    ".sdp",
    ".mpd",
    ".jpg",
    ".webm",
    ".gif",
    ".ffconcat",
)


def playlists(folder: Path, count: int, seed: int) -> Iterator[Case]:
    """Texts that name a good video beside them."""
    fuzz.make_files(folder)
    for number in range(count):
        rng = np.random.default_rng([seed, 1, number])
        suffix = PLAYLIST_SUFFIXES[rng.integers(len(PLAYLIST_SUFFIXES))]
        other = [
            str(folder / "a.mp4"),
            "a.mp4",
            f"file:{folder / 'a.mp4'}",
            f"subfile,,start,0,end,0,,:{folder}/a.mp4",
        ]
        text = PLAYLISTS[number % len(PLAYLISTS)]
        text = text.format(other=other[rng.integers(len(other))], this=f"mutant{suffix}")
        content, mutation = text.encode(), "whole"
        if rng.random() < 0.3:
            mutation, content = damaged(content, rng)
        yield f"list{suffix}", mutation, content


def _refuse(read: Callable[[str], object], path: str) -> None:
    try:
        read(path)
    except InputError:
        return
    raise AssertionError("a file that names other files was read")


def refuse_image(path: str) -> None:
    """`read_image` raises an `InputError`."""
    _refuse(read_image, path)


def refuse_video(path: str) -> None:
    """`VideoReader` raises an `InputError`."""
    _refuse(lambda name: list(VideoReader(name)), path)


def clocks(folder: Path, count: int, seed: int) -> Iterator[Case]:
    """Ten frames, 0.04 s apart, counted by clocks of 25 to ten million ticks a second."""
    ticks = [25, 50, 600, 1000, 12800, 44100, 90000, 1_000_000, 2_000_000, 3_000_000, 10_000_000, 27_000_000]
    for number in range(count):
        rng = np.random.default_rng([seed, 2, number])
        rate = ticks[number] if number < len(ticks) else 25 * int(10 ** rng.uniform(0, 5.6))
        suffix = (".mp4", ".mov")[rng.integers(2)]
        path = folder / f"clock{suffix}"
        with av.open(str(path), "w", options={"video_track_timescale": str(rate)}) as container:
            stream = container.add_stream("mjpeg", rate=25)  # MPEG-4 has no fine clocks
            stream.width = stream.height = fuzz.SIZE
            stream.pix_fmt = "yuvj420p"
            stream.time_base = stream.codec_context.time_base = Fraction(1, rate)
            for k in range(10):
                frame = av.VideoFrame.from_ndarray(np.full((fuzz.SIZE, fuzz.SIZE, 3), 20 * k, np.uint8))
                frame.pts, frame.time_base = k * rate // 25, Fraction(1, rate)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        yield path.name, f"{len(str(rate))} digits", path.read_bytes()


def right_times(path: str) -> None:
    """The ten frames are 0.04 s apart."""
    times = VideoReader(path).times
    if len(times) != 10 or any(abs(float(time) - k / 25) > 0.002 for k, time in enumerate(times)):
        raise AssertionError(f"the times are {[round(float(time), 4) for time in times]}")


# --- weights, configs, states -------------------------------------------------------------------------------

TENSORS: dict[str, Callable[[], Any]] = {
    "meta": lambda: torch.zeros(2, device="meta"),
    "sparse": lambda: torch.eye(3).to_sparse(),
    "quantized": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.quint8),
    "complex": lambda: torch.zeros(3, dtype=torch.complex64),
    "boolean": lambda: torch.zeros(3, dtype=torch.bool),
    "not finite": lambda: torch.full((3,), float("nan")),
    "expanded": lambda: torch.zeros(1).expand(10**9),
    "empty": lambda: torch.zeros(0),
    "of no dimension": lambda: torch.tensor(3.0),
    "no tensor": lambda: [1, 2],
}


def _saved(content: Any, zipped: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def weights(folder: Path, count: int, seed: int) -> Iterator[Case]:
    """Files of weights of both formats, with another tensor, name or config, or damaged."""
    torch.manual_seed(0)
    config = small_config()
    model = FirstOrderMotionModel(config)
    networks = {"generator": model.generator.state_dict(), "kp_detector": model.kp_detector.state_dict()}
    flat = {
        f"{name}.{key}": t.contiguous() for name, entries in networks.items() for key, t in entries.items()
    }
    said = config.model_dump(mode="json")
    for number in range(count):
        rng = np.random.default_rng([seed, 3, number])
        kind, zipped = number % 5, bool(rng.integers(2))
        if kind == 0:
            whole = _saved(networks, zipped)
            mutation, content = damaged(whole, rng)
            yield "cpk.pth.tar", mutation, content
        elif kind == 1:
            mutation, content = damaged(save_tensors(flat, {"config": config.model_dump_json()}), rng)
            yield "a.safetensors", mutation, content
        elif kind == 2:
            name = list(TENSORS)[rng.integers(len(TENSORS))]
            changed = {network: dict(entries) for network, entries in networks.items()}
            changed["generator"]["final.bias"] = TENSORS[name]()
            yield "cpk.pth.tar", name, _saved(changed, zipped)
        elif kind == 3:
            changed = copy.copy(networks)
            value = {f"{'ab'[rng.integers(2)]}{i}": torch.zeros(0) for i in range(10 ** rng.integers(1, 5))}
            odd = [3, None, (1, 2), "\x1b[2J", 2.5, b"x", value, [networks]][rng.integers(8)]
            if isinstance(odd, (dict, list)):
                changed["kp_detector"] = odd
            else:
                changed["generator"] = {**networks["generator"], odd: torch.zeros(1)}
            yield "cpk.pth.tar", "odd names", _saved(changed, zipped)
        else:
            inside = copy.deepcopy(said)
            replaced(inside, rng, strange(rng))
            yield "a.safetensors", "config inside", save_tensors(flat, {"config": _json(inside)})


def _json(content: Any) -> str:
    import json
    import sys

    sys.set_int_max_str_digits(0)  # in this process, so that longer numbers can be written
    return json.dumps(content, default=str)


def build(path: str) -> None:
    """`load_model`, with a config for the files that have none inside."""
    load_model(path, small_config() if path.endswith(".tar") else None, device="cpu")


def configs(folder: Path, count: int, seed: int) -> Iterator[Case]:
    """YAML files with a strange value, with references, of another tag, or damaged."""
    good = data_path("configs", "heads-64.yaml").read_bytes()
    for number in range(count):
        rng = np.random.default_rng([seed, 4, number])
        if number % 3 == 0:
            mutation, content = damaged(good, rng)
        elif number % 3 == 1:
            inside = yaml.safe_load(good)
            mutation = "strange value"
            replaced(inside, rng, strange(rng))
            content = _json(inside).encode()  # which is YAML too
        else:
            mutation, text = list(ODD_YAML.items())[rng.integers(len(ODD_YAML))]
            content = text.encode()
        yield "a.yaml", mutation, content


ODD_YAML = {
    "references": "a0: &a0 [1, 1]\n" + "".join(f"a{i}: &a{i} [{f'*a{i - 1}, ' * 9}]\n" for i in range(1, 30)),
    "merges": "a0: &a0 {x: 1}\n"
    + "".join(f"a{i}: &a{i} {{<<: [{f'*a{i - 1}, ' * 9}]}}\n" for i in range(1, 30)),
    "a reference to itself": "model_params: &a\n  common_params: *a\n",
    "deep lists": "a: " + "[" * 50_000,
    "deep sections": "".join(" " * i + f"a{i}:\n" for i in range(1000)),
    "sexagesimal": "model_params: {common_params: {num_kp: 1" + ":59" * 5000 + "}}",
    "hexadecimal": "model_params: {common_params: {num_kp: 0x" + "f" * 9000 + "}}",
    "tag int": "model_params: !!int ''",
    "tag float": "model_params: !!float 'x'",
    "tag bool": "model_params: !!bool 'x'",
    "tag timestamp": "model_params: !!timestamp 'x'",
    "tag python": "model_params: !!python/object/apply:os.system ['true']",
    "tag set": "model_params: !!set {a, b}",
    "a date": "model_params: 2001-99-99",
    "keys": "{1: 2, null: 3, [a]: 4, 1.5: 6, yes: 7}",
    "a long key": "? " + "k" * 500_000 + "\n: 1",
    "two megabytes": "a: " + "x" * (2 << 20),
    "several files": "---\na: 1\n---\nb: 2\n",
}


def states(folder: Path, count: int, seed: int) -> Iterator[Case]:
    """States of a training with a strange value or tensor somewhere, of another kind, or damaged."""
    good = _good_state(folder)
    for number in range(count):
        rng = np.random.default_rng([seed, 5, number])
        content, mutation = copy.deepcopy(good), "strange value"
        if number % 3 == 0:
            mutation, whole = damaged(_saved(content), rng)
            yield "state.pt", mutation, whole
            continue
        if number % 3 == 1:
            value = strange(rng)
        else:
            mutation = list(TENSORS)[rng.integers(len(TENSORS))]
            value = TENSORS[mutation]()
        replaced(content, rng, value)
        try:
            whole = _saved(content)
        except Exception:  # what cannot be written is no file
            whole = _saved({"step": 4})
        yield "state.pt", mutation, whole


def _training(folder: Path, **options: Any) -> None:
    """A training of eight pixels, in `folder/run`."""
    images = folder / "images"
    if not images.exists():
        images.mkdir(parents=True)
        for number in range(4):
            Image.fromarray(np.full((8, 8, 3), 60 * number, np.uint8)).save(images / f"{number}.png")
    small = family_config("progressive", size=8, batch_size=2, steps=2)
    networks = {name: {"width": [4, 4]} for name in ("generator", "discriminator")}
    networks["generator"]["latent"] = 4
    small = small.model_copy(update={"networks": networks, "fade": 2, "stable": 2})
    train_family(small, images, folder / "run", device="cpu", progress=False, **options)


def _good_state(folder: Path) -> dict:
    _training(folder)
    return torch.load(StateFolder(folder / "run" / "states").newest(), weights_only=True)


def resume(path: str) -> None:
    """Go on with a training whose newest state this is."""
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "run" / "states").mkdir(parents=True)
        shutil.copy(path, Path(name, "run", "states", "step-0000002.pt"))
        _training(Path(name), resume=True)
        hidden = [path.name for path in Path(name, "run").rglob(".*")]
        if hidden:
            raise AssertionError(f"{hidden} are left")


# --- names ----------------------------------------------------------------------------------------------

PARTS = [
    "a",
    "=1+1",
    "+",
    "-",
    "@",
    "'",
    '"',
    ",",
    ";",
    "\n",
    "\r",
    "\r\n",
    "\t",
    " ",
    "|",
    "`",
    "<b>",
    "&",
    "\\",
]
PARTS += [
    "\x1b[31m",
    "\x07",
    "\x9b",
    "\u202e",
    "\u2028",
    "\x85",
    "\ufeff",
    "ü",
    "日本",
    "😀",
    "*",
    "[x](y)",
    "#",
]
PARTS += [os.fsdecode(b"\xff"), os.fsdecode(b"\xe9t\xe9"), "%d", "{}", "$(x)", "--", ".."]


def names(folder: Path, count: int, seed: int) -> Iterator[Case]:
    """Names of one to six parts, each of which has caused trouble somewhere."""
    for number in range(count):
        rng = np.random.default_rng([seed, 6, number])
        name = "".join(PARTS[rng.integers(len(PARTS))] for _ in range(rng.integers(1, 7)))
        yield "name.txt", "name", os.fsencode(name)


def tables_of_names(path: str) -> None:
    """A name comes back out of tables, and does nothing to a terminal or a page."""
    name = os.fsdecode(Path(path).read_bytes())
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "a.csv")
        REPORT.write(table, [FileReport(name, "fit", name)])
        assert [(row.file, row.reason) for row in REPORT.read(table)] == [(name, name)], "the report differs"
        write_cells(table, [["x", "name"], ["1", name]], overwrite=True)
        assert [row["name"] for _, row in read_cells(table, "a table")] == [name], "the cells differ"
        video = Path(folder, name.replace("/", "").replace("\0", "") or "x")
        if not video.exists():
            video.write_bytes(b"no image")
            _refuse(read_image, str(video))
    shown = printable(name)
    assert shown.isprintable() and shown == printable(shown), "the line is not plain"
    (line,) = markdown_table(["a", "b"], [[name, "x"]]).splitlines()[2:]
    assert "<b>" not in line and line.replace("\\\\", "").replace("\\|", "").count("|") == 3, "no cell"


# --- all of it ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Family:
    """Cases, and who reads them."""

    cases: Callable[[Path, int, int], Iterator[Case]]
    readers: dict[str, Callable[[str], object]]


FAMILIES = {
    "playlists": Family(playlists, {"image": refuse_image, "video": refuse_video}),
    "clocks": Family(clocks, {"times": right_times}),
    "weights": Family(weights, {"describe": describe, "build": build}),
    "configs": Family(configs, {"config": load_config}),
    "states": Family(states, {"resume": resume}),
    "names": Family(names, {"tables": tables_of_names}),
}


def fuzz_family(
    family: str, count: int, seed: int = 0, keep: Path | None = None, progress: bool = True
) -> fuzz.Report:
    """Read `count` cases of a family; those that cause a fault are kept as files in `keep`."""
    with tempfile.TemporaryDirectory() as folder:
        chosen = FAMILIES[family]
        cases = tqdm(chosen.cases(Path(folder), count, seed), total=count, unit="file", disable=not progress)
        kept = None if keep is None else keep / f"{family}-{seed}"
        return fuzz.read_cases(cases, Path(folder), chosen.readers, kept)


def fuzz_all(family: str, count: int, seed: int, keep: Path | None = None) -> dict[str, fuzz.Report]:
    """The reports of media, of another family, or of "all"."""
    chosen = ["media", *FAMILIES] if family == "all" else [family]
    return {
        name: fuzz.fuzz(count, seed, keep) if name == "media" else fuzz_family(name, count, seed, keep)
        for name in chosen
    }
