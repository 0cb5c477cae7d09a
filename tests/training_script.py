"""Run by tests in processes of their own: a training that is killed, or shared by several.

    python training_script.py OPTIONS    a JSON dict: arguments of `train`, and perhaps `kill`

`kill` is the moment at which the process ends itself without warning: ["update", 5] in the middle of the
update of step 5, ["save", 6] when half of the state of step 6 is written.
"""

import json
import os
import signal
import sys

import torch

from fomm_lib import training, training_blocks, training_state, training_step
from fomm_lib.perceptual import Vgg16Features


def random_network(name: str = "") -> Vgg16Features:
    """A perceptual network of random weights: good enough to learn from, and there on every machine."""
    torch.manual_seed(7)
    return Vgg16Features().eval()


def adapt(set_to) -> None:
    """Let a training be small, and yet do all that a large one does; `set_to` as `setattr`."""
    set_to(training, "perceptual_network", random_network)
    set_to(training_blocks, "WINOGRAD_CHANNELS", {3: 8, 4: 4})
    set_to(training_blocks, "WINOGRAD_TILES", {True: 1, False: 1})


def die(when: list) -> None:
    """Arrange the end: SIGKILL, which nobody can catch."""
    what, step = when
    updates = 0
    clip, save = training_step.nn.utils.clip_grad_norm_, training_state.torch.save

    def dying_clip(*arguments):
        nonlocal updates
        updates += 1
        if updates > 3 * (step - 1) + 1:  # three networks a step; the first of this step is through
            os.kill(os.getpid(), signal.SIGKILL)
        return clip(*arguments)

    def dying_save(state, file):
        if state["step"] == step:
            file.write(b"half of it")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        save(state, file)

    if what == "update":
        training_step.nn.utils.clip_grad_norm_ = dying_clip
    else:
        training_state.torch.save = dying_save


if __name__ == "__main__":
    options = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    adapt(setattr)
    if "kill" in options:
        die(options.pop("kill"))
    training.train(**options)
