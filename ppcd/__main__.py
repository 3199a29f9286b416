"""The command line: `python -m ppcd train --profile mnist --recipe ppcd --seed 0`."""

import sys

from ppcd.commands import OF_RUNS, dispatch

COMMANDS = {
    "train": ("ppcd.runs.train", "one run, from nothing to its directory", OF_RUNS),
    "evaluate": ("ppcd.runs.evaluate", "the scores of a generator", ("DATA",)),
    "prepare": ("ppcd.data.prepare", "a folder of images decoded once, for one larger than memory", ("DATA",)),
    "gpu-check": ("ppcd.runs.gpu_check", "what a GPU does with all this, in nine minutes", ()),
    "gpu-train": ("ppcd.runs.gpu_train", "a training in pieces, on machines that keep nothing", ("DATA", "PRECISION")),
    "export": ("ppcd.runs.export", "a generator as an ONNX file", ()),
}

if __name__ == "__main__":
    sys.exit(dispatch("ppcd", COMMANDS, sys.argv[1:]))
