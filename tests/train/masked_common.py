# SPDX-License-Identifier: BSD-3-Clause
"""What the tests of `pretrain-spectrum` share: spectra with bad pixels and uneven noise, the command, the masks that the program draws."""
from common import *

SEED = 20240601
VALIDATION_STEP = 0xFFFFFFFF
PIXELS = 7781
RUNS, WIDTH = 4, 9
TINY = f"""
model:
  spectrum: {{dim: 24, depth: 2, heads: 3, section: 200, overlap: 100, max_tokens: 80}}
compute: {{precision: float32}}
masked: {{runs: {RUNS}, run_tokens: {WIDTH}}}
"""


def write_spectra(folder, n, shards=2, seed=1):
    """Shards whose spectra have ivar that differs from pixel to pixel and bad pixels (ivar 0, absurd flux, whole runs of them). Returns flux, ivar."""
    _, flux = write_shards(folder, n, shards, seed)
    rng = np.random.default_rng(seed + 100)
    ivar = rng.gamma(2.0, 0.5, flux.shape).astype(np.float32)
    bad = rng.random(flux.shape) < 0.02
    for i in range(n):
        at = rng.integers(0, PIXELS - 300)
        bad[i, at : at + 300] = True
    ivar[bad] = 0
    flux = np.where(bad, np.float32(40), flux).astype(np.float32)
    for k in range(shards):
        part = slice(k * n // shards, (k + 1) * n // shards)
        with h5py.File(f"{folder}/shard-{k}.h5", "r+") as f:
            f["spectrum"][...] = flux[part]
            f["spectrum_ivar"][...] = ivar[part]
            f["label/redshift"][...] = np.arange(part.start, part.stop) / n
    return flux, ivar


def command_line(work, output, **keys):
    """`pretrain-spectrum` on the work folder's input.yaml; keys with two underscores for the dot."""
    sets = ["--set", f"output.dir={work}/{output}"]
    for k, v in keys.items():
        sets += ["--set", f"{k.replace('__', '.')}={v}"]
    return ["pretrain-spectrum", f"{work}/input.yaml"] + sets


def figures(folder):
    """What must not depend on chance: one tuple per step."""
    return [(m["step"], m["loss"], m["masked_numbers"], m["lr"], m["grad_norm"]) for m in metrics(folder)]


def input_file(work, text, model=TINY):
    with open(f"{work}/input.yaml", "w") as f:
        f.write(model + text)


def masks(work, tokens, first_step, steps, places, seed=SEED, runs=RUNS, width=WIDTH):
    """The program's own masks: bool [steps, places, tokens]."""
    path = f"{work}/masks.bin"
    subprocess.run([driver("masks_driver")] + [str(x) for x in (tokens, runs, width, seed, first_step, steps, places, path)], check=True)
    return np.fromfile(path, np.uint8).reshape(steps, places, tokens).astype(bool)
