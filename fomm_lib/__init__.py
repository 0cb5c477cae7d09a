"""The First Order Motion Model, step by step: from a portrait and a driving video to a moving portrait.

    import fomm_lib as fomm

    model = fomm.load_model("heads-64")
    fomm.animate(model, source="portrait.jpg", driving="clip.mp4", output="out.mp4")

The names in `_PUBLIC` are the public interface; modules are available too, as `fomm.geometry`. Each is
imported on first use, so that `import fomm_lib` and `fomm --help` do not wait for PyTorch.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from fomm_lib.version import __version__

# For editors and type checkers; a test compares it with `_PUBLIC`, which Python uses.
# ruff: noqa: F401
if TYPE_CHECKING:
    from fomm_lib.animation.animate import animate, animate_frames
    from fomm_lib.animation.animator import Animator
    from fomm_lib.animation.export import ExportedModel, export_model
    from fomm_lib.animation.fast import FastModel
    from fomm_lib.animation.live import LiveAnimator
    from fomm_lib.checkpoints import convert, describe, read_checkpoint, write_weights
    from fomm_lib.config import Config, load_config
    from fomm_lib.data.datasets import FramePairs
    from fomm_lib.data.report import clean
    from fomm_lib.discriminator import MultiScaleDiscriminator
    from fomm_lib.errors import InputError
    from fomm_lib.evaluation.evaluate import evaluate
    from fomm_lib.files import data_path
    from fomm_lib.generator import EncodedSource, Generated, OcclusionAwareGenerator
    from fomm_lib.keypoints import KeypointDetector, Keypoints
    from fomm_lib.model import FirstOrderMotionModel, build_discriminator, load_model
    from fomm_lib.motion import DenseMotion, DenseMotionNetwork
    from fomm_lib.perceptual import Vgg19Features, perceptual_network
    from fomm_lib.synthetic.folder import synthesize
    from fomm_lib.training.loop import train

_PUBLIC = {
    "animation.animate": ["animate", "animate_frames"],
    "animation.animator": ["Animator"],
    "animation.export": ["ExportedModel", "export_model"],
    "animation.fast": ["FastModel"],
    "animation.live": ["LiveAnimator"],
    "checkpoints": ["convert", "describe", "read_checkpoint", "write_weights"],
    "config": ["Config", "load_config"],
    "data.datasets": ["FramePairs"],
    "data.report": ["clean"],
    "discriminator": ["MultiScaleDiscriminator"],
    "errors": ["InputError"],
    "evaluation.evaluate": ["evaluate"],
    "files": ["data_path"],
    "generator": ["EncodedSource", "Generated", "OcclusionAwareGenerator"],
    "keypoints": ["KeypointDetector", "Keypoints"],
    "model": ["FirstOrderMotionModel", "build_discriminator", "load_model"],
    "motion": ["DenseMotion", "DenseMotionNetwork"],
    "perceptual": ["Vgg19Features", "perceptual_network"],
    "synthetic.folder": ["synthesize"],
    "training.loop": ["train"],
}
_HOME = {name: module for module, names in _PUBLIC.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name in _HOME:
        return getattr(import_module(f"fomm_lib.{_HOME[name]}"), name)
    if not name.startswith("_") and find_spec(f"fomm_lib.{name}"):
        return import_module(f"fomm_lib.{name}")
    raise AttributeError(f"module 'fomm_lib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
