# SPDX-License-Identifier: BSD-3-Clause
"""64-bit Arm under qemu-user, built here with the cross compiler: the unit tests of nn on a processor with BF16 and I8MM and on one without, the
quickstart's align on 2 ranks against this machine's losses, and files against this machine's bytes. Needs `tools/install-deps --arm`."""
import concurrent.futures
import json
import os
import shutil
import subprocess
import sys

import h5py
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import BINARY, SOURCE, check_quietly as check, environment, finish, launch, scratch, skip

SYSROOT = os.environ.get("SYZYGY_ARM_SYSROOT", os.path.join(SOURCE, "build-arm", "sysroot"))
BUILD = os.path.join(SOURCE, "build-arm")
PROCESSORS = ("max", "cortex-a72")
TESTS = ("test_attention", "test_gemm", "test_block_gradient", "test_linear", "test_int8", "test_layernorm", "test_adamw", "test_dropout", "test_l2norm")
WORKERS = len(os.sched_getaffinity(0))

missing = [name for name in ("aarch64-linux-gnu-gcc", "qemu-aarch64-static") if not shutil.which(name)]
if not os.path.exists(os.path.join(SYSROOT, "complete")):
    missing.append(SYSROOT)
if missing:
    skip(f"NOTHING WAS TESTED FOR 64-BIT ARM: no {', no '.join(missing)}; tools/install-deps --arm installs them")

folder = scratch()
quiet = environment(SYZYGY_EMULATED="1")


def emulated(processor, program):
    return ["qemu-aarch64-static", "-cpu", processor, "-L", SYSROOT, os.path.join(BUILD, program)]


def build():
    log = os.path.join(BUILD, "build.log")
    with open(log, "w") as out:
        for command in (["cmake", "--toolchain", f"{SOURCE}/tools/presets/aarch64.cmake", "-S", SOURCE, "-B", BUILD, "-DSYZ_FAULTS=ON"],
                        ["cmake", "--build", BUILD, "-j", str(WORKERS), "--target", "syzygy", *TESTS]):
            if subprocess.run(command, stdout=out, stderr=subprocess.STDOUT).returncode:
                check(False, "the build for Arm: " + open(log).read()[-3000:])
                finish()


def unit(job):
    processor, test = job
    done = subprocess.run(emulated(processor, "tests/" + test), env=quiet, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=900)
    return processor, test, done.returncode, done.stdout.decode(errors="replace")


def run(command, ranks, name, output, *sets):
    """Into the same folder name each time, because files tell the input that they come from."""
    work = f"{folder}/run"
    shutil.rmtree(work, ignore_errors=True)
    arguments = [item for each in (f"output.dir={work}", *sets) for item in ("--set", each)]
    done = launch(ranks, *command, name, f"{SOURCE}/inputs/quickstart.yaml", *arguments, timeout=300, stderr=subprocess.STDOUT, SYZYGY_EMULATED="1")
    text = done.stdout
    check(done.returncode == 0, f"{name} by {command[-1]}: exit code {done.returncode}\n{text[-1500:]}")
    os.rename(work, f"{folder}/{output}")
    return text


def losses(output):
    return np.array([json.loads(line)["loss"] for line in open(f"{folder}/{output}/metrics.jsonl")])


def contents(path):
    """Everything that a file says, but for the versions it came from and the sums over them."""
    said = {}
    with h5py.File(path) as f:
        def take(name, item):
            for key, value in item.attrs.items():
                if "checksum" not in key and key != "created_by":
                    said[name, key] = np.asarray(value).tobytes() if not isinstance(value, str) else value
            if isinstance(item, h5py.Dataset):
                said[name] = (item.dtype, item.shape, item.chunks, item[()])
        take("/", f)
        f.visititems(take)
        return said, str(f.attrs["created_by"])


def same_file(mine, theirs, is_exact):
    a, version_a = contents(f"{folder}/{mine}")
    b, version_b = contents(f"{folder}/{theirs}")
    check(a.keys() == b.keys() and len(a) > 10, f"{theirs} says other things than {mine}: {a.keys() ^ b.keys()}")
    for key in a.keys() & b.keys():
        if not isinstance(a[key], tuple):
            check(a[key] == b[key], f"{theirs}: attribute {key}")
            continue
        check(a[key][:3] == b[key][:3], f"{theirs}: form of {key}")
        x, y = a[key][3], b[key][3]
        if is_exact or x.dtype.kind not in "f":
            check(x.tobytes() == y.tobytes(), f"{theirs}: numbers of {key}")
        else:
            scale = np.nanmax(np.abs(x)) if x.size else 0
            check(np.array_equal(np.isnan(x), np.isnan(y)) and np.nanmax(np.abs(x - y), initial=0) <= 1e-6 * scale, f"{theirs}: numbers of {key}")
    if is_exact and version_a == version_b:
        with open(f"{folder}/{mine}", "rb") as f, open(f"{folder}/{theirs}", "rb") as g:
            check(f.read() == g.read(), f"{theirs} has other bytes than {mine}")
    elif is_exact:
        print(f"{theirs}: the two programs are not of one commit, {version_a} and {version_b}: contents compared, not the whole file")


build()
x86 = [BINARY]
arm = {processor: emulated(processor, "syzygy") for processor in PROCESSORS}
simulated = ("simulate.objects=8", "simulate.output=shards")
run(x86, 2, "simulate", "survey", *simulated)
text = run(arm["max"], 2, "simulate", "survey-arm", *simulated)
check("instruction set neon_bf16" in text, "a processor with BF16 and I8MM is known as one")
same_file("survey/shards/simulated-00000.h5", "survey-arm/shards/simulated-00000.h5", False)  # libm's last bits differ

small = [f"data.path={folder}/survey/shards", "train.validate_interval=0", "train.global_batch=4", "train.micro_batch=2", "train.warmup_steps=1"]
small += [f"model.{tower}.{key}" for tower in ("image", "spectrum") for key in ("dim=32", "depth=1", "heads=2")] + ["model.embedding.dim=32"]
steps = small + ["train.steps=4", "compute.precision=float32"]
run(x86, 2, "align", "align", *steps)
want = losses("align")
check(len(want) == 4 and len(set(want)) == 4, f"losses {want}")
for processor in PROCESSORS:
    text = run(arm[processor], 2, "align", f"align-{processor}", *steps)
    got = losses(f"align-{processor}")
    difference = np.max(np.abs(got - want) / np.abs(want))
    print(f"align on 2 ranks of {processor}: losses within {difference:.1e} of x86-64's")
    check(difference < 1e-5, f"{processor}: losses {got}, not {want}")
    check("own kernels neon, float32" in text, f"{processor}: which kernels\n{text[:800]}")
text = run(arm["max"], 2, "align", "align-bf16", *small, "train.steps=4", "compute.precision=bfloat16")
got = losses("align-bf16")
check("own kernels neon_bf16, bfloat16" in text and np.max(np.abs(got - want)) < 0.02 and not np.array_equal(got, want), f"bfloat16: losses {got}, not {want}")

# A step whose rate is 0 leaves the parameters as they were drawn.
first = small + ["train.steps=1", "compute.precision=float32"]
run(x86, 2, "align", "first", *first)
run(arm["cortex-a72"], 2, "align", "first-arm", *first)
same_file("first/model.h5", "first-arm/model.h5", True)
for command, output in ((x86, "first-arm"), (arm["max"], "first")):
    done = subprocess.run([*command, "info", f"{folder}/{output}/model.h5"], env=quiet, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    check(done.returncode == 0, f"{command[-1]} reads {output}/model.h5: {done.stdout.decode()[-500:]}")

with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
    for processor, test, code, text in pool.map(unit, [(p, t) for t in TESTS for p in PROCESSORS]):
        count = text.count("checks, 0 failed")
        print(f"{test} on {processor}: exit code {code}", flush=True)
        check(code == 0 and count == 1, f"{test} on {processor}: exit code {code}\n{text[-1500:]}")
finish()
