# SPDX-License-Identifier: BSD-3-Clause
"""Failures of a run on 3 ranks: the right exit code within 30 s on all of them, a message that names what failed, nothing half-written, and
the last good checkpoint still good. Injected failures need a build with -DSYZ_FAULTS=ON; the full disk needs to be root to mount a tmpfs."""
import sys

from common import *

which = sys.argv[1]
RANKS = 3


def ranks_of(p):
    return [int(x) for x in subprocess.run(["ps", "-o", "pid=", "--ppid", str(p.pid)], stdout=subprocess.PIPE, text=True).stdout.split()]


def timed(arguments_, env=None, ranks=RANKS):
    start_s = time.time()
    code, text = run(ranks, arguments_, env=env)
    took = time.time() - start_s
    if took > 30:
        check(False, f"took {took:.0f} s")
    return code, text


def clean(folder):
    """Nothing half-written under a final name, no leftovers; every checkpoint there has its manifest."""
    found = []
    for top, folders, files in os.walk(folder):
        found += [f"{top}/{n}" for n in files if n.endswith(".tmp")]
        found += [f"{top}/{n}" for n in folders if n.startswith("tmp-step")]
        found += [f"{top}/{n}" for n in folders if n.startswith("step-") and not os.path.exists(f"{top}/{n}/manifest.json")]
    return found


def injected(work):
    # What fails, where, the code, and what the message must say.
    cases = [
        ("loader_read:1:6", dict(train__freeze_backbones="false"), 3, "injected"),
        ("token_cache_put:2:2", {}, 4, "injected"),
        ("h5_create:0:2", {}, 4, "injected"),
        ("h5_write:2:11", {}, 4, "injected"),
        ("h5_publish:0:2", {}, 4, "injected"),
        ("checkpoint_written:2:2", {}, 4, "injected"),
        ("checkpoint_rename:0:2", {}, 4, "injected"),
        ("checkpoint_manifest:0:2", {}, 4, "injected"),
        ("checkpoint_prune:0:2", {}, 4, "injected"),
        ("alloc:1:60", {}, 8, "no memory"),
        ("alloc:2:150", {}, 8, "no memory"),
    ]
    for k, (fault, keys, expected, said) in enumerate(cases):
        name = f"run{k}"
        keys = dict(dict(train__freeze_backbones="true"), **keys)
        code, text = timed(arguments(work, name, **keys), env={"SYZ_FAULT": fault})
        rank = fault.split(":")[1]
        check(code == expected and said in text and (f"rank {rank}" in text or rank == "0"),
              f"{fault}: exit code {code} ({expected}), names rank {rank} and the reason")
        if code != expected:
            print(text)
        if fault.startswith("checkpoint_") and "manifest" not in fault:
            check(clean(f"{work}/{name}") == [] or "rename" in fault, f"{fault}: nothing half-written: {clean(f'{work}/{name}')}")
        check(not os.path.exists(f"{work}/{name}/model.h5"), f"{fault}: no model.h5")
        code, text = timed(arguments(work, name, **keys))
        check(code == 0 and len(metrics(f"{work}/{name}")) == 20, f"{fault}: the run goes on to its end afterwards ({code})")
        if code:
            print(text)
        check(clean(f"{work}/{name}") == [], f"{fault}: nothing is left behind: {clean(f'{work}/{name}')}")
    check(numbers(f"{work}/run1") == numbers(f"{work}/run5"), "after different failures the runs are equal bit for bit")


def numeric(work):
    """Weights so large that products overflow: the loss is not a number."""
    code, text = timed(arguments(work, "good", train__steps=2, train__warmup_steps=0, train__freeze_backbones="false"))
    check(code == 0, f"a short run ends with {code}")
    with h5py.File(f"{work}/good/model.h5", "r") as f, h5py.File(f"{work}/huge.h5", "w") as g:
        for k, v in f.attrs.items():
            if k != "checksum":  # of the attributes: not that of what is written here
                g.attrs[k] = v
        for k, v in f["parameter"].items():
            g["parameter/" + k] = v[()]
        g["parameter/spectrum_encoder.mlp.decoder.weight"][...] = 1e38
    code, text = timed(arguments(work, "huge", model__file=f"{work}/huge.h5", train__freeze_backbones="false"))
    check(code == 6 and "step 0" in text and "spectrum embedding of object 39" in text, f"an overflow ends with {code} and names step and objects")
    if code != 6:
        print(text)
    code, text = timed(arguments(work, "huge-ring", model__file=f"{work}/huge.h5", train__freeze_backbones="false", loss__ring_pairs=0))
    check(code == 6 and "step 0" in text and "spectrum embedding of object 39" in text, "so does one around the ring")
    check(clean(f"{work}/huge") == [] and not os.path.exists(f"{work}/huge/model.h5"), "and nothing is written")
    # A good checkpoint survives a failure after it, and says what is to be done about it.
    keys = dict(train__steps=400, train__warmup_steps=0, train__lr=10, train__clip_grad_norm=0, train__freeze_backbones="false",
                output__checkpoint_interval_steps=1, train__weight_decay=10)
    code, text = timed(arguments(work, "diverges", **keys))
    kept = sorted(os.listdir(f"{work}/diverges/checkpoints"))
    check(code in (0, 6) and len(kept) >= 1 and clean(f"{work}/diverges") == [], f"a learning rate of 10 ends with {code}, checkpoints {kept}")
    if code == 6:
        check("step" in text and ("not finite" in text or "loss is" in text), "and names the step")


def data(work):
    image, flux = objects(20)
    bad = flux.copy()
    bad[7, 100] = np.nan
    os.makedirs(f"{work}/nan")
    write_shard(f"{work}/nan/a.h5", image, bad)
    for mode in ["true", "false"]:
        code, text = timed(arguments(work, f"nan-{mode}", data__path=f"{work}/nan", train__freeze_backbones=mode))
        check(code == 3 and "39000000000000007" in text and "a.h5" in text, f"a NaN, freeze_backbones={mode}: exit code {code}, names file and object")
        if code != 3:
            print(text)
        code, text = timed(arguments(work, f"skip-{mode}", data__path=f"{work}/nan", train__freeze_backbones=mode, data__bad_objects="skip"))
        check(code == 0 and "39000000000000007" in text, f"skipped and listed: {code}")
    has = np.ones(20, np.uint8)
    has[::3] = 0
    os.makedirs(f"{work}/one")
    write_shard(f"{work}/one/a.h5", image, flux, has_spectrum=has)
    code, text = timed(arguments(work, "one-heads", data__path=f"{work}/one"))
    check(code == 0 and "6 objects have only one modality" in text, f"objects with one modality are left out aloud: {code}")
    if code:
        print(text)
    code2, text2 = timed(arguments(work, "one-full", data__path=f"{work}/one", train__freeze_backbones="false"))
    check(code2 == 0, f"and when everything trains: {code2}")
    if code2:
        print(text2)
    os.makedirs(f"{work}/none")
    write_shard(f"{work}/none/a.h5", image, flux, has_spectrum=np.zeros(20, np.uint8))
    code, text = timed(arguments(work, "none-run", data__path=f"{work}/none"))
    check(code == 3 and "nothing to align" in text, f"no object of both: {code}")
    code, text = timed(arguments(work, "nowhere", data__path=f"{work}/missing"))
    check(code in (2, 3) and "missing" in text, f"a folder that is not there: {code}")
    code, text = timed(arguments(work, "cache", augment__flips="true"))
    check(code == 2 and "augmentation" in text, f"augmentation with kept tokens: {code}")
    check(not os.path.exists(f"{work}/cache"), "and nothing is written then")
    code, text = timed(["align", f"{work}/input.yaml", "--dry-run", "--set", "augment.flips=true"])
    check(code == 2 and "augmentation" in text, f"a dry run finds that, too: {code}")
    code, text = timed(arguments(work, "nocache", augment__flips="true", augment__spectrum_noise=0.5, train__token_cache="none"))
    check(code == 0, f"augmentation without: {code}")
    code, text = timed(arguments(work, "typo", train__stepz=3))
    check(code == 2 and "train.steps" in text, f"an unknown key: {code}, the nearest known one is named")
    code, text = timed(arguments(work, "apart1", parallel__towers="apart"), ranks=1)
    check(code == 8 and "apart" in text, f"towers apart on one rank: {code}")
    code, text = timed(arguments(work, "few", train__global_batch=2), ranks=4)
    check(code == 0, f"more ranks than objects in a batch: {code}")
    code, text = timed(["align", f"{work}/input.yaml", "--dry-run", "--set", f"output.dir={work}/dry"])
    check(code == 0 and os.listdir(f"{work}/dry") == ["plan.json"] and "steps per epoch" in text and "GiB per rank" in text,
          f"a dry run writes its plan and nothing else: {code}")
    # A folder in use by another run.
    p = start(2, arguments(work, "used", train__steps=1000000), log=f"{work}/log")
    end = time.time() + 20
    while time.time() < end and not os.path.exists(f"{work}/used/metrics.jsonl"):
        time.sleep(0.01)
    code, text = timed(arguments(work, "used", train__steps=1000000))
    check(code == 4 and f"in use by another run (process {ranks_of(p)[0]} on {os.uname().nodename})" in text, f"a folder in use: {code}")
    code, text = timed(["align", f"{work}/input.yaml", "--dry-run", "--set", f"output.dir={work}/used"])
    check(code == 0 and os.path.exists(f"{work}/used/plan.json"), f"a dry run leaves its plan beside what the run writes: {code}")
    for holder, said in (("17\n", "process 17; .lock does not say on which host"), ("", ".lock does not name it"), ("\0/etc/x y", ".lock does not name it")):
        with open(f"{work}/used/.lock", "r+") as f:  # the lock is the kernel's: what the file says is only told
            f.truncate(0)
            f.write(holder)
        code, text = timed(arguments(work, "used", train__steps=1000000))
        check(code == 4 and f"in use by another run ({said})" in text, f"a lock that says {holder!r}: {code}")
    p.send_signal(signal.SIGUSR1)
    check(p.wait() == 75, "the other run is not disturbed")


def full_disk(work):
    disk = f"{work}/disk"
    os.makedirs(disk)
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", disk], stderr=subprocess.DEVNULL).returncode:
        skip("mounting a tmpfs needs root")
    try:
        keys = dict(train__token_cache_dir=f"{work}/cache", train__freeze_backbones="false")
        code, text = timed(["align", f"{work}/input.yaml"] + arguments(disk, "run", train__steps=10, **keys)[2:])
        check(code == 0, f"first part ends with {code}")
        done = metrics(f"{disk}/run")
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        with open(f"{disk}/ballast", "wb") as f:
            f.write(b"x" * (free - 300000))
        kept = sorted(os.listdir(f"{disk}/run/checkpoints"))
        for way in ("mpio", "direct"):
            full = ["align", f"{work}/input.yaml"] + arguments(disk, "run", train__steps=20, io__driver=way, **keys)[2:]
            code, text = timed(full)
            check(code == 4 and ("space" in text or "written" in text or "write" in text), f"a full disk ends with {code}, by {way}")
            if code != 4:
                print(text)
            check(clean(f"{disk}/run") == [], f"nothing half-written: {clean(f'{disk}/run')}")
            check(sorted(os.listdir(f"{disk}/run/checkpoints")) == kept, f"the old checkpoints are there: {kept}")
        os.remove(f"{disk}/ballast")
        code, text = timed(full)
        check(code == 0 and "continuing from step" in text and metrics(f"{disk}/run")[:10] == done, f"with room again the run goes on: {code}")
        if code:
            print(text)
    finally:
        subprocess.run(["umount", disk])


def mpio(work):
    """Through MPI-IO: failures and kill -9 before the file has its space, while it is opened, between rows and before it gets its name."""
    keys = dict(train__freeze_backbones="false", io__driver="mpio", train__steps=9, train__warmup_steps=2, train__validate_interval=100)
    code, text = timed(arguments(work, "whole", **keys))
    check(code == 0, f"an uninterrupted run ends with {code}")
    for k, fault in enumerate(["h5_mpio_open:2:2", "h5_reserve:0:2:kill", "h5_write:2:20:kill", "h5_publish:1:2:kill"]):
        expected = 137 if "kill" in fault else 4
        code, text = timed(arguments(work, f"run{k}", **keys), env={"SYZ_FAULT": fault})
        kept = [n for n in os.listdir(f"{work}/run{k}/checkpoints") if n.startswith("step-")]
        check(code == expected and kept == ["step-00000004"], f"{fault}: exit code {code} ({expected}), kept {kept}")
        if code != expected:
            print(text)
        if "kill" not in fault:
            check(clean(f"{work}/run{k}") == [] and "step-00000008/state.h5" in text, f"{fault}: names the file, nothing half-written")
        code, text = timed(arguments(work, f"run{k}", **keys))
        check(code == 0 and "continuing from step 4" in text and numbers(f"{work}/run{k}") == numbers(f"{work}/whole"),
              f"{fault}: goes on from the old checkpoint to the same numbers ({code})")
        if code:
            print(text)
        check(clean(f"{work}/run{k}") == [], f"{fault}: nothing is left behind")


with Work() as work:
    write_shards(f"{work}/shards", 24)
    write_input(work, f"""
data: {{path: [{work}/shards], split: train}}
train: {{steps: 20, global_batch: 6, lr: 5.0e-4, warmup_steps: 5, validate_interval: 10}}
output: {{checkpoint_interval_steps: 4}}
""")
    {"injected": injected, "numeric": numeric, "data": data, "disk": full_disk, "mpio": mpio}[which](work)
finish()
