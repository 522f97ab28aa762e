# SPDX-License-Identifier: BSD-3-Clause
"""embed, interrupted: SIGUSR1, STOP file, a killed rank, damaged partial results, a changed model; and input that cannot be used."""
import os
import signal
import subprocess
import sys
import time

import h5py
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import check_quietly as check, environment, finish, scratch
from embed_common import command, read_datasets, run, same_bits, write_shard
import syzygy_torch as ref

folder = scratch()
N = 900
image, flux = ref.random_images(50, 1), ref.random_flux(50, 2)
rows = np.arange(N) % 50
write_shard(f"{folder}/data.h5", image[rows] * (1 + np.arange(N)[:, None, None, None] / N).astype(np.float32), flux[rows], np.arange(N) + 10**15)
config = ref.small_config(depth=4)
for seed in (1, 2):
    ref.write_model_file(f"{folder}/model-{seed}.h5", config, ref.random_model(config, seed=seed).state_dict())


def keys(output, **more):
    base = {"data.path": f"{folder}/data.h5", "model.file": f"{folder}/model-1.h5", "output.dir": f"{folder}/{output}", "compute.precision": "float32"}
    return {**base, **{k.replace("__", "."): v for k, v in more.items()}}


def begin(ranks, k, **more):
    """Start and wait until some blocks are kept."""
    sets = [item for key, value in k.items() for item in ("--set", f"{key}={value}")]
    process = subprocess.Popen(command(ranks, "embed", *sets), env=environment(**more), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    digests = k["output.dir"] + "/embedding.part/digests"
    limit = time.time() + 40
    while time.time() < limit and process.poll() is None and kept(digests) < 2:
        time.sleep(0.002)
    return process, digests


def kept(path):
    try:
        return int(np.count_nonzero(np.fromfile(path, np.uint64)))
    except OSError:
        return 0


run(1, "embed", keys("whole"))
whole = read_datasets(f"{folder}/whole/embedding.h5")
total = -(-N // 64)

process, digests = begin(2, keys("usr1"))
process.send_signal(signal.SIGUSR1)
text = process.communicate(timeout=60)[0].decode()
n = kept(digests)
check(process.returncode == 75, f"SIGUSR1: exit code {process.returncode}\n{text[-800:]}")
check(0 < n < total, f"SIGUSR1: {n} of {total} blocks are kept")
check(not os.path.exists(f"{folder}/usr1/embedding.h5"), "SIGUSR1: nothing under the final name")
text = run(3, "embed", keys("usr1"))
check("were embedded by an earlier run" in text, "the next run goes on")
check(same_bits(whole, read_datasets(f"{folder}/usr1/embedding.h5")), "stopped by SIGUSR1 and continued on 3 ranks: the same bits")

process, digests = begin(2, keys("stop"))
open(f"{folder}/stop/STOP", "w").close()
text = process.communicate(timeout=60)[0].decode()
check(process.returncode in (0, 75), f"STOP: exit code {process.returncode}\n{text[-800:]}")  # looked at once a second: a fast run may end before
run(1, "embed", keys("stop"))
check(same_bits(whole, read_datasets(f"{folder}/stop/embedding.h5")), "STOP file: the same bits")

text = run(3, "embed", keys("killed"), expect=137, SYZ_FAULT="embed_part:1:3:kill")
if "injected" not in text and kept(f"{folder}/killed/embedding.part/digests") == 0:
    check(False, "the binary was built without SYZ_FAULTS: nothing was killed")
n = kept(f"{folder}/killed/embedding.part/digests")
check(0 < n < total, f"killed: {n} of {total} blocks are kept")
# Damage: a block whose bytes do not fit its digest is computed again; so is one that was cut off.
with open(f"{folder}/killed/embedding.part/rows", "r+b") as f:
    done = np.flatnonzero(np.fromfile(f"{folder}/killed/embedding.part/digests", np.uint64))
    f.seek(int(done[0]) * 64 * 64 * 4 + 100)
    f.write(b"\x55\x55\x55")
run(2, "embed", keys("killed"))
check(same_bits(whole, read_datasets(f"{folder}/killed/embedding.h5")), "a killed rank and a damaged block: the same bits")

run(2, "embed", keys("fails"), expect=4, SYZ_FAULT="embed_part:1:4")
text = run(3, "embed", keys("reads"), expect=3, SYZ_FAULT="loader_read:2:70")
check("injected failure" in text and "rank 2" in text, f"a read that fails on one rank ends all of them: {text[-300:]}")
text = run(2, "embed", keys("fails", model__file=f"{folder}/model-2.h5"))
check("are discarded" in text, "results of another model are thrown away")
other = read_datasets(f"{folder}/fails/embedding.h5")
check(not np.array_equal(whole["image_embedding"], other["image_embedding"]), "and not mixed in")

# A disk that fills up: while blocks are kept, while embedding.h5 or embedding.fits is written. With more space the same command goes on.
for size in ("100k", "300k", "700k"):
    small = f"{folder}/small-{size}"
    os.mkdir(small)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "syzygy-test", small], stderr=subprocess.DEVNULL).returncode != 0:
        print("SKIPPED: the full disk: cannot mount a small tmpfs (not root?)")
        break
    try:
        text = run(2, "embed", keys(f"small-{size}"), expect=4)
        check(f"small-{size}" in text and "space" in text.lower(), f"{size}: the message names folder and reason: {text[-300:]}")
        left = [name for name in os.listdir(small) if name in ("embedding.h5", "embedding.fits")]
        check(all(name == "embedding.h5" for name in left), f"{size}: {left}")  # complete before the FITS file began
        if left:
            check(same_bits(whole, read_datasets(f"{small}/embedding.h5")), f"{size}: what has its final name is whole")
        subprocess.run(["mount", "-o", "remount,size=8m", small], check=True)
        run(1, "embed", keys(f"small-{size}"))
        check(same_bits(whole, read_datasets(f"{small}/embedding.h5")) and os.path.exists(f"{small}/embedding.fits"), f"{size}: goes on with more space")
    finally:
        subprocess.run(["umount", small], check=False)

# What cannot be used: the code, and what the message names.
cases = [
    (2, keys("bad", model__file=""), "model.file"),
    (2, keys("bad", data__path=""), "data.path"),
    (2, keys("bad", embed__batch=0), "embed.batch"),
    (3, keys("bad", model__file=f"{folder}/data.h5"), "data.h5"),
    (3, keys("bad", data__path=f"{folder}/model-1.h5"), "model-1.h5"),
    (3, keys("bad", data__path=f"{folder}/absent.h5"), "absent.h5"),
]
for code, k, name in cases:
    text = run(3, "embed", k, expect=code)
    check(name in text, f"the message names {name}: {text[-400:]}")
    check(not os.path.exists(f"{folder}/bad/embedding.h5"), "nothing is written")
with open(f"{folder}/data.h5", "rb") as f:
    head = f.read(5_000_000)
with open(f"{folder}/short.h5", "wb") as f:
    f.write(head)
text = run(3, "embed", keys("bad", data__path=f"{folder}/short.h5"), expect=3)
check("short.h5" in text, "a truncated file is named")

# One object with a NaN: refused with its name, or left out.
with h5py.File(f"{folder}/nan.h5", "w") as f, h5py.File(f"{folder}/data.h5") as g:
    for name in g:
        f[name] = g[name][:200]
    f["image"][77, 1, 40, 40] = np.nan
text = run(2, "embed", keys("nan", data__path=f"{folder}/nan.h5"), expect=3)
check(str(10**15 + 77) in text and "nan.h5" in text, f"the object is named: {text[-400:]}")
run(2, "embed", keys("skip", data__path=f"{folder}/nan.h5", data__bad_objects="skip"))
got = read_datasets(f"{folder}/skip/embedding.h5")
check(len(got["object_id"]) == 199 and 10**15 + 77 not in got["object_id"], "and left out when skipped")
keep = np.delete(np.arange(200), 77)
check(np.array_equal(got["spectrum_embedding"], whole["spectrum_embedding"][keep]), "the others are what they were")
finish()
