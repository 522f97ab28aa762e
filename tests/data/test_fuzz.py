#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Files made by h5py, of the oldest and the newest format, for test_fuzz to damage. SYZYGY_FUZZ_TRIALS: damaged copies of each."""
import os
import subprocess
import sys
import tempfile

import h5py
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import check, driver, finish

rng = np.random.default_rng(0)
with tempfile.TemporaryDirectory(prefix="syzygy-fuzz-") as here:
    paths = []
    for version in ("earliest", "latest"):
        path = os.path.join(here, f"astroclip-{version}.h5")
        with h5py.File(path, "w", libver=version) as f:
            f["0/images"], f["0/spectra"] = rng.normal(size=(2, 152, 152, 3)).astype("f4"), rng.normal(size=(2, 7781, 1)).astype("f4")
            f["0/targetids"], f["0/redshifts"] = np.arange(2), rng.random(2)
        paths.append(path)
        path = os.path.join(here, f"mmu-{version}.h5")
        with h5py.File(path, "w", libver=version) as f:
            f.create_dataset("spectrum_flux", data=np.zeros((3, 7781), "f4"), compression="gzip", chunks=True)
            f.create_dataset("spectrum_ivar", data=np.ones((3, 7781), "f4"), compression="lzf", chunks=True)
            f["spectrum_mask"], f["object_id"], f["Z"] = np.zeros((3, 7781), bool), np.array([b"a", b"b", b"c"]), rng.random(3)
            f.create_dataset("name", data=["x", "yy", "z"], dtype=h5py.string_dtype())
            f.attrs["note"] = "hello"
        paths.append(path)
    code = subprocess.run([driver("test_fuzz"), *paths], timeout=3000).returncode
    check(code == 0, f"test_fuzz: exit code {code}")
finish()
