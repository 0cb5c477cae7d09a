"""Training: from clips to weights, in one process or several; a killed run continues bit by bit.

loop         `train`: draw a batch, take a step, log, validate, save
step         `TrainingStep`: one step, its six losses and the update of three networks
run          `Run`: the folder of a run, new or resumed; saves and stops on Ctrl-C. Used by `train` and
             `pretrain`
state        states on disk, written whole, with all random states
log          the CSV of losses, and TensorBoard's files
validation   measures and sample images of the test split
pretraining  `pretrain`: motion learned from the ground truth of synthetic heads
distributed  several processes that train one model
fast         faster versions of the model's layers, for training
"""
