"""`checkpoints`: published files and ours, damaged files, and files that would run code."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fomm_lib.checkpoints import (
    convert,
    describe,
    load_network,
    read_checkpoint,
    weights_path,
    write_weights,
)
from fomm_lib.errors import InputError
from fomm_lib.model import build_discriminator
from tests.support.small_model import small_config, small_model

BOTH_SERIALISATIONS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before-zip"])


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def networks(model):
    discriminator = build_discriminator(model.config)
    return {
        "generator": model.generator.state_dict(),
        "kp_detector": model.kp_detector.state_dict(),
        "discriminator": discriminator.state_dict(),
    }


def published(networks: dict, names: tuple[str, ...], optimizers: bool) -> dict:
    """A dict as the authors' training saved it."""
    content = {name: networks[name] for name in names}
    if optimizers:
        for name in names:
            parameter = torch.nn.Parameter(torch.rand(3))
            optimizer = torch.optim.Adam([parameter], lr=2e-4, betas=(0.5, 0.999))
            parameter.sum().backward()
            optimizer.step()
            content[f"optimizer_{name}"] = optimizer.state_dict()
        content["epoch"] = 99
    return content


def save(content: object, path: Path, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def same(ours: dict, theirs: dict) -> bool:
    return list(ours) == list(theirs) and all(torch.equal(ours[name], theirs[name]) for name in theirs)


TWO, THREE = ("generator", "kp_detector"), ("generator", "kp_detector", "discriminator")


# --- published files ----------------------------------------------------------------------------------------


@BOTH_SERIALISATIONS
@pytest.mark.parametrize("names", [TWO, THREE])
@pytest.mark.parametrize("optimizers", [False, True])
def test_published_files(tmp_path, networks, zipped, names, optimizers):
    path = save(published(networks, names, optimizers), tmp_path / "vox-cpk.pth.tar", zipped)
    assert (path.read_bytes()[:2] == b"PK") is zipped
    checkpoint = read_checkpoint(path)
    assert tuple(checkpoint.networks) == names
    for name in names:
        assert same(checkpoint.networks[name], networks[name])
    assert checkpoint.config is None and checkpoint.notes == {}
    expected = {"epoch", *(f"optimizer_{name}" for name in names)} if optimizers else set()
    assert set(checkpoint.training) == expected
    if optimizers:
        assert checkpoint.training["epoch"] == 99
        assert checkpoint.training["optimizer_generator"]["param_groups"][0]["betas"] == (0.5, 0.999)


def test_tensors_on_a_gpu_come_to_the_cpu(tmp_path, networks):
    # A pickle says where a tensor was: make one that says cuda:0, without having one.
    path = save(published(networks, TWO, False), tmp_path / "cpu.pth.tar", zipped=False)
    on_cuda = tmp_path / "cuda.pth.tar"
    on_cuda.write_bytes(path.read_bytes().replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"))
    assert on_cuda.stat().st_size > path.stat().st_size
    checkpoint = read_checkpoint(on_cuda)
    assert same(checkpoint.networks["generator"], networks["generator"])


def test_no_warning_on_reading(tmp_path, networks, recwarn):
    for zipped in (True, False):
        read_checkpoint(save(published(networks, THREE, True), tmp_path / f"{zipped}.pth.tar", zipped))
    assert [str(warning.message) for warning in recwarn] == []


# --- files that would run code ------------------------------------------------------------------------------


class Evil:
    """Pickled, it is the instruction to make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@BOTH_SERIALISATIONS
def test_a_file_that_would_run_code_is_refused_and_does_not(tmp_path, networks, zipped):
    marker = tmp_path / "marker"
    content = {**published(networks, TWO, False), "more": Evil(marker)}
    path = save(content, tmp_path / "evil.pth.tar", zipped)
    with pytest.raises(InputError) as error:
        read_checkpoint(path)
    message = str(error.value)
    assert (
        message
        == f"{path}: asks for {os.mkdir.__module__}.mkdir, which is code, not weights; it was not loaded"
    )
    assert not marker.exists()
    # Loaded as a pickle, the file would have done it.
    torch.load(path, weights_only=False)
    assert marker.exists()


def test_a_plain_pickle_is_refused_too(tmp_path):
    marker = tmp_path / "marker"
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps(Evil(marker), protocol=2))
    with pytest.raises(InputError, match=r"it was not loaded|is damaged"):
        read_checkpoint(path)
    assert not marker.exists()


# --- damaged files, and other files -------------------------------------------------------------------------


@BOTH_SERIALISATIONS
@pytest.mark.parametrize("part", [0, 1, 5, 8, 9, 20, 0.3, 0.6, 0.99])
def test_truncated_files(tmp_path, networks, zipped, part):
    whole = save(published(networks, TWO, False), tmp_path / "whole.pth.tar", zipped).read_bytes()
    path = tmp_path / "part.pth.tar"
    path.write_bytes(whole[: part if isinstance(part, int) else int(part * len(whole))])
    with pytest.raises(InputError, match=r"part\.pth\.tar: is not a file of weights, or is damaged") as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("part", [8, 9, 200, 0.3, 0.99])
def test_truncated_safetensors(tmp_path, networks, model, part):
    whole = write_weights(tmp_path / "whole.safetensors", networks, model.config).read_bytes()
    path = tmp_path / "part.safetensors"
    path.write_bytes(whole[: part if isinstance(part, int) else int(part * len(whole))])
    with pytest.raises(
        InputError, match=r"part\.safetensors: is (not a file of weights|damaged, or not a)"
    ) as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("seed", range(20))
def test_random_files(tmp_path, seed):
    rng = np.random.default_rng(seed)
    content = rng.bytes(2000)
    head = [b"", b"PK\x03\x04", b"\x80\x02", b"12345678{", b"\x80\x02c"][seed % 5]
    path = tmp_path / "noise"
    path.write_bytes(head + content)
    with pytest.raises(InputError) as error:
        read_checkpoint(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


@BOTH_SERIALISATIONS
def test_flipped_bytes_give_weights_or_one_line(tmp_path, networks, zipped):
    rng = np.random.default_rng(0)
    small = {name: dict(list(networks[name].items())[:2]) for name in TWO}
    whole = save(small, tmp_path / "whole.pth.tar", zipped).read_bytes()
    path = tmp_path / "flipped.pth.tar"
    refused = 0
    for _ in range(60):
        content = bytearray(whole)
        for place in rng.integers(len(content), size=3):
            content[place] = rng.integers(256)
        path.write_bytes(content)
        try:
            read_checkpoint(path)
        except InputError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 10


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list, not a dict of networks"),
        (torch.zeros(3), "holds a Tensor, not a dict of networks"),
        ({"generator": {}}, "has no kp_detector; it is no checkpoint of this model"),
        ({"state_dict": {}}, "has no generator and no kp_detector; it is no checkpoint of this model"),
        ({"generator": 3, "kp_detector": {}}, "generator is not a dict of tensors"),
        ({"generator": {"a": 3}, "kp_detector": {}}, "generator is not a dict of tensors"),
    ],
)
def test_files_of_something_else(tmp_path, content, message):
    path = save(content, tmp_path / "other.pth.tar")
    with pytest.raises(InputError) as error:
        read_checkpoint(path)
    assert str(error.value) == f"{path}: {message}"


def test_safetensors_of_another_model(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"bert.weight": torch.zeros(2)}, path)
    with pytest.raises(
        InputError, match="has no generator and no kp_detector; it is no checkpoint of this model"
    ):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", r"the config inside cannot be used \(config: is no JSON \(Expecting"),
        ("[3]", r"the config inside cannot be used \(config: is no config but a list"),
        ('"vox-256"', r"the config inside cannot be used \(config: is no config but a str"),
        ('{"model_param": {}}', r"the config inside cannot be used \(config: model_param: unknown key"),
    ],
)
def test_safetensors_with_a_bad_config(tmp_path, networks, config, message):
    path = tmp_path / "bad.safetensors"
    tensors = {f"{name}.{key}": t for name in TWO for key, t in networks[name].items()}
    save_file(tensors, path, metadata={"config": config})
    with pytest.raises(InputError, match=rf"bad\.safetensors: {message}"):
        read_checkpoint(path)


def test_a_file_that_cannot_be_read(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    path.touch()

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", denied)
    with pytest.raises(InputError, match=r"a\.safetensors: cannot be read \(Permission denied\)"):
        read_checkpoint(path)


# --- names of files -----------------------------------------------------------------------------------------


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A data folder with two files of weights."""
    folder = tmp_path / "data" / "weights"
    folder.mkdir(parents=True)
    for name in ("heads-64", "heads-256"):
        (folder / f"{name}.safetensors").touch()
    monkeypatch.setenv("FOMM_DATA", str(tmp_path / "data"))
    return folder


def test_names_paths_and_folders(shipped, tmp_path):
    heads = shipped / "heads-64.safetensors"
    assert weights_path("heads-64") == weights_path("heads-64.safetensors") == weights_path(heads) == heads
    run = tmp_path / "run"
    run.mkdir()
    (run / "losses.csv").touch()
    (run / "epoch.pth.tar").touch()
    assert weights_path(run) == run / "epoch.pth.tar", "the only one"
    (run / "weights.safetensors").touch()
    assert weights_path(run) == run / "weights.safetensors", "what training writes"


def test_an_unknown_name(shipped):
    with pytest.raises(InputError) as error:
        weights_path("heads-65")
    assert str(error.value) == "heads-65: no such file of weights; shipped ones by name: heads-256, heads-64"
    shutil.rmtree(shipped)
    with pytest.raises(InputError, match="shipped ones by name: none"):
        weights_path("heads-64")


def test_folders_without_and_with_too_many(shipped, tmp_path):
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / "generate.onnx").touch()
    with pytest.raises(InputError, match="holds an exported model; choose backend onnxruntime or openvino"):
        weights_path(tmp_path / "exported")
    with pytest.raises(InputError, match="should hold one file of weights; it holds none"):
        weights_path(tmp_path)
    with pytest.raises(InputError, match=r"it holds heads-256\.safetensors, heads-64\.safetensors"):
        weights_path(shipped)


# --- writing ------------------------------------------------------------------------------------------------


def test_what_is_written_is_read_again(tmp_path, networks, model):
    path = write_weights(
        tmp_path / "a.safetensors", networks, model.config, dtype=None, notes={"steps": "7", "seed": 3}
    )
    checkpoint = read_checkpoint(path)
    assert checkpoint.config == model.config
    assert checkpoint.notes == {"steps": "7", "seed": "3"}
    assert set(checkpoint.networks) == set(THREE)
    for name, entries in networks.items():
        assert set(checkpoint.networks[name]) == set(entries)
        assert all(torch.equal(checkpoint.networks[name][key], entries[key]) for key in entries)


def test_half_precision_is_half_as_large_and_nearly_the_same(tmp_path, networks, model):
    whole = write_weights(tmp_path / "whole.safetensors", networks, model.config, dtype=None)
    half = write_weights(tmp_path / "half.safetensors", networks, model.config)

    def bytes_of_tensors(path):
        return sum(t.numel() * t.element_size() for t in load_file(path).values() if t.is_floating_point())

    assert bytes_of_tensors(half) * 2 == bytes_of_tensors(whole)
    entries = read_checkpoint(half).networks["generator"]
    assert entries["first.norm.num_batches_tracked"].dtype == torch.int64, "a count is no float"
    for name, tensor in networks["generator"].items():
        torch.testing.assert_close(entries[name].to(tensor.dtype), tensor, rtol=1e-3, atol=1e-4)


def test_tensors_in_other_layouts_and_shared_ones(tmp_path, model):
    shared = torch.rand(4, 3, 3, 3)
    entries = {
        "channels_last": shared.contiguous(memory_format=torch.channels_last),
        "transposed": torch.rand(3, 4).T,
        "shared": shared,
        "shared_too": shared[1:],
        "needs_gradient": torch.rand(3, requires_grad=True),
    }
    networks = {"generator": entries, "kp_detector": {"a": shared}}
    path = write_weights(tmp_path / "a.safetensors", networks, model.config, dtype=None)
    found = read_checkpoint(path).networks["generator"]
    assert all(torch.equal(found[name], tensor) for name, tensor in entries.items())


def test_notes_do_not_replace_the_config(tmp_path, networks, model):
    path = write_weights(
        tmp_path / "a.safetensors", networks, model.config, notes={"config": "{}", "format": "?"}
    )
    assert read_checkpoint(path).config == model.config


def test_numbers_too_large_for_half_precision(tmp_path, model):
    path = tmp_path / "a.safetensors"
    networks = {"generator": {"norm.running_var": torch.tensor([1.0, 7e4])}, "kp_detector": {}}
    message = r"generator\.norm\.running_var: has values too large for float16; write float32 instead"
    with pytest.raises(InputError, match=message):
        write_weights(path, networks, model.config)
    assert not path.exists()
    write_weights(path, networks, model.config, dtype=None)


@pytest.mark.parametrize("dtype", [torch.float16, None])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite(tmp_path, model, dtype, value):
    path = tmp_path / "a.safetensors"
    path.write_text("good weights")
    networks = {"generator": {"first.conv.bias": torch.tensor([1.0, value])}, "kp_detector": {}}
    message = (
        r"generator\.first\.conv\.bias: has values that are not finite; the training that made it went wrong"
    )
    with pytest.raises(InputError, match=message):
        write_weights(path, networks, model.config, dtype=dtype, overwrite=True)
    assert path.read_text() == "good weights"


def test_nothing_is_overwritten_unless_asked(tmp_path, networks, model):
    path = tmp_path / "a.safetensors"
    path.write_text("something else")
    with pytest.raises(InputError, match="exists already"):
        write_weights(path, networks, model.config)
    assert path.read_text() == "something else"
    write_weights(path, networks, model.config, overwrite=True)
    assert read_checkpoint(path).config == model.config


def test_another_suffix(tmp_path, networks, model):
    message = r"a\.pth: weights are written as \.safetensors; give a name that ends so"
    with pytest.raises(InputError, match=message):
        write_weights(tmp_path / "a.pth", networks, model.config)


# --- loading into a network ---------------------------------------------------------------------------------


def test_what_does_not_fit_is_named_and_nothing_is_loaded(networks):
    network = small_model(seed=10).generator
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    entries = dict(networks["generator"])
    del entries["final.bias"], entries["first.conv.bias"]
    entries["final.weigth"] = entries["first.norm.weights"] = torch.zeros(1)
    entries["final.weight"] = torch.zeros(1, 2, 3, 3)
    with pytest.raises(InputError) as error:
        load_network(network, entries, "generator")
    assert str(error.value) == (
        "the weights of generator do not fit the config; "
        "2 missing: first.conv.bias, final.bias; "
        "2 unexpected: final.weigth, first.norm.weights; "
        "1 of another shape: final.weight is (1, 2, 3, 3), should be (3, 4, 7, 7)"
    )
    assert same(network.state_dict(), before)


def test_a_network_takes_what_fits(networks):
    network = small_model(seed=10).generator
    assert not same(network.state_dict(), networks["generator"])
    load_network(network, networks["generator"], "generator")
    assert same(network.state_dict(), networks["generator"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"model_params.common_params.estimate_jacobian": False},
            "2 unexpected: jacobian.weight, jacobian.bias",
        ),
        ({"model_params.common_params.num_kp": 5}, "kp.weight is (3, 7, 7, 7), should be (5, 7, 7, 7)"),
    ],
)
def test_weights_of_another_config(networks, change, said):
    other = small_model(change)
    with pytest.raises(InputError) as error:
        load_network(other.kp_detector, networks["kp_detector"], "kp_detector")
    assert said in str(error.value)


# --- convert and describe -----------------------------------------------------------------------------------


@pytest.fixture
def config_file(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(small_config().model_dump_json())  # JSON is YAML
    return path


@BOTH_SERIALISATIONS
def test_convert_a_published_file(tmp_path, networks, model, config_file, zipped):
    source = save(published(networks, THREE, True), tmp_path / "cpk.pth.tar", zipped)
    output = convert(source, tmp_path / "cpk.safetensors", config_file, half=False)
    checkpoint = read_checkpoint(output)
    assert checkpoint.config == model.config
    assert set(checkpoint.networks) == set(THREE)
    assert torch.equal(checkpoint.networks["generator"]["final.bias"], networks["generator"]["final.bias"])
    halved = convert(output, tmp_path / "half.safetensors")
    assert read_checkpoint(halved).config == model.config, "it had one inside"
    assert read_checkpoint(halved).networks["generator"]["final.bias"].dtype == torch.float16


def test_convert_keeps_notes(tmp_path, networks, model):
    source = write_weights(tmp_path / "a.safetensors", networks, model.config, notes={"seed": "3"})
    assert read_checkpoint(convert(source, tmp_path / "b.safetensors")).notes == {"seed": "3"}


def test_convert_without_a_config(tmp_path, networks):
    source = save(published(networks, TWO, False), tmp_path / "cpk.pth.tar")
    message = r"has no config inside; name the one it was trained with, e\.g\. --config vox-adv-256"
    with pytest.raises(InputError, match=message):
        convert(source, tmp_path / "cpk.safetensors")


def test_convert_overwrites_only_if_asked(tmp_path, networks, config_file):
    source = save(published(networks, TWO, False), tmp_path / "cpk.pth.tar")
    output = tmp_path / "cpk.safetensors"
    output.write_text("something else")
    with pytest.raises(InputError, match="exists already"):
        convert(source, output, config_file)
    convert(source, output, config_file, overwrite=True)
    assert read_checkpoint(output).config == small_config()


def test_describe_a_published_file(tmp_path, networks):
    path = save(published(networks, THREE, True), tmp_path / "cpk.pth.tar")
    numbers = {name: sum(t.numel() for t in networks[name].values()) for name in THREE}
    assert describe(path).splitlines() == [
        f"{path} ({path.stat().st_size / 1e6:.1f} MB)",
        *(f"  {name}: {len(networks[name])} entries, {numbers[name]:,} numbers, float32" for name in THREE),
        "  config: none inside; name it with --config when you use the file",
        "  optimizer_generator: present",
        "  optimizer_kp_detector: present",
        "  optimizer_discriminator: present",
        "  epoch: 99",
    ]


@pytest.mark.parametrize(("jacobian", "order"), [(True, "first"), (False, "zeroth")])
def test_describe_our_file(tmp_path, jacobian, order):
    model = small_model({"model_params.common_params.estimate_jacobian": jacobian})
    networks = {"generator": model.generator.state_dict(), "kp_detector": model.kp_detector.state_dict()}
    path = write_weights(tmp_path / "a.safetensors", networks, model.config, notes={"seed": "3"})
    lines = describe(path).splitlines()
    assert lines[1].startswith("  generator: ") and lines[1].endswith(" numbers, float16")
    assert lines[3:] == [f"  config: 32x32 pixels, 3 keypoints, {order} order", "  seed: 3"]


def test_a_safetensors_file_is_what_the_library_says(tmp_path, networks, model):
    # Readable by anybody, without this package.
    path = write_weights(tmp_path / "a.safetensors", networks, model.config)
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert json.loads(header["__metadata__"]["config"])["model_params"]["common_params"]["num_kp"] == 3
    assert header["__metadata__"]["format"] == "fomm-lib weights 1"
    assert header["generator.final.bias"]["shape"] == [3]


def test_reading_leaves_the_file_alone(tmp_path, networks):
    path = save(published(networks, TWO, False), tmp_path / "cpk.pth.tar")
    before = path.read_bytes()
    entries = read_checkpoint(path).networks["generator"]
    with torch.no_grad():
        entries["final.bias"].fill_(7)
    assert path.read_bytes() == before
    assert io.BytesIO(before).read(2) == b"PK"
