# SPDX-License-Identifier: BSD-3-Clause
"""Flipped bits in weights, moments, gradients, activations and a teacher: what is found is mended, so that the run ends with the bits of an undisturbed
one, and what is not found moves no loss by more than 1e-3. What cannot be mended ends with 6 and says so; no checkpoint has a value that is not
finite. The flips are those of SYZ_FLIP: needs a build with -DSYZ_FAULTS=ON.

    test_flips.py align|image|spectrum  chosen faults on 1, 2, 3 and 4 ranks, and a volley of flips at random, each step computed twice
    test_flips.py volleys COUNT SEED    COUNT flips at random over all commands and layouts, 20 a run, each step computed twice: the run ends with the bits
                                        of an undisturbed one
    test_flips.py single COUNT SEED     COUNT flips, one a run, with the bound of run.verify_jump's default: what is found, what is harmless, what is missed
"""
import itertools
import random
import sys

import masked_common
import pretrain_image_common
from common import *

LOOP = "steps: 16, warmup_steps: 2, lr: 1.0e-3"
SAVE = "output: {checkpoint_interval_steps: 4}\n"
LIMIT = 1e-3


def align(work):
    write_shards(f"{work}/shards", 24)
    write_input(work, f"data: {{path: [{work}/shards], split: all}}\ntrain: {{{LOOP}, global_batch: 6, validate_objects: 0, freeze_backbones: false}}\n{SAVE}")
    return arguments


def image(work):
    write_shards(f"{work}/shards", 24)
    pretrain_image_common.write_pretrain_input(work, f"{LOOP}, global_batch: 4", output="checkpoint_interval_steps: 4")
    return pretrain_image_common.arguments


def spectrum(work):
    masked_common.write_spectra(f"{work}/shards", 24)
    masked_common.input_file(work, f"data: {{path: [{work}/shards], split: all}}\ntrain: {{{LOOP}, global_batch: 6, validate_objects: 0}}\n{SAVE}")
    return masked_common.command_line


COMMANDS = dict(align=align, image=image, spectrum=spectrum)
POINTS = ["weight", "moment1", "moment2", "gradient", "summed", "activation", "saved"]
# Ranks, and how many of them share memory: replicas, shares of a node, both.
LAYOUTS = [(1, 0), (2, 0), (2, 1), (3, 0), (3, 2), (4, 2)]
LAYERS = 4  # blocks that a step runs forward


def same_model(a, b):
    return pretrain_image_common.same_weights(a, b)


class Case:
    """One command in its folder, and the undisturbed run of each layout."""

    def __init__(self, name, work):
        self.name, self.work, self.clean, self.count = name, f"{work}/{name}", {}, itertools.count()
        os.makedirs(self.work)
        self.arguments = COMMANDS[name](self.work)

    def train(self, layout, flip=None, **keys):
        """Folder, exit code, text."""
        folder = f"run{next(self.count)}"
        code, text = run(layout[0], self.arguments(self.work, folder, parallel__ranks_per_node=layout[1], **keys), timeout=250, env={"SYZ_FLIP": flip} if flip else {})
        return f"{self.work}/{folder}", code, text

    def undisturbed(self, layout, **keys):
        which = (layout, tuple(sorted(keys.items())))
        if which not in self.clean:
            folder, code, text = self.train(layout, **keys)
            check(code == 0 and not any(x in text for x in FOUND), f"{self.name} {layout} {keys}: undisturbed, nothing is found")
            if code:
                print(text)
            self.clean[which] = folder
        return self.clean[which]

    def numbers(self, folder):
        return pretrain_image_common.numbers(folder)

    def is_mended(self, layout, folder, **keys):
        clean = self.undisturbed(layout, **keys)
        return self.numbers(folder) == self.numbers(clean) and same_model(f"{folder}/model.h5", f"{clean}/model.h5")


def chosen(case):
    name = case.name
    # Verified or not, once or twice: the same bits.
    plain = case.train((2, 0), run__verify_every=0)[0]
    for keys in (dict(), dict(run__verify_jump=0)):
        check(case.is_mended((2, 0), plain, **keys), f"{name}: {keys or 'verified'}: the bits of a run that is not")
    # Damage to memory, in each layout: back to the checkpoint of step 8.
    for k, (layout, point) in enumerate([((1, 0), "weight"), ((3, 2), "moment2"), ((4, 2), "moment1")]):
        rank = layout[0] - 1
        folder, code, text = case.train(layout, flip=f"{point}:{rank}:11:{k}")
        found = "changed in memory" in text and f"rank {rank} on" in text and "back to the last checkpoint" in text and "going on from step 8" in text
        check(code == 0 and found and case.is_mended(layout, folder), f"{name} {layout}: a bit of {point}: found, gone back, the same bits at the end")
        if code or not found:
            print(text)
        shutil.rmtree(folder)
    # A summed gradient between norm and update; a copy of weights that this rank does not own.
    for layout, flip, said in [((2, 0), "summed:1:11:3", "the summed gradient"), ((2, 1), "block:1:11:4", "")]:
        folder, code, text = case.train(layout, flip=flip, run__verify_every=1)
        check(code == 0 and said in text and "back to the last checkpoint" in text and case.is_mended(layout, folder), f"{name} {layout}: {flip}: found, mended")
        if code:
            print(text)
    if name == "image":
        for point in ("teacher", "centre"):
            folder, code, text = case.train((2, 0), flip=f"{point}:0:11:1", dino__centring="mean")
            check(code == 0 and f"{point} changed in memory" in text and case.is_mended((2, 0), folder, dino__centring="mean"), f"image: a bit of {point}: found, mended")
    if name != "align":
        return  # the rest is the loop's, whatever trains
    # Each computation of step 8 and all that follow gives something else: back three times, then the end, with the old checkpoint in place.
    folder, code, text = case.train((2, 0), flip=f"activation:1:{2 * 8 * LAYERS + 1}:5:always", run__verify_jump=0)
    kept = os.listdir(f"{folder}/checkpoints")
    check(code == 6 and text.count("back to the last checkpoint") == 4 and "leave out this host" in text and "rank 1 on" in text, f"{name}: a fault that stays: {code}")
    if code != 6:
        print(text)
    code = run(2, case.arguments(case.work, os.path.basename(folder)))[0]
    check("step-00000008" in kept and code == 0 and case.is_mended((2, 0), folder), f"{name}: elsewhere it goes on to the same bits ({code})")
    # Before the first checkpoint.
    folder, code, text = case.train((2, 0), flip="weight:0:3:1")
    check(code == 6 and "no checkpoint yet" in text and not os.path.exists(f"{folder}/model.h5"), f"{name}: before the first checkpoint: {code}")
    # Numbers that grow without bounds are never published (test_digests has each kind).
    folder, code, text = case.train((2, 0), train__steps=60, train__lr=10, train__weight_decay=10, train__clip_grad_norm=0, train__warmup_steps=0,
                                    output__checkpoint_interval_steps=1)
    kept = sorted(os.listdir(f"{folder}/checkpoints"))
    check(code == 6 and len(kept) == 2 and all(is_finite(f"{folder}/checkpoints/{k}/state.h5") for k in kept), f"{name}: it diverges: {code}, {kept} are finite")
    if code != 6:
        print(text)
    for every in (4, 50):  # at the next comparison, or before a file with frozen weights is written
        folder, code, text = case.train((2, 0), flip="frozen:0:11:1", train__freeze_backbones="true", run__verify_every=every)
        check(code == 6 and "frozen" in text and "rank" in text, f"align: a bit of a frozen tower, compared each {every} steps: {code}")
    frozen_heads(case)


def frozen_heads(case):
    """Heads on kept tokens, in memory and on disk: the same inputs again."""
    for cache in ("memory", "disk"):
        keys = dict(train__freeze_backbones="true", train__token_cache=cache, run__verify_jump=0)
        folder, code, text = case.train((3, 2), flip="gradient:2:22:8", **keys)
        check(code == 0 and "a computation gave" in text and "sums of gradients differed on rank 2" in text and case.is_mended((3, 2), folder, **keys),
              f"align on tokens in {cache}: a bit of a gradient: found, mended")
        if code:
            print(text)


def is_finite(path):
    with h5py.File(path) as f:
        good = []
        f.visititems(lambda n, d: good.append(not isinstance(d, h5py.Dataset) or d.dtype.kind != "f" or n == "progress" or bool(np.isfinite(d[()]).all())))
        return all(good)


FOUND = ("a computation gave", "back to the last checkpoint")


def is_of_layers(point):
    return point in ("activation", "saved")


def visits_of(case, point, times):
    """Visits of a point in a step; times: computations."""
    layers = {"align": 4, "image": 4 if point == "activation" else 2, "spectrum": 2}[case.name]
    return times * layers if is_of_layers(point) else times if point in ("gradient",) else 1


def points_of(case):
    return POINTS + ["teacher"] * (case.name == "image")


def volley(case, layout, draw, count, table):
    """So many flips in one run, every ninth step, each step computed twice: the bits of an undisturbed run."""
    keys = dict(run__verify_jump=0, train__steps=9 * count + 12)
    wishes = []
    for k in range(count):
        point, rank = draw.choice(points_of(case)), draw.randrange(layout[0])
        each = visits_of(case, point, 2)
        wishes.append(f"{point}:{rank}:{(6 + 9 * k) * each + draw.randrange(1, each + 1)}:{draw.randrange(10**9)}")
    folder, code, text = case.train(layout, flip=",".join(wishes), **keys)
    planted = [line.split(" of ")[1] for line in text.splitlines() if ": flips a bit of " in line]
    for point in planted:
        table.setdefault(point, dict(planted=0, found=0, harmless=0, missed=0, largest=0.0))["planted"] += 1
    found = sum(text.count(x) for x in FOUND)
    good = code == 0 and len(planted) > 0 and case.is_mended(layout, folder, **keys)
    check(good, f"{case.name} {layout}: {len(planted)} flips, {found} times found and mended: {'the same bits' if good else f'{code}, other bits: ' + ','.join(wishes)}")
    if code:
        print(text)
    shutil.rmtree(folder, ignore_errors=True)
    return len(planted)


def at_random(case, draw, table):
    """One flip with the usual bound: found and mended, or harmless."""
    keys = dict(train__steps=60)
    layout, point = draw.choice([(1, 0), (1, 0), (2, 0), (3, 2)]), draw.choice(points_of(case))
    rank, each = draw.randrange(layout[0]), visits_of(case, point, 1)
    flip = f"{point}:{rank}:{draw.randrange(20 * each, 58 * each)}:{draw.randrange(10**9)}"
    folder, code, text = case.train(layout, flip=flip, **keys)
    row = table.setdefault(point, dict(planted=0, found=0, harmless=0, missed=0, largest=0.0))
    if ": flips a bit" in text:
        row["planted"] += 1
        clean = case.undisturbed(layout, **keys)
        if any(x in text for x in FOUND):
            good = code == 0 and case.is_mended(layout, folder, **keys)
            row["found" if good else "missed"] += 1
            check(good, f"{case.name} {layout} {flip}: found, {'mended' if good else f'but ends with {code} or other bits'}")
        else:
            moved = max((abs(a["loss"] - b["loss"]) for a, b in zip(metrics(folder), metrics(clean))), default=np.inf) if code == 0 else np.inf
            row["largest"] = max(row["largest"], moved)
            row["harmless" if moved <= LIMIT else "missed"] += 1
            check(moved <= LIMIT, f"{case.name} {layout} {flip}: not found; moves the loss by {moved:.1e} ({LIMIT})")
    shutil.rmtree(folder, ignore_errors=True)


with Work() as work:
    table = {}
    if sys.argv[1] in ("volleys", "single"):
        draw, left = random.Random(int(sys.argv[3])), int(sys.argv[2])
        cases = itertools.cycle([Case(name, work) for name in COMMANDS])
        while left > 0:
            if sys.argv[1] == "volleys":
                left -= volley(next(cases), draw.choice(LAYOUTS + 4 * LAYOUTS[:1]), draw, min(20, left), table)
            else:
                at_random(next(cases), draw, table)
                left -= 1
        for point, row in sorted(table.items()):
            print(f"{point:10} " + ", ".join(f"{k} {v:.1e}" if k == "largest" else f"{k} {v}" for k, v in row.items()))
    else:
        case = Case(sys.argv[1], work)
        chosen(case)
        volley(case, (3, 2), random.Random(1), 6, table)
finish()
