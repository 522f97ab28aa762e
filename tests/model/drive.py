# SPDX-License-Identifier: BSD-3-Clause
"""What the Python tests of this room share: run the C towers on arrays by tests/model/tower_driver.c."""
import os
import subprocess
import sys
import tempfile

import numpy as np

SOURCE = os.environ.get("SYZYGY_SOURCE", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
BUILD = os.environ.get("SYZYGY_BUILD", os.path.join(SOURCE, "build"))
sys.path.insert(0, os.path.join(SOURCE, "tests", "reference"))
SKIP = 77
failures = 0
ENVIRONMENT = dict(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_rmaps_base_oversubscribe="1",
                   OMPI_MCA_hwloc_base_binding_policy="none", OMPI_MCA_mpi_yield_when_idle="1", OMP_NUM_THREADS="1")


def check(what, value, limit, above=False):
    """Print value and limit; count a failure unless value <= limit (above: value >= limit). NaN fails."""
    global failures
    is_good = value >= limit if above else value <= limit
    if not is_good:
        failures += 1
    print(f"{'ok  ' if is_good else 'FAIL'} {what}: {value:.9g}, limit {limit:.9g} {'at least' if above else 'at most'}", flush=True)


def say_skipped(what):
    """A part of a test that this machine cannot run."""
    print(f"SKIPPED: {what}: no bfloat16 products here", flush=True)


def expect(what, condition):
    global failures
    if not condition:
        failures += 1
    print(f"{'ok  ' if condition else 'FAIL'} {what}", flush=True)


def finish():
    print(f"{failures} failed")
    sys.exit(1 if failures else 0)


class BadRun(Exception):
    def __init__(self, code, text):
        super().__init__(f"exit code {code}: {text}")
        self.code, self.text = code, text


def run(arguments, ranks=1, timeout=300):
    """Run a program of build/tests on `ranks` ranks; BadRun when it fails. Returns its output."""
    program = [os.path.join(BUILD, "tests", arguments[0])] + [str(a) for a in arguments[1:]]
    if ranks > 1:
        program = ["mpirun", "--timeout", str(timeout), "-n", str(ranks)] + program
    done = subprocess.run(program, env={**os.environ, **ENVIRONMENT}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout + 10)
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
