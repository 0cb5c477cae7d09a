"""`config`: the published files load, and everything else is an error that one can act on."""

from __future__ import annotations

import copy
import json
import re

import numpy as np
import pytest
import yaml

from fomm_lib import config as module
from fomm_lib.config import Config, config_names, load_config, published_content
from fomm_lib.errors import InputError
from fomm_lib.files import data_path
from tests.support.paths import GOLDEN, ROOT
from tools import fuzz_families

pytestmark = pytest.mark.quick


def golden_config(name: str) -> dict:
    with np.load(GOLDEN / f"{name}.npz") as numbers:
        return json.loads(str(numbers["config"]))


def changed(content: dict, changes: dict[str, object]) -> dict:
    """A copy with some values changed, by their path; None takes the key out."""
    content = copy.deepcopy(content)
    for key, value in changes.items():
        *sections, last = key.split(".")
        section = content
        for name in sections:
            section = section.setdefault(name, {})
        if value is None:
            section.pop(last, None)
        else:
            section[last] = value
    return content


# The golden numbers hold vox-256, but for what makes it zeroth-order.
VOX = changed(
    golden_config("eval_zeroth-order_align1"),
    {
        "model_params.common_params.estimate_jacobian": True,
        "model_params.generator_params.estimate_occlusion_map": True,
    },
)
DATA, DISC, TRAIN = "dataset_params.", "model_params.discriminator_params.", "train_params."
NO_LIST = {DATA + "id_sampling": False, DATA + "pairs_list": None}
GAN = {TRAIN + "loss_weights.generator_gan": 1}
SECOND_STAGE = {
    **GAN,
    DISC + "sn": None,
    DISC + "use_kp": True,
    TRAIN + "num_epochs": 150,
    TRAIN + "epoch_milestones": [],
}
TAICHI = {
    DATA + "root_dir": "data/taichi-png",
    DATA + "pairs_list": "data/taichi256.csv",
    TRAIN + "num_repeats": 150,
}
JITTER = DATA + "augmentation_params.jitter_param"

# In what each published file differs from vox-256.
PUBLISHED = {
    "vox-256": {},
    "vox-adv-256": {**SECOND_STAGE, TRAIN + "batch_size": 36},
    "taichi-256": {**TAICHI, DISC + "sn": None, TRAIN + "batch_size": 30},
    "taichi-adv-256": {
        **TAICHI,
        **SECOND_STAGE,
        TRAIN + "lr_kp_detector": 0,
        TRAIN + "batch_size": 27,
    },
    "fashion-256": {
        **NO_LIST,
        **GAN,
        DATA + "root_dir": "data/fashion-png",
        JITTER: {"hue": 0.1},
        DISC + "sn": None,
        TRAIN + "num_repeats": 50,
        TRAIN + "batch_size": 27,
    },
    "mgif-256": {
        **NO_LIST,
        **GAN,
        DATA + "root_dir": "data/moving-gif",
        DATA + "augmentation_params.crop_param": {"size": [256, 256]},
        DATA + "augmentation_params.resize_param": {"ratio": [0.9, 1.1]},
        JITTER: {"hue": 0.5},
        "model_params.kp_detector_params.single_jacobian_map": True,
        TRAIN + "num_repeats": 25,
        TRAIN + "batch_size": 36,
        TRAIN + "checkpoint_freq": 100,
    },
    "nemo-256": {
        **NO_LIST,
        **GAN,
        DATA + "root_dir": "data/nemo-png",
        JITTER: None,
        TRAIN + "num_repeats": 8,
        TRAIN + "batch_size": 36,
    },
    "bair-256": {
        **NO_LIST,
        **GAN,
        DATA + "root_dir": "data/bair",
        TRAIN + "num_epochs": 20,
        TRAIN + "num_repeats": 1,
        TRAIN + "epoch_milestones": [12, 18],
        TRAIN + "batch_size": 36,
        TRAIN + "checkpoint_freq": 10,
    },
}


# --- the published files ------------------------------------------------------------------------------------


def test_the_golden_numbers_know_vox_adv_too():
    golden = load_config(golden_config("eval_vox-adv-256_align1"))
    assert load_config(changed(VOX, PUBLISHED["vox-adv-256"])) == golden


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_shipped_config_says_what_the_published_one_says(name):
    assert load_config(name) == load_config(changed(VOX, PUBLISHED[name]))


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("spelling", ["frame_shape", "image_shape"])
def test_a_published_file_loads_in_both_spellings(tmp_path, name, spelling):
    content = changed(VOX, PUBLISHED[name])
    content["dataset_params"][spelling] = content["dataset_params"].pop("frame_shape")
    path = tmp_path / "published.yaml"
    path.write_text("# As released.\n" + yaml.safe_dump(content).replace("true", "True"))
    assert load_config(path) == load_config(name)
    assert load_config(path).dataset_params.frame_shape == (256, 256, 3)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_shipped_config_has_every_key_of_the_published_one(name):
    def keys(content, prefix=""):
        for key, value in content.items():
            yield prefix + key
            if isinstance(value, dict):
                yield from keys(value, f"{prefix}{key}.")

    shipped = yaml.safe_load(data_path("configs", f"{name}.yaml").read_text(encoding="utf-8"))
    assert set(keys(shipped)) == set(keys(changed(VOX, PUBLISHED[name])))


def test_every_shipped_config_loads():
    assert set(PUBLISHED) <= set(config_names())
    for name in config_names():
        assert isinstance(load_config(name), Config)


def test_a_name_may_carry_its_suffix():
    assert load_config("vox-adv-256.yaml") == load_config("vox-adv-256")


def test_numbers_that_yaml_takes_for_text(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("train_params: {lr_generator: 2e-4}\n")
    assert yaml.safe_load(path.read_text())["train_params"]["lr_generator"] == "2e-4"
    assert load_config(path).train_params.lr_generator == 2e-4


@pytest.mark.parametrize("key", module.IGNORED_KEYS)
def test_a_key_that_is_not_read_is_accepted_in_its_section_only(key):
    for value in (50, {"format": ".mp4"}):
        assert load_config(changed({}, {key: value})) == Config()
    with pytest.raises(InputError, match="unknown key"):
        load_config(changed({}, {f"model_params.{key}": 50}))


def test_every_other_key_of_a_config_is_read():
    """A key that the library names nowhere belongs in IGNORED_KEYS."""
    library = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "fomm_lib").rglob("*.py"))

    def names(section):
        for name, value in section.items():
            yield name
            if isinstance(value, dict):
                yield from names(value)

    found = {name: len(re.findall(rf"\b{name}\b", library)) for name in names(Config().model_dump())}
    unread = {name for name, count in found.items() if count < 2 and not name.startswith("lr_")}
    assert 'f"lr_{' in library, "the learning rates are read by a name that is put together"
    assert unread == set()


# --- configs as objects -------------------------------------------------------------------------------------


def test_an_empty_config_is_all_defaults():
    config = load_config({})
    assert config == Config()
    assert config.model_params == load_config("vox-256").model_params.model_copy(
        update={"discriminator_params": config.model_params.discriminator_params}
    )
    assert config.model_params.align_corners is True


def test_a_config_passes_through():
    config = Config()
    assert load_config(config) is config


@pytest.mark.parametrize("name", ["vox-256", "mgif-256", "heads-64", "heads-256-motion"])
def test_written_and_read_again_it_is_the_same(tmp_path, name):
    config = load_config(name)
    assert load_config(config.model_dump()) == config
    assert load_config(json.loads(config.model_dump_json())) == config
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    assert load_config(path) == config


def test_configs_share_no_values():
    first, second = Config(), Config()
    first.train_params.scales.append(0.0625)
    first.model_params.common_params.num_kp = 15
    assert second == Config() and second.model_params.common_params.num_kp == 10


def test_short_forms_of_augmentations():
    params = {"rotation_param": {"degrees": 10}, "crop_param": {"size": 64}}
    config = load_config({"dataset_params": {"augmentation_params": params}})
    augmentation = config.dataset_params.augmentation_params
    assert augmentation.rotation_param.degrees == (-10, 10)
    assert augmentation.crop_param.size == (64, 64)
    assert augmentation.flip_param is None


# --- what is wrong, and what is allowed ---------------------------------------------------------------------


MODEL, AUGMENT, WEIGHTS = "model_params.", DATA + "augmentation_params.", TRAIN + "loss_weights."
BAD = [  # a key, its value, and what comes after the key in the error
    (MODEL + "common_params.num_kpp", 3, ": unknown key; allowed here: num_kp, num_channels, estimate_jac"),
    ("model_param", {}, ": unknown key; allowed here: dataset_params, model_params, train_params"),
    (
        MODEL + "generator_params.dense_motion_params.scale",
        0.25,
        ": unknown key; allowed here: block_expansion, max_features, num_blocks, scale_factor",
    ),
    (AUGMENT + "flip_param.vertical", True, ": unknown key; allowed here: horizontal_flip, time_flip"),
    ("train_params", [], " = []: should be a section with the keys num_epochs, num_repeats, epoch_"),
    (
        MODEL + "generator_params.dense_motion_params",
        5,
        " = 5: should be a section with the keys block_expansion, max_features, num_blocks, scale_factor",
    ),
    (MODEL + "common_params.num_kp", 0, " = 0: input should be greater than 0"),
    (MODEL + "common_params.num_kp", True, " = True: should be a number, not yes or no"),
    (MODEL + "common_params.num_kp", "many", " = 'many': input should be a valid integer"),
    (MODEL + "kp_detector_params.pad", 4, " = 4: input should be less than or equal to 3"),
    (
        MODEL + "kp_detector_params.scale_factor",
        0.3,
        " = 0.3: should be 1 divided by a whole number (1, 0.5, 0.25, ...)",
    ),
    (DATA + "frame_shape", [256, 256], " = [256, 256]: number 3 is missing"),
    (DATA + "image_shape", [0, 256, 3], ".0 = 0: input should be greater than 0"),
    (AUGMENT + "rotation_param", {}, " = {}: degrees is missing"),
    (AUGMENT + "jitter_param.hue", 0.6, " = 0.6: input should be less than or equal to 0.5"),
    (TRAIN + "lr_generator", float("nan"), " = nan: input should be a finite number"),
    (TRAIN + "lr_generator", -1e-4, " = -0.0001: input should be greater than or equal to 0"),
    (TRAIN + "perceptual_network", "vgg", " = 'vgg': input should be 'vgg19' or 'vgg16-lpips'"),
    (WEIGHTS + "perceptual", [10, -1], ".1 = -1: input should be greater than or equal to 0"),
    (WEIGHTS + "perceptual", [1] * 6, " = [1, 1, 1, 1, 1, 1]: list should have at most 5 items"),
    (MODEL + "extension_params.skip", True, ": unknown key; allowed here: skips, inpainting_blocks, inpaint"),
    (MODEL + "extension_params.inpainting_blocks", 11, " = 11: input should be less than or equal to 10"),
    (MODEL + "extension_params.detail_features", 65, " = 65: input should be less than or equal to 64"),
    (TRAIN + "holes", 1.5, " = 1.5: input should be less than or equal to 1"),
    (TRAIN + "perceptual_crop", -1, " = -1: input should be greater than or equal to 0"),
    (WEIGHTS + "landmarks", -1, " = -1: input should be greater than or equal to 0"),
    (TRAIN + "led_keypoints", [{"keypoint": 3}], ".0 = {'keypoint': 3}: landmarks is missing"),
    (
        TRAIN + "led_keypoints",
        [{"keypoint": 3, "landmarks": [68]}],
        ".0.landmarks.0 = 68: input should be less than or equal to 67",
    ),
    # Of several keys together.
    (
        MODEL + "extension_params",
        {"keypoint_maps": True},
        ".keypoint_maps: needs inpainting_blocks",
    ),
    (
        MODEL + "extension_params",
        {"opening_maps": [[0, 1]]},
        ".opening_maps: needs inpainting_blocks",
    ),
    (
        MODEL + "extension_params.opening_maps",
        [[0, -1]],
        ".0.1 = -1: input should be greater than or equal to 0",
    ),
    (
        WEIGHTS + "feature_matching",
        [10, 10],
        " = [10.0, 10.0]: the discriminator has num_blocks = 4; give one weight per block",
    ),
    (
        DISC + "scales",
        [1, 0.0625],
        " = [1.0, 0.0625]: 0.0625 is not one of train_params.scales = [1.0, 0.5, 0.25, 0.125]; add it there",
    ),
    (
        DATA + "frame_shape",
        [250, 256, 3],
        " = [250, 256]: with these generator_params both sides must be multiples of 4",
    ),
    (
        DATA + "frame_shape",
        [256, 192, 3],
        " = [256, 192]: with these kp_detector_params both sides must be multiples of 128",
    ),
]


@pytest.mark.parametrize(("key", "value", "rest"), BAD, ids=[f"{key}={value}" for key, value, _ in BAD])
def test_an_error_names_the_key_the_value_and_what_is_allowed(tmp_path, key, value, rest):
    content = changed({}, {key: value})
    with pytest.raises(InputError) as error:
        load_config(content)
    assert str(error.value).startswith(f"config: {key}{rest}")
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(InputError) as error:
        load_config(path)
    message = str(error.value)
    assert message.startswith(f"{path}: {key}{rest}") and "\n" not in message


def test_a_section_without_content():
    with pytest.raises(InputError, match="train_params = None: should be a section with the keys num_ep"):
        load_config({"train_params": None})


def test_one_spelling_at_a_time():
    both = {"frame_shape": [256, 256, 3], "image_shape": [256, 256, 3]}
    with pytest.raises(InputError, match=r"image_shape: unknown key; allowed here: .*frame_shape"):
        load_config({"dataset_params": both})


def test_several_faults_are_told_at_once():
    with pytest.raises(InputError) as error:
        load_config({"train_params": {"batch_size": 0, "epochs": 3}})
    assert "batch_size = 0: " in str(error.value) and "; train_params.epochs: unknown key" in str(error.value)


def test_an_unknown_name():
    with pytest.raises(InputError) as error:
        load_config("vox-265")
    message = str(error.value)
    assert message.startswith("vox-265: no such config file; shipped ones by name: ")
    assert "vox-256" in message and "bair-256" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"model_params: [1, 2", r"is not a YAML file \(.*line 1"),
        (
            b"a: !!python/object/apply:os.system ['exit 1']",
            "is not a YAML file .*not determine a constructor",
        ),
        (b"\xff\xfe\x00 not text", "is not a YAML file"),
        (b"born: 2020-13-45", "is not a YAML file"),
        (b"", "is not a config; it should start with sections such as model_params:"),
        (b"- 1\n- 2", "is not a config; it should start with sections such as model_params:"),
    ],
)
def test_files_that_are_no_config(tmp_path, content, message):
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        load_config(path)
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_read(tmp_path, monkeypatch):
    path = tmp_path / "config.yaml"
    path.write_text("{}")

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module.Path, "read_text", denied)
    with pytest.raises(InputError, match=r"config\.yaml: cannot be read \(Permission denied\)"):
        load_config(path)


@pytest.mark.parametrize(
    ("extensions", "others", "message"),
    [
        (
            {"skips": True},
            {"estimate_occlusion_map": False},
            "skips: needs generator_params.estimate_occlusi",
        ),
        ({"skips": True}, {"dense_motion_params": None}, "skips: needs generator_params.estimate_occlusion_"),
        (
            {"skips": True},
            {"num_down_blocks": 0},
            "skips: needs num_down_blocks of at least",
        ),
        (
            {"inpainting_blocks": 1},
            {"estimate_occlusion_map": False},
            "inpainting_blocks: needs generator_params.estimate_occlusion_map: true",
        ),
        ({"inpainting_blocks": 6}, {}, "multiples of 256"),
        (
            {"inpainting_blocks": 1, "opening_maps": [[3, 3]]},
            {},
            "opening_maps: needs two different keypoints < num_kp a pair",
        ),
        (
            {"inpainting_blocks": 1, "opening_maps": [[0, 1], [2, 10]]},
            {},
            "opening_maps: needs two different keypoints < num_kp a pair",
        ),
    ],
)
def test_extensions_and_what_they_need(extensions, others, message):
    content = load_config("vox-256").model_dump()
    content["dataset_params"]["frame_shape"] = [128, 128, 3]
    content["model_params"]["generator_params"] |= others
    content["model_params"]["extension_params"] = extensions
    with pytest.raises(InputError, match=message):
        load_config(content)


def test_detail_needs_a_small_image():
    content = load_config("vox-256").model_dump()
    content["model_params"]["extension_params"] = {"detail_features": 2}
    assert load_config(content).model_params.extension_params.detail_features == 2
    content["model_params"]["kp_detector_params"]["scale_factor"] = 1
    with pytest.raises(InputError, match=r"detail_features: needs a kp_detector scale_factor < 1"):
        load_config(content)


def test_holes_need_a_mask():
    content = load_config("vox-256").model_dump()
    content["train_params"]["holes"] = 0.5
    assert load_config(content).train_params.holes == 0.5
    content["model_params"]["generator_params"]["estimate_occlusion_map"] = False
    with pytest.raises(InputError, match=r"train_params\.holes: needs generator_params\.estimate_occl"):
        load_config(content)


def test_published_models_have_no_extensions():
    for name in config_names():
        extensions = load_config(name).model_params.extension_params
        assert (extensions is not None) == name.startswith("heads-256"), name
    with pytest.raises(InputError, match=r"extension_params: not in the published code; write a .safe"):
        published_content(load_config("heads-256"))


# --- bounds -------------------------------------------------------------------------------------------------

LARGE = {
    MODEL + "common_params.num_kp": [10**12, 1001, 1e20],
    MODEL + "kp_detector_params.num_blocks": [10**12, 11],
    MODEL + "kp_detector_params.scale_factor": [5e-324, 1e-4],
    MODEL + "kp_detector_params.temperature": [1e308, 5e-324],
    MODEL + "generator_params.num_bottleneck_blocks": [10**7, 101],
    MODEL + "generator_params.num_down_blocks": [10**7, 11],
    MODEL + "generator_params.block_expansion": [10**9, 8193],
    MODEL + "discriminator_params.max_features": [10**30],
    MODEL + "discriminator_params.scales": [[1] * 11, [1e-300]],
    DATA + "frame_shape": [[10**6, 10**6, 3], [256, 256, 10**6]],
    TRAIN + "batch_size": [10**6],
    TRAIN + "num_epochs": [10**12],
    TRAIN + "lr_generator": [1e20],
    TRAIN + "epoch_milestones": [[1] * 1001],
    TRAIN + "transform_params.points_tps": [10**6],
    TRAIN + "loss_weights.perceptual": [[1e300]],
    TRAIN + "loss_weights.pixel": [1e300],
    TRAIN + "led_keypoints": [
        [{"keypoint": 0, "landmarks": [0]}] * 1001,
        [{"keypoint": 10**9, "landmarks": [0]}],
    ],
    TRAIN + "perceptual_crop": [10**9],
    MODEL + "extension_params.inpainting_features": [10**9],
}


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in LARGE.items() for value in values]
)
def test_every_number_has_a_largest_value(key, value):
    with pytest.raises(InputError) as error:
        load_config(changed(VOX, {key: value}))
    assert f"{key}" in str(error.value) and len(str(error.value)) < 600


@pytest.mark.parametrize("name", fuzz_families.ODD_YAML)
def test_files_that_stand_for_more_than_they_are(tmp_path, name):
    path = tmp_path / "odd.yaml"
    path.write_text(fuzz_families.ODD_YAML[name])
    with pytest.raises(InputError, match=r"odd\.yaml: ") as error:
        load_config(path)
    assert str(error.value).isprintable() and len(str(error.value)) < 1500


def test_references_of_people_still_work(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("train_params:\n  lr_generator: &rate 0.001\n  lr_kp_detector: *rate\n")
    assert load_config(path).train_params.lr_kp_detector == 0.001


def test_a_dict_that_holds_itself():
    content: dict = {}
    content["model_params"] = content
    with pytest.raises(InputError, match="is not a config: it has more than 20 levels"):
        load_config(content)


@pytest.mark.parametrize(
    "value", ["x" * 5000, 10**5000, [[0] * 50] * 50, "\x1b[2J"], ids=["text", "number", "lists", "escape"]
)
def test_a_long_value_is_shown_short(value):
    with pytest.raises(InputError) as error:
        load_config({"train_params": {"num_epochs": value}})
    assert len(str(error.value)) < 500 and str(error.value).isprintable()


def test_many_problems_are_counted():
    unknown = {f"key{number}": 1 for number in range(50)}
    with pytest.raises(InputError, match=r"key0: unknown key; .*; and 46 more$"):
        load_config(unknown)
