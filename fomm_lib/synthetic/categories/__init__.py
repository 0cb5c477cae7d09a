"""Subjects beyond heads, rendered with the same truth: bodies, animals and vehicles.

clip      `CategoryClip` and `open_clip`: a clip of a category; start here
subject   what every category provides
solids    meshes from tubes, blocks and wheels
stage     camera, light, ground and background
skeleton  the whole body of MakeHuman's base mesh, its bones, and its poses
bodies    random people, clothed by colour, who walk, wave, or move slowly
animals   random four-legged walkers, and their gait
vehicles  random cars that drive, turn and pass
"""
