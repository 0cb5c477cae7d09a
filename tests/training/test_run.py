"""A run loses nothing: kill -9 at any moment, Ctrl-C, a full disk, numbers that are not finite."""

import os
import re
import shutil
import signal
import sys

import pytest
import torch

from fomm_lib.checkpoints import read_checkpoint
from fomm_lib.errors import InputError
from fomm_lib.family.training import train_family
from fomm_lib.files import only_writer
from fomm_lib.losses import RandomTransform
from fomm_lib.training import loop, state
from fomm_lib.training import run as training_run
from fomm_lib.training import step as training_step
from fomm_lib.training.pretraining import pretrain
from tests.support.tiny_training import FULL_OPTIONS, TINY, read_rows, run, run_script, with_weights
from tests.support.training_script import adapt, random_network


def test_a_training_is_not_overwritten(data, tmp_path):
    run(data, tmp_path / "run", steps=1)
    before = (tmp_path / "run" / "losses.csv").read_text()
    with pytest.raises(InputError, match="holds a training already"):
        run(data, tmp_path / "run", steps=1)
    assert (tmp_path / "run" / "losses.csv").read_text() == before


def test_what_is_not_finite_stops_with_the_batch_named(data, tmp_path, monkeypatch):
    original = RandomTransform.warp_image
    calls = []

    def broken(self, image, **options):
        calls.append(1)
        return original(self, image, **options) * (float("nan") if len(calls) == 3 else 1)

    monkeypatch.setattr(RandomTransform, "warp_image", broken)
    with pytest.raises(InputError) as error:
        run(data, tmp_path / "run", steps=4, checkpoint_every=2)
    assert re.search(
        r"step 3: equivariance_value and equivariance_jacobian are not finite, on square\d", str(error.value)
    )
    assert "lower learning rate" in str(error.value) and "\n" not in str(error.value)
    batch = torch.load(tmp_path / "run" / "not_finite-0000003.pt", weights_only=True)
    assert batch["step"] == 3 and len(batch["name"]) == 4
    assert batch["source"].shape == batch["driving"].shape == (4, 3, 32, 32)
    assert batch["theta"].shape == (4, 2, 3) and batch["control_params"].shape == (4, 1, 25)
    # Nothing of the bad step went into the networks: what was saved before can go on.
    monkeypatch.undo()
    monkeypatch.setattr(loop, "perceptual_network", random_network)
    run(data, tmp_path / "run", steps=4, checkpoint_every=2, resume=True)
    assert read_checkpoint(tmp_path / "run" / "weights.safetensors").notes["steps"] == "4"


@pytest.fixture(autouse=True)
def small(monkeypatch):
    adapt(monkeypatch.setattr)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A run that nothing happens to."""
    out = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        adapt(patch.setattr)
        run(data, out, **FULL_OPTIONS)
    return out


def computed(out):
    """All that a run computed, without the times it took."""
    rows = read_rows(out / "losses.csv")
    for row in rows:
        del row["seconds"], row["samples_per_second"]
    return rows, read_rows(out / "validation.csv")


def assert_same(out, whole):
    assert computed(out) == computed(whole)
    ours, theirs = (state.StateFolder(folder / "states").newest() for folder in (out, whole))
    assert ours.name == theirs.name
    ours, theirs = state.read_state(ours)["training"], state.read_state(theirs)["training"]

    def same(a, b, where):
        if isinstance(a, dict):
            assert a.keys() == b.keys(), where
            for key in a:
                same(a[key], b[key], (*where, key))
        else:
            assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b, where

    same(ours, theirs, ())


def test_killed_at_any_moment_and_resumed_computes_the_same(data, whole, tmp_path):
    out = tmp_path / "run"
    for kill in (["update", 5], ["save", 6]):
        process = run_script("train", data=data, out=out, resume=True, kill=kill, **FULL_OPTIONS)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == -signal.SIGKILL, errors
        assert list(state.StateFolder(out / "states").paths()) == [2, 4]
        assert len(read_rows(out / "losses.csv")) == kill[1] - (kill[0] == "update")
    run(data, out, resume=True, **FULL_OPTIONS)
    assert_same(out, whole)


@pytest.mark.parametrize(
    ("number", "ends"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_signal_finishes_the_step_saves_and_stops(data, whole, tmp_path, monkeypatch, number, ends):
    original, calls = training_step.TrainingStep.update, []
    handlers = [signal.getsignal(known) for known in training_run.StopRequest.SIGNALS]

    def interrupted(self, **flag):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), number)
        original(self, **flag)

    monkeypatch.setattr(training_step.TrainingStep, "update", interrupted)
    with pytest.raises(ends):
        run(data, tmp_path / "run", **FULL_OPTIONS)
    assert len(calls) == 3
    assert read_checkpoint(tmp_path / "run" / "weights.safetensors").notes["steps"] == "3"
    assert [signal.getsignal(known) for known in training_run.StopRequest.SIGNALS] == handlers
    if number == signal.SIGINT:
        run(data, tmp_path / "run", resume=True, **FULL_OPTIONS)
        assert computed(tmp_path / "run")[0] == computed(whole)[0]


def test_the_second_ctrl_c_breaks_off_at_once():
    with training_run.StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_a_full_disk_is_one_line_and_leaves_what_was_saved(data, whole, tmp_path, monkeypatch):
    import resource

    original, calls = training_step.TrainingStep.update, []
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def filling(self, **flag):
        calls.append(1)
        if len(calls) == 3:  # the state of step 2 is written; from now on files end after 20 kB
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        original(self, **flag)

    monkeypatch.setattr(training_step.TrainingStep, "update", filling)
    try:
        with pytest.raises(InputError) as error:
            run(data, tmp_path / "run", **FULL_OPTIONS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert re.search(
        r"run/\S+: could not be written \(.+\); all that was saved before is whole", str(error.value)
    )
    assert "\n" not in str(error.value)
    assert [path.name for path in (tmp_path / "run" / "states").iterdir()] == ["step-0000002.pt"]
    assert not list((tmp_path / "run").glob(".*"))  # nor anything half written
    run(data, tmp_path / "run", resume=True, **FULL_OPTIONS)
    assert_same(tmp_path / "run", whole)


def test_resuming_where_nothing_is_begins_and_where_all_is_done_changes_nothing(data, tmp_path):
    weights = run(data, tmp_path / "run", steps=2, resume=True)
    before = weights.read_bytes(), (tmp_path / "run" / "losses.csv").read_text()
    run(data, tmp_path / "run", steps=2, resume=True)
    assert read_checkpoint(weights).networks.keys() == {"generator", "kp_detector", "discriminator"}
    assert (tmp_path / "run" / "losses.csv").read_text() == before[1]
    run(data, tmp_path / "run", steps=3, resume=True)  # a longer training may follow
    assert [row["step"] for row in read_rows(tmp_path / "run" / "losses.csv")] == ["2", "3"]


def changed(**train_params):
    return {**TINY, "train_params": {**TINY["train_params"], **train_params}}


@pytest.fixture(scope="module")
def stopped(data, tmp_path_factory):
    """A finished step."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.MonkeyPatch.context() as patch:
        adapt(patch.setattr)
        run(data, out, steps=1)
    return out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 1}, r"the training began with seed 0, not 1"),
        ({"config": changed(batch_size=2)}, r"train_params.batch_size = 2: the training began with 4"),
        ({"config": changed(num_repeats=2)}, r"an epoch had 6 pairs, now it has 12"),
        ({"config": changed(ema_decay=0.9)}, r"ema_decay cannot be switched on or off"),
        (
            {"config": {**TINY, "model_params": {**TINY["model_params"], "common_params": {"num_kp": 4}}}},
            r"model_params.common_params.num_kp = 4: the training began with 3",
        ),
        (
            {"config": with_weights(generator_gan=1)},
            r"was of generator, kp_detector, the config trains generator, kp_detector, discriminator",
        ),
        ({"keep": 0}, r"keep = 0: at least one state"),
    ],
)
def test_what_does_not_fit_a_state_is_refused(data, stopped, options, message):
    with pytest.raises(InputError, match=message):
        run(data, stopped, **{"steps": 2, "resume": True, **options})


def test_learning_rates_may_change_and_it_is_said(data, tmp_path, capsys):
    run(data, tmp_path / "run", steps=1)
    run(data, tmp_path / "run", config=changed(lr_generator=1e-4), steps=2, resume=True)
    assert "train_params.lr_generator: 0.001 until step 1, 0.0001 from now on" in capsys.readouterr().out


def test_weights_without_a_state_cannot_be_resumed(data, tmp_path):
    run(data, tmp_path / "run", steps=1)
    (tmp_path / "run" / "states" / "step-0000001.pt").unlink()
    with pytest.raises(InputError, match="or start from its weights: init"):
        run(data, tmp_path / "run", steps=2, resume=True)


# --- a run without a step --------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_run_without_a_step_leaves_nothing(error, data, tmp_path, monkeypatch):
    """Not even the folders above its own; and what was there stays."""

    def breaks_off(*arguments):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(training_step.TrainingStep, "__call__", breaks_off)
        with pytest.raises(error):
            run(data, tmp_path / "runs" / "first", steps=1, tensorboard=True)
        assert list(tmp_path.iterdir()) == []
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "notes.txt").write_text("precious")
        with pytest.raises(error):
            run(data, tmp_path / "mine", steps=1, tensorboard=True)
        assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    run(data, tmp_path / "mine", steps=1)


def test_a_run_that_was_killed_before_its_first_step_is_no_training(data, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "losses.csv").write_text("step,epoch,seconds\r\n")
    (tmp_path / "run" / "config.yaml").write_text("train_params: {}\n")
    run(data, tmp_path / "run", steps=1)
    assert [row["step"] for row in read_rows(tmp_path / "run" / "losses.csv")] == ["1"]


@pytest.mark.parametrize("channels", [1, 4])
def test_images_of_other_colours_are_refused_before_any_work(channels, data, tmp_path):
    config = {**TINY, "model_params": {**TINY["model_params"], "common_params": {"num_channels": channels}}}
    for train in (run, pretrain):
        with pytest.raises(InputError, match=f"num_channels = {channels}: should be 3") as caught:
            train(data=data, out=tmp_path / "run", config=config, steps=1)
        assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


def test_a_device_that_cannot_compute_is_refused_before_any_work(data, tmp_path):
    for train in (run, pretrain):
        with pytest.raises(InputError, match="device meta: cannot be used here; choose cpu"):
            train(data=data, out=tmp_path / "run", config=TINY, steps=1, device="meta")
    with pytest.raises(InputError, match="device gpu: cannot be used here; choose cpu"):
        train_family("srgan", None, tmp_path / "run", device="gpu")
    assert list(tmp_path.iterdir()) == []


# --- foreign states, two at a time, and what a kill leaves --------------------------------------------------


def foreign(change):
    """A function that changes a state on disk."""

    def applied(path):
        content = state.read_state(path)
        changed = change(content)
        torch.save(changed if isinstance(changed, dict) else content, path)

    return applied


FOREIGN = {
    "of another step": lambda s: s.update(step=3),
    "nonsense numbers": lambda s: s.update(step=-5),
    "no networks": lambda s: s.update(training={}),
    "another network": lambda s: s["training"]["networks"].update(critic={}),
    "not finite": lambda s: s["training"]["networks"]["generator"]["final.bias"].fill_(float("nan")),
    "no optimizer": lambda s: s["training"].update(optimizers={}),
    "a list": lambda s: s.update(training=[1, 2]),
    "config of something else": lambda s: s.update(config={"num_blocks": 10**12}),
    "no config": lambda s: s.pop("config"),
    "other random numbers": lambda s: s["random"].update(python=(3, (1,), None)),
    "weights": lambda s: s["training"]["networks"],
    "another tensor": lambda s: {"x": torch.zeros(2)},
    "an escape sequence": lambda s: s.update(verb="\x1b[2J"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_state_is_one_line(data, whole, tmp_path, name):
    shutil.copytree(whole, tmp_path / "run")
    foreign(FOREIGN[name])(state.StateFolder(tmp_path / "run" / "states").newest())
    with pytest.raises(InputError) as error:
        run(data, tmp_path / "run", resume=True, **FULL_OPTIONS)
    text = str(error.value)
    assert "step-0000007.pt: " in text and text.isprintable() and len(text) < 600
    assert ".lock" not in os.listdir(tmp_path / "run"), "the next one can begin"


def test_two_trainings_into_one_folder(data, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    before = (tmp_path / "run" / "losses.csv").read_text()
    with only_writer(tmp_path / "run"), pytest.raises(InputError, match="another process is writing there"):
        run(data, tmp_path / "run", resume=True, **FULL_OPTIONS)
    assert (tmp_path / "run" / "losses.csv").read_text() == before
    run(data, tmp_path / "run", resume=True, **FULL_OPTIONS)
    assert ".lock" not in os.listdir(tmp_path / "run")


def test_what_a_killed_run_left_is_removed_at_the_next_start(data, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    left = [".weights.safetensors.ab_de0gh.partial", "states/.step-0000003.pt.ab_de0gh.partial"]
    for name in left:
        (tmp_path / "run" / name).mkdir(parents=True)
        (tmp_path / "run" / name / "half").touch()
    run(data, tmp_path / "run", resume=True, **FULL_OPTIONS)
    assert not list((tmp_path / "run").rglob("*.partial"))
    assert_same(tmp_path / "run", whole)
