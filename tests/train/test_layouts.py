# SPDX-License-Identifier: BSD-3-Clause
"""Every command that trains, in every layout of its sums and weights (ranks, ranks that share memory, what travels between nodes, no shared memory at
all): the losses of 18 steps agree with one rank's to 1e-5 relative in float32. A run that dies goes on in other layouts from its checkpoints; on the
same layout it repeats an uninterrupted one bit for bit."""
import sys

import masked_common
import pretrain_image_common
from common import *

STEPS = "steps: 18, warmup_steps: 3, lr: 1.0e-3"


def align(work):
    write_shards(f"{work}/shards", 30, 3)
    write_input(work, f"data: {{path: [{work}/shards], split: all}}\ntrain: {{{STEPS}, global_batch: 9, validate_objects: 0, freeze_backbones: false}}\n")
    return arguments, {}


def image(work):
    write_shards(f"{work}/shards", 30, 3)
    pretrain_image_common.write_pretrain_input(work, f"{STEPS}, global_batch: 7")
    return pretrain_image_common.arguments, pretrain_image_common.CASES["mean"]


def spectrum(work):
    masked_common.write_spectra(f"{work}/shards", 30, 3)
    masked_common.input_file(work, f"data: {{path: [{work}/shards], split: all}}\ntrain: {{{STEPS}, global_batch: 9, validate_objects: 0}}\n")
    return masked_common.command_line, {}


def losses(folder):
    return [(m["step"], m["loss"]) for m in metrics(folder)]


def layout(per_node, reduction="float32"):
    return {"parallel__ranks_per_node": per_node, "parallel__reduction": reduction}


def train(ranks, name, env=None, wanted=0, **keys):
    """One run, or the next part of one."""
    code, text = run(ranks, command(work, name, **keys, **case), env=env)
    check(code == wanted, f"{which}, {name}, {ranks} ranks: ends with {code}")
    if code != wanted:
        print(text)
    return text


NO_SHARED = {"SYZ_FAULT": "shared:0:2"}  # the first is the watchdog's
KILL = {"SYZ_FAULT": "checkpoint_prune:0:1:kill"}  # after the checkpoint is complete
which = sys.argv[1]
has_faults = sys.argv[2] == "ON"
with Work() as work:
    command, case = {"align": align, "image": image, "spectrum": spectrum}[which](work)
    train(1, "one")
    one = losses(f"{work}/one")
    check([m[0] for m in one] == list(range(18)), "each step stands there once")
    check(abs(one[-1][1] - one[2][1]) > 1e-3, "the net has moved")
    for ranks, per_node in ((2, 0), (2, 1), (3, 2), (4, 2), (4, 3), (8, 3)):
        name = f"{ranks}-{per_node}"
        train(ranks, name, **layout(per_node))
        worst = relative(losses(f"{work}/{name}"), one)
        check(len(losses(f"{work}/{name}")) == 18 and worst < 1e-5, f"{which}, {ranks} ranks, {per_node} a node: losses differ by {worst:.1e} (1e-5)")
    if which == "align":
        train(5, "apart", parallel__towers="apart", **layout(2))
        worst = relative(losses(f"{work}/apart"), one)
        check(worst < 1e-5, f"{which}, towers apart, 2 ranks per node: losses differ by {worst:.1e} (1e-5)")
    # bfloat16 between nodes: seen, and of the size of its rounding (2^-9) in a step of a thousandth; within a node nothing is rounded.
    for ranks, per_node, is_seen in ((3, 1, True), (3, 0, False)):
        name = f"narrow-{per_node}"
        train(ranks, name, **layout(per_node, "bfloat16"))
        worst = relative(losses(f"{work}/{name}"), one)
        check((1e-6 < worst < 1e-2) if is_seen else worst < 1e-5, f"{which}, bfloat16, {per_node} a node: losses differ by {worst:.1e}")
    if has_faults:
        text = train(2, "alone", env=NO_SHARED)
        worst = relative(losses(f"{work}/alone"), one)
        check("no shared memory for weights" in text and worst < 1e-5, f"{which}, no shared memory: said, and losses differ by {worst:.1e} (1e-5)")
        # The same layout: bit for bit. Then another one for every part.
        train(4, "whole", **layout(2))
        train(4, "parts", env=KILL, wanted=137, output__checkpoint_interval_steps=6, **layout(2))
        check(len(metrics(f"{work}/parts")) in range(6, 18), f"{which}: died on the way, after {len(metrics(f'{work}/parts'))} steps")
        train(4, "parts", output__checkpoint_interval_steps=6, **layout(2))
        check(losses(f"{work}/parts") == losses(f"{work}/whole"), f"{which}: died and continued on 4 ranks, 2 per node: the same bits")
        train(2, "mixed", env=KILL, wanted=137, output__checkpoint_interval_steps=6, **layout(1))
        train(3, "mixed", env=KILL, wanted=137, output__checkpoint_interval_steps=6, **layout(2))
        train(1, "mixed", output__checkpoint_interval_steps=6)
        worst = relative(losses(f"{work}/mixed"), one)
        check(len(losses(f"{work}/mixed")) == 18 and worst < 1e-5, f"{which}: on 2, 3 and 1 ranks in turn the losses differ by {worst:.1e} (1e-5)")
    left = [x for x in os.listdir("/dev/shm") if x.startswith("syzygy-") and os.path.isfile(f"/dev/shm/{x}")] if os.path.isdir("/dev/shm") else []
    check(len(left) < 4, f"nothing stays in shared memory: {left}")  # other programs may be between making and removing one
finish()
