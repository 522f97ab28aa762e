# SPDX-License-Identifier: BSD-3-Clause
"""The losses of 20 steps on 1, 2, 3, 4 and 8 ranks agree to 1e-5 relative in float32: heads only and everything, towers together and
apart, a batch that no rank count divides, several passes a rank, a learned temperature, embeddings that travel instead of being gathered."""
import sys

from common import *

CASES = {
    "heads": dict(train__freeze_backbones="true", train__token_cache="memory"),
    "full": dict(train__freeze_backbones="false"),
    "passes": dict(train__freeze_backbones="false", train__micro_batch=2, train__learn_logit_scale="true"),
    "ring": dict(train__freeze_backbones="false", train__learn_logit_scale="true", loss__ring_pairs=0),
}
which = sys.argv[1]
ranks = [int(n) for n in sys.argv[2:]]
with Work() as work:
    write_shards(f"{work}/shards", 48, 3)
    write_input(work, f"""
data: {{path: [{work}/shards], split: all}}
train: {{steps: 20, global_batch: 11, lr: 2.0e-4, warmup_steps: 4, clip_grad_norm: 1.0, validate_objects: 0}}
""")
    code, text = run(1, arguments(work, "one", **CASES[which]))
    check(code == 0, f"1 rank ends with {code}")
    if code:
        print(text)
    one = numbers(f"{work}/one")
    check([m[0] for m in one] == list(range(20)), "each step stands there once")
    for n in ranks:
        for towers in ["together"] + (["apart"] if n > 1 else []):
            name = f"{towers}-{n}"
            code, text = run(n, arguments(work, name, parallel__towers=towers, **CASES[which]))
            check(code == 0, f"{n} ranks {towers} end with {code}")
            if code:
                print(text)
                continue
            many = numbers(f"{work}/{name}")
            check(len(many) == 20, f"{len(many)} steps")
            difference = relative(many, one)
            check(difference < 1e-5, f"{which}, {n} ranks, {towers}: losses differ by {difference:.2e} relative (1e-5)")
            if which != "ring":  # there the sum's order follows the ranks
                check(many[0][1] == one[0][1], f"{which}, {n} ranks, {towers}: the first loss has the same bits")
    if which == "ring":
        code, text = run(1, arguments(work, "gathered", **dict(CASES[which], loss__ring_pairs=1000)))
        check(code == 0 and relative(numbers(f"{work}/gathered"), one) < 1e-5, "gathered embeddings give the same losses")
    # The test has teeth: another seed of the dropout alone is seen.
    code, text = run(1, arguments(work, "other", seed=7, **CASES[which]))
    check(code == 0 and relative(numbers(f"{work}/other"), one) > 1e-4, "another seed is another run")
finish()
