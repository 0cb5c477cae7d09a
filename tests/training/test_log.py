"""What is written down while a model trains: losses.csv, and TensorBoard's files."""

import pytest

from fomm_lib.training import log as training_log
from tests.support.tiny_training import read_rows, run


def test_the_log_gives_means_and_drops_rows_after_a_crash(tmp_path):
    path = tmp_path / "losses.csv"
    log = training_log.LossLog(path)
    for step in range(1, 5):
        log.add({"perceptual": float(step)}, samples=3)
        if step % 2 == 0:
            means = log.write(step, epoch=0)
    assert means["perceptual"] == 3.5 and means["samples_per_second"] > 0
    with open(path, "a") as file:
        file.write("6,0,1.")  # a row that a crash cut short
    log = training_log.LossLog(path, keep=2)
    log.add({"perceptual": 8.0})
    log.write(3, epoch=0)
    rows = read_rows(path)
    assert [(row["step"], row["perceptual"]) for row in rows] == [("2", "1.5"), ("3", "8")]
    assert list(rows[0])[:4] == ["step", "epoch", "seconds", "perceptual"]
    assert list(rows[0])[-1] == "samples_per_second"


def test_tensorboard_gets_curves_and_images(data, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(data, tmp_path / "run", steps=2, log_every=1, tensorboard=True)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    tags = events.Tags()
    assert {"loss/perceptual", "gradient norm/generator", "run/learning_rate"} <= set(tags["scalars"])
    assert {"run/samples_per_second", "validation/l1", "validation/psnr"} <= set(tags["scalars"])
    assert tags["images"] == ["samples"]
    rows = read_rows(tmp_path / "run" / "losses.csv")
    assert [e.step for e in events.Scalars("loss/perceptual")] == [1, 2]
    assert events.Scalars("loss/perceptual")[1].value == pytest.approx(float(rows[1]["perceptual"]), rel=1e-5)
