# SPDX-License-Identifier: BSD-3-Clause
"""Flipped bits in weights, moments, gradients, activations, kept tokens and a teacher: what is found is mended, so that the run ends with the bits of an undisturbed
one, and what is not found moves no loss by more than 1e-3. What cannot be mended ends with 6 and says so; no checkpoint has a value that is not
finite. The flips are those of SYZ_FLIP: needs a build with -DSYZ_FAULTS=ON.

    test_flips.py align|image|spectrum  chosen faults on 1, 2, 3 and 4 ranks, and a volley of flips at random, each step computed twice
    test_flips.py volleys COUNT SEED    COUNT planted flips at random over all commands and layouts, 20 a run, each step computed twice: the run ends with
                                        the bits of an undisturbed one
    test_flips.py single COUNT SEED     COUNT planted flips, one a run, with the bound of run.verify_jump's default: what is found, what is harmless, what is
                                        missed
"""
import concurrent.futures
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


def heads(work):
    """Heads on tokens in memory."""
    write_shards(f"{work}/shards", 24)
    write_input(work, f"data: {{path: [{work}/shards], split: all}}\ntrain: {{{LOOP}, global_batch: 6, validate_objects: 0, freeze_backbones: true, token_cache: memory}}\n{SAVE}")
    return arguments


def image(work):
    write_shards(f"{work}/shards", 24)
    pretrain_image_common.write_pretrain_input(work, f"{LOOP}, global_batch: 4", output="checkpoint_interval_steps: 4")
    return pretrain_image_common.arguments


def spectrum(work):
    masked_common.write_spectra(f"{work}/shards", 24)
    masked_common.input_file(work, f"data: {{path: [{work}/shards], split: all}}\ntrain: {{{LOOP}, global_batch: 6, validate_objects: 0}}\n{SAVE}")
    return masked_common.command_line


COMMANDS = dict(align=align, heads=heads, image=image, spectrum=spectrum)
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
        found = "changed in memory" in text and f"rank {rank} on" in text and "back to the last checkpoint" in text and "continuing from step 8" in text
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
    check(code == 6 and text.count("back to the last checkpoint") == 4 and "exclude this host" in text and "rank 1 on" in text, f"{name}: a fault that stays: {code}")
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
    not_a_number(case)
    written_and_validated(case)
    frozen_heads(case)


def not_a_number(case):
    """A loss that is NaN on one rank alone: computed again, or the end of all ranks, and no checkpoint with it."""
    folder, code, text = case.train((3, 2), flip="loss:2:10:1")
    check(code == 0 and "a computation gave" in text and case.is_mended((3, 2), folder), f"align: NaN on rank 2 once: computed again, the same bits ({code})")
    for layout, flip, keys in [((2, 0), "loss:1:10:1:always", {}), ((3, 2), "loss:0:10:1", dict(run__verify_every=0))]:
        folder, code, text = case.train(layout, flip=flip, **keys)
        kept, lines = sorted(os.listdir(f"{folder}/checkpoints")), metrics(folder)
        check(code == 6 and "step 9: the loss is nan" in text and kept == ["step-00000004", "step-00000008"] and not os.path.exists(f"{folder}/model.h5"),
              f"align {layout}, {keys}: NaN on one rank: all end with 6 ({code}), kept {kept}")
        check(all(is_finite(f"{folder}/checkpoints/{k}/state.h5") for k in kept) and [m["step"] for m in lines] == list(range(9)), "what was saved is finite")
        if code != 6:
            print(text)
        code = run(layout[0], case.arguments(case.work, os.path.basename(folder), parallel__ranks_per_node=layout[1]))[0]
        check(code == 0 and case.is_mended(layout, folder), f"align {layout}: the same command goes on to the same bits ({code})")


def written_and_validated(case):
    """Damage between the steps: while a checkpoint is written, and before a model that is the best so far is."""
    folder, code, text = case.train((2, 0), flip="written:1:2:3")
    check(code == 0 and "continuing from step 4" in text and case.is_mended((2, 0), folder), f"align: a bit while step 8 is saved: back to step 4, the same bits ({code})")
    keys = dict(data__split="train", train__validate_objects=6, train__validate_interval=3)
    best = "validation after step 9: loss"
    clean = case.undisturbed((2, 0), **keys)
    folder, code, text = case.train((2, 0), flip="weight:1:9:3", **keys)
    check(code == 0 and text.count(best) == 2 and case.is_mended((2, 0), folder, **keys) and metrics(folder, "validation.jsonl") == metrics(clean, "validation.jsonl")
          and same_model(f"{folder}/model-best.h5", f"{clean}/model-best.h5"), f"align: a bit before a validation: the same figures and best model ({code})")
    if code:
        print(text)
    # What stays: the best model is the one before, which a run that ends in step 8 for another reason has, too.
    damaged, code, text = case.train((2, 0), flip="weight:1:9:3:always", **keys)
    told = [line for line in text.splitlines() if best in line]
    check(code == 6 and len(told) == 4 and all("best so far" in line for line in told), f"align: a fault that stays is found after each of {len(told)} validations ({code})")
    ended, code, _ = case.train((2, 0), flip="loss:1:9:1:always", **keys)
    check(code == 6 and same_model(f"{damaged}/model-best.h5", f"{ended}/model-best.h5"), "and no damaged model is published as the best")


def frozen_heads(case):
    """Heads on kept tokens, in memory and on disk: the same inputs again."""
    for cache in ("memory", "disk"):
        keys = dict(train__freeze_backbones="true", train__token_cache=cache, run__verify_jump=0)
        folder, code, text = case.train((3, 2), flip="gradient:2:22:8", **keys)
        check(code == 0 and "a computation gave" in text and "sums of gradients differed on rank 2" in text and case.is_mended((3, 2), folder, **keys),
              f"align on tokens in {cache}: a bit of a gradient: found, mended")
        if code:
            print(text)
    # A bit of a kept token stays for the whole run, whoever owns the row.
    keys = dict(train__freeze_backbones="true", train__token_cache="memory")
    folder, code, text = case.train((3, 2), flip="token:1:15:4", **keys)
    check(code == 6 and "of the token cache changed in the memory of" in text and "rank 1" in text, f"align on tokens in memory: a bit of a token: found ({code})")
    code = run(3, case.arguments(case.work, os.path.basename(folder), parallel__ranks_per_node=2, **keys))[0]
    check(code == 0 and case.is_mended((3, 2), folder, **keys), f"align on tokens in memory: the same command goes on to the same bits ({code})")


def is_finite(path):
    with h5py.File(path) as f:
        good = []
        f.visititems(lambda n, d: good.append(not isinstance(d, h5py.Dataset) or d.dtype.kind != "f" or n == "progress" or bool(np.isfinite(d[()]).all())))
        return all(good)


FOUND = ("a computation gave", "back to the last checkpoint")
AT_ONCE = ("token", "frozen")  # no checkpoint has them: the run ends with 6, and begins anew


def visits_of(case, point, times):
    """Visits of a point in a step; times: computations."""
    if point in ("activation", "saved"):
        return times * {"align": 4, "image": 4 if point == "activation" else 2, "spectrum": 2}[case.name]
    if point in AT_ONCE:
        return 2 * times  # one of each tower
    return times if point == "gradient" else 1


def points_of(case, at_once=False):
    if case.name == "heads":
        return [p for p in POINTS if p not in ("activation", "saved")] + [p for p in AT_ONCE if at_once]
    return POINTS + ["teacher"] * (case.name == "image")


def row_of(table, point):
    return table.setdefault(point, dict(planted=0, found=0, harmless=0, missed=0, largest=0.0))


def planted_in(text):
    """Points of the flips that were made: a wish for a visit that never comes, or for an array without elements, is none."""
    return [line.split(" of ")[1] for line in text.splitlines() if ": flips a bit of " in line]


def volley(case, layout, draw, count, table):
    """So many flips in one run, every ninth step, each step computed twice: the bits of an undisturbed run."""
    keys = dict(run__verify_jump=0, train__steps=9 * count + 12)
    wishes = []
    for k in range(count):
        point, rank = draw.choice(points_of(case)), draw.randrange(layout[0])
        each = visits_of(case, point, 2)
        wishes.append(f"{point}:{rank}:{(6 + 9 * k) * each + draw.randrange(1, each + 1)}:{draw.randrange(10**9)}")
    folder, code, text = case.train(layout, flip=",".join(wishes), **keys)
    planted, told = planted_in(text), sum(text.count(x) for x in FOUND)
    good = code == 0 and case.is_mended(layout, folder, **keys)
    for k, point in enumerate(planted):  # which of them were told is not known: those that were not did nothing when all bits are right
        row = row_of(table, point)
        row["planted"] += 1
        row["found" if k < told else "harmless" if good else "missed"] += 1
    check(good, f"{case.name} {layout}: {len(planted)} flips, {told} times found and mended: {'the same bits' if good else f'{code}, other bits: ' + ','.join(wishes)}")
    if code:
        print(text)
    shutil.rmtree(folder, ignore_errors=True)
    return len(planted)


STEPS, EARLIEST, LATEST = 40, 14, 30  # steps of a run; where its flip is: losses are judged from the 13th on, and ten steps show what a flip does


def one_flip(case, layout, point, flip):
    """One flip with the usual bound: (whether it was planted, found | harmless | missed, how far it moved a loss, what to print)."""
    keys = dict(train__steps=STEPS)
    folder, code, text = case.train(layout, flip=flip, **keys)
    said, moved = f"{case.name} {layout} {flip}: ", 0.0
    if not planted_in(text):
        outcome, said = "missed" if code else "harmless", f"{said}not planted, code {code}"
    elif code == 6 and point in AT_ONCE and ("changed in the memory" in text or "frozen" in text):
        again = run(layout[0], case.arguments(case.work, os.path.basename(folder), parallel__ranks_per_node=layout[1], **keys), timeout=250)[0]
        good = again == 0 and case.is_mended(layout, folder, **keys)
        outcome, said = "found" if good else "missed", f"{said}found, ended, {'begun anew to the same bits' if good else f'then {again} or other bits'}"
    elif any(x in text for x in FOUND):
        good = code == 0 and case.is_mended(layout, folder, **keys)
        outcome, said = "found" if good else "missed", f"{said}found, {'mended' if good else f'but ends with {code} or other bits'}"
    else:
        clean = case.undisturbed(layout, **keys)
        moved = max((abs(a["loss"] - b["loss"]) for a, b in zip(metrics(folder), metrics(clean))), default=np.inf) if code == 0 else np.inf
        outcome, said = "harmless" if moved <= LIMIT else "missed", f"{said}not found; moves the loss by {moved:.1e} ({LIMIT})"
    shutil.rmtree(folder, ignore_errors=True)
    return bool(planted_in(text)), outcome, moved, said


def singles(cases, draw, count, table):
    """Runs of one flip each, as many at a time as there are cores; how many were planted."""
    wishes = []
    for case in itertools.islice(cases, count):
        layout, point = draw.choice([(1, 0), (1, 0), (2, 0), (3, 2)]), draw.choice(points_of(case, at_once=True))
        rank, each = draw.randrange(layout[0]), visits_of(case, point, 1)
        wishes.append((case, layout, point, f"{point}:{rank}:{draw.randrange(EARLIEST * each, LATEST * each)}:{draw.randrange(10**9)}"))
    for case, layout in sorted({w[:2] for w in wishes}, key=lambda w: (w[0].name, w[1])):
        case.undisturbed(layout, train__steps=STEPS)  # once, before they are wanted by several at a time
    planted = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for wish, done in zip(wishes, pool.map(lambda w: one_flip(*w), wishes)):
            was_planted, outcome, moved, said = done
            check(outcome != "missed", said)
            if was_planted:
                row = row_of(table, wish[2])
                row["planted"] += 1
                row[outcome] += 1
                row["largest"] = max(row["largest"], moved)
                planted += 1
    return planted


def many(work, how, count, seed):
    """So many planted flips; wishes that came to nothing are made good by others."""
    table, draw, planted, empty = {}, random.Random(seed), 0, 0
    cases = itertools.cycle([Case(name, work) for name in COMMANDS])
    while planted < count and empty < 20:
        left = count - planted
        if how == "volleys":
            now = volley(next(cases), draw.choice(LAYOUTS + 4 * LAYOUTS[:1]), draw, min(20, left), table)
        else:
            now = singles(cases, draw, min(100, left), table)
        planted += now
        empty = 0 if now else empty + 1
    for point, row in sorted(table.items()):
        print(f"{point:10} " + ", ".join(f"{k} {v:.1e}" if k == "largest" else f"{k} {v}" for k, v in row.items()))
    total = {k: sum(row[k] for row in table.values()) for k in ("planted", "found", "harmless", "missed")}
    check(total["planted"] >= count and total["missed"] == 0,
          f"{how} {count} {seed}: " + ", ".join(f"{k} {v}" for k, v in total.items()) + f" (at least {count} planted, none missed)")


with Work() as work:
    if sys.argv[1] in ("volleys", "single"):
        many(work, sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    else:
        case = Case(sys.argv[1], work)
        chosen(case)
        check(volley(case, (3, 2), random.Random(1), 6, {}) > 0, f"{case.name}: flips were planted")
finish()
