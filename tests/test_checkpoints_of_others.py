"""`checkpoints`: what files of unknown origin may hold; each is refused in one line and in bounded time."""

from __future__ import annotations

import json
import os
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from fomm_lib import checkpoints as module
from fomm_lib.checkpoints import convert, describe, read_checkpoint, write_weights
from fomm_lib.errors import InputError
from fomm_lib.model import load_model
from tests.support.small_model import small_config, small_model

BOTH_SERIALISATIONS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before-zip"])
TWO = ("generator", "kp_detector")


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def networks(model):
    return {name: getattr(model, name).state_dict() for name in TWO}


STRANGE = {
    "meta": lambda: torch.zeros(2, device="meta"),
    "sparse": lambda: torch.eye(3).to_sparse(),
    "compressed": lambda: torch.eye(3).to_sparse_csr(),
    "quantized": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.quint8),
    "complex": lambda: torch.zeros(3, dtype=torch.complex64),
    "boolean": lambda: torch.zeros(3, dtype=torch.bool),
    "larger than its numbers": lambda: torch.zeros(1).expand(10**9),
}


@BOTH_SERIALISATIONS
@pytest.mark.parametrize("kind", STRANGE)
def test_tensors_of_other_kinds_are_one_line(tmp_path, networks, kind, zipped):
    path = tmp_path / "cpk.pth.tar"
    generator = {**networks["generator"], "final.bias": STRANGE[kind]()}
    torch.save({**networks, "generator": generator}, path, _use_new_zipfile_serialization=zipped)
    for read in (read_checkpoint, describe):
        with pytest.raises(InputError, match=r"generator\.final\.bias (is no array|says that)|is damaged"):
            read(path)


@pytest.mark.parametrize("name", [3, None, 2.5, True, b"x", (1, 2)], ids=repr)
def test_names_that_are_no_texts_are_one_line(tmp_path, networks, name):
    path = tmp_path / "cpk.pth.tar"
    torch.save({**networks, "generator": {**networks["generator"], name: torch.zeros(1)}}, path)
    with pytest.raises(InputError, match=r"whose name is no text|is damaged"):
        read_checkpoint(path)


@BOTH_SERIALISATIONS
def test_hundreds_of_thousands_of_tensors_are_counted_not_read(tmp_path, networks, zipped, monkeypatch):
    path = tmp_path / "cpk.pth.tar"
    many = {f"x{number}": torch.zeros(0) for number in range(15_000)}
    torch.save({**networks, "generator": many}, path, _use_new_zipfile_serialization=zipped)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was read"))
    monkeypatch.setattr(module, "_MAX_CALLS", 20_000)
    with pytest.raises(InputError, match="has more parts than a file of weights has"):
        read_checkpoint(path)


def test_too_many_tensors_of_safetensors(tmp_path, monkeypatch, networks):
    path = tmp_path / "a.safetensors"
    save_file({f"generator.x{number}": torch.zeros(0) for number in range(30)}, path)
    monkeypatch.setattr(module, "MAX_ENTRIES", 20)
    with pytest.raises(InputError, match="has 30 tensors, more than any model of this kind"):
        read_checkpoint(path)
    torch.save(
        {**networks, "generator": {f"x{n}": torch.zeros(0) for n in range(30)}}, tmp_path / "a.pth.tar"
    )
    with pytest.raises(InputError, match=r"has (30 tensors|more parts)"):
        read_checkpoint(tmp_path / "a.pth.tar")


def test_a_file_that_is_packed_is_not_unpacked(tmp_path, networks):
    torch.save(networks, tmp_path / "a.pth.tar")
    with (
        zipfile.ZipFile(tmp_path / "a.pth.tar") as whole,
        zipfile.ZipFile(tmp_path / "b.pth.tar", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in whole.namelist():
            packed.writestr(name, whole.read(name))
    with pytest.raises(InputError, match="is packed, unlike what PyTorch writes; unpack it first"):
        read_checkpoint(tmp_path / "b.pth.tar")


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        '{"a": ' * 2000 + "1" + "}" * 2000,
        '{"a": ' + "9" * 5000 + "}",
        '{"a": "' + "x" * 2**21 + '"}',
    ],
    ids=["deep lists", "deep sections", "a long number", "a long text"],
)
def test_a_config_inside_without_bounds_is_one_short_line(tmp_path, networks, content):
    path = tmp_path / "bad.safetensors"
    tensors = {f"{name}.{key}": t for name in TWO for key, t in networks[name].items()}
    save_file(tensors, path, metadata={"config": content})
    with pytest.raises(InputError, match=r"bad\.safetensors: the config inside cannot be used") as error:
        describe(path)
    assert len(str(error.value)) < 600 and str(error.value).isprintable()


def test_info_shows_what_others_wrote_and_does_no_more(tmp_path, networks, model):
    path = tmp_path / "a.safetensors"
    notes = {"made by": "\x1b[2J\nconfig: mine", "\x1b]0;title\x07": "x", "long": "y" * 10**6}
    write_weights(path, networks, model.config, notes=notes)
    lines = describe(path).splitlines()
    assert all(line.isprintable() and len(line) < 700 for line in lines)
    assert sum("config: " in line and not line.startswith("  made by") for line in lines) == 1


def test_networks_are_compared_before_they_are_built(tmp_path, networks, monkeypatch):
    """A config may describe networks that fill the memory; the file beside it is small."""
    config = small_config().model_dump()
    config["model_params"]["generator_params"]["num_bottleneck_blocks"] = 100
    config["model_params"]["generator_params"]["block_expansion"] = 8192
    config["model_params"]["generator_params"]["max_features"] = 8192
    path = tmp_path / "a.safetensors"
    tensors = {f"{name}.{key}": t.contiguous() for name in TWO for key, t in networks[name].items()}
    save_file(tensors, path, metadata={"config": json.dumps(config)})
    with pytest.raises(InputError, match=r"the weights of generator do not fit the config; \d+ missing"):
        load_model(path)  # float32 weights of these layers would take 240 GB


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit")
@pytest.mark.parametrize("name", ["b.safetensors", "b.pth.tar"])
def test_convert_on_a_full_disk_is_one_line(tmp_path, networks, model, name):
    import resource

    write_weights(tmp_path / "a.safetensors", networks, model.config)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))  # the config beside b.pth.tar fits
    try:
        with pytest.raises(InputError, match=rf"{name}: cannot be written \(.*\); make room"):
            convert(tmp_path / "a.safetensors", tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_tensor_out_of_a_state_of_nothing(tmp_path):
    with pytest.raises(InputError, match=r"none\.pt: no such file; check the path"):
        module.read_tensors(tmp_path / "none.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(InputError, match="holds a list, not a dict"):
        module.read_tensors(tmp_path / "list.pt")
