# SPDX-License-Identifier: BSD-3-Clause
"""`bench --profile` and the fall-back on older processors: the products and attention that the layers count are those of the published shapes, every
training step has three times the forward pass's products but for the inputs' gradients, shares add up to one, and with the dispatch limited to AVX2 products
are float32 on BLIS, which is said. Speeds are reported, not judged."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import harness  # lets the next line find the helpers of other rooms
from common import *

D, DEPTH, PATCH, SIZE, E, B = 64, 3, 12, 144, 64, 2
KEYS = {"model.image.dim": D, "model.image.depth": DEPTH, "model.image.heads": 4, "model.image.patch": PATCH, "model.image.size": SIZE,
        "model.spectrum.dim": 48, "model.spectrum.depth": 2, "model.spectrum.heads": 4, "model.embedding.dim": E, "bench.batch": B, "bench.repeats": 1,
        "bench.limit_s": 0.1, "bench.parts": "towers"}


def bench(folder, *more, **sets):
    keys = {**KEYS, **sets, "output.dir": folder}
    code, text = run(1, ["bench", *more] + [w for k, v in keys.items() for w in ("--set", f"{k}={v}")])
    check(code == 0, f"bench {' '.join(more)} {sets} ends with {code}")
    if code:
        print(text)
        sys.exit(1)
    with open(f"{folder}/bench.json") as f:
        return json.load(f), text


with Work() as work:
    found, text = bench(f"{work}/all", "--profile")
    rows = [r for r in found["rows"] if r["part"] == "profile" and r["what"] == "image tower, forward"]
    step = [r for r in found["rows"] if r["part"] == "profile" and r["what"] == "image tower, training step"]
    tokens = (SIZE // PATCH) ** 2
    blocks = B * tokens * DEPTH * 2 * 12 * D * D
    embed = B * tokens * 2 * 3 * PATCH * PATCH * D

    def total(rows, layer, kind="product"):
        return sum(r["flops"] for r in rows if r["kind"] == kind and r["layer"].startswith(layer))

    widths = {f"forward {3 * D} x {D}", f"forward {D} x {D}", f"forward {4 * D} x {D}", f"forward {D} x {4 * D}"}
    inner = sum(r["flops"] for r in rows if r["layer"] in widths)
    # The pooling head's products share two of these widths (its value heads and its MLP), with B rows where the blocks have B x tokens.
    check(0 <= inner / blocks - 1 < 0.02, f"products of the blocks: {inner:.6e} counted, {blocks:.6e} by shape")
    check(total(rows, f"forward {D} x {3 * PATCH * PATCH}") == embed, "patch embedding")
    attention = B * tokens * tokens * DEPTH * 4 * D
    check(total(rows, "attention", "attention") == attention, f"attention {attention:.4e}")
    forward, weight, inputs = total(step, "forward"), total(step, "backward weight"), total(step, "backward input")
    check(abs(weight / forward - 1) < 1e-12, f"weight gradients repeat the forward products ({weight:.4e} of {forward:.4e})")
    check(abs((inputs + embed) / forward - 1) < 1e-12, "input gradients too, but for the pixels'")
    kinds = {r["kind"] for r in step}
    check({"product", "attention", "normalisation", "element-wise", "packing", "optimiser", "pooling", "other"} <= kinds, f"kinds {sorted(kinds)}")
    for name, part in (("forward", rows), ("step", step)):
        check(abs(sum(r["share"] for r in part) - 1) < 1e-9, f"shares of the {name} add up")
        # The clock that is read around layers must not make a visible part of the rest.
        check(all(r["seconds"] > 0 and r["bytes"] >= 0 and r["calls"] > 0 for r in part if r["kind"] != "other"), f"figures of the {name}")
    weights = sum(r["bytes"] for r in step if r["kind"] == "optimiser")
    check(weights > 0 and weights % 28 == 0, "AdamW moves 28 bytes an element")
    check(not any(r["part"] == "profile" for r in bench(f"{work}/plain")[0]["rows"]), "no profile unless it is asked for")

    found, text = bench(f"{work}/old", **{"compute.instructions": "avx2"})
    check("instruction set avx2" in text and "float32" in found["engine"] and "BLIS" in found["engine"], f"without AVX-512: {found['engine']}")
    check("computing in float32" in text, "which is said")
    check(all(r["fraction_of_limit"] > 0 for r in found["rows"] if r["part"] != "profile"), "figures")
finish()
