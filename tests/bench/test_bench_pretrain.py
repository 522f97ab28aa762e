# SPDX-License-Identifier: BSD-3-Clause
"""`bench` with the part pretrain on 1 and 3 ranks: whole steps are measured, their operations are those that the formula of the published recipe gives,
the parts of the time add up, and nothing of the rehearsal is left behind. Speeds are reported, not judged."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import harness  # lets the next line find the helpers of other rooms
from common import *

D, DEPTH, PATCH, HIDDEN, BOTTLENECK, K = 48, 2, 12, 64, 32, 512


def operations(rate):
    """Products and attention of one image: 2 crops of 144 and 8 of 60 pixels, half of the large ones masked by 10 to 50 %; teacher forward, student forward
    and twice that backward, but once for the embedding of the patches: pixels have no gradient. Nor is it ever dropped."""

    def blocks(tokens):
        return DEPTH * (24 * tokens * D * D + 4 * tokens * tokens * D)

    def head(rows):
        return 2 * rows * (D * HIDDEN + HIDDEN * HIDDEN + HIDDEN * BOTTLENECK + BOTTLENECK * K)

    large, small = (144 // PATCH) ** 2, (60 // PATCH) ** 2
    masked = 2 * 0.5 * 0.3 * large
    embedding = 2 * 3 * PATCH * PATCH * D
    teacher = 2 * (blocks(1 + large) + embedding * large) + head(2 + masked)
    student = 3 * (1 - rate) * (2 * blocks(1 + large) + 8 * blocks(1 + small)) + 2 * embedding * (2 * large + 8 * small) + 3 * head(10 + masked)
    return teacher + student


with Work() as work:
    keys = {"image.dim": D, "image.depth": DEPTH, "image.heads": 4, "image.patch": PATCH, "image.size": 144, "dino.hidden": HIDDEN, "dino.bottleneck": BOTTLENECK,
            "dino.prototypes": K}
    for n, precision in ((1, "bfloat16"), (3, "float32")):
        folder = f"{work}/bench-{n}"
        sets = {"bench.parts": "pretrain", "bench.batch": 2, "bench.repeats": 2, "bench.limit_s": 0.1, "compute.precision": precision, "output.dir": folder,
                **{f"model.{k}": v for k, v in keys.items()}}
        code, text = run(n, ["bench"] + [w for k, v in sets.items() for w in ("--set", f"{k}={v}")])
        check(code == 0, f"{n} ranks end with {code}")
        if code:
            print(text)
            continue
        with open(f"{folder}/bench.json") as f:
            rows = json.load(f)["rows"]
        check([row["drop_rate"] for row in rows] == [0, 0.3], "without and with stochastic depth")
        for row in rows:
            wanted = operations(row["drop_rate"])
            check(abs(row["flops_per_object"] / wanted - 1) < 0.005, f"drop {row['drop_rate']}: {row['flops_per_object']:.4e} operations per image, {wanted:.4e} by the formula")
            check(row["global_batch"] == 2 * n, "batch")
            check(row["fraction_of_limit"] > 0 and row["s_per_object"] <= row["s_per_object_median"], f"{100 * row['fraction_of_limit']:.1f} % of the limit")
            rate = row["flops_per_object"] * row["global_batch"] / n / (row["s_per_object"] * row["global_batch"])
            check(abs(rate / 1e9 / row["gflops_per_rank"] - 1) < 1e-6, "seconds and rate agree")
            spent = sum(row["seconds_a_step"].values())
            # Means of steps and ranks against the longest rank of the best step: unequal where other programs run, but no part of a step is missing.
            check(spent >= 0.8 * row["s_per_object"] * row["global_batch"], f"the parts of a step take {spent:.4f} s, the best step {row['s_per_object'] * row['global_batch']:.4f} s")
            check(row["planned_bytes"] > 1e6 and row["peak_bytes"] > row["planned_bytes"] / 2, "memory is planned and measured")
        left = sorted(os.listdir(folder))
        check("pretrain" not in left and not [name for name in left if name.startswith(("model", "checkpoint", "noise"))], f"left behind: {' '.join(left)}")
finish()
