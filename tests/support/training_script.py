"""Run by tests in processes of their own: a training that is killed, or shared by several.

    python training_script.py VERB OPTIONS

VERB is "train" or "pretrain", OPTIONS a JSON dict of its arguments, and perhaps `kill`.
`kill` is the moment at which the process ends itself without warning: ["update", 5] in the middle of the
update of step 5, ["save", 6] when half of the state of step 6 is written.
"""

import json
import os
import signal
import sys

import torch

from fomm_lib.perceptual import Vgg16Features
from fomm_lib.training import fast, loop, pretraining, state


def random_network(name: str = "") -> Vgg16Features:
    """A perceptual network of random weights: good enough to learn from, and there on every machine."""
    torch.manual_seed(7)
    return Vgg16Features().eval()


def adapt(set_to) -> None:
    """Let a training be small, and yet do all that a large one does; `set_to` as `setattr`."""
    set_to(loop, "perceptual_network", random_network)
    set_to(fast, "WINOGRAD_CHANNELS", {True: 4, False: 8})
    set_to(fast, "WINOGRAD_TILES", {True: 1, False: 1})


def die(what: str, step: int, networks: int) -> None:
    """Arrange the end: SIGKILL, which no process can catch. A step clips the gradients of all networks."""
    updates = 0
    clip, save = torch.nn.utils.clip_grad_norm_, state.torch.save

    def dying_clip(*arguments):
        nonlocal updates
        updates += 1
        norm = clip(*arguments)
        if updates == networks * (step - 1) + 1:  # of several networks, the first of this step is through
            os.kill(os.getpid(), signal.SIGKILL)
        return norm

    def dying_save(state, file):
        if state["step"] == step:
            file.write(b"half of it")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        save(state, file)

    if what == "update":
        torch.nn.utils.clip_grad_norm_ = dying_clip
    else:
        state.torch.save = dying_save


if __name__ == "__main__":
    verb, options = sys.argv[1], json.loads(sys.argv[2])
    torch.set_num_threads(1)
    adapt(setattr)
    if "kill" in options:
        die(*options.pop("kill"), networks={"train": 3, "pretrain": 1}[verb])
    {"train": loop.train, "pretrain": pretraining.pretrain}[verb](**options)
