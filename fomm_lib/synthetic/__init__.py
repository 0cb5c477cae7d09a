"""Synthetic talking heads: people who do not exist, rendered, with the true motion of every pixel.

clip      `SyntheticClip`, one person in motion before a camera: images and the truth about them; start here
folder    `synthesize`: folders of clips to train on
truth     files of true motion, and pairs of frames with their truth
labels    which part of the person every pixel shows, as numbers and as colours
anatomy   the bust of MakeHuman's base mesh, and its deformations
surfaces  what is drawn: the mesh, and clothes, hair and glasses around it
posture   from a body and a pose to the positions of all vertices
people    random persons: faces, skin, hair, clothes, glasses
motion    their random movements
scene     random camera, lamps and background
render    drawing by OpenGL
shaders/  the shaders of `render`, in GLSL

categories/   bodies, animals and vehicles, rendered as heads are, with the same truth
photographs/  clips of photographs that move: portraits of real people, with the same truth as rendered heads
"""
