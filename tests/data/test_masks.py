#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Masks against a NumPy program of the published generator (BEiT's as DINOv2 uses it) and of the stratification over the batch, by their statistics:
number of patches, where they lie, how ragged the masks are. Runs of spectrum tokens against their law."""
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile

import numpy as np
from scipy import stats

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import check_quietly as check, driver, finish

DRIVER = driver("augment_driver")
here = tempfile.mkdtemp(prefix="syzygy-masks-")
CHANCE = 1e-5  # p below which a law is refused: some hundred laws are tested with fixed seeds
random.seed(5)


def tool(*words):
    out = os.path.join(here, "out")
    subprocess.run([DRIVER, *map(str, words), out], check=True, timeout=100)
    return np.fromfile(out, "u1")


def reference_mask(side, wanted, largest, aspect_min):
    """Rectangles until `wanted` patches are masked or ten tries in a row bring nothing."""
    mask = np.zeros((side, side), bool)
    while mask.sum() < wanted:
        room = min(wanted - mask.sum(), largest)
        for _ in range(10):
            area = random.uniform(4, room)
            aspect = math.exp(random.uniform(math.log(aspect_min), -math.log(aspect_min)))
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if h >= side or w >= side:
                continue
            y, x = random.randint(0, side - h), random.randint(0, side - w)
            block = mask[y : y + h, x : x + w]
            if 0 < block.size - block.sum() <= room:
                block[:] = True
                break
        else:
            return mask
    return mask


def reference(crops, side, probability, low, high, aspect_min, steps):
    masked = int(crops * probability)
    edges = np.linspace(low, high, masked + 1)
    out = []
    for _ in range(steps):
        for i in range(masked):
            out.append(reference_mask(side, int(side * side * random.uniform(edges[i], edges[i + 1])), side // 2 * side, aspect_min))
    return np.array(out)


def edges_of(m, axis):
    """Number of neighbouring pairs of which one is masked: how ragged masks are, down the columns or along the rows."""
    return np.diff(m.astype("i1"), axis=axis).astype(bool).sum((1, 2))


def blocks():
    for crops, side, probability, low, high, aspect, steps in [
        (64, 12, 0.5, 0.1, 0.5, 0.3, 300),
        (10, 5, 0.35, 0.2, 0.6, 0.5, 1000),
        (20, 12, 0.5, 0.5, 0.7, 0.6, 600),  # more than the largest block, half of the crop
    ]:
        every = tool("blocks", crops, side, probability, low, high, aspect, 9, steps).reshape(steps, crops, side, side)
        check(every.max() == 1, "a mask holds 0 and 1")
        counts = every.sum((2, 3), dtype=int)
        masked = int(crops * probability)
        number = (counts > 0).sum(1)
        check((number == masked).all(), f"{crops} crops: {number.min()} to {number.max()} masked ones in a step, wanted {masked}")
        # One mask in each stratum: however they are shuffled, the k-th largest is at most the upper edge of the k-th highest stratum.
        upper = np.floor(side * side * np.linspace(low, high, masked + 1)[1:] + 1e-9).astype(int)
        check((np.sort(counts, 1)[:, crops - masked :] <= upper).all(), f"{crops} crops: a mask above its stratum")
        # Which crops are masked: each as often as any other, in pairs as often as a shuffle says.
        share = (counts > 0).mean(0)
        q = masked / crops
        check(np.abs(share - q).max() < 5 * np.sqrt(q * (1 - q) / steps), f"{crops} crops: masked in {share.min():.3f} to {share.max():.3f} of the steps")
        pair = np.mean([(counts[:, i] > 0) & (counts[:, (i + 1) % crops] > 0) for i in range(crops)])
        expected = q * (masked - 1) / (crops - 1)
        check(abs(pair - expected) < 5 * np.sqrt(expected / (steps * crops)), f"{crops} crops: neighbours both masked in {pair:.4f}, expected {expected:.4f}")
        # The strata come to any crop: no correlation between number and size.
        where = np.tile(np.arange(crops), (steps, 1))[counts > 0]
        rho = np.corrcoef(where, counts[counts > 0])[0, 1]
        check(abs(rho) < 5 / np.sqrt(len(where)), f"{crops} crops: size follows the crop's number ({rho:.3f})")

        ours = every[counts > 0].astype(bool)
        theirs = reference(crops, side, probability, low, high, aspect, steps)
        n = len(ours)
        ratio, wanted = ours.mean(), theirs.mean()
        # Stratified: what is left is the spread within a stratum and the shortfall, of which the spread over steps is the measure.
        error = theirs.reshape(steps, -1).mean(1).std() * np.sqrt(2 / steps)
        print(f"{crops} crops of {side} x {side}: mean ratio {ratio:.5f}, reference {wanted:.5f}, error {error:.1g} ({n} masks)")
        check(abs(ratio - wanted) < 4 * error, f"mean ratio {ratio:.5f}, reference {wanted:.5f} within {4 * error:.2g}")
        if side == 12:
            check(4 * error < 0.01 * wanted, "the test of the mean does not see 1 %")
        check(stats.ks_2samp(ours.sum((1, 2)), theirs.sum((1, 2)), method="asymp").pvalue > CHANCE, "sizes of masks are distributed otherwise")
        for axis in (1, 2):
            p = stats.ttest_ind(edges_of(ours, axis), edges_of(theirs, axis)).pvalue
            check(p > CHANCE, f"masks are not as ragged as the reference's along axis {axis}: p = {p:.2g}")
        a, b = ours.mean(0), theirs.mean(0)
        sigma = np.sqrt((a * (1 - a) + b * (1 - b)) / n)
        check((np.abs(a - b) / sigma).max() < 4.5, f"patches are masked elsewhere: {(np.abs(a - b) / sigma).max():.2f} sigma")


def runs():
    for tokens, number, width, n in [(778, 6, 50, 30000), (100, 3, 10, 20000), (60, 6, 10, 10)]:
        mask = tool("runs", tokens, number, width, 31, n).reshape(n, tokens)
        check((mask.sum(1) == number * width).all(), f"{number} runs of {width}")
        stretch = tokens // number
        covered = np.zeros(tokens, bool)
        starts = []
        for i in range(number):
            first = i * tokens // number
            part = mask[:, first : first + stretch]
            check((part.sum(1) == width).all(), f"stretch {i} holds one run")
            at = part.argmax(1)
            check((np.take_along_axis(part, at[:, None] + np.arange(width), 1) == 1).all(), f"stretch {i}: the run has gaps")
            if stretch > width:
                count = np.bincount(at, minlength=stretch - width)
                check(len(count) == stretch - width, f"stretch {i}: starts end at {stretch - width - 1}")
                p = stats.chisquare(count).pvalue
                check(p > CHANCE, f"stretch {i}: starts are not uniform (p = {p:.2g})")
            covered[first : first + stretch] = True
            starts.append(at)
        check(not mask[:, ~covered].any(), "tokens outside the stretches are masked")
        if stretch > width:
            rho = np.corrcoef(starts) - np.eye(number)
            check(np.abs(rho).max() < 5 / np.sqrt(n), "runs of one spectrum move together")


try:
    blocks()
    runs()
finally:
    shutil.rmtree(here)
finish()
