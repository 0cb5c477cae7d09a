"""Random motion of a person: speech, moods, turns of the head, glances and blinks as functions of time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fomm_lib.synthetic.anatomy import load_anatomy
from fomm_lib.synthetic.posture import Posture

# Facial actions and their strengths, for visemes (mouth shapes of the phonemes a, o, u, e, m, f, t) and for
# moods. A name without Left or Right stands for both.
_VISEMES = [
    {"jawOpen": 0.5, "mouthLowerDown": 0.4, "mouthUpperUp": 0.25},
    {"jawOpen": 0.35, "mouthFunnel": 0.7, "mouthPucker": 0.25},
    {"jawOpen": 0.12, "mouthPucker": 0.8, "mouthFunnel": 0.3},
    {"jawOpen": 0.22, "mouthStretch": 0.5, "mouthSmile": 0.25, "mouthLowerDown": 0.45, "mouthUpperUp": 0.3},
    {"mouthPress": 0.5, "mouthRollLower": 0.3, "mouthRollUpper": 0.3},
    {"jawOpen": 0.12, "mouthRollLower": 0.5, "mouthUpperUp": 0.45},
    {"jawOpen": 0.2, "mouthLowerDown": 0.5, "mouthUpperUp": 0.35, "mouthShrugUpper": 0.2},
]
_MOODS = [
    {"mouthSmile": 0.8, "cheekSquint": 0.5, "mouthDimple": 0.2, "eyeSquint": 0.3},
    {"mouthSmile": 0.9, "cheekSquint": 0.7, "jawOpen": 0.3, "mouthUpperUp": 0.5, "mouthLowerDown": 0.3},
    {"mouthSmile": 0.7, "mouthUpperUp": 0.45, "mouthLowerDown": 0.35, "mouthStretch": 0.2},
    {"browInnerUp": 0.9, "browOuterUp": 0.9, "eyeWide": 0.8, "jawOpen": 0.3},
    {"browInnerUp": 0.6, "browOuterUp": 0.7},
    {"browDown": 0.9, "eyeSquint": 0.5, "mouthPress": 0.4, "noseSneer": 0.3},
    {"browInnerUp": 0.8, "mouthFrown": 0.7, "mouthShrugLower": 0.5},
    {"noseSneer": 0.9, "mouthUpperUp": 0.6, "browDown": 0.6, "eyeSquint": 0.5},
    {"mouthPucker": 0.9},
    {"cheekPuff": 0.8, "mouthPress": 0.3},
    {"mouthLeft": 0.7, "browDownLeft": 0.5},
    {"mouthRight": 0.7, "browOuterUpRight": 0.7},
    {"jawOpen": 0.7, "mouthStretch": 0.3, "browInnerUp": 0.4},
    {"mouthRollLower": 0.6, "mouthRollUpper": 0.6, "mouthPress": 0.4},
    {"jawForward": 0.5, "mouthShrugLower": 0.6},
    {"jawOpen": 0.4, "mouthClose": 0.4, "mouthDimple": 0.6},
    {"jawOpen": 0.5, "tongueOut": 0.7, "eyeSquint": 0.4},
    {"jawLeft": 0.6},
    {"jawRight": 0.6},
    {"mouthFrown": 0.6, "mouthStretch": 0.4, "eyeWide": 0.3},
]  # fmt: skip
_GAZE_LIMIT = np.deg2rad([20, 30])
ACTION_LIMIT = 1.15
"""The strength that sums of facial actions approach: a sum x becomes ACTION_LIMIT tanh(x / ACTION_LIMIT)."""


@dataclass(frozen=True)
class Motion:
    """Poses at T moments; `motion[k]` is the `Posture` at one of them.

    Attributes:
        actions: (T, 52); head: (T, 3); gaze: (T, 2); sway: (T, 6). See `Posture`.
    """

    actions: np.ndarray
    head: np.ndarray
    gaze: np.ndarray
    sway: np.ndarray

    def __len__(self) -> int:
        return len(self.actions)

    def __getitem__(self, k: int) -> Posture:
        return Posture(self.actions[k], self.head[k], self.gaze[k], self.sway[k])


def sample_motion(rng: np.random.Generator, times: np.ndarray, *, lids_often: bool = False) -> Motion:
    """Draw a random motion: speech, moods, turns of the head, glances, blinks; a smooth function of time.

    Args:
        times: (T,) moments in seconds, 0 or later.
        lids_often: whether lids close fully or in part about two fifths of the time, to learn from. Else they
            blink as people do: few frames would show a closed eye.
    """
    lively = rng.uniform(0.5, 1.25)
    actions = np.zeros((len(times), len(load_anatomy().action_names)))
    _speak(rng, times, actions)
    _show_moods(rng, times, actions, lively)
    head, sway = _move_head(rng, times, lively)
    gaze = _glance(rng, times, head)
    blink = _close_often(rng, times) if lids_often else _blink(rng, times)
    return finish_motion(actions, head, gaze, sway, blink)


def finish_motion(
    actions: np.ndarray, head: np.ndarray, gaze: np.ndarray, sway: np.ndarray, blink: np.ndarray
) -> Motion:
    """Make lids follow the eyes and close with `blink` ((T,), 0 to 1), and limit all actions to 1.15."""
    names = load_anatomy().action_names
    actions, lids = actions.copy(), np.clip(gaze / np.deg2rad(25), -1, 1)
    for side, inward in (("Left", -1), ("Right", 1)):
        for action, amount in (
            ("eyeLookUp", -lids[:, 0]),
            ("eyeLookDown", lids[:, 0]),
            ("eyeLookIn", inward * lids[:, 1]),
            ("eyeLookOut", -inward * lids[:, 1]),
        ):
            actions[:, names.index(action + side)] = np.maximum(amount, 0)
        closed = names.index("eyeBlink" + side)
        actions[:, closed] = np.maximum(actions[:, closed], blink)
        for action in ("eyeSquint", "eyeWide", "cheekSquint", "eyeLookDown"):
            actions[:, names.index(action + side)] *= 1 - 0.8 * blink
    soft = ACTION_LIMIT * np.tanh(np.maximum(actions, 0) / ACTION_LIMIT)  # limits sums of several causes
    return Motion(soft.astype(np.float32), head, gaze, sway)


def ease(x: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, and 6x^5 - 15x^4 + 10x^3 between: speed and acceleration are 0 at both ends."""
    x = np.clip(x, 0, 1)
    return x**3 * (x * (6 * x - 15) + 10)


def bump(t: np.ndarray, start: float, rise: float, hold: float, fall: float) -> np.ndarray:
    """Rise from 0 to 1, hold, and fall back to 0, evaluated at the moments t; all in seconds."""
    return ease((t - start) / rise) * (1 - ease((t - start - rise - hold) / fall))


def holds_and_moves(
    rng: np.random.Generator,
    t: np.ndarray,
    draw: Callable[[], np.ndarray],
    pause: tuple[float, float],
    move: tuple[float, float],
    speed: float = np.inf,
) -> np.ndarray:
    """Hold a random value, move smoothly to the next, and so on; on average at most `speed` per second.

    Args:
        t: (T,) seconds; draw: gives the next value, (n,); pause, move: ranges of seconds.
    Returns:
        (T, n).
    """
    now, value, end = rng.uniform(-2, 0), np.asarray(draw(), float), t.max() + 1
    result = np.repeat(value[None], len(t), 0)
    while now < end:
        now += rng.uniform(*pause)
        target = np.asarray(draw(), float)
        lasts = max(rng.uniform(*move), np.abs(target - value).max() / speed)
        result += (target - value) * ease((t[:, None] - now) / lasts)
        value, now = target, now + lasts
    return result


def add_actions(
    actions: np.ndarray, recipe: dict[str, float], envelope: np.ndarray, skew: float = 0.0
) -> None:
    """Add facial actions in place: `recipe` (name to strength) times the (T,) `envelope`.

    Args:
        skew: asymmetry of actions that have two sides: factor 1 + skew on the left, 1 - skew on the right.
    """
    names = load_anatomy().action_names
    for key, strength in recipe.items():
        if key in names:
            actions[:, names.index(key)] += envelope * strength
        else:
            actions[:, names.index(key + "Left")] += envelope * strength * (1 + skew)
            actions[:, names.index(key + "Right")] += envelope * strength * (1 - skew)


def _speak(rng, t: np.ndarray, actions: np.ndarray) -> None:
    now, talks, loud = rng.uniform(-1.5, 0.5), rng.uniform() < 0.7, rng.uniform(0.5, 1.2)
    while now < t.max() + 0.5:
        lasts = rng.uniform(0.8, 4) if talks else rng.uniform(0.3, 2.5)
        start = now
        while talks and start < now + lasts:
            step = rng.uniform(0.13, 0.3)
            shape = bump(t, start - 0.06, 0.55 * step + 0.05, 0.02, 0.6 * step + 0.05)
            recipe = _VISEMES[rng.integers(len(_VISEMES))]
            add_actions(actions, recipe, loud * rng.uniform(0.5, 1.15) * shape, rng.normal(0, 0.12))
            start += step
        now += lasts
        talks = talks != (rng.uniform() < 0.8)


def _show_moods(rng, t: np.ndarray, actions: np.ndarray, lively: float) -> None:
    names = [n for n in load_anatomy().action_names if not n.startswith("eye") and n != "mouthClose"]
    now = rng.uniform(-2, 1)
    while now < t.max() + 0.5:
        recipe = _MOODS[rng.integers(len(_MOODS))]
        if rng.uniform() < 0.15:  # a grimace
            recipe = {name: rng.uniform(0.2, 0.8) for name in rng.choice(names, 3, replace=False)}
        rise, hold, fall = rng.uniform(0.2, 0.6), rng.uniform(0.2, 2), rng.uniform(0.3, 0.9)
        shape = lively * rng.uniform(0.4, 1.1) * bump(t, now, rise, hold, fall)
        add_actions(actions, recipe, shape, rng.normal(0, 0.12))
        now += rng.uniform(0.5, 1.2) * (rise + hold + fall)


def _move_head(rng, t: np.ndarray, lively: float) -> tuple[np.ndarray, np.ndarray]:
    looks_around = rng.uniform() < 0.4

    def turn() -> np.ndarray:
        yaw = rng.uniform(-45, 45) if looks_around and rng.uniform() < 0.5 else rng.normal(0, 15)
        degrees = rng.normal(0, 9 * lively), yaw * lively, rng.normal(0, 6)
        return np.deg2rad(np.clip(degrees, [-24, -46, -18], [24, 46, 18]))

    def stand() -> np.ndarray:
        return np.concatenate([np.deg2rad(rng.normal(0, [2, 5, 2])), rng.normal(0, [0.12, 0.06, 0.1])])

    head = holds_and_moves(rng, t, turn, (0.0, 1.2), (0.5, 1.6), speed=np.deg2rad(110))
    for axis, degrees in enumerate((1.6, 1.4, 1.0)):  # small tremor that never stops
        for _ in range(3):
            wave = np.sin(2 * np.pi * rng.uniform(0.3, 1.3) * t + rng.uniform(0, 2 * np.pi))
            head[:, axis] += np.deg2rad(degrees) * lively * wave / 1.7
    return head, holds_and_moves(rng, t, stand, (0.5, 3), (0.8, 2.0))


def _glance(rng, t: np.ndarray, head: np.ndarray) -> np.ndarray:
    """Saccades, which partly compensate for the turns of the head."""

    def aim() -> np.ndarray:
        return np.deg2rad(rng.normal(0, [6, 11])) * (rng.uniform() < 0.7)

    gaze = holds_and_moves(rng, t, aim, (0.3, 1.6), (0.05, 0.1)) - rng.uniform(0.1, 0.7) * head[:, :2]
    return np.clip(gaze, -_GAZE_LIMIT, _GAZE_LIMIT)


def _blink(rng, t: np.ndarray) -> np.ndarray:
    closed, now = np.zeros(len(t)), rng.uniform(-0.5, 3)
    while now < t.max() + 0.5:
        hold = rng.uniform(0.4, 1.5) if rng.uniform() < 0.07 else 0.03
        closed = np.maximum(closed, bump(t, now, 0.11, hold, 0.16))
        now += hold + rng.exponential(2.2) + 0.3
    return closed


def _close_often(rng, t: np.ndarray) -> np.ndarray:
    closed, now = np.zeros(len(t)), rng.uniform(-0.5, 1.5)
    while now < t.max() + 0.5:
        depth, hold = min(rng.uniform(0.35, 1.65), 1), rng.uniform(0.2, 0.9)
        closed = np.maximum(closed, depth * bump(t, now, 0.15, hold, 0.15))
        now += hold + rng.exponential(0.8) + 0.5
    return closed
