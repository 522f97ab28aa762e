#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""How fast `syzygy search` is beside FAISS's exact index (IndexFlatIP), on the same numbers, in the same minute.

    tools/bench-search.py [--rows 20000] [--width 1024] [--k 10] [--ranks 1] [--binary build/syzygy]

Prints processor seconds (user time: other work on the machine disturbs it least), GFLOP/s and the ratio; nothing is asserted. syzygy's time is that of the
whole command, start-up and files included; FAISS's is that of index.search alone. Needs python3-faiss, python3-h5py.
"""
import argparse
import os
import resource
import subprocess
import tempfile

import h5py
import numpy as np


def best_of(n, f):
    return min(f() for _ in range(n))


def syzygy_seconds(a, folder):
    output = os.path.join(folder, "search")
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    subprocess.run(["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(a.ranks), a.binary, "search", "--set", f"search.index={folder}/embedding.h5",
                    "--set", "search.index_modality=image", "--set", "search.query_modality=image", "--set", f"search.k={a.k}", "--set", f"output.dir={output}"],
                   check=True, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"})
    seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    with h5py.File(os.path.join(output, "neighbours.h5")) as f:
        a.found = f["neighbour_id"][...]
    return seconds


def faiss_seconds(a, x):
    import faiss

    faiss.omp_set_num_threads(a.ranks)
    index = faiss.IndexFlatIP(a.width)
    index.add(x)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    _, a.faiss_found = index.search(x, a.k)
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime - before


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, preset in (("rows", 20000), ("width", 1024), ("k", 10), ("ranks", 1), ("repeats", 2)):
        parser.add_argument(f"--{name}", type=int, default=preset)
    parser.add_argument("--binary", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "build", "syzygy"))
    a = parser.parse_args()
    x = np.random.default_rng(1).normal(size=(a.rows, a.width)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    with tempfile.TemporaryDirectory() as folder:
        with h5py.File(f"{folder}/embedding.h5", "w") as f:
            f["object_id"] = np.arange(a.rows)
            f["image_embedding"] = x
        ours = best_of(a.repeats, lambda: syzygy_seconds(a, folder))
    theirs = best_of(a.repeats, lambda: faiss_seconds(a, x))
    work = 2.0 * a.rows**2 * a.width / 1e9
    print(f"{a.rows} x {a.rows} cosines of width {a.width}, {a.k} nearest, {a.ranks} core(s)")
    print(f"syzygy search      {ours:8.2f} s  {work / ours:7.1f} GFLOP/s")
    print(f"FAISS IndexFlatIP  {theirs:8.2f} s  {work / theirs:7.1f} GFLOP/s")
    print(f"syzygy takes {ours / theirs:.2f} of FAISS's time; {np.mean(a.found == a.faiss_found):.4%} of the neighbours are the same, in the same place")


if __name__ == "__main__":
    main()
