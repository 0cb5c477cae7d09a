"""What only the notebooks need: plots, checks of exercises, a panel to animate by mouse.

plots/       the figures of the course, in one style
exercises/   the checks of the exercises: a file a notebook, and the shared checker
results      committed tables and images of the family's experiments
preview      a panel of widgets: choose a portrait and a video, press a button, see the result
"""
