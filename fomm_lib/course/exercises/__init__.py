"""The checks of the notebooks' exercises: notebook `NN_topic` imports them from `nbNN_topic`.

checker     what a check is: its questions, its answers, the hints for typical mistakes
experiment  what an experiment is: a prediction, numbers that were measured, what they show
nbNN_topic  the checks of one notebook
"""
