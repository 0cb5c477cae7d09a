"""States on disk: whole or not at all, the newest and the best, with all random numbers."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

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
    with pytest.raises(InputError, match=r"step-0000004.pt: .* is damaged .* delete it to go on"):
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


# --- whether a state is one ---------------------------------------------------------------------------------


def good_state() -> dict:
    return {
        "step": 4,
        "training": {"networks": {}},
        "transforms": torch.Generator().manual_seed(0).get_state(),
        "random": state.random_states(),
        "log": {"sums": {"flow": 0.5}, "counts": {"flow": 2}, "seconds": 3.0},
        "best": {"step": 4, "l1": 0.1},
        "origin": None,
        "verb": "train",
        "config": {"model_params": {"common_params": {"num_kp": 3}}},
        "settings": {"lr": 1e-3},
        "seed": 0,
        "pairs": 6,
        "versions": {"torch": "2.4"},
    }


def deep(levels: int) -> dict:
    return {"a": deep(levels - 1)} if levels else {}


BAD = {
    "step": [-1, 10**30, "4", 4.0, None, True, 5, torch.tensor(4)],
    "training": [[], None, torch.zeros(1)],
    "transforms": [[1], None, torch.zeros(3), torch.zeros(3, dtype=torch.uint8), torch.zeros(5056)],
    "random": [{}, None, [], {"torch": torch.zeros(1)}],
    "random.torch": [None, torch.zeros(4, dtype=torch.uint8), torch.zeros(5056)],
    "random.cuda": [3, [3], [torch.zeros(4)], torch.zeros(0), [torch.tensor(3, dtype=torch.uint8)]],
    "random.numpy": [[], ["MT19937"], ["PCG64", torch.zeros(624), 0, 0, 0.0]],
    "random.python": [(3,), (3, (1, 2), None), (9, tuple(range(625)), None), (3, tuple(range(625)), "x")],
    "log": [None, {}, {"sums": {}, "counts": {}}],
    "log.sums": [{"flow": float("nan")}, {"flow": "x"}, {"other": 1.0}, [1.0]],
    "log.counts": [{"flow": 0}, {"flow": -3}, {"flow": 1.5}, {"flow": 10**30}],
    "log.seconds": [-1.0, float("inf"), "long", 1e300],
    "best": [3, {}, {"l1": 0.1}, {"step": 5, "l1": 0.1}, {"step": -1}, {"step": 2, "l1": float("nan")}],
    "origin": [3, ["a"]],
    "verb": [3, None],
    "config": [None, 3, deep(30), {3: 4}, {"a": torch.zeros(1)}, {"a": "x" * 10**6}, {"a": [0] * 10**5}],
    "settings": [3, deep(30), {"a": {"b": torch.zeros(1)}}],
    "seed": ["0", None, 1.5],
    "pairs": [0, -6, "6", None],
}


def with_value(content: dict, key: str, value) -> dict:
    content = copy.deepcopy(content)
    *sections, last = key.split(".")
    section = content
    for name in sections:
        section = section[name]
    section[last] = value
    return content


def test_a_good_state_passes_and_those_of_earlier_releases_too():
    found = state.checked_state(good_state(), 4)
    assert (
        found.step == 4 and repr(found.best) == "{'step': 4, 'l1': 0.1}" and found.log.counts == {"flow": 2}
    )
    earlier = {
        key: value for key, value in good_state().items() if key not in ("verb", "settings", "versions")
    }
    assert state.checked_state(earlier, 4).verb == "train"


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, value) for key, values in BAD.items() for value in values],
    ids=lambda x: str(x)[:30],
)
def test_every_part_has_a_structure_a_type_and_a_range(key, value):
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    with pytest.raises(InputError) as error:
        state.checked_state(with_value(good_state(), key, value), 4)
    text = str(error.value)
    assert text.startswith((key.split(".")[0], "random: ")) or "of step" in text
    assert "\n" not in text and len(text) < 500
    assert torch.equal(torch.get_rng_state(), before[0]) and np.random.get_state()[1].tolist() == before[1]


@pytest.mark.parametrize("key", [key for key in good_state() if key not in ("verb", "settings", "versions")])
def test_no_part_may_be_missing(key):
    content = good_state()
    del content[key]
    with pytest.raises(InputError, match=rf"^{key}: |^random: "):
        state.checked_state(content, 4)


def test_numbers_beyond_the_state_of_numpy_are_not_drawn():
    """NumPy does not check the position, and would read memory that is not its own."""
    for position in (-1, 625, 10**6, "1"):
        content = good_state()
        content["random"]["numpy"][2] = position
        with pytest.raises(InputError, match="random: is no state of random numbers"):
            state.checked_state(content, 4)


def trained() -> tuple[nn.Linear, torch.optim.Adam]:
    layer = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return layer, optimizer


def test_networks_and_optimizers_of_a_state_come_back():
    layer, optimizer = trained()
    kept = copy.deepcopy((layer.state_dict(), optimizer.state_dict()))
    fresh, of_fresh = trained()
    state.load_networks({"layer": fresh}, {"layer": kept[0]})
    state.load_optimizers({"adam": of_fresh}, {"adam": kept[1]})
    assert torch.equal(fresh.weight, layer.weight)
    moments = of_fresh.state_dict()["state"][0]["exp_avg"]
    assert torch.equal(moments, optimizer.state_dict()["state"][0]["exp_avg"])


BAD_NETWORKS = [
    None,
    {},
    {"layer": None},
    {"other": {}},
    {"layer": {"weight": torch.zeros(2, 3)}},
    {"layer": {"weight": torch.zeros(2, 3), "bias": torch.zeros(3)}},
    {"layer": {"weight": torch.zeros(2, 3), "bias": torch.zeros(2), 3: torch.zeros(1)}},
    {"layer": {"weight": torch.zeros(2, 3), "bias": [0.0, 0.0]}},
    {"layer": {"weight": torch.zeros(2, 3), "bias": torch.tensor([0.0, float("nan")])}},
    {"layer": {"weight": torch.zeros(2, 3), "bias": torch.zeros(2, dtype=torch.float64)}},
    {"layer": {"weight": torch.zeros(2, 3).to_sparse(), "bias": torch.zeros(2)}},
    {"layer": {"weight": torch.zeros(2, 3, device="meta"), "bias": torch.zeros(2)}},
    {"layer": {"weight": torch.zeros(2, 3, dtype=torch.complex64), "bias": torch.zeros(2)}},
    {"layer": {"weight": torch.zeros(1).expand(2, 3), "bias": torch.zeros(2)}},
]


@pytest.mark.parametrize("states", BAD_NETWORKS, ids=range(len(BAD_NETWORKS)))
def test_networks_that_do_not_fit(states):
    with pytest.raises(InputError):
        state.load_networks({"layer": nn.Linear(3, 2)}, states)


def changes_of_an_optimizer():
    """(name, a function that damages the state of an optimizer)."""
    moments = {
        "another shape": torch.zeros(3),
        "not finite": torch.full((2, 3), float("inf")),
        "no tensor": "x",
        "sparse": torch.zeros(2, 3).to_sparse(),
    }
    for name, value in moments.items():
        for key in ("exp_avg", "exp_avg_sq"):
            yield f"{key} {name}", lambda s, key=key, value=value: s["state"][0].update({key: value})
    yield "negative square", lambda s: s["state"][0].update(exp_avg_sq=-torch.ones(2, 3))
    yield "negative step", lambda s: s["state"][0].update(step=torch.tensor(-1.0))
    yield "step of two", lambda s: s["state"][0].update(step=torch.ones(2))
    yield "a moment missing", lambda s: s["state"][0].pop("exp_avg")
    yield "another parameter", lambda s: s["state"].update({7: s["state"][0]})
    yield "a named parameter", lambda s: s["state"].update(weight=s["state"][0])
    yield "no groups", lambda s: s.update(param_groups=[])
    yield "groups of another type", lambda s: s.update(param_groups=3)
    yield "state of another type", lambda s: s.update(state=[1])
    yield "no state", lambda s: s.pop("state")
    for key, values in {
        "lr": [float("nan"), -1.0, "x", None, 1e30],
        "betas": [0.9, (0.9,), (0.9, float("inf")), "ab"],
        "eps": [-1.0, None],
        "amsgrad": ["yes", 1],
        "params": [[0], [1, 0], None],
    }.items():
        for value in values:
            yield f"{key} {value}", lambda s, key=key, value=value: s["param_groups"][0].update({key: value})
    yield "no rate", lambda s: s["param_groups"][0].pop("lr")


CHANGES = dict(changes_of_an_optimizer())


@pytest.mark.parametrize("name", CHANGES)
def test_optimizers_that_do_not_fit(name):
    _, optimizer = trained()
    content = copy.deepcopy(optimizer.state_dict())
    CHANGES[name](content)
    with pytest.raises(InputError, match=r"^optimizers: adam"):
        state.load_optimizers({"adam": optimizer}, {"adam": content})


@pytest.mark.parametrize("states", [None, {}, {"sgd": {}}, {"adam": None}, {"adam": {}}])
def test_other_optimizers(states):
    with pytest.raises(InputError, match=r"^optimizers: "):
        state.load_optimizers({"adam": trained()[1]}, states)


def test_a_setting_that_an_earlier_pytorch_did_not_have_is_filled_in():
    _, optimizer = trained()
    content = copy.deepcopy(optimizer.state_dict())
    content["param_groups"][0].pop("maximize")
    state.load_optimizers({"adam": optimizer}, {"adam": content})
    assert optimizer.param_groups[0]["maximize"] is False
