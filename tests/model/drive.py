# SPDX-License-Identifier: BSD-3-Clause
"""What the Python tests of this room share: run the C towers on arrays by tests/model/tower_driver.c."""
import os
import subprocess
import sys
import tempfile

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import driver, launch


def say_skipped(what):
    """A part of a test that this machine cannot run."""
    print(f"SKIPPED: {what}: no bfloat16 products here", flush=True)


class BadRun(Exception):
    def __init__(self, code, text):
        super().__init__(f"exit code {code}: {text}")
        self.code, self.text = code, text


def run(arguments, ranks=1, timeout=300):
    """Run a program of build/tests on `ranks` ranks; BadRun when it fails. Returns its output."""
    done = launch(ranks if ranks > 1 else None, driver(arguments[0]), *arguments[1:], timeout=timeout, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise BadRun(done.returncode, done.stdout)
    return done.stdout


class Case:
    """A model file and objects in a temporary folder. planes, flux: arrays as the network is fed."""

    def __init__(self, path, planes=None, flux=None):
        self.path, self.folder = path, tempfile.TemporaryDirectory()
        self.prefix = os.path.join(self.folder.name, "in")
        self.n = len(planes if planes is not None else flux)
        for name, array in (("image", planes), ("spectrum", flux)):
            if array is not None:
                np.ascontiguousarray(array, np.float32).tofile(f"{self.prefix}-{name}.bin")

    def forward(self, command="embed", precision="float32", batch=4, ranks=1, towers=("image", "spectrum"), size=None):
        """{tower: array [N, ...]} of embeddings or tokens; size: pixels fed when not the file's."""
        out = os.path.join(self.folder.name, "out")
        run(["tower_driver", self.path, precision, batch, command, self.n, self.prefix, out] + ([size] if size else []), ranks)
        return {tower: np.concatenate([np.fromfile(f"{out}-{tower}-{r}.bin", np.float32) for r in range(ranks)]).reshape(self.n, -1) for tower in towers}

    def gradients(self, d_image, d_spectrum, precision="float32", command="gradients"):
        """{parameter name: gradient} for given gradients of the embeddings."""
        import h5py

        for name, array in (("image", d_image), ("spectrum", d_spectrum)):
            np.ascontiguousarray(array, np.float32).tofile(f"{self.prefix}-{name}-d.bin")
        out = os.path.join(self.folder.name, "gradients.h5")
        run(["tower_driver", self.path, precision, self.n, command, self.n, self.prefix, out])
        gradients = {}
        with h5py.File(out, "r") as f:
            f["parameter"].visititems(lambda name, item: gradients.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
        return gradients
