"""Files of weights: our safetensors, and the published `.pth.tar` files, which are pickles: they are read as
data and never executed.
"""

from __future__ import annotations

import io
import itertools
import os
import pickle
import pickletools
import re
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from fomm_lib.config import Config, load_config, published_content
from fomm_lib.documents import read_json, shown
from fomm_lib.errors import InputError, error_text, printable
from fomm_lib.files import atomic_output, check_name, data_path
from fomm_lib.releases import importing

with importing("torch"):
    import torch
    from torch import Tensor, nn
with importing("pydantic"):
    from pydantic import BaseModel

NETWORKS = ("generator", "kp_detector", "discriminator")
_FORMAT = "fomm-lib weights 1"
MAX_ENTRIES = 20_000
"""How many tensors a file of weights may have; the published files have less than 3,000."""
_DTYPES = {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64, torch.int32, torch.uint8}
_NAMED = 2  # how many entries of each kind an error message names; it counts the others


@dataclass
class Checkpoint:
    """The content of a file of weights.

    Attributes:
        networks: {network: {entry: tensor}}, with `generator`, `kp_detector` and perhaps `discriminator`.
        config: of the model; None for published files, which contain none.
        notes: other texts stored with the weights, e.g. command and seed.
        training: the rest of a published file: optimizers and epoch.
    """

    networks: dict[str, dict[str, Tensor]]
    config: Config | None = None
    notes: dict[str, str] = field(default_factory=dict)
    training: dict = field(default_factory=dict)


def weights_path(name: str | os.PathLike) -> Path:
    """The path of a file of weights, from its path, the folder of a training, or a name in `data/weights`.

    Raises:
        InputError: there is no such file, or the folder holds several, or an exported model.

    Example:
        >>> weights_path("heads-64").name
        'heads-64.safetensors'
    """
    path = Path(name)
    check_name(name)
    if path.is_file():
        return path
    shipped = data_path("weights", f"{str(name).removesuffix('.safetensors')}.safetensors")
    if os.path.isfile(shipped):  # not where the ending makes the name too long
        return shipped
    if path.is_dir():
        return _weights_in(path)
    names = ", ".join(shipped_weights()) or "none"
    raise InputError(f"{name}: no such file of weights; shipped ones by name: {names}")


def shipped_weights() -> list[str]:
    """The names of the weights in `data/weights`.

    Example:
        >>> "heads-64" in shipped_weights()
        True
    """
    return sorted(path.stem for path in data_path("weights").glob("*.safetensors"))


def _weights_in(folder: Path) -> Path:
    """`weights.safetensors`, which training writes, or the only file of weights in the folder."""
    if (folder / "weights.safetensors").is_file():
        return folder / "weights.safetensors"
    files = sorted(p for p in folder.iterdir() if p.name.endswith((".safetensors", ".pth.tar")))
    if len(files) == 1:
        return files[0]
    if (folder / "generate.onnx").is_file():
        raise InputError(f"{folder}: holds an exported model; choose backend onnxruntime or openvino for it")
    names = ", ".join(p.name for p in files) or "none"
    raise InputError(f"{folder}: should hold one file of weights; it holds {names}")


def read_checkpoint(path: str | os.PathLike) -> Checkpoint:
    """Read one of our `.safetensors` or a published `.pth.tar`; nothing in the file is executed.

    Args:
        path: see `weights_path`.
    Raises:
        InputError: the file is not a file of weights, is damaged, is a pickle that asks for code, or has no
            generator or kp_detector.

    Example:
        >>> checkpoint = read_checkpoint("heads-64")
        >>> checkpoint.config.dataset_params.frame_shape
        (64, 64, 3)
    """
    path = weights_path(path)
    try:
        with open(path, "rb") as file:
            head = file.read(16)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    # A safetensors file begins with eight bytes, the length of its header, and then "{".
    checkpoint = _read_safetensors(path) if head[8:9] == b"{" else _read_pickle(path)
    missing = {"generator", "kp_detector"} - set(checkpoint.networks)
    if missing:
        raise InputError(
            f"{path}: has no {' and no '.join(sorted(missing))}; it is no checkpoint of this model"
        )
    return checkpoint


def write_weights(
    path: str | os.PathLike,
    networks: dict[str, dict[str, Tensor]],
    config: BaseModel,
    *,
    dtype: torch.dtype | None = torch.float16,
    notes: dict[str, str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a `.safetensors` with the config inside.

    Args:
        networks: {network: state_dict}.
        config: of the networks, e.g. a `Config`.
        dtype: of floating-point entries; None keeps theirs. float16 halves the file without a visible change
            of predicted 8-bit images.
        notes: texts to store with the weights.
        overwrite: whether an existing file may be replaced.
    Raises:
        InputError: see `files.atomic_output`; or the name has another suffix, or a value is not finite or too
            large for `dtype`.

    Example:
        >>> networks = read_checkpoint("heads-64").networks
        >>> write_weights("copy.safetensors", networks, load_config("heads-64")).name
        'copy.safetensors'
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise InputError(f"{path}: weights are written as .safetensors; give a name that ends so")
    tensors = {
        f"{network}.{entry}": _converted(tensor, dtype, f"{network}.{entry}")
        for network, entries in networks.items()
        for entry, tensor in entries.items()
    }
    metadata = {name: str(note) for name, note in (notes or {}).items()}
    metadata |= {"format": _FORMAT, "config": config.model_dump_json()}
    with atomic_output(path, overwrite) as temporary:
        temporary.write_bytes(save(tensors, metadata))
    return path


def _converted(tensor: Tensor, dtype: torch.dtype | None, name: str) -> Tensor:
    """A copy in the dtype to write; checks that its numbers are finite."""
    tensor = tensor.detach().cpu()
    if not tensor.is_floating_point():
        return tensor.contiguous().clone()
    if not torch.isfinite(tensor).all():
        raise InputError(f"{name}: has values that are not finite; the training that made it went wrong")
    converted = tensor.to(dtype or tensor.dtype)
    if not torch.isfinite(converted).all():
        raise InputError(f"{name}: has values too large for {_short(converted.dtype)}; write float32 instead")
    return converted.contiguous().clone()


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def load_network(network: nn.Module, entries: dict[str, Tensor], name: str) -> None:
    """`network.load_state_dict(entries, strict=True)`, but nothing is loaded unless everything fits.

    Args:
        network: the network to load into.
        entries: its state_dict.
        name: what the error message calls the network.
    Raises:
        InputError: entries are missing, unexpected or of another shape; the line counts them and names the
            first few.

    Example:
        >>> load_network(torch.nn.Linear(2, 1), {}, "a layer")
        Traceback (most recent call last):
        ...
        fomm_lib.errors.InputError: the weights of a layer do not fit the config; 2 missing: weight, bias
    """
    check_entries(network, entries, name)
    network.load_state_dict(entries, strict=True)


def check_entries(network: nn.Module, entries: dict[str, Tensor], name: str) -> None:
    """Check that entries fit a network. It may be one without memory, made under `torch.device("meta")`.

    Args:
        network, entries, name: as in `load_network`.
    Raises:
        InputError: as in `load_network`.

    Example:
        >>> with torch.device("meta"):
        ...     network = torch.nn.Linear(2, 1)
        >>> check_entries(network, torch.nn.Linear(2, 1).state_dict(), "a layer")
    """
    wanted = network.state_dict()
    problems = []
    missing = [entry for entry in wanted if entry not in entries]
    unexpected = [entry for entry in entries if entry not in wanted]
    shapes = [
        f"{entry} is {tuple(entries[entry].shape)}, should be {tuple(wanted[entry].shape)}"
        for entry in wanted
        if entry in entries and entries[entry].shape != wanted[entry].shape
    ]
    for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes)):
        if names:
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            some = ", ".join(printable(entry, 200) for entry in names[:_NAMED])
            problems.append(f"{len(names)} {what}: {some}{more}")
    if problems:
        raise InputError(f"the weights of {name} do not fit the config; {'; '.join(problems)}")


def convert(
    source: str | os.PathLike,
    output: str | os.PathLike,
    config: str | os.PathLike | None = None,
    *,
    half: bool = True,
    align_corners: bool | None = None,
    overwrite: bool = False,
) -> Path:
    """Convert weights to a `.safetensors` with its config inside, or to the published form.

    Args:
        source: see `weights_path`.
        output: ends in `.safetensors`, or for the published form in `.pth.tar`; see `write_published`.
        config: needed for published files, which contain none.
        half: whether to write float16 into a `.safetensors`; otherwise the entries keep their dtype.
        align_corners: of the config that is written, if it shall be another; see `geometry`.
        overwrite: whether existing files may be replaced.
    Returns:
        The path of the output.
    Raises:
        InputError: see `read_checkpoint`, `write_weights` and `write_published`; or there is no config.

    Example:
        >>> convert("heads-64", "converted.safetensors").name
        'converted.safetensors'
    """
    checkpoint = read_checkpoint(source)
    config = load_config(config) if config is not None else checkpoint.config
    if config is None:
        raise InputError(
            f"{source}: has no config inside; name the one it was trained with, e.g. --config vox-adv-256"
        )
    if align_corners is not None:
        config = config.model_copy(deep=True)
        config.model_params.align_corners = align_corners
    if Path(output).name.endswith(".pth.tar"):
        return write_published(output, checkpoint.networks, config, checkpoint.training, overwrite=overwrite)
    dtype = torch.float16 if half else None
    return write_weights(
        output, checkpoint.networks, config, dtype=dtype, notes=checkpoint.notes, overwrite=overwrite
    )


def write_published(
    path: str | os.PathLike,
    networks: dict[str, dict[str, Tensor]],
    config: Config,
    training: dict | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Write a `.pth.tar` as the authors' code reads it, and the YAML that it wants beside it: `x.yaml`.

    The file holds {network: state_dict} in float32, under the published names, and `epoch`; in the older
    serialisation, which all versions of PyTorch read. Optimizers are in it only if they were in the file that
    the weights come from; without them the published code uses the weights, but does not train on from them.

    On versions of PyTorch after 1.2 that code samples with `align_corners=False`, unless it was changed, and
    the weights here were trained with True. So its images differ from those of this library; they agree if
    this library samples as it does, by `fomm animate --align-corners false`.

    Args:
        path: ends in `.pth.tar`.
        networks: {network: state_dict}.
        config: of the networks; see `config.published_content`.
        training: the rest of a published file: optimizers and epoch; by default epoch 0.
        overwrite: whether existing files may be replaced.
    Raises:
        InputError: see `files.atomic_output`; or a value is not finite.

    Example:
        >>> checkpoint = read_checkpoint("heads-64")
        >>> write_published("heads-64.pth.tar", checkpoint.networks, checkpoint.config).name
        'heads-64.pth.tar'
    """
    path = Path(path)
    content = {
        network: {entry: _converted(tensor, torch.float32, entry) for entry, tensor in entries.items()}
        for network, entries in networks.items()
    }
    content |= {"epoch": 0, **(training or {})}
    text = yaml.safe_dump(published_content(config), sort_keys=False)
    sidecar = path.with_name(f"{path.name.removesuffix('.pth.tar')}.yaml")
    with atomic_output(sidecar, overwrite) as described, atomic_output(path, overwrite) as temporary:
        described.write_text(text, encoding="utf-8")
        torch.save(content, temporary, _use_new_zipfile_serialization=False)
    return path


def describe(path: str | os.PathLike) -> str:
    """A readable summary of a file of weights, as `fomm info` prints it.

    Example:
        >>> print(describe("heads-64").splitlines()[3])
          config: 64x64 pixels, 10 keypoints, first order
    """
    path = weights_path(path)
    checkpoint = read_checkpoint(path)
    lines = [f"{printable(path)} ({path.stat().st_size / 1e6:.1f} MB)"]
    for network, entries in checkpoint.networks.items():
        dtypes = sorted({_short(t.dtype) for t in entries.values() if t.is_floating_point()})
        numbers = sum(t.numel() for t in entries.values())
        lines.append(f"  {network}: {len(entries)} entries, {numbers:,} numbers, {' and '.join(dtypes)}")
    if checkpoint.config is None:
        lines.append("  config: none inside; name it with --config when you use the file")
    else:
        common = checkpoint.config.model_params.common_params
        height, width, _ = checkpoint.config.dataset_params.frame_shape
        order = "first" if common.estimate_jacobian else "zeroth"
        lines.append(f"  config: {width}x{height} pixels, {common.num_kp} keypoints, {order} order")
    for key, value in {**checkpoint.notes, **checkpoint.training}.items():
        value = shown(value) if isinstance(value, (int, float)) else value
        value = printable(value, 500) if isinstance(value, str) else "present"
        lines.append(f"  {printable(key, 100) if isinstance(key, str) else shown(key)}: {value}")
    return "\n".join(lines)


def read_safetensors(path: str | os.PathLike) -> tuple[dict[str, dict[str, Tensor]], dict[str, str]]:
    """The networks and the texts in a `.safetensors` that `write_weights` wrote.

    Returns:
        {network: {entry: tensor}}, and the texts: "config" (JSON) and the notes.

    Raises:
        InputError: the file is damaged, or another kind of file.

    Example:
        >>> networks, texts = read_safetensors(weights_path("heads-64"))
        >>> sorted(networks)
        ['generator', 'kp_detector']
    """
    networks: dict[str, dict[str, Tensor]] = {}
    try:
        with _in_unicode(path) as name, safe_open(name, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            _check_count(path, keys := file.keys())
            for key in keys:
                network, _, entry = key.partition(".")
                networks.setdefault(network, {})[entry] = file.get_tensor(key)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: is damaged, or not a safetensors file ({error_text(error)})") from error
    metadata.pop("format", None)
    for network, entries in networks.items():
        check_tensors(path, network, entries)
    return networks, metadata


@contextmanager
def _in_unicode(path: str | os.PathLike) -> Iterator[str]:
    """The path of a file, or of a link to it where the path is not UTF-8, which safetensors cannot open."""
    try:
        os.fspath(path).encode()
        yield os.fspath(path)
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory(prefix="fomm-") as folder:
            link = os.path.join(folder, "weights.safetensors")
            os.symlink(os.path.abspath(path), link)
            yield link


def _read_safetensors(path: Path) -> Checkpoint:
    networks, metadata = read_safetensors(path)
    config = None
    if "config" in metadata:
        try:
            content = read_json(metadata.pop("config"), "config")
            if "system" in content:
                raise InputError(f"it is of {printable(content['system'], 100)}; see fomm family --help")
            config = load_config(content)
        except InputError as error:
            raise InputError(f"{path}: the config inside cannot be used ({error})") from error
    return Checkpoint(networks, config, metadata)


def _read_pickle(path: Path) -> Checkpoint:
    content = read_tensors(path)
    networks = {}
    for network in NETWORKS:
        if network in content:
            entries = content.pop(network)
            check_tensors(path, network, entries)
            _check_count(path, entries)
            networks[network] = dict(entries)
    return Checkpoint(networks, training=content)


def _check_count(path: Path, entries: Sized) -> None:
    if len(entries) > MAX_ENTRIES:
        raise InputError(f"{path}: has {len(entries)} tensors, more than any model of this kind")


def check_tensors(where: str | os.PathLike, network: str, entries: dict[str, Tensor]) -> None:
    """Check that all are arrays of numbers in memory, which are as large as they say.

    Args:
        where: what the error message begins with, e.g. the path.
        network: its name, for the message.
        entries: of the network.
    Raises:
        InputError: it is no dict of tensors; one of them is sparse, quantized, complex, nested or on no
            device, or its name is no text.

    Example:
        >>> check_tensors("a.pth.tar", "generator", {"weight": torch.ones(2)})
    """
    if not isinstance(entries, dict) or not all(isinstance(one, Tensor) for one in entries.values()):
        raise InputError(f"{where}: {network} is not a dict of tensors")
    for name, tensor in entries.items():
        if not isinstance(name, str):
            raise InputError(f"{where}: {network} has an entry {shown(name)}, whose name is no text")
        this = f"{where}: {printable(f'{network}.{name}', 200)}"
        kind = tensor.layout, tensor.device.type, tensor.is_nested
        if kind != (torch.strided, "cpu", False) or tensor.dtype not in _DTYPES:
            kind = tensor.device.type if tensor.is_meta else f"{_short(tensor.layout)} {_short(tensor.dtype)}"
            raise InputError(f"{this} is no array of numbers ({kind}); save it as float32")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise InputError(f"{this} says that it is larger than its numbers are; the file is damaged")


# --- pickles that PyTorch writes ----------------------------------------------------------------------------

# What PyTorch reads in a few seconds: a published file has 26,000 instructions, 1,600 of them calls.
_MAX_INSTRUCTIONS, _MAX_CALLS = 400_000, 40_000
_CALLS = {"REDUCE", "NEWOBJ", "BUILD", "BINPERSID"}
_MAX_PICKLE = 1 << 24


def read_tensors(path: str | os.PathLike) -> dict:
    """The dict in a file of `torch.save`, on the CPU. No code in the file is executed.

    Raises:
        InputError: the file is damaged, no such file, asks for code, or would take long to read.

    Example:
        >>> torch.save({"step": 3}, "state.pt")
        >>> read_tensors("state.pt")
        {'step': 3}
    """
    try:
        if not os.path.isfile(path):
            raise InputError(f"{path}: no such file; check the path")
        _check_instructions(path)
        with warnings.catch_warnings():  # of kinds of tensors that are refused below
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error_text(error)})") from error
    except Exception as error:  # torch raises RuntimeError, EOFError, KeyError, ... on damaged files
        # GLOBAL is the instruction of a pickle that asks for a function or a class by its name.
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        if isinstance(error, pickle.UnpicklingError) and asked:
            raise InputError(
                f"{path}: asks for {asked[1]}, which is code, not weights; it was not loaded"
            ) from None
        raise InputError(
            f"{path}: is not a file of weights, or is damaged ({type(error).__name__})"
        ) from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a {type(content).__name__}, not a dict of networks")
    return dict(content)


def _check_instructions(path: str | os.PathLike) -> None:
    """Count what the pickle in a file asks for, before anything is done; it may be made to take for ever."""
    with open(path, "rb") as file:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
                if packed or sum(member.file_size for member in members) > os.path.getsize(path):
                    raise InputError(f"{path}: is packed, unlike what PyTorch writes; unpack it first")
                named = [member for member in members if member.filename.endswith("/data.pkl")]
                streams = [io.BytesIO(archive.read(m)) for m in named if m.file_size <= _MAX_PICKLE]
                if len(streams) < len(named) or len(members) > 2 * MAX_ENTRIES:
                    raise InputError(f"{path}: has more parts than a file of weights has")
        else:
            file.seek(0)
            streams = [file] * 4  # magic number, version and byte order come first, each a pickle
        instructions = itertools.chain.from_iterable(map(pickletools.genops, streams))
        calls = 0
        for number, (instruction, *_) in enumerate(instructions):
            calls += instruction.name in _CALLS
            if number > _MAX_INSTRUCTIONS or calls > _MAX_CALLS:
                raise InputError(f"{path}: has more parts than a file of weights has")
