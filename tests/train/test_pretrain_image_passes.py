# SPDX-License-Identifier: BSD-3-Clause
"""`pretrain-image` with train.micro_batch: every term of the losses of 20 steps, and the weights, are those of a run without, to rounding; on 1 and 3 ranks,
with shares that the passes do not divide."""

from pretrain_image_common import *

with Work() as work:
    write_shards(f"{work}/shards", 30, 3)
    write_pretrain_input(work, "steps: 20, global_batch: 7, lr: 1.0e-3, warmup_steps: 4")
    for which, keys in CASES.items():
        code, text = run(1, arguments(work, which, **keys))
        check(code == 0, f"{which} ends with {code}")
        if code:
            print(text)
            continue
        one = numbers(f"{work}/{which}")
        for ranks, micro in ((1, 1), (1, 3), (3, 2)):
            name = f"{which}-{ranks}-{micro}"
            code, text = run(ranks, arguments(work, name, train__micro_batch=micro, **keys))
            check(code == 0, f"{name} ends with {code}")
            if code:
                print(text)
                continue
            many = numbers(f"{work}/{name}")
            worst, first = difference(many, one), difference(many[:1], one[:1])
            check(len(many) == 20 and worst < 1e-5, f"{which}, {ranks} ranks, passes of {micro}: losses and their terms differ by {worst:.1e} relative (1e-5)")
            check(first < 1e-6, f"{which}, {ranks} ranks, passes of {micro}: those of the first step by {first:.1e} (1e-6)")
            norms = difference(many[:1], one[:1], [k for k in one[0] if "norm" in k])
            check(norms < 1e-5, f"{which}, {ranks} ranks, passes of {micro}: gradient norms of the first step by {norms:.1e} (1e-5)")
    # No more memory is planned for activations than a pass needs.
    planned = {}
    for micro in (0, 1):
        code, text = run(1, arguments(work, "plan", train__micro_batch=micro, train__global_batch=512) + ["--dry-run"])
        line = [part for part in text.splitlines() if "student: packed" in part]
        planned[micro] = float(line[0].split()[-1]) if line else 0
    check(0 < planned[1] < planned[0] / 10, f"activations of the student, passes of 1: {planned[1]}, of 512: {planned[0]}")
finish()
