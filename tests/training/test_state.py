"""States on disk: whole or not at all, the newest and the best, with all random numbers."""

import numpy as np
import pytest
import torch

from fomm_lib.errors import InputError
from fomm_lib.training import state
from tests.support.tiny_training import run


def test_no_space_is_said_in_the_words_of_the_system(tmp_path):
    message = r"losses.csv: could not be written \(No space left on device\)"
    with pytest.raises(InputError, match=message), state.writing(tmp_path / "losses.csv"):
        raise OSError(28, "No space left on device")


def test_a_damaged_state_says_what_to_do(data, tmp_path):
    (tmp_path / "states").mkdir()
    (tmp_path / "states" / "step-0000004.pt").write_bytes(b"half")
    with pytest.raises(InputError, match=r"step-0000004.pt: cannot be read .* delete it to go on"):
        run(data, tmp_path, steps=2, resume=True)


def test_the_newest_states_and_the_best_are_kept(tmp_path):
    states = state.StateFolder(tmp_path / "states", keep=2)
    assert states.newest() is None
    for step in (1, 2, 3, 4):
        states.write(step, {"step": step}, best=1)
    assert list(states.paths()) == [1, 3, 4]
    assert state.read_state(states.newest()) == {"step": 4}
    states.write(5, {"step": 5}, best=5)
    assert list(states.paths()) == [4, 5]


def test_random_numbers_go_on_where_they_stood():
    import random

    states = state.random_states()
    drawn = torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()
    state.set_random_states(states)
    assert (torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()) == drawn
