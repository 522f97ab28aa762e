#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A file of 60,000 objects, most of whose pixels were never written, for test_shared on 1, 2 and 3 ranks; nothing stays in /dev/shm."""
import os
import sys
import tempfile
import time

import h5py
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import check, driver, finish, launch

N = 60000
folder = "/dev/shm"
before = set(os.listdir(folder)) if os.path.isdir(folder) else set()


def mine():
    return {x for x in os.listdir(folder) if x.startswith("syzygy-") and os.path.isfile(os.path.join(folder, x))} - before if os.path.isdir(folder) else set()


with tempfile.TemporaryDirectory(prefix="syzygy-shared-") as here:
    path = os.path.join(here, "large.h5")
    with h5py.File(path, "w") as f:
        f["object_id"] = np.arange(N) * 1000003
        f["has_spectrum"] = (np.arange(N) % 3 != 0).astype("u1")
        d = f.create_dataset("spectrum", shape=(N, 7781), dtype="f4", chunks=(100, 7781))
        d[:300] = np.arange(300, dtype="f4")[:, None] + 0.5
    for ranks in (1, 2, 3):
        r = launch(ranks, driver("test_shared"), path)
        check(r.returncode == 0, f"test_shared on {ranks} ranks: exit code {r.returncode} {r.stderr}")
left = mine()
if left:
    time.sleep(3)  # another program may be between making and removing one
    left &= mine()
check(not left, f"nothing is left in {folder}: {left}")
finish()
