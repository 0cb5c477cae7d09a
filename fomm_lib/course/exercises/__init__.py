"""The checks of the notebooks' exercises: notebook `NN_topic` imports them from `nbNN_topic`.

checker     what a check is: its questions, its answers, the hints for typical mistakes
nbNN_topic  the checks of one notebook
"""
