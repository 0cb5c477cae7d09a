"""The numbers of materials are those of the shader."""

from __future__ import annotations

import re

from fomm_lib.synthetic.categories.subject import Material
from fomm_lib.synthetic.render import read_shader


def test_the_shader_tells_the_materials_apart():
    limits = {
        name: float(value) for name, value in re.findall(r"([A-Z]+) = (\d\.5)", read_shader("object_colour"))
    }
    assert limits == {material.name: material + 0.5 for material in Material if material != Material.MATTE}
