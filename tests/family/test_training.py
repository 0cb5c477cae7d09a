"""Training: `fit`; a run that is killed and resumed computes the same; what is refused."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from fomm_lib.errors import InputError
from fomm_lib.family import training
from fomm_lib.family.config import SYSTEMS
from fomm_lib.family.systems import System
from fomm_lib.family.training import draws, fit, train_family
from fomm_lib.family.weights import load_family
from tests.family.tiny import losses_of, tiny, write_tiny

OPTIONS = {"log_every": 1, "sample_every": 3, "checkpoint_every": 2, "progress": False, "device": "cpu"}


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """A folder for each system: images with labels, and clips."""
    root = tmp_path_factory.mktemp("family")
    rng = np.random.default_rng(0)
    for name in ("images", "labels", "anna#1", "ben#1"):
        folder = root / ("clips" if "#" in name else "pairs") / name
        folder.mkdir(parents=True)
        for k in range(6):
            image = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8)).resize((32, 32))
            image.save(folder / f"{k}.png")
    return root


def data_of(folders, system):
    return folders / ("clips" if system == "monkeynet" else "pairs")


def weights_of(run):
    return (run / "weights.safetensors").read_bytes()


# --- fit ------------------------------------------------------------------------------------------------


def test_fit_keeps_every_loss():
    seen = []

    def step(a, b):
        seen.append((a, b))
        return {"sum": torch.tensor(a + b), **({"late": torch.tensor(9.0)} if a else {})}

    endless = ((float(k), 1.0) for k in range(10**9))
    assert fit(step, endless, 3) == {"sum": [1, 2, 3], "late": [9, 9]}
    assert seen == [(0, 1), (1, 1), (2, 1)]


def test_batches_are_drawn_without_end():
    class Numbers:
        def draw(self, count, generator):
            return (torch.randint(100, (count,), generator=generator),)

    first = [next(draws(Numbers(), 3, seed=1))[0].tolist() for _ in range(2)]
    assert first[0] == first[1]
    batches = draws(Numbers(), 3, seed=1)
    assert next(batches)[0].tolist() == first[0] != next(batches)[0].tolist()


# --- runs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_run_that_is_interrupted_and_resumed_computes_the_same(system, folders, tmp_path, monkeypatch):
    data, whole, parts = data_of(folders, system), tmp_path / "whole", tmp_path / "parts"
    train_family(tiny(system), data, whole, **OPTIONS)
    original, taken = training.finite_step, []

    def broken(*arguments):
        if len(taken) == 5:
            raise ZeroDivisionError
        taken.append(1)
        return original(*arguments)

    monkeypatch.setattr(training, "finite_step", broken)
    with pytest.raises(ZeroDivisionError):
        train_family(tiny(system), data, parts, **OPTIONS)
    monkeypatch.undo()
    assert len(losses_of(parts)) == 5
    torch.manual_seed(99)
    train_family(tiny(system), data, parts, resume=True, **OPTIONS)
    assert losses_of(whole) == losses_of(parts) and len(losses_of(whole)) == 6
    a, b = (load_family(run, "cpu").networks for run in (whole, parts))
    for name, network in a.items():
        for key, value in network.state_dict().items():
            assert torch.equal(value, b[name].state_dict()[key]), key
    samples = sorted(path.name for path in (parts / "samples").iterdir())
    assert samples == ["0000003.png", "0000006.png"]
    for name in samples:
        assert (whole / "samples" / name).read_bytes() == (parts / "samples" / name).read_bytes()
    noted = yaml.safe_load((parts / "config.yaml").read_text())
    assert noted["system"] == system and noted["data"] == str(data)


def test_a_signal_stops_after_the_step_and_loses_nothing(folders, tmp_path, monkeypatch):
    original = training.finite_step

    def signalled(system, batch, done, generator):
        if done == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(system, batch, done, generator)

    monkeypatch.setattr(training, "finite_step", signalled)
    out = tmp_path / "run"
    with pytest.raises(SystemExit) as ended:
        train_family(tiny("srgan"), folders / "pairs", out, **OPTIONS)
    assert ended.value.code == 143
    monkeypatch.undo()
    assert load_family(out, "cpu").notes["steps"] == "3"
    train_family(tiny("srgan"), folders / "pairs", out, resume=True, **OPTIONS)
    assert load_family(out, "cpu").notes["steps"] == "6" and len(losses_of(out)) == 6
    before = weights_of(out)
    train_family(tiny("srgan"), folders / "pairs", out, resume=True, **OPTIONS)
    assert weights_of(out) != b"" and len(weights_of(out)) == len(before)


def test_seeds_and_the_data_of_the_course(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train_family(tiny("cyclegan", steps=1), None, tmp_path / name, seed=seed, **OPTIONS)
    assert losses_of(tmp_path / "a") == losses_of(tmp_path / "b") != losses_of(tmp_path / "c")


def test_a_name_and_changes(tmp_path, folders, monkeypatch):
    seen = []
    monkeypatch.setattr(training, "make_system", lambda config, device: seen.append(config) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train_family("srgan", None, tmp_path / "run", steps=5, batch_size=2, size=32, device="cpu")
    assert (seen[0].system, seen[0].steps, seen[0].batch_size, seen[0].size) == ("srgan", 5, 2, 32)


def test_weights_to_start_from(folders, tmp_path):
    start = write_tiny(tmp_path, "pix2pix")
    given = load_family(start, "cpu").networks["generator"].state_dict()
    config = tiny("pix2pix", steps=1, learning_rate=1e-30)
    out = tmp_path / "run"
    train_family(config, folders / "pairs", out, seed=5, init=start, **OPTIONS)
    found = load_family(out, "cpu")
    assert found.notes["started from"] == "pix2pix.safetensors"
    for key, value in found.networks["generator"].state_dict().items():
        torch.testing.assert_close(value, given[key])
    with pytest.raises(InputError, match="weights of pix2pix, not of srgan"):
        train_family(tiny("srgan"), folders / "pairs", tmp_path / "other", init=start, **OPTIONS)


# --- what is refused ------------------------------------------------------------------------------------


def test_a_training_is_not_overwritten_nor_changed(folders, tmp_path):
    out, pairs = tmp_path / "run", folders / "pairs"
    train_family(tiny("pix2pix", steps=2), pairs, out, **OPTIONS)
    before = weights_of(out)
    with pytest.raises(InputError, match="holds a training already"):
        train_family(tiny("pix2pix", steps=2), pairs, out, **OPTIONS)
    with pytest.raises(InputError, match="steps = 6: the training began with 2"):
        train_family(tiny("pix2pix"), pairs, out, resume=True, **OPTIONS)
    wider = {"generator": {"halvings": 5, "width": 4, "norm": "instance"}}
    with pytest.raises(InputError, match=r"networks\.generator\.width = 4: the training began with 2"):
        train_family(tiny("pix2pix", steps=2, networks=wider), pairs, out, resume=True, **OPTIONS)
    with pytest.raises(InputError, match="system = srgan: the training began with pix2pix"):
        train_family(tiny("srgan", steps=2), pairs, out, resume=True, **OPTIONS)
    with pytest.raises(InputError, match="began with seed 0, not 1"):
        train_family(tiny("pix2pix", steps=2), pairs, out, resume=True, seed=1, **OPTIONS)
    assert weights_of(out) == before


def test_several_processes_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "Processes", lambda device: SimpleNamespace(count=2))
    with pytest.raises(InputError, match="trains in one process, not in 2; leave out the launcher"):
        train_family(tiny("srgan"), None, tmp_path / "run")


def test_a_loss_that_is_not_finite_keeps_its_batch(folders, tmp_path, monkeypatch):
    class Broken(System):
        generators, columns = (), ("loss",)

        def step(self, batch, done, generator):
            return {"loss": torch.tensor(float("nan") if done == 1 else 1.0)}

        def samples(self, examples):
            return list(examples)

    monkeypatch.setattr(training, "make_system", Broken)
    with pytest.raises(InputError, match=r"step 2: loss is not finite; the batch is in .*not_finite-0000002"):
        train_family(tiny("pix2pix"), folders / "pairs", tmp_path / "run", **OPTIONS)
    kept = torch.load(tmp_path / "run" / "not_finite-0000002.pt", weights_only=True)
    assert kept["images_0"].shape == (4, 3, 32, 32) and kept["not_finite"] == ["loss"]
