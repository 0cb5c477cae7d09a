"""Data to train on: which videos are good, and how their frames become batches.

cleaning      whether one file is good, and the measurements behind that
report        `clean`: checks a folder of files, writes a report, moves bad files to a quarantine
tables        dataclasses as rows of CSV files
clips         a clip: the frames of a video, of a folder of images, or of a strip (one image with all frames
              side by side); and all clips under a folder
augmentation  the same random change of both frames of a pair
cache         decoded frames in one file, so that each is decoded once
datasets      pairs of frames, and batches of them
voxceleb      the data set of the paper, from its published list
"""
