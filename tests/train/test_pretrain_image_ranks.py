# SPDX-License-Identifier: BSD-3-Clause
"""`pretrain-image` on 1 and more ranks: every term of the losses of 20 steps agrees to 1e-5 relative in float32, with a batch that no rank count
divides and, on 8 ranks, ranks that have one object or none.

    test_pretrain_image_ranks.py CASE RANKS...
"""
import sys

from pretrain_image_common import *

which, ranks = sys.argv[1], [int(n) for n in sys.argv[2:]]
with Work() as work:
    write_shards(f"{work}/shards", 30, 3)
    write_pretrain_input(work, "steps: 20, global_batch: 7, lr: 1.0e-3, warmup_steps: 4")
    keys = CASES[which]
    code, text = run(1, arguments(work, "one", **keys))
    check(code == 0, f"1 rank ends with {code}")
    if code:
        print(text)
    one = numbers(f"{work}/one")
    check([m["step"] for m in one] == list(range(20)), "each step stands there once")
    check(all(m["koleo"] != 0 and m["ibot"] > 0 and m["dino_global"] > 0 for m in one), "all terms are on")
    check(abs(one[-1]["loss"] - one[4]["loss"]) > 1e-2, "the net has moved")
    for n in ranks:
        code, text = run(n, arguments(work, f"many{n}", **keys))
        check(code == 0, f"{n} ranks end with {code}")
        if code:
            print(text)
            continue
        many = numbers(f"{work}/many{n}")
        worst = difference(many, one)
        check(len(many) == 20 and worst < 1e-5, f"{which}, {n} ranks: losses and their terms differ by {worst:.2e} relative (1e-5)")
        check(difference(many[:1], one[:1]) < 1e-6, f"{which}, {n} ranks: those of the first step by {difference(many[:1], one[:1]):.1e}")
        guards = difference(many, one, [k for k in one[0] if "entropy" in k or "spread" in k or "norm" in k])
        check(guards < 1e-3, f"{which}, {n} ranks: entropies, spread and gradient norms by {guards:.1e}")
    # The test has teeth: a teacher that follows 1 % faster is seen, and so is another seed.
    code, text = run(1, arguments(work, "faster", dino__momentum=1 - 0.05 * 1.01, **keys))
    check(code == 0 and difference(numbers(f"{work}/faster"), one) > 1e-5, f"1 % more movement of the teacher: {difference(numbers(f'{work}/faster'), one):.1e}")
    code, text = run(1, arguments(work, "other", seed=7, **keys))
    check(code == 0 and difference(numbers(f"{work}/other"), one) > 1e-2, "another seed is another run")
finish()
