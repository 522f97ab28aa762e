# SPDX-License-Identifier: BSD-3-Clause
"""The keys io.*: compressed, aligned, direct and aggregated files hold the same numbers for h5py, `info` and the program itself; hints reach MPI-IO; a
damaged compressed file and wrong values are refused."""
import json
import os
import shutil
import sys
import tempfile

import h5py

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import BINARY, check, driver, finish, launch


def run(ranks, command, *settings, more=(), env=None):
    sets = [word for s in settings for word in ("--set", s)]
    return launch(ranks, BINARY, command, *more, *sets, timeout=120, **(env or {}))


def datasets(path):
    found = {}
    with h5py.File(path) as f:
        f.visititems(lambda name, node: found.__setitem__(name, node[()]) if isinstance(node, h5py.Dataset) else None)
    return found


def same(a, b):
    """Bit for bit: labels hold NaN."""
    x, y = datasets(a), datasets(b)
    return x.keys() == y.keys() and all(x[n].dtype == y[n].dtype and x[n].tobytes() == y[n].tobytes() for n in x)


def verified(path):
    told = run(1, "info", more=[path])
    return told.returncode == 0, told.stdout + told.stderr


work = tempfile.mkdtemp(prefix="syzygy-io-")
try:
    # Shards: written by one rank each.
    simulate = ["simulate.objects=60", "simulate.shard_objects=30", "simulate.segments=false"]
    kinds = {
        "plain": ["io.direct=false"],
        "aligned": ["io.alignment=1048576"],
        "packed": ["io.compression=deflate", "io.compression_level=3"],
        "mpio": ["io.driver=mpio"],
    }
    for name, keys in kinds.items():
        told = run(2, "simulate", *simulate, *keys, f"output.dir={work}/{name}")
        check(told.returncode == 0, f"simulate, {name}: exit code {told.returncode} {told.stderr[-300:]}")
    first = "shards/simulated-00000.h5"
    for name in ("aligned", "packed", "mpio"):
        check(same(f"{work}/plain/{first}", f"{work}/{name}/{first}"), f"h5py reads the same numbers from the shard of kind {name}")
        check(verified(f"{work}/{name}/{first}")[0], f"info verifies the shard of kind {name}")
    with h5py.File(f"{work}/aligned/{first}") as f:
        check(all(f[n].id.get_offset() % 1048576 == 0 for n in ("image", "spectrum", "spectrum_ivar")), "io.alignment: large datasets begin at multiples of it")
    with h5py.File(f"{work}/packed/{first}") as f:
        check(f["image"].compression == "gzip" and f["image"].compression_opts == 3 and f["image"].shuffle and f["image"].chunks == (1, 3, 152, 152),
              "io.compression: chunks of one image, shuffle, deflate at the level asked for")
    sizes = [os.path.getsize(f"{work}/{n}/{first}") for n in ("plain", "packed")]
    check(sizes[1] < 0.9 * sizes[0], f"compressed to {100 * sizes[1] / sizes[0]:.1f} % of the size")

    # Training from compressed shards is training from plain ones, bit for bit, and its checkpoints and models are read in every form.
    tiny = ["model.image.dim=32", "model.image.depth=1", "model.image.heads=2", "model.spectrum.dim=64", "model.spectrum.depth=2", "model.spectrum.heads=2",
            "model.embedding.dim=512", "model.embedding.heads=2", "train.freeze_backbones=false", "train.global_batch=8", "train.warmup_steps=1",
            "train.validate_interval=100", "compute.precision=float32"]
    kinds = {
        "a": (2, "plain", ["io.direct=false"]),
        "b": (2, "packed", ["io.compression=deflate"]),
        "c": (2, "plain", ["io.aggregators=1"]),
        "d": (3, "mpio", ["io.driver=mpio", "io.hints=cb_buffer_size=2097152", "io.stripe_size=65536", "io.aggregators=2"]),
    }
    spy = {"LD_PRELOAD": driver("libio_spy.so")}
    for name, (ranks, shards, keys) in kinds.items():
        told = run(ranks, "align", *tiny, "train.steps=3", f"data.path={work}/{shards}/shards", *keys, f"output.dir={work}/align-{name}",
                   env=spy if name == "d" else None)
        check(told.returncode == 0, f"align {name}: exit code {told.returncode} {told.stderr[-400:]}")
    def losses(name):
        return [json.loads(line)["loss"] for line in open(f"{work}/align-{name}/metrics.jsonl")]
    count = [int(line.split()[1]) for line in told.stderr.splitlines() if line.startswith("io_spy: ") and "collective writes" in line]
    check(len(count) == 3 and count[0] > 20 and len(set(count)) == 1, f"io.driver=mpio writes by collective transfers of all ranks: {count}")
    check("io_spy: striping_factor=? striping_unit=65536 cb_nodes=2 cb_buffer_size=2097152 state.h5.tmp" in told.stderr,
          f"HDF5 opens the checkpoint through MPI-IO with the hints: {[line for line in told.stderr.splitlines() if 'striping' in line][:3]}")
    check("io.driver mpio" in told.stdout + told.stderr, "the log names the driver")
    said = open(f"{work}/align-a/input.yaml").read()
    check("driver: direct" in said, "input.yaml says what `auto` is here")
    for name in ("b", "c"):
        check(losses(name) == losses("a") and len(losses("a")) == 3, f"align {name}: the same losses as without")
        check(same(f"{work}/align-a/model.h5", f"{work}/align-{name}/model.h5"), f"align {name}: the same model for h5py")
        state = "checkpoints/step-00000003/state.h5"
        check(same(f"{work}/align-a/{state}", f"{work}/align-{name}/{state}"), f"align {name}: the same checkpoint for h5py")
        check(verified(f"{work}/align-{name}/model.h5")[0], f"align {name}: info verifies the model")
        check(verified(f"{work}/align-{name}/checkpoints/step-00000003")[0], f"align {name}: info verifies the checkpoint")
    with h5py.File(f"{work}/align-b/checkpoints/step-00000003/state.h5") as f:
        packed = []
        f.visititems(lambda n, d: packed.append(n) if isinstance(d, h5py.Dataset) and d.compression == "gzip" else None)
        check(len(packed) >= 3, f"{len(packed)} arrays of the checkpoint are compressed")
    # Restart from the compressed checkpoint on other ranks, and from the plain one: the same step 4.
    for name in ("a", "b"):
        told = run(3, "align", *tiny, "train.steps=4", f"data.path={work}/{kinds[name][1]}/shards", *kinds[name][2],
                   f"output.dir={work}/align-{name}")
        check(told.returncode == 0 and len(losses(name)) == 4, f"align {name} goes on: exit code {told.returncode} {told.stderr[-400:]}")
    check(losses("a") == losses("b"), "both go on alike")

    # Through MPI-IO: the checkpoint of 3 ranks is read by collective reads, goes on under either driver, and the numbers are those of `direct`.
    for name, way, ranks in (("d", "mpio", 2), ("e", "direct", 2)):
        if name == "e":
            shutil.copytree(f"{work}/before", f"{work}/align-e")
        else:
            shutil.copytree(f"{work}/align-d", f"{work}/before")
        told = run(ranks, "align", *tiny, "train.steps=4", f"data.path={work}/mpio/shards", f"io.driver={way}", f"output.dir={work}/align-{name}",
                   env=spy)
        lines = [line for line in told.stderr.splitlines() if line.startswith("io_spy: ") and "collective reads" in line]
        count = [int(line.split(",")[1].split()[0]) for line in lines]
        check(told.returncode == 0 and "continuing from step 3" in told.stdout + told.stderr and len(losses(name)) == 4,
              f"align goes on by {way}: exit code {told.returncode} {told.stderr[-400:]}")
        check((len(count) == ranks and min(count) > 5) if way == "mpio" else not count, f"collective reads by {way}: {count}")
        check(verified(f"{work}/align-{name}/checkpoints/step-00000004")[0], f"info verifies the checkpoint by {way}")
    check(same(f"{work}/align-d/checkpoints/step-00000004/state.h5", f"{work}/align-e/checkpoints/step-00000004/state.h5")
          and same(f"{work}/align-d/model.h5", f"{work}/align-e/model.h5"), "the same checkpoint and the same model by both drivers")
    told = run(3, "embed", f"model.file={work}/align-a/model.h5", f"data.path={work}/mpio/shards", "io.driver=mpio", "compute.precision=float32",
               f"output.dir={work}/embed-mpio")
    check(told.returncode == 0, f"embed through MPI-IO: exit code {told.returncode} {told.stderr[-300:]}")

    # Embeddings on 1 to 4 ranks.
    for ranks in (1, 2, 3, 4):
        for kind in ("none", "deflate"):
            told = run(ranks, "embed", f"model.file={work}/align-a/model.h5", f"data.path={work}/packed/shards", f"io.compression={kind}", "io.aggregators=2",
                       "compute.precision=float32", f"output.dir={work}/embed-{ranks}-{kind}")
            with h5py.File(f"{work}/embed-{ranks}-{kind}/embedding.h5") as f:
                check((f["image_embedding"].compression == "gzip") == (kind == "deflate"), f"embed on {ranks} ranks, {kind}: compressed or not")
            check(told.returncode == 0, f"embed on {ranks} ranks, {kind}: exit code {told.returncode} {told.stderr[-300:]}")
        names = [n for n in os.listdir(f"{work}/embed-{ranks}-none") if n.endswith(".h5")]
        check(len(names) == 1 and same(f"{work}/embed-{ranks}-none/{names[0]}", f"{work}/embed-{ranks}-deflate/{names[0]}"),
              f"embeddings on {ranks} ranks: h5py sees no difference")
        check(verified(f"{work}/embed-{ranks}-deflate/{names[0]}")[0], f"embeddings on {ranks} ranks: info verifies them")

    check(same(f"{work}/embed-3-none/embedding.h5", f"{work}/embed-mpio/embedding.h5"), "embeddings through MPI-IO: h5py sees no difference")

    # A damaged compressed shard: some byte inside the images' chunks.
    with h5py.File(f"{work}/packed/{first}") as f:
        chunk = f["image"].id.get_chunk_info(17)
    broken = f"{work}/broken.h5"
    shutil.copy(f"{work}/packed/{first}", broken)
    with open(broken, "r+b") as f:
        f.seek(chunk.byte_offset + chunk.size // 2)
        byte = f.read(1)[0]
        f.seek(-1, 1)
        f.write(bytes([byte ^ 0x40]))
    ok, text = verified(broken)
    check(not ok and "image" in text, "info refuses a damaged compressed shard and names the dataset")
    told = run(2, "align", *tiny, "train.steps=8", f"data.path={broken}", "data.verify=never", "data.split=all",
               f"output.dir={work}/align-broken")
    check(told.returncode == 3 and "broken.h5" in told.stderr and "image" in told.stderr, f"align refuses it: exit code {told.returncode} {told.stderr[:300]}")

    # Hints, as MPI_File_open sees them.
    told = run(1, "simulate", "simulate.objects=4", "io.stripe_count=8", "io.stripe_size=1048576", "io.aggregators=2", f"output.dir={work}/striped", env=spy)
    check(told.returncode == 0 and "io_spy: striping_factor=8 striping_unit=1048576 cb_nodes=2 cb_buffer_size=? simulated-00000.h5.tmp" in told.stderr,
          f"hints reach MPI-IO: exit code {told.returncode}\n{told.stderr[-300:]}")
    check(verified(f"{work}/striped/{first}")[0], "info verifies the shard with hints")
    told = run(1, "simulate", "simulate.objects=4", f"output.dir={work}/unstriped", env=spy)
    check(told.returncode == 0 and "io_spy" not in told.stderr, "without hints MPI-IO is not asked")

    for wrong, word in (("io.compression=lzf", "none|deflate"), ("io.compression_level=10", "io.compression_level"), ("io.alignment=0", "io.alignment"),
                        ("io.stripe_size=1000", "multiple of 65536"), ("io.aggregators=-1", "io.aggregators"), ("io.direct=perhaps", "io.direct"),
                        ("io.driver=posix", "mpio|direct|auto"), ("io.hints=cb_nodes", "name=value")):
        told = run(1, "simulate", "simulate.objects=4", wrong, f"output.dir={work}/wrong")
        check(told.returncode == 2 and word in told.stderr and not os.path.exists(f"{work}/wrong"), f"{wrong} is refused: {told.stderr.strip()[:120]}")
finally:
    shutil.rmtree(work, ignore_errors=True)
finish()
