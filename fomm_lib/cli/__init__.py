"""The command line `fomm`: a file for each group of verbs.

main        errors and exit codes; imports the verbs, in the order of `fomm --help`
app         the application that verbs register with
options     options that several verbs share, and how their texts become values
animating   animate, live, export, augment
training    train, pretrain
evaluating  evaluate
data        synthesize, clean, voxceleb
weights     convert, info
family      the group `fomm family`: train, apply, sample

The modules import what a verb needs inside the verb, so that `fomm --help` does not wait for PyTorch. A verb
whose options have the names of a function's arguments begins with `options = dict(locals())`: all of them.
"""
