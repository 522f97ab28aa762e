# SPDX-License-Identifier: BSD-3-Clause
"""Plans of memory in a dry run: items add up, other numbers of ranks, the largest batch that fits, while a few objects more do not (the
process itself may differ by 10 MiB from run to run)."""
import re
import sys

from masked_common import *


def dry(command, ranks=1, **sets):
    code, text = run(ranks, [command, f"{work}/input.yaml", "--dry-run"] + [w for k, v in sets.items() for w in ("--set", f"{k.replace('__', '.')}={v}")])
    check(code == 0, f"{command} {sets} ends with {code}")
    if code:
        print(text)
        sys.exit(1)
    text = text[text.index("memory per rank"):]
    items = {m[1].strip(): (float(m[2]), bool(m[3])) for m in re.finditer(r"^.*?  (\S[^\n]*?) +([0-9]+\.[0-9]{3})(  once per node)?$", text[:text.index("needs about")], re.M)}
    need = re.search(r"needs about ([0-9.]+) GiB per rank, ([0-9.]+) GiB per node of (\d+) ranks", text)
    largest = re.search(r"largest train.global_batch in ([0-9.]+) GiB per node: (\d+) \((\d+) per rank; (\d+) ranks, (\d+) per node\)", text)
    return items, need, largest, text


MEDIUM = """
model:
  image: {dim: 192, depth: 6, heads: 3, patch: 12, size: 144, tokens: dinov2}
  spectrum: {dim: 192, depth: 6, heads: 3}
  embedding: {dim: 192, heads: 4}
  dino: {hidden: 512, bottleneck: 128, prototypes: 8192}
"""
COMMANDS = {"align": dict(train__freeze_backbones="false", parallel__towers="together"), "pretrain-image": {}, "pretrain-spectrum": {}}
with Work() as work:
    write_spectra(f"{work}/shards", 30, 3)
    input_file(work, f"""
data: {{path: [{work}/shards]}}
train: {{steps: 20, global_batch: 8, warmup_steps: 4}}
""", model=MEDIUM)
    for command, sets in COMMANDS.items():
        items, need, largest, text = dry(command, **sets)
        rank = sum(x for n, (x, shared) in items.items() if not n.startswith("per ") and not shared)
        node = sum(x for n, (x, shared) in items.items() if not n.startswith("per ") and shared)
        check(len(items) > 6 and abs(rank + node - float(need[1])) < 0.02, f"{command}: {len(items)} items make {rank:.3f} + {node:.3f} GiB, {need[1]} said")
        # Four ranks share out the moments and the batch, but each has packed weights and buffers of its own: the node needs no less.
        many, need_many, _, _ = dry(command, **sets, plan__ranks=4, plan__ranks_per_node=4)
        check(need_many[3] == "4" and float(need_many[2]) >= float(need[2]), f"{command}: 4 ranks per node need {need_many[2]} GiB per node")
        # The limit: the largest batch fits by its own plan, and one object a rank more does not.
        limit = float(need[2]) * 1.5 + 0.1
        _, _, largest, text = dry(command, **sets, plan__memory_gib=limit)
        check(largest, f"{command}: a largest batch is named")
        batch = int(largest[2])
        if batch >= 1048576:
            continue
        fits = dry(command, **{**sets, "train__global_batch": batch}, plan__memory_gib=limit)[0]
        more = dry(command, **{**sets, "train__global_batch": batch + max(1, batch // 4)}, plan__memory_gib=limit)[0]
        key = [n for n in fits if n.startswith("per node")][0]
        check(fits[key][0] <= limit + 0.01 < more[key][0] + 0.02, f"{command}: {batch} objects need {fits[key][0]} of {limit:.3f} GiB, a few more {more[key][0]}")
    few = dry("align", **COMMANDS["align"], train__global_batch=64)[0]
    again = dry("align", **COMMANDS["align"], train__global_batch=64, train__recompute=1024)[0]
    name = "spectrum tower: packed, activations"
    check(again[name][0] < few[name][0], f"recomputation needs less: {again[name][0]} of {few[name][0]} GiB")
finish()
