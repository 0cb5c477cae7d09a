"""The figures of the course, in one style; every name below is available as `plots.name`.

Convention: no figure relies on colour alone. Curves differ in line style too, keypoints carry numbers, flow
has arrows. The colours differ under every common colour blindness. Every image that is shown has an
alternative text, and at most 6 x 3.5 inches at 100 dots an inch.

showing   the style, `show` with its alternative text, widgets with a still image, animated PNG
tables    tables of numbers
images    images in rows and columns
curves    curves over one axis, and the losses of a training
flow      dense flow as colours and arrows, and marked pixels
system    the whole model in one drawing
"""

# ruff: noqa: F401

from fomm_lib.course.plots.curves import plot_curves, plot_losses
from fomm_lib.course.plots.flow import flow_colours, mark_pixels, plot_flow, plot_flows
from fomm_lib.course.plots.images import image_grid
from fomm_lib.course.plots.showing import animation_png, figure_pixels, show, show_widget, use_style
from fomm_lib.course.plots.system import draw_system
from fomm_lib.course.plots.tables import show_table
from fomm_lib.losses import LOSS_NAMES
from fomm_lib.media.overlays import COLOURS, draw_keypoints
