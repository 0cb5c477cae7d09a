"""Does the portrait in a generated video move, and when its driving clip does?

    python .ci/check_video.py out.mp4 [driving.mp4]

Exit code 1, with what is wrong, if the frame counts differ, if nothing moves, or if it moves at other times.
"""

from __future__ import annotations

import sys

import numpy as np

from fomm_lib.files import data_path
from fomm_lib.media.video import VideoReader

# Mean squared difference from the first frame, in units of 1/255. A still image, coded, gives less than 1.
LEAST_MOTION = 20.0
LEAST_CORRELATION = 0.3


def motion(path) -> np.ndarray:
    """The mean squared difference of every frame from the first: (frames,)."""
    frames = (frame.astype(np.float32) for frame in VideoReader(path))
    first = next(frames)
    return np.array([0.0, *(np.mean((frame - first) ** 2) for frame in frames)])


def main(result, driving) -> int:
    """Print what was measured; 1 if it is not a moving portrait."""
    moved, drove = motion(result), motion(driving)
    print(f"{len(moved)} frames of {len(drove)}; difference from the first frame at most {moved.max():.1f}")
    if len(moved) != len(drove):
        print("wrong: as many frames out as in were promised")
        return 1
    if moved.max() < LEAST_MOTION:
        print(f"wrong: nothing moves (less than {LEAST_MOTION})")
        return 1
    correlation = np.corrcoef(moved, drove)[0, 1]
    print(f"correlation with the same curve of the driving clip {correlation:.2f}")
    if correlation < LEAST_CORRELATION:
        print(f"wrong: it does not move when the driving clip moves (less than {LEAST_CORRELATION})")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else data_path("driving.mp4")))
