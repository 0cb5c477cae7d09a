"""The First Order Motion Model, step by step: a portrait and a driving video go in, a moving portrait comes
out.

    import fomm_lib as fomm

    model = fomm.load_model("heads-64")
    fomm.animate(model, source="portrait.jpg", driving="clip.mp4", output="out.mp4")

The names below are the public face; all modules are there too, as `fomm.geometry`. Each is imported when it
is first asked for, so that `import fomm_lib` and `fomm --help` do not wait for PyTorch.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

# What editors and type checkers read; a test holds it to what Python reads, _FACE.
# ruff: noqa: F401
if TYPE_CHECKING:
    from fomm_lib.animation import animate, animate_frames
    from fomm_lib.checkpoints import convert, describe, read_checkpoint, write_weights
    from fomm_lib.cleaning import clean
    from fomm_lib.config import Config, load_config
    from fomm_lib.datasets import FramePairs
    from fomm_lib.discriminator import MultiScaleDiscriminator
    from fomm_lib.evaluation import evaluate
    from fomm_lib.export import ExportedModel, export_model
    from fomm_lib.files import InputError, data_path
    from fomm_lib.generator import EncodedSource, Generated, OcclusionAwareGenerator
    from fomm_lib.inference import Animator, FastModel
    from fomm_lib.keypoints import KeypointDetector, Keypoints
    from fomm_lib.live import LiveAnimator
    from fomm_lib.model import FirstOrderMotionModel, build_discriminator, load_model
    from fomm_lib.motion import DenseMotion, DenseMotionNetwork
    from fomm_lib.perceptual import Vgg19Features, perceptual_network
    from fomm_lib.synthetic import synthesize
    from fomm_lib.training import train

__version__ = "0.1.0"

_FACE = {
    "animation": ["animate", "animate_frames"],
    "checkpoints": ["convert", "describe", "read_checkpoint", "write_weights"],
    "cleaning": ["clean"],
    "config": ["Config", "load_config"],
    "datasets": ["FramePairs"],
    "discriminator": ["MultiScaleDiscriminator"],
    "evaluation": ["evaluate"],
    "export": ["ExportedModel", "export_model"],
    "files": ["InputError", "data_path"],
    "generator": ["EncodedSource", "Generated", "OcclusionAwareGenerator"],
    "inference": ["Animator", "FastModel"],
    "keypoints": ["KeypointDetector", "Keypoints"],
    "live": ["LiveAnimator"],
    "model": ["FirstOrderMotionModel", "build_discriminator", "load_model"],
    "motion": ["DenseMotion", "DenseMotionNetwork"],
    "perceptual": ["Vgg19Features", "perceptual_network"],
    "synthetic": ["synthesize"],
    "training": ["train"],
}
_HOME = {name: module for module, names in _FACE.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name in _HOME:
        return getattr(import_module(f"fomm_lib.{_HOME[name]}"), name)
    if not name.startswith("_") and find_spec(f"fomm_lib.{name}"):
        return import_module(f"fomm_lib.{name}")
    raise AttributeError(f"module 'fomm_lib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
