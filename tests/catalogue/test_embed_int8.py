# SPDX-License-Identifier: BSD-3-Clause
"""embed in 8-bit integers: cosines to PyTorch, any rank count and batch, what the calibration keeps in bfloat16, restart with the same choice, refusals."""
import os
import re
import shutil
import sys

import h5py
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import check_quietly as check, finish, scratch, skip
from embed_common import read_datasets, run, same_bits, write_shard
import syzygy_torch as ref

folder = scratch()
N = 300
image, flux = ref.random_images(N, 1), ref.random_flux(N, 2)
has_image = np.arange(N) % 7 != 3
image[~has_image] = 0
write_shard(f"{folder}/data.h5", image, flux, np.arange(N) + 10**15, has_image)
config = ref.small_config(depth=4)
model = ref.random_model(config, seed=5)
ref.write_model_file(f"{folder}/model.h5", config, model.state_dict())


def embed(name, ranks, expect=0, model="model", fault=None, arguments=(), **more):
    keys = {"data.path": f"{folder}/data.h5", "model.file": f"{folder}/{model}.h5", "output.dir": f"{folder}/{name}", "compute.precision": "int8"}
    keys.update({k.replace("__", "."): v for k, v in more.items()})
    return run(ranks, "embed", keys, arguments, expect, **({"SYZ_FAULT": fault} if fault else {}))


def load(name):
    return read_datasets(f"{folder}/{name}/embedding.h5")


def attributes(name):
    with h5py.File(f"{folder}/{name}/embedding.h5") as f:
        text = {k: f.attrs[k] for k in ("precision", "int8_calibration") if k in f.attrs}
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in text.items()}


text = embed("one", 1)
if "lacks" in text:
    check(attributes("one")["precision"] != "int8", "another precision takes over")
    skip("no AVX512_VNNI")
one = load("one")
z_image, z_spectrum = ref.embed(ref.load_model(f"{folder}/model.h5"), image, flux)
for m, want, rows in (("image", z_image, has_image), ("spectrum", z_spectrum, np.ones(N, bool))):
    got = one[m + "_embedding"]
    cosines, centred = ref.cosines(got[rows], want[rows]), ref.cosines(got[rows], want[rows], about_mean=True)
    print(f"{m}: least cosine to PyTorch {cosines.min():.6f}, about the mean {centred.min():.5f}")
    check(cosines.min() >= 0.99, f"{m}: cosine {cosines.min()}")
    check(centred.min() >= 0.9, f"{m}: cosine about the mean {centred.min()}")
    check(np.isnan(got[~rows]).all(), f"{m}: NaN exactly where there is none")
    check(not np.array_equal(got[rows], want[rows].astype(np.float32)), f"{m}: this is not float32")

# What is said: the figures of the held-out objects are those of the embeddings themselves.
said = attributes("one")
check(said["precision"] == "int8", f"precision {said['precision']}")
for m, want, rows in (("image", z_image, has_image), ("spectrum", z_spectrum, np.ones(N, bool))):
    line = next(t for t in said["int8_calibration"].split("\n") if t.startswith(m))
    held = np.flatnonzero(rows)[[k * rows.sum() // 64 for k in range(64)]][1::2]
    cosines = ref.cosines(one[m + "_embedding"][held], want[held])
    least, mean = map(float, re.search(r"float32 least ([\d.]+), mean ([\d.]+)", line).groups())
    check("16 of 16 products in int8" in line and "32 held-out" in line, line)
    check(abs(least - cosines.min()) < 3e-6 and abs(mean - cosines.mean()) < 3e-6, f"{m}: {least} {mean}, found {cosines.min()} {cosines.mean()}")

for ranks, batch in ((2, 16), (3, 5)):
    embed(f"ranks-{ranks}", ranks, embed__batch=batch)
    check(same_bits(one, load(f"ranks-{ranks}")), f"{ranks} ranks, batches of {batch}: the same bits")
    check(attributes(f"ranks-{ranks}") == said, f"{ranks} ranks: the same choice")

# Interrupted: the choice is remembered, on other ranks too; a damaged one is made again and is the same.
for damage in (False, True):
    name = f"killed-{damage}"
    embed(name, 2, expect=137, fault="embed_part:1:2:kill")
    facts = f"{folder}/{name}/embedding.part/facts"
    check(os.path.exists(facts) and not os.path.exists(f"{folder}/{name}/embedding.h5"), "killed between calibration and end")
    if damage:
        with open(facts, "r+b") as f:
            f.seek(40)
            f.write(b"\x55\x55\x55\x55")
    text = embed(name, 3)
    check(("as chosen by an earlier run" in text) != damage, f"the choice is {'made again' if damage else 'remembered'}: {text[-600:]}")
    check(same_bits(one, load(name)) and attributes(name) == said, "continued: the same bits and the same record")
    check(not os.path.exists(f"{folder}/{name}/embedding.part"), "nothing is left behind")
text = embed("one", 2)
check("nothing to do" in text, "a finished result is not made again")

# Between what int8 and what the other type reach: the most sensitive products keep that one, the same on any number of ranks. Processors
# with 8-bit products but without fast bfloat16 ones have float32 beside them.
beside = re.search(r"(bfloat16|float32) alone", said["int8_calibration"])[1]
figures = [re.search(rf"least ([\d.]+), mean [\d.]+ \({beside} alone: ([\d.]+)", t).groups() for t in said["int8_calibration"].split("\n")]
below = 1 - max(1 - float(x) for x, _ in figures)
alone = 1 - max(1 - float(x) for _, x in figures)
# Half of what is asked for is the aim on the other half of the sample: where all products in int8 begin to miss it differs by processor.
for factor in (1.7, 1.6, 1.5, 1.4, 1.3):
    wanted = 1 - factor * (1 - below)
    print(f"int8 reaches {below:.6f}, {beside} {alone:.6f}; asked for {wanted:.6f}")
    shutil.rmtree(f"{folder}/mixed", ignore_errors=True)
    embed("mixed", 1, embed__calibration_cosine=f"{wanted:.7f}")
    mixed = attributes("mixed")["int8_calibration"]
    print(mixed)
    kept = sum(16 - int(re.search(r"(\d+) of 16", t).group(1)) for t in mixed.split("\n"))
    if kept:
        break
check(0 < kept < 32 and f"in {beside}: blocks." in mixed, f"{kept} products are kept in {beside}")
check(not np.array_equal(load("mixed")["spectrum_embedding"], one["spectrum_embedding"]) or not np.array_equal(load("mixed")["image_embedding"], one["image_embedding"], equal_nan=True), "and that makes a difference")
embed("mixed-3", 3, embed__calibration_cosine=f"{wanted:.7f}", embed__batch=3)
check(same_bits(load("mixed"), load("mixed-3")) and attributes("mixed-3")["int8_calibration"] == mixed, "3 ranks keep the same ones")

# Outlying inputs: a few channels of a norm a hundred times larger, their weights that much smaller. The function is the same; int8 must not suffer.
state = {k: v.clone() for k, v in model.state_dict().items()}
for name in [k for k in state if k.endswith(("attn.qkv.weight", "mlp.fc1.weight", "attention.attention.weight", "mlp.encoder.weight")) and ".blocks." in k]:
    norm = re.sub(r"(attn\.qkv|attention\.attention)\.weight$", lambda q: "norm1" if "qkv" in q[1] else "layernorm1", name)
    norm = re.sub(r"mlp\.(fc1|encoder)\.weight$", lambda q: "norm2" if q[1] == "fc1" else "layernorm2", norm)
    state[norm + ".weight"][3::11] *= 100
    state[norm + ".bias"][3::11] *= 100
    state[name][:, 3::11] /= 100
ref.write_model_file(f"{folder}/outliers.h5", config, state)
embed("outliers", 2, model="outliers")
for m, rows in (("image", has_image), ("spectrum", np.ones(N, bool))):
    cosines = ref.cosines(load("outliers")[m + "_embedding"][rows], one[m + "_embedding"][rows])
    print(f"{m}: outlying channels: least cosine to the model without them {cosines.min():.6f}")
    check(cosines.min() > 0.99, f"{m}: outlying channels: {cosines.min()}")
check("16 of 16" in attributes("outliers")["int8_calibration"], f"and nothing needs {beside}")

# Told to do as a processor of plain AVX-512, with its 8-bit instructions: int8 beside float32.
text = embed("plain", 2, compute__instructions="avx512")
plain = attributes("plain")
check(plain["precision"] == "int8" and "float32 alone" in plain["int8_calibration"] and "only with float32" in text, f"int8 without fast bfloat16: {plain} {text[-300:]}")
for m, want, rows in (("image", z_image, has_image), ("spectrum", z_spectrum, np.ones(N, bool))):
    cosines = ref.cosines(load("plain")[m + "_embedding"][rows], want[rows])
    check(cosines.min() >= 0.99, f"{m}: int8 without fast bfloat16: cosine {cosines.min()}")

# Refusals. Float32 itself is as good as can be asked for: then every product keeps it.
text = embed("strict", 3, expect=6 if beside == "bfloat16" else 0, embed__calibration_cosine=1)
if beside == "bfloat16":
    check("held out" in text and "calibration_cosine" in text and re.search(r"object 10000000000\d+", text), f"no int8 that is good enough: {text[-500:]}")
    check(not os.path.exists(f"{folder}/strict/embedding.h5"), "nothing is written")
else:
    check(attributes("strict")["int8_calibration"].count(" 0 of 16 products in int8") == 2, f"every product keeps float32: {attributes('strict')}")
with h5py.File(f"{folder}/single.h5", "w") as f, h5py.File(f"{folder}/data.h5") as g:
    for key in g:
        f[key] = g[key][:1]
text = embed("single", 2, expect=2, data__path=f"{folder}/single.h5")
check("too few" in text, f"one object: {text[-400:]}")
text = run(2, "search", {"compute.precision": "int8"}, expect=2)
check("only embed and bench can use int8" in text and "search" in text, f"other commands: {text[-300:]}")
text = embed("old", 1, compute__instructions="avx2", data__path=f"{folder}/data.h5")
check("AVX512_VNNI" in text and attributes("old") == {"precision": "float32"}, f"another precision takes over and is told: {text[-400:]}")
finish()
