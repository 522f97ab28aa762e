#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""How fast the probes are beside their peers, on the same numbers, in the same minutes.

    tools/bench-probes.py [ridge] [knn] [flow] [--ranks 1] [--binary build/syzygy] [--drivers build/tests]

ridge   9 penalties x 5 folds x 10 labels on 200,000 x 1024, against one float64 Gram product of all rows (NumPy's BLAS) and scikit-learn's way,
        RidgeCV(cv=folds): a Ridge fit of each fold and penalty. One fold is run and scaled unless --all-folds.
knn     100,000 test rows by 100,000 training rows of 1024, k = 64, against FAISS's exact index (IndexFlatL2); left out aloud without python3-faiss.
flow    5 labels given 128 numbers, 8,000 rows, 10 members, 25 epochs, against the PyTorch twin (tests/flow), of which --twin-members members
        and --twin-epochs epochs are run and scaled.

Smaller sizes for a try: --rows 4000 --width 64 --knn-rows 3000 --members 1. syzygy's time is that of the phase in timing.json, on the clock and in
seconds outside of MPI summed over ranks; start-up and reading are told beside it. Nothing is asserted. Needs python3-h5py, python3-sklearn, and
python3-faiss or python3-torch for their parts.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "BLIS_NUM_THREADS", "MKL_NUM_THREADS"):  # before NumPy reads them
    os.environ[name] = next((word for before, word in zip(sys.argv, sys.argv[1:]) if before == "--ranks"), "1")

import h5py
import numpy as np

SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def ranks_of(a, command):
    return ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(a.ranks), *command]


def timed(f):
    start = time.perf_counter()
    value = f()
    return time.perf_counter() - start, value


def probe(a, folder, task, **keys):
    """Run it; seconds of its phase on the clock, processor seconds of it, seconds of everything."""
    out = os.path.join(folder, task)
    keys = {"output.dir": out, "probe.embeddings": f"{folder}/embedding.h5", "probe.sources": "image", "probe.split": "column", "probe.split_column": "side",
            "probe.border": 0, "probe.bootstrap": 10, **keys}
    sets = [word for key, value in keys.items() for word in ("--set", f"{key}={value}")]
    seconds, _ = timed(lambda: subprocess.run(ranks_of(a, [a.binary, "probe", task, *sets]), check=True, stdout=subprocess.DEVNULL, env=ENVIRONMENT))
    with open(os.path.join(out, "timing.json")) as f:
        phase = next(p for p in json.load(f)["phases"] if p["phase"] == task)
    return phase["max_s"], sum(phase["busy_s"]), seconds


def ridge(a, folder):
    labels, folds, test = a.labels, 5, 1000
    rng = np.random.default_rng(1)
    x = rng.standard_normal((a.rows + test, a.width), dtype=np.float32)
    y = (x @ rng.standard_normal((a.width, labels), dtype=np.float32) / np.float32(a.width**0.5) + rng.standard_normal((a.rows + test, labels), dtype=np.float32))
    with h5py.File(f"{folder}/embedding.h5", "w") as f:
        f["object_id"] = np.arange(1, len(x) + 1)
        f["image_embedding"] = x
        f["label/side"] = (np.arange(len(x)) >= a.rows).astype(np.float32)
        for t in range(labels):
            f[f"label/y{t}"] = y[:, t]
    x, y, alphas = x[:a.rows], y[:a.rows], 10.0 ** np.arange(-6, 3)
    ours, busy, everything = min(probe(a, folder, "linear", **{"probe.labels": "[" + ", ".join(f"y{t}" for t in range(labels)) + "]", "probe.folds": folds,
                                                               "probe.penalty": "[" + ", ".join(f"{v:g}" for v in alphas) + "]"}) for _ in range(a.repeats))

    def gram():
        sums = np.zeros((a.width, a.width))
        for at in range(0, len(x), 8192):
            block = x[at:at + 8192].astype(np.float64)
            sums += block.T @ block
        return sums

    product = min(timed(gram)[0] for _ in range(a.repeats))

    def path(fold):
        from sklearn.linear_model import Ridge
        from sklearn.preprocessing import StandardScaler

        train = np.arange(len(x)) % folds != fold
        scaler = StandardScaler(copy=False)
        z, test_z = scaler.fit_transform(x[train].astype(np.float64)), scaler.transform(x[~train].astype(np.float64))
        return [((Ridge(alpha=v * len(z), solver="cholesky").fit(z, y[train].astype(np.float64)).predict(test_z) - y[~train]) ** 2).mean(0) for v in alphas]

    run = folds if a.all_folds else 1
    theirs = timed(lambda: [path(k) for k in range(run)])[0] * folds / run
    with open(f"{folder}/linear/probe.json") as f:
        chosen = [r["chosen"] for r in json.load(f)["results"]]
    print(f"ridge: {a.rows} x {a.width}, {len(alphas)} penalties x {folds} folds x {labels} labels, {a.ranks} core(s); chosen {sorted(set(chosen))}")
    print(f"  syzygy probe linear      {ours:9.2f} s   (processors {busy:.2f} s, whole command {everything:.2f} s)")
    print(f"  one float64 Gram product {product:9.2f} s   {2e-9 * a.rows * a.width**2 / product:.1f} GFLOP/s as NumPy does it; syzygy takes {ours / product:.2f} of it")
    print(f"  scikit-learn by folds    {theirs:9.2f} s   {'all folds' if run == folds else f'{run} fold run, times {folds}'}, the last fit not counted; {theirs / ours:.1f} times syzygy's")


def knn(a, folder):
    rng = np.random.default_rng(2)
    n = a.knn_rows
    x = rng.standard_normal((2 * n, a.width), dtype=np.float32)
    y = x[:, :8].sum(1)
    is_test = np.arange(2 * n) >= n
    with h5py.File(f"{folder}/embedding.h5", "w") as f:
        f["object_id"] = np.arange(1, 2 * n + 1)
        f["image_embedding"] = x
        f["label/side"] = is_test.astype(np.float32)
        f["label/y"] = y
    ours, busy, everything = min(probe(a, folder, "knn", **{"probe.labels": "y", "probe.k": a.k}) for _ in range(a.repeats))
    work = 2e-9 * n * n * a.width
    print(f"knn: {n} test rows by {n} training rows of {a.width}, k {a.k}, {a.ranks} core(s)")
    print(f"  syzygy probe knn         {ours:9.2f} s   {work / ours:.1f} GFLOP/s (processors {busy:.2f} s, whole command {everything:.2f} s)")
    try:
        import faiss
    except ImportError:
        print("  FAISS: left out, python3-faiss is not installed")
        return
    faiss.omp_set_num_threads(a.ranks)
    mean, deviation = x[:n].mean(0, dtype=np.float64), x[:n].std(0, dtype=np.float64)
    z = ((x - mean) / deviation).astype(np.float32)
    index = faiss.IndexFlatL2(a.width)
    index.add(z[:n])
    theirs, (square, near) = min((timed(lambda: index.search(z[n:], a.k)) for _ in range(a.repeats)), key=lambda run: run[0])
    weight = 1 / np.sqrt(np.maximum(square, 1e-20).astype(np.float64))
    want = (weight * y[near]).sum(1) / weight.sum(1)
    with h5py.File(f"{folder}/knn/predictions.h5") as f:
        said = f["prediction/image/knn/y"][:]
    print(f"  FAISS IndexFlatL2        {theirs:9.2f} s   {work / theirs:.1f} GFLOP/s; {theirs / ours:.2f} times syzygy's; predictions differ by {np.abs(said - want).max() / y.std():.1e} deviations")


def flow(a, folder):
    kind = ("elementwise", "autoregressive", "coupling").index(a.kind)
    driver = os.path.join(a.drivers, "speed_flow")
    if not os.path.exists(driver):
        print(f"flow: left out, {driver} is not there (build the target speed_flow)")
        return
    ours = subprocess.run(ranks_of(a, [driver, "1", str(kind), str(a.members)]), check=True, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT).stdout
    print(f"flow: {a.kind}, {a.members} member(s), {a.ranks} core(s); times are on the clock, in brackets those of the processors (syzygy: of rank 0)")
    print("  syzygy   " + ours.strip())
    try:
        import torch  # noqa: F401
    except ImportError:
        print("  PyTorch: left out, python3-torch is not installed")
        return
    theirs = subprocess.run([sys.executable, os.path.join(SOURCE, "tests", "flow", "speed_flow.py"), str(a.ranks), str(kind), str(a.twin_members), str(a.twin_epochs)],
                            check=True, stdout=subprocess.PIPE, text=True).stdout.strip().splitlines()[-1]
    print(f"  PyTorch  {theirs} ({a.twin_members} member(s) and {a.twin_epochs} epoch(s) run)")
    seconds = float(ours.split("training ")[1].split()[0]) * 10 / a.members
    print(f"  PyTorch takes {float(theirs.split('would take ')[1].split()[0]) / seconds:.1f} times as long as syzygy" +
          ("" if a.members == 10 else f", whose {a.members} member(s) are scaled to 10"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", help="ridge, knn, flow; all by default")
    for name, preset in (("rows", 200000), ("width", 1024), ("labels", 10), ("knn-rows", 100000), ("k", 64), ("members", 10), ("twin-members", 1), ("twin-epochs", 2), ("ranks", 1),
                         ("repeats", 1)):
        parser.add_argument(f"--{name}", type=int, default=preset)
    parser.add_argument("--kind", default="autoregressive", choices=("elementwise", "autoregressive", "coupling"))
    parser.add_argument("--all-folds", action="store_true", help="run all folds of scikit-learn")
    parser.add_argument("--binary", default=os.path.join(SOURCE, "build", "syzygy"))
    parser.add_argument("--drivers", default=os.path.join(SOURCE, "build", "tests"))
    a = parser.parse_args()
    parts = {"ridge": ridge, "knn": knn, "flow": flow}
    for what in a.what or parts:
        if what not in parts:
            parser.error(f"{what} is none of {', '.join(parts)}")
        with tempfile.TemporaryDirectory() as folder:
            parts[what](a, folder)


if __name__ == "__main__":
    main()
