"""Photographs that move: a portrait becomes clips of a talking head, with the true motion of every pixel.

The renderer's bust is fitted to a photograph, the photograph is projected onto it, and what the bust lacks
(hair, ears, neck, clothes) becomes a second surface around it. Both are turned and deformed like rendered
heads, so that the motion is known, and skin, hair, teeth and light are those of photographs.

clip       `PhotographClip`, one portrait in motion: images and the truth about them; start here
folder     `photographs`: folders of clips to train on, what `fomm photographs` does
portraits  which portraits can be used, and the files of their fits
reasons    why a portrait cannot be used
landmarks  68 landmarks of a photograph
shape      the space of heads
fit        the head that has these landmarks
matte      the person and the background, apart
canvas     the photograph continued beyond its borders
layers     what is drawn
face       the surface of the face
outer      the surface of hair, neck and clothes
textures   the images on them
posture    from a pose to the positions of all vertices
draw       drawing by OpenGL; its shaders are `shaders/photograph_*.glsl`
pixels     masks, filling, enlarging
sheet      an image of the portraits in some poses

Draws real people, who did not agree to be animated: show and publish weights, not the clips.
"""
