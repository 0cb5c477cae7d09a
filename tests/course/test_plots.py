import base64
import html
import io
import math
import re
import sys

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from fomm_lib.course import plots
from fomm_lib.course.plots import curves
from fomm_lib.errors import InputError
from fomm_lib.geometry import coordinate_grid


@pytest.fixture
def shown(monkeypatch):
    """What `show` hands to the notebook."""
    found = []
    monkeypatch.setattr("IPython.display.display", found.append)
    return found


@pytest.fixture(autouse=True)
def _style_of_its_own():
    with matplotlib.rc_context():
        yield


def open_png(png):
    return Image.open(io.BytesIO(png))


# Style


def lightness_seen(colour, kind):
    """A colour as seen with one kind of cone missing (Vienot, Brettel and Mollon 1999), linear RGB."""
    rgb = np.array(matplotlib.colors.to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = {
        "all cones": np.eye(3),
        "no red cones": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
        "no green cones": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
    }[kind]
    back = np.clip(np.array(seen) @ linear, 0, 1)
    return np.where(back <= 0.0031308, back * 12.92, 1.055 * back ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("kind", ["all cones", "no red cones", "no green cones"])
def test_colours_can_be_told_apart_by_everyone(kind):
    seen = [lightness_seen(colour, kind) for colour in plots.COLOURS]
    closest = min(np.linalg.norm(a - b) for i, a in enumerate(seen) for b in seen[:i])
    assert closest > 0.12
    # Measured with the colours that matplotlib would take, for comparison: its closest pair is closer.
    cycle = matplotlib.rcParamsDefault["axes.prop_cycle"].by_key()["color"]
    usual = [lightness_seen(colour, kind) for colour in cycle[: len(plots.COLOURS)]]
    if kind != "all cones":
        assert closest > min(np.linalg.norm(a - b) for i, a in enumerate(usual) for b in usual[:i])


def test_every_curve_has_a_second_cue():
    plots.use_style()
    cycle = list(matplotlib.rcParams["axes.prop_cycle"])
    assert len(cycle) == len(plots.COLOURS)
    assert len({str(entry["linestyle"]) for entry in cycle}) == len(cycle)
    figure, _ = plt.subplots()
    assert plots.figure_pixels(figure).shape == (350, 600, 3)
    plt.close(figure)


def test_making_a_figure_leaves_the_style_unchanged():
    before = dict(matplotlib.rcParams)
    plots.plot_losses({"perceptual": [1.0]})
    plots.image_grid([[torch.zeros(3, 8, 8)]])
    plots.plot_flow(coordinate_grid(8, 8))
    assert dict(matplotlib.rcParams) == before


# Showing


def test_show_gives_the_image_and_its_words(shown):
    plots.use_style()
    figure, axis = plt.subplots()
    axis.plot([1, 2])
    plots.show(figure, alt="one rising line")
    (image,) = shown
    data = image._repr_mimebundle_()
    assert data.keys() == {"text/html", "text/plain"}
    assert png_in(data["text/html"], "one rising line").format == "PNG"
    assert data["text/plain"] == repr(image) == "one rising line"
    assert plt.get_fignums() == []


def png_in(shown, alt):
    """The image of an `<img>` that has this alternative text, as a browser reads it."""
    found = re.fullmatch(r'<img alt="(.+)" src="data:image/png;base64,(.+)">', shown)
    assert html.unescape(found[1]) == alt
    return open_png(base64.b64decode(found[2]))


def test_words_that_are_signs_of_html_stay_words(shown):
    plots.show(Figure((1, 1)), alt='"a" < b & c > d')
    assert png_in(shown[0]._repr_mimebundle_()["text/html"], '"a" < b & c > d').size == (100, 100)


def test_a_widget_is_shown_with_a_still_image(shown):
    import ipywidgets

    slider = ipywidgets.IntSlider()
    plots.show_widget(slider, Figure((1, 1)), alt="an empty white square")
    data = shown[0]._repr_mimebundle_()
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == slider.model_id
    assert png_in(data["text/html"], "an empty white square").size == (100, 100)
    assert data["text/plain"] == "an empty white square"


# Tables


def test_a_table_is_a_table_of_the_page_and_aligned_text(shown):
    rows = [["a < b", 3, torch.tensor(0.12345), True], ["c", np.int64(10), 12.0, None]]
    plots.show_table(["name", "steps", "L1, [0, 1]", "kept"], rows, digits=2)
    (table,) = shown
    assert repr(table).splitlines() == [
        "name   steps  L1, [0, 1]  kept",
        "a < b      3        0.12  True",
        "c         10       12.00",
    ]
    html_rows = re.findall(r"<tr>(.*?)</tr>", table._repr_html_())
    cells = [re.findall(r'<(t[hd]) style="text-align: (\w+)">(.*?)</t[hd]>', row) for row in html_rows]
    assert [[cell[2] for cell in row] for row in cells] == [
        ["name", "steps", "L1, [0, 1]", "kept"],
        ["a &lt; b", "3", "0.12", "True"],
        ["c", "10", "12.00", ""],
    ]
    assert [{cell[0] for cell in row} for row in cells] == [{"th"}, {"td"}, {"td"}]
    assert [[cell[1] for cell in row] for row in cells] == [["left", "right", "right", "left"]] * 3


def test_show_is_understood_by_a_real_notebook_kernel():
    """What a kernel makes of it: one output, base64, with its words where a browser looks for them."""
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    shell = InteractiveShell.instance()
    try:
        with capture_output() as captured:
            plots.show(Figure((1, 1)), alt="an empty white square")
        (output,) = captured.outputs
        assert png_in(output.data["text/html"], "an empty white square").size == (100, 100)
    finally:
        shell.clear_instance()


def test_show_takes_the_bytes_of_an_animation(shown):
    plots.show(plots.animation_png(torch.rand(3, 3, 8, 8)), alt="three random images")
    assert open_png(shown[0].png).n_frames == 3


def test_show_without_a_notebook_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    with pytest.raises(InputError, match=r"in a script use figure\.savefig"):
        plots.show(Figure((1, 1)), alt="some words here")
    with pytest.raises(InputError, match="in a script print the rows"):
        plots.show_table(["a"], [[1]])


def test_figure_pixels_are_what_is_drawn():
    figure = Figure((0.5, 0.25), facecolor="#FF8000")
    pixels = plots.figure_pixels(figure)
    assert pixels.shape == (25, 50, 3) and pixels.dtype == np.uint8
    assert (pixels == [255, 128, 0]).all()


# Animation


def test_animation_keeps_frames_times_and_colours():
    torch.manual_seed(1)
    frames = (torch.rand(4, 3, 16, 24) * 255).round() / 255
    moving = open_png(plots.animation_png(frames, fps=20, hold=0.5))
    assert moving.is_animated and moving.n_frames == 4 and moving.info["loop"] == 0
    durations = []
    for i in range(4):
        moving.seek(i)
        durations.append(moving.info["duration"])
        expected = (frames[i] * 255).round().byte().permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(np.asarray(moving.convert("RGB")), expected)
    assert durations == [50, 50, 50, 550]


def test_animation_of_few_colours_is_smaller_and_keeps_them_exactly():
    """Three flat colours survive in every frame, white as white, though the frames differ."""
    frames = []
    for i in range(6):
        frame = torch.ones(3, 64, 64)
        frame[:, 8 * i : 8 * i + 8] = torch.tensor([0.2, 0.4, 0.6])[:, None, None]
        frame[:, -4:] = torch.tensor([0.8, 0.0, 0.0])[:, None, None]
        frames.append(frame)
    moving = open_png(plots.animation_png(frames, colours=4))
    assert moving.mode == "P"
    for i, frame in enumerate(frames):
        moving.seek(i)
        expected = (frame * 255).round().byte().permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(np.asarray(moving.convert("RGB")), expected)
    noisy = torch.rand(6, 3, 64, 64)
    assert len(plots.animation_png(noisy, colours=8)) < len(plots.animation_png(noisy)) / 2


def test_frames_may_be_arrays_or_tensors_and_one_is_enough():
    array = np.zeros((4, 4, 3), np.uint8)
    assert open_png(plots.animation_png([array, torch.ones(3, 4, 4)])).n_frames == 2
    assert open_png(plots.animation_png([array])).size == (4, 4)


# Images


def test_grid_shows_every_kind_of_image_and_fits_the_page(shown):
    torch.manual_seed(1)
    row = [
        torch.rand(3, 64, 64),
        torch.rand(1, 64, 64),
        torch.rand(58, 58),
        np.zeros((64, 64, 3), np.uint8),
        torch.rand(64, 64) > 0.5,
        None,
    ]
    for rows in ([row], [row] * 4, [[row[0]]], [[row[0]]] * 9, [[torch.rand(3, 32, 128)] * 3] * 2):
        titles, row_titles = (list(map(str, range(n))) for n in (len(rows[0]), len(rows)))
        figure = plots.image_grid(rows, titles, row_titles)
        plots.show(figure, alt="a grid of images")
        assert len(figure.axes) == len(rows) * len(rows[0])
    figure = plots.image_grid([row], list("abcdef"), ["first"])
    assert [axis.get_title() for axis in figure.axes] == list("abcdef")
    assert figure.axes[0].get_ylabel() == "first"
    assert not figure.axes[5].images


def test_grid_shows_the_values_of_an_image():
    image = torch.tensor([[[0.0, 0.5], [1.0, 2.0]]])  # brighter than white is white
    pixels = plots.image_grid([[image]]).axes[0].images[0].get_array()
    np.testing.assert_array_equal(pixels[..., 0], [[0, 128], [255, 255]])


@pytest.mark.parametrize("size", [64, 100, 256])
def test_keypoints_lie_where_geometry_says(size):
    """(-1, -1) is the centre of the first pixel, (1, 1) of the last, enlarged or not."""
    points = torch.tensor([[0.0, 0.0], [-1.0, -1.0], [1.0, -1.0], [0.5, 1.0]])
    image = torch.zeros(3, size, size)
    for k, (x, y) in enumerate(points.tolist()):
        drawn = plots.draw_keypoints(image, points[k : k + 1], radius=2)
        factor = drawn.shape[0] // size
        assert factor == (1 if size >= 192 else -(-192 // size))
        row, column = np.nonzero(drawn.sum(-1))
        expected = np.array([x, y]) * (size - 1) / 2 * factor
        inside = abs(expected) < drawn.shape[0] / 2 - 4  # a disc cut by the border has its centre elsewhere
        centre = np.array([column.mean(), row.mean()]) - (drawn.shape[0] - 1) / 2
        np.testing.assert_allclose(centre[inside], expected[inside], atol=0.6)
        assert len(row) > 2


def test_keypoints_are_numbered_and_the_image_is_left_alone():
    image = np.full((256, 256, 3), 90, np.uint8)
    point = torch.tensor([[0.2, -0.3]])
    first = plots.draw_keypoints(image, point)
    both = plots.draw_keypoints(image, torch.cat([point + 5, point]))  # the first lies outside
    assert (image == 90).all()
    differ = (first != both).any(-1)
    assert differ.any() and (first != 90).any()  # another colour and another number
    grey = (first.astype(int).sum(-1) < 150).sum()
    assert grey > 10  # black digits


def test_keypoints_come_in_several_forms():
    class Detected:
        value = torch.zeros(1, 3, 2)

    image = torch.rand(3, 192, 192)
    expected = plots.draw_keypoints(image, torch.zeros(3, 2))
    np.testing.assert_array_equal(plots.draw_keypoints(image, Detected()), expected)
    np.testing.assert_array_equal(plots.draw_keypoints(image, np.zeros((3, 2))), expected)


# Curves


def test_curves_differ_in_colour_line_and_name(shown):
    x = torch.linspace(0, 1, 5, requires_grad=True)
    figure = plots.plot_curves(x, {str(n): n * x for n in range(7)}, "x (no unit)", "n x", xlim=(0, 1))
    (axis,) = figure.axes
    for cue in (
        lambda line: line.get_color(),
        lambda line: str(line._dash_pattern),
        lambda line: line.get_label(),
    ):
        assert len({cue(line) for line in axis.lines}) == 7
    np.testing.assert_array_equal(axis.lines[3].get_ydata(), 3 * x.detach())
    assert (axis.get_xlabel(), axis.get_ylabel(), axis.get_xlim()) == ("x (no unit)", "n x", (0, 1))
    assert len(axis.get_legend().texts) == 7
    plots.show(figure, alt="a fan of rising lines")


LOSSES = {name: np.linspace(i + 1, 0, 100) for i, name in enumerate(plots.LOSS_NAMES)}


def test_six_losses_in_six_panels(shown):
    figure = plots.plot_losses(LOSSES)
    assert [axis.get_title() for axis in figure.axes] == list(plots.LOSS_NAMES.values())
    for axis, values in zip(figure.axes, LOSSES.values(), strict=True):
        raw, mean = axis.lines
        np.testing.assert_array_equal(raw.get_ydata(), values)
        np.testing.assert_allclose(
            mean.get_ydata()[1:], (values[1:] + values[:-1]) / 2
        )  # a window of 100 / 50
        assert mean.get_ydata()[0] == values[0]
        assert axis.get_ylim()[0] == 0
    assert {axis.lines[0].get_color() for axis in figure.axes} == set(plots.COLOURS[1:])
    plots.show(figure, alt="six falling curves")


@pytest.mark.parametrize("number", [1, 4, 7, 8])
def test_any_number_of_losses_in_rows_of_three(monkeypatch, number):
    names = {f"loss_{i}": f"loss {i}" for i in range(number)}
    monkeypatch.setattr(curves, "LOSS_NAMES", names)
    figure = plots.plot_losses({name: [2.0, 1.0] for name in names})
    assert [axis.get_title() for axis in figure.axes] == list(names.values())
    assert all(len(axis.lines) == 2 for axis in figure.axes)
    lowest = figure.axes[-3:]
    assert [axis for axis in figure.axes if axis.get_xlabel() == "step"] == lowest
    figure.canvas.draw()
    assert all(label.get_visible() for axis in lowest for label in axis.get_xticklabels())


def test_a_loss_that_comes_later_has_a_mean_from_there_on():
    late = [math.nan, math.nan, 4.0, 2.0, math.nan, 6.0]
    figure = plots.plot_losses({"perceptual": [1.0] * 6, "gen_gan": late}, window=2)
    mean = figure.axes[list(plots.LOSS_NAMES).index("gen_gan")].lines[1].get_ydata()
    np.testing.assert_allclose(mean, [math.nan, math.nan, 4, 3, math.nan, 6])


def test_losses_from_a_file_are_the_same(tmp_path):
    path = tmp_path / "losses.csv"
    rows = [",".join(["step", "seconds", *LOSSES])]
    rows += [f"{10 * i},x," + ",".join(str(values[i]) for values in LOSSES.values()) for i in range(100)]
    path.write_text("\n".join(rows))
    figure = plots.plot_losses(path, window=1)
    for axis, values in zip(figure.axes, LOSSES.values(), strict=True):
        np.testing.assert_array_equal(axis.lines[1].get_xdata(), np.arange(100) * 10)
        np.testing.assert_allclose(axis.lines[1].get_ydata(), values)


def test_a_loss_that_was_not_measured_leaves_its_panel_empty(tmp_path):
    figure = plots.plot_losses({"perceptual": [1.0, 2.0], "other": [1.0]})
    assert [len(axis.lines) for axis in figure.axes] == [2, 0, 0, 0, 0, 0]
    assert figure.axes[1].texts[0].get_text() == "not measured"
    path = tmp_path / "gap.csv"
    path.write_text("perceptual,gen_gan\n1,\n2,3\n")
    assert np.isnan(plots.plot_losses(path).axes[1].lines[0].get_ydata()[0])


# Flow


def test_flow_colours_say_direction_and_length():
    directions = {"right": (1, 0), "down": (0, 1), "left": (-1, 0), "up": (0, -1)}
    colours = {}
    for name, way in directions.items():
        field = torch.tensor(way).float().expand(2, 2, 2)
        colours[name] = tuple(plots.flow_colours(field)[0, 0].tolist())
        half = plots.flow_colours(field / 2, maximum=1.0)[0, 0]
        assert half.min() == 128  # half the length, half the strength
        assert (plots.flow_colours(3 * field, maximum=1.0) == colours[name]).all()
    assert colours == {
        "right": (255, 0, 0),
        "down": (128, 255, 0),
        "left": (0, 255, 255),
        "up": (128, 0, 255),
    }


def test_flow_arrows_point_from_driving_to_source(shown):
    shift = torch.tensor([0.25, -0.5])
    figure = plots.plot_flow(coordinate_grid(48, 64) + shift)
    (arrows,) = (item for item in figure.axes[0].collections if type(item).__name__ == "Quiver")
    np.testing.assert_allclose(arrows.U, 0.25, atol=1e-6)
    np.testing.assert_allclose(arrows.V, -0.5, atol=1e-6)
    assert len(arrows.U) == 12 * 16
    x, y = arrows.get_offsets().T
    assert abs(x).max() < 1 and abs(y).max() < 1 and abs(x.mean()) < 0.05 and abs(y.mean()) < 0.05
    assert figure.axes[0].get_ylim() == (1, -1)  # y runs down, as in an image
    assert figure.axes[1].get_xlabel() == "rim: 0.56"
    plots.show(figure, alt="arrows to the upper right")


def test_an_identity_flow_is_white():
    figure = plots.plot_flow(coordinate_grid(16, 16))
    assert (figure.axes[0].images[0].get_array() == 255).all()


@pytest.mark.parametrize("number", [1, 2, 4])
def test_flows_side_by_side_share_their_colours(shown, number):
    flows = {str(i): coordinate_grid(20, 20) + torch.tensor([0.1 * i + 0.1, 0.0]) for i in range(number)}
    figure = plots.plot_flows(flows)
    assert [axis.get_title() for axis in figure.axes] == [*flows, "direction, length"]
    for i in range(number):
        expected = 255 * (1 - (i + 1) / number)  # the longest has full colour, in every panel
        assert abs(int(figure.axes[i].images[0].get_array()[0, 0, 1]) - expected) < 1
    assert figure.axes[-1].get_xlabel() == f"rim: {0.1 * number:.2g}"
    plots.show(figure, alt="arrows to the right")
    figure = plots.plot_flows(flows, maximum=0.05)
    assert (figure.axes[0].images[0].get_array() == [255, 0, 0]).all()


# Marks


def test_marked_pixels_are_hatched_and_no_other():
    image = torch.rand(3, 200, 300)
    where = torch.zeros(200, 300, dtype=torch.bool)
    where[40:80, 100:200] = True
    marked = plots.mark_pixels(image, where, colour="#FF0000")
    assert (marked[~where.numpy()] == plots.mark_pixels(image, where & False)[~where.numpy()]).all()
    found = {tuple(colour) for colour in marked[where.numpy()].tolist()}
    assert found == {(255, 0, 0), (255, 255, 255)}
    assert 0.4 < (marked[where.numpy()][:, 1] == 0).mean() < 0.6


def test_marking_enlarges_a_small_image():
    marked = plots.mark_pixels(np.zeros((64, 96, 3), np.uint8), np.eye(64, 96, dtype=bool))
    assert marked.shape == (192, 288, 3)
    assert (marked[:3, :3] > 0).any(axis=-1).all() and (marked[:3, 3:] == 0).all()


# Every error

WHITE = torch.ones(3, 8, 8)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: plots.show(Figure((1, 1)), alt=""), "alt is ''; say in a sentence"),
        (lambda: plots.show(Figure((1, 1)), alt="a plot"), "alt is 'a plot'; say in a sentence"),
        (lambda: plots.show(b"no image", alt="some words here"), "the image is no PNG"),
        (
            lambda: plots.show_widget(3, Figure((1, 1)), alt="some words here"),
            "int is no widget of ipywidgets",
        ),
        (
            lambda: plots.show_table(["a", "b"], [[1, 2], [3]]),
            r"the row \[3\] has 1 cells, and there are 2 columns",
        ),
        (
            lambda: plots.show(Figure((7, 3)), alt="some words here"),
            "has 700 x 300 pixels; at most 600 x 350",
        ),
        (
            lambda: plots.show(Figure((6, 4)), alt="some words here"),
            "has 600 x 400 pixels; at most 600 x 350",
        ),
        (lambda: plots.animation_png([]), "there are no frames"),
        (lambda: plots.animation_png([WHITE, torch.ones(3, 4, 8)]), r"sizes \[\(8, 4\), \(8, 8\)\]"),
        (lambda: plots.animation_png([WHITE], fps=0), "fps is 0; give a number above 0"),
        (lambda: plots.animation_png([WHITE], colours=1), "colours is 1; give 2 to 256"),
        (
            lambda: plots.animation_png([torch.ones(8, 8, 3)]),
            r"an image has shape \(8, 8, 3\) and type torch.float32",
        ),
        (lambda: plots.animation_png([WHITE.int()]), "type torch.int32"),
        (lambda: plots.image_grid([]), "there are no images"),
        (lambda: plots.image_grid([[], []]), "there are no images"),
        (lambda: plots.image_grid([[WHITE], [WHITE, WHITE]]), r"rows have \[1, 2\] images"),
        (lambda: plots.image_grid([[WHITE]], ["a", "b"]), "titles has 2 entries; there are 1 to name"),
        (lambda: plots.image_grid([[WHITE]], None, []), "row_titles has 0 entries"),
        (lambda: plots.image_grid([[torch.ones(2, 8, 8)]]), r"an image has shape \(2, 8, 8\)"),
        (lambda: plots.draw_keypoints(WHITE, torch.zeros(2, 3, 2)), r"keypoints have shape \(2, 3, 2\)"),
        (
            lambda: plots.draw_keypoints(WHITE, torch.tensor([[0.0, torch.nan]])),
            "some keypoints are not finite",
        ),
        (lambda: plots.plot_curves([0], {}, "x", "y"), "there are 0 curves; give 1 to 7"),
        (lambda: plots.plot_curves([0], {str(i): [0] for i in range(8)}, "x", "y"), "there are 8 curves"),
        (lambda: plots.plot_curves([0, 1], {"a": [0]}, "x", "y"), r"a has shape \(1,\), x \(2,\)"),
        (lambda: plots.plot_losses("nowhere.csv"), "nowhere.csv: cannot be read as a table of losses"),
        (
            lambda: plots.plot_losses({"loss": [1.0]}),
            r"no loss among the columns \['loss'\]; known are perceptual",
        ),
        (lambda: plots.plot_losses({"perceptual": []}), "not empty; they have {'perceptual': 0}"),
        (
            lambda: plots.plot_losses({"perceptual": [1.0], "gen_gan": [1.0, 2.0]}),
            "columns must be of one length",
        ),
        (lambda: plots.flow_colours(torch.zeros(2, 4, 4)), r"a flow has shape \(2, 4, 4\); give \(H, W, 2\)"),
        (
            lambda: plots.flow_colours(torch.full((2, 2, 2), torch.inf)),
            "a flow has values that are not finite",
        ),
        (lambda: plots.plot_flow(torch.zeros(1, 4, 4, 2)), r"a flow has shape \(1, 4, 4, 2\)"),
        (lambda: plots.plot_flows({}), "there are 0 flows; give 1 to 4"),
        (lambda: plots.plot_flows({"a": torch.zeros(4, 4)}), r"a flow has shape \(4, 4\)"),
        (
            lambda: plots.mark_pixels(WHITE, torch.zeros(8, 8)),
            r"the marks have shape \(8, 8\) and type float32; give bool \(8, 8\)",
        ),
        (lambda: plots.mark_pixels(WHITE, torch.zeros(8, 9) > 0), r"the marks have shape \(8, 9\)"),
    ],
)
def test_bad_input_is_one_clear_line(call, message):
    with pytest.raises(InputError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "no rows with a loss"),
        ("step,perceptual\n", "no rows with a loss"),
        ("a,b\n1,2\n", "no rows with a loss"),
        ("perceptual\n1\nmuch\n", "line 3: perceptual is 'much', not a number"),
        (b"\xff\xfe\x00perceptual", "cannot be read as a table"),
    ],
)
def test_bad_tables_are_one_clear_line(tmp_path, text, message):
    path = tmp_path / "losses.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message) as error:
        plots.plot_losses(path)
    assert "\n" not in str(error.value)


# The system

SYSTEM = {
    "source": (3, 64, 64),
    "driving": (3, 64, 64),
    "value": (10, 2),
    "jacobian": (10, 2, 2),
    "flow": (32, 32, 2),
    "occlusion": (1, 32, 32),
    "features": (128, 16, 16),
    "prediction": (3, 64, 64),
    "realness": (1, 9, 9),
}


def words_of(figure):
    return "\n".join(text.get_text() for text in figure.axes[0].texts)


def test_system_shows_every_shape_and_image():
    images = {name: torch.rand(3, 64, 64) for name in ("source", "driving", "prediction")}
    figure = plots.draw_system(SYSTEM, images)
    assert plots.figure_pixels(figure).shape == (350, 600, 3)
    assert len(figure.axes[0].images) == 3
    for shape in SYSTEM.values():
        assert str(shape) in words_of(figure)
    for number in ("03", "04", "05", "06"):
        assert f"({number})" in words_of(figure)
    assert not plots.draw_system(SYSTEM).axes[0].images


def test_system_needs_every_shape():
    with pytest.raises(InputError, match="shapes: missing or unknown by name: flow; there are driving"):
        plots.draw_system({name: shape for name, shape in SYSTEM.items() if name != "flow"})
    with pytest.raises(InputError, match="images: missing or unknown by name: flow; there are flow"):
        plots.draw_system(SYSTEM, {"flow": torch.rand(3, 8, 8)})


def test_fewer_colours_take_less_space(shown):
    noise = plots.image_grid([[torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))]])
    plots.show(noise, alt="an image of noise")
    plots.show(noise, alt="an image of noise", colours=256)
    many, few = (image.png for image in shown)
    assert len(few) < len(many) / 2
    assert len(open_png(few).getcolors()) <= 256
    with pytest.raises(InputError, match="colours is 1; give 2 to 256, or None for all"):
        plots.show(noise, alt="an image of noise", colours=1)
