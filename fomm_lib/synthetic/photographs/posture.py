"""A pose to positions of all vertices of a photograph's layers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fomm_lib.synthetic.anatomy import load_anatomy
from fomm_lib.synthetic.motion import ACTION_LIMIT, Motion
from fomm_lib.synthetic.photographs.face import BLINKS
from fomm_lib.synthetic.photographs.fit import Fit
from fomm_lib.synthetic.photographs.layers import Layers, chin_height
from fomm_lib.synthetic.photographs.shape import actions
from fomm_lib.synthetic.posture import Posture, rotation_matrix
from fomm_lib.synthetic.surfaces import eye_vertices

_NECK_DEPTH = -1.0  # dm behind the eyes: the axis of the neck
_FLOOR = np.array([0.0, -3.0, -1.0])  # about which the person sways, dm
# Limits in radians: of turns against the photograph, and of the yaw against the camera.
_LIMITS, _ABSOLUTE_YAW = np.deg2rad([14, 22, 14]), np.deg2rad(25)
_HEAD, _GAZE, _SWAY = 0.8, 0.6, 0.7  # shares of the renderer's movements


@dataclass(frozen=True)
class Pose(Posture):
    """The pose of a photograph at one moment; see `Posture`.

    Attributes:
        actions: (52,) including those that the photograph shows.
        head: against the head of the photograph, not against its shoulders.
        blink: 0 as the actions say, 1 just closed, whatever eyes the photograph has.
        own: share of the photograph's own expression in `actions`; what is not is a mouth that closes.
    """

    blink: float = 0.0
    own: float = 1.0


def at_rest(fit: Fit, **changes) -> Pose:
    """The pose of the photograph itself, or with some attributes of `Pose` changed.

    Example:
        >>> at_rest(fit, head=np.deg2rad([0, 20, 0]))  # doctest: +SKIP
    """
    rest = {"actions": fit.actions, "head": np.zeros(3), "gaze": np.zeros(2), "sway": np.zeros(6)}
    return Pose(**{**rest, **changes})


def poses(motion: Motion, fit: Fit, kept: float) -> list[Pose]:
    """A motion of the renderer as poses of a photograph, within what its layers can show.

    The first pose is the photograph as it is. Angles are limited to 14, 22 and 14 degrees (pitch, yaw, roll),
    the yaw against the camera to 25.

    Args:
        motion: T moments.
        kept: share of the photograph's own expression that stays, 0 to 1; that of the eyes always does.
    """
    names = load_anatomy().action_names
    eyes = [k for k, name in enumerate(names) if name.startswith("eye")]
    blinks = [names.index(name) for name in BLINKS]
    own_yaw = np.deg2rad(fit.angles[1])
    result = [at_rest(fit)]
    for posture in (motion[k] for k in range(1, len(motion))):
        strengths = kept * fit.actions + posture.actions
        strengths[eyes] = fit.actions[eyes]
        head = np.clip(_HEAD * posture.head, -_LIMITS, _LIMITS)
        head[1] = np.clip(head[1] + own_yaw, -_ABSOLUTE_YAW, _ABSOLUTE_YAW) - own_yaw
        # The inverse of the limit of actions: closed eyes are 1 again.
        limited = min(float(posture.actions[blinks].max()) / ACTION_LIMIT, 0.99)
        blink = min(1.0, ACTION_LIMIT * float(np.arctanh(limited)))
        result.append(
            Pose(
                np.clip(strengths, 0, 1.2).astype(np.float32),
                head,
                _GAZE * posture.gaze,
                _SWAY * posture.sway,
                blink,
                kept,
            )
        )
    return result


def positions(layers: Layers, pose: Pose) -> np.ndarray:
    """(V, 3) float32: every vertex of `Layers` in the person frame."""
    fit, outer, anatomy = layers.fit, layers.outer, load_anatomy()
    bust = fit.neutral + np.tensordot(_strengths(layers, pose), actions(), 1)
    moved = bust - fit.deformed
    for side in "lr":
        eye = eye_vertices(anatomy, side)
        centre = anatomy.joint(f"joint-{side}-eye", fit.neutral)
        bust[eye] = (fit.neutral[eye] - centre) @ rotation_matrix(*pose.gaze, 0).T + centre
    bust_share, outer_share, back_share = layers.head_shares
    body = _turned(bust, bust_share, pose, fit)
    result = [body, body, _turned(outer.front + outer.follow @ moved, outer_share, pose, fit)]
    result.append(_turned(outer.back, back_share, pose, fit))
    result.append(_turned(layers.card.points, np.ones(len(layers.card.points)), pose, fit))
    return np.concatenate(result).astype(np.float32)


def _strengths(layers: Layers, pose: Pose) -> np.ndarray:
    """The strengths of all actions: with lips that close, and lids that give way to the blink."""
    names, strengths = load_anatomy().action_names, pose.actions.astype(np.float32)
    strengths[names.index("mouthClose")] += (1 - pose.own) * layers.face.sealing
    if pose.blink <= 0:
        return strengths
    for k, name in enumerate(names):
        if name.startswith(("eyeWide", "eyeSquint", "eyeBlink", "eyeLook")):
            strengths[k] *= 1 - pose.blink
    for name, strength in zip(BLINKS, layers.face.closing, strict=True):
        strengths[names.index(name)] += pose.blink * strength
    return strengths


def _turned(points: np.ndarray, share: np.ndarray, pose: Pose, fit: Fit) -> np.ndarray:
    # The top of the neck.
    pivot = np.array([0, chin_height(fit) + 0.1, _NECK_DEPTH])
    turned = (points - pivot) @ rotation_matrix(*pose.head).T + pivot
    posed = share[:, None] * turned + (1 - share[:, None]) * points
    return (posed - _FLOOR) @ rotation_matrix(*pose.sway[:3]).T + _FLOOR + pose.sway[3:]
