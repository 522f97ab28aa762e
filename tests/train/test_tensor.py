# SPDX-License-Identifier: BSD-3-Clause
"""parallel.tensor: the losses of 20 steps with the blocks shared out over 2 and 4 ranks agree with one rank's to 1e-5 relative in float32, in `align`
(towers together and apart, several passes, recomputation, validation), `pretrain-image` and `pretrain-spectrum`; a checkpoint of one layout is
continued in others; what does not divide is refused; a failure on one rank of a group ends the run on all of them.

    test_tensor.py align|image|spectrum|resume|refuse|fault
"""
import sys

import masked_common
import pretrain_image_common
from common import *

MODEL_4 = dict(model__image__heads=4, model__spectrum__heads=4)
FULL = dict(train__freeze_backbones="false", **MODEL_4)


def losses(folder, name="metrics.jsonl", keys=("loss",)):
    return [[m[k] for k in keys] for m in metrics(folder, name)]


def difference(a, b):
    """Largest relative difference of two lists of rows."""
    if len(a) != len(b) or not a:
        return float("inf")
    return max(abs(x - y) / max(abs(y), 1e-3) for r, s in zip(a, b) for x, y in zip(r, s))


def compare(work, layouts, line, text, keys=("loss",), validates=None, others=None):
    """Runs of one rank and of the layouts (ranks, tensor, more keys); their losses, and their gradient norms to 1e-4."""
    code, said = run(1, line("one"))
    check(code == 0, f"{text}, 1 rank ends with {code}")
    if code:
        print(said)
        return
    one = losses(f"{work}/one", keys=keys)
    for n, tensor, more in layouts:
        name = f"{n}-{tensor}-" + "-".join(f"{v}" for v in more.values())
        code, said = run(n, line(name, parallel__tensor=tensor, **more), timeout=100)
        check(code == 0, f"{text}, {n} ranks, tensor {tensor} {more}: ends with {code}")
        if code:
            print(said)
            continue
        worst = difference(losses(f"{work}/{name}", keys=keys), one)
        check(worst < 1e-5, f"{text}, {n} ranks, tensor {tensor} {more}: losses of {len(one)} steps differ by {worst:.1e} relative (1e-5)")
        norm = [k for k in metrics(f"{work}/one")[0] if k.startswith("grad_norm")]
        worst = difference(losses(f"{work}/{name}", keys=norm), losses(f"{work}/one", keys=norm))
        check(worst < 1e-4, f"  gradient norms differ by {worst:.1e} (1e-4)")
        if validates:
            worst = difference(losses(f"{work}/{name}", "validation.jsonl", [validates]), losses(f"{work}/one", "validation.jsonl", [validates]))
            check(worst < 1e-5, f"  validations differ by {worst:.1e} (1e-5)")
    if others:
        code, said = run(1, line("other", **others))
        check(code == 0 and difference(losses(f"{work}/other", keys=keys), one) > 1e-5, f"the test has teeth: {others} is seen")


def align(work):
    write_shards(f"{work}/shards", 48, 3)
    write_input(work, f"""
data: {{path: [{work}/shards], split: train}}
train: {{steps: 20, global_batch: 11, lr: 2.0e-4, warmup_steps: 4, clip_grad_norm: 1.0, validate_interval: 10}}
""")
    line = lambda name, **keys: arguments(work, name, **FULL, **keys)
    apart, passes = dict(parallel__towers="apart"), dict(train__micro_batch=2)
    compare(work, [(2, 2, {}), (2, 2, passes), (4, 2, apart), (4, 4, dict(train__recompute=1)), (4, 2, passes), (8, 2, {}), (8, 4, dict(apart, **passes))],
            line, "align", validates="loss", others=dict(train__lr=2.02e-4))


def image(work):
    write_shards(f"{work}/shards", 30, 3)
    pretrain_image_common.write_pretrain_input(work, "steps: 20, global_batch: 7, lr: 1.0e-3, warmup_steps: 4")
    cases = {"mean": [(2, 2, {}), (8, 4, {})], "sinkhorn": [(4, 2, dict(train__micro_batch=1)), (4, 4, {}), (8, 2, {})]}
    for case, layouts in cases.items():
        line = lambda name, **keys: pretrain_image_common.arguments(f"{work}", f"{case}/{name}", model__image__heads=4,
                                                                    **pretrain_image_common.CASES[case], **keys)
        os.makedirs(f"{work}/{case}")
        compare(f"{work}/{case}", layouts, line, f"pretrain-image, {case}", keys=pretrain_image_common.TERMS,
                others=dict(dino__momentum=1 - 0.05 * 1.01))


def spectrum(work):
    masked_common.write_spectra(f"{work}/shards", 30)
    masked_common.input_file(work, f"""
data: {{path: [{work}/shards], split: train}}
train: {{steps: 20, global_batch: 11, lr: 1.0e-3, warmup_steps: 4, validate_interval: 10}}
""")
    line = lambda name, **keys: masked_common.command_line(work, name, model__spectrum__heads=4, **keys)
    passes = dict(train__micro_batch=2)
    compare(work, [(2, 2, {}), (4, 2, passes), (4, 4, passes), (8, 2, {}), (8, 4, dict(train__micro_batch=1))], line, "pretrain-spectrum",
            validates="loss", others=dict(train__lr=1.01e-3))


def resume(work):
    """Stopped with a tensor group of 2 and continued: on the same ranks the same bits, in other layouts the same losses."""
    steps = 60
    write_shards(f"{work}/shards", 40)
    write_input(work, f"""
data: {{path: [{work}/shards], split: all}}
train: {{steps: {steps}, global_batch: 12, lr: 5.0e-4, warmup_steps: 5, validate_objects: 0, micro_batch: 3}}
output: {{checkpoint_interval_steps: 0}}
""")
    code, text = run(2, arguments(work, "whole", parallel__tensor=2, **FULL))
    check(code == 0, f"uninterrupted, 2 ranks, tensor 2: ends with {code}")
    p = start(2, arguments(work, "stopped", parallel__tensor=2, **FULL))
    end = time.time() + 60
    while time.time() < end and p.poll() is None:
        if os.path.exists(f"{work}/stopped/metrics.jsonl") and len(metrics_so_far(f"{work}/stopped")) >= 10:
            break
        time.sleep(0.005)
    p.send_signal(signal.SIGUSR1)
    code = p.wait()
    done = len(metrics(f"{work}/stopped"))
    check(code == 75 and done < steps, f"stopped after {done} steps with {code}")
    whole = numbers(f"{work}/whole")
    for n, tensor, more in ((2, 2, {}), (1, 1, {}), (2, 1, {}), (4, 4, {}), (4, 2, dict(parallel__towers="apart"))):
        name = f"again-{n}-{tensor}-{len(more)}"
        shutil.copytree(f"{work}/stopped", f"{work}/{name}")
        code, text = run(n, arguments(work, name, parallel__tensor=tensor, **FULL, **more))
        check(code == 0, f"continued on {n} ranks, tensor {tensor} {more}: ends with {code}")
        if code:
            print(text)
            continue
        again = numbers(f"{work}/{name}")
        check([m[0] for m in again] == list(range(steps)), "  each step stands there once")
        if (n, tensor) == (2, 2):
            check(again == whole, "  the same bits as without the stop")
        check(relative(again, whole) < 1e-5, f"  losses differ by {relative(again, whole):.1e} relative (1e-5)")


def metrics_so_far(folder):
    with open(f"{folder}/metrics.jsonl") as f:
        return [line for line in f if line.endswith("\n")]


def refuse(work):
    write_shards(f"{work}/shards", 12)
    write_input(work, f"""
data: {{path: [{work}/shards], split: all}}
train: {{steps: 2, global_batch: 8, validate_objects: 0}}
""")
    full = dict(train__freeze_backbones="false")
    cases = [(3, 2, {}, "parallel.tensor = 2 does not divide the 3 ranks"), (4, 4, {}, "does not divide model.image.heads = 2"),
             (4, 4, dict(model__image__heads=4), "does not divide model.spectrum.heads = 2"),
             (2, 2, dict(parallel__towers="apart"), "needs at least 4 ranks"), (2, 0, {}, "parallel.tensor"),
             (2, 2, dict(reproducible="true", reproducible_leaves=4), "parallel.tensor must be 1")]
    for k, (n, tensor, more, expected) in enumerate(cases):
        code, text = run(n, arguments(work, f"r{k}", parallel__tensor=tensor, **full, **more))
        check(code == 2 and expected in text, f"{n} ranks, tensor {tensor} {more}: ends with {code} (2) and says: {expected}")
        if code != 2 or expected not in text:
            print(text)
        check(not os.path.exists(f"{work}/r{k}"), "  nothing was written")
    planned = {}
    for tensor in (1, 2, 4):
        code, text = run(1, arguments(work, "dry", parallel__tensor=tensor, model__image__dim=512, model__image__depth=8, **FULL) + ["--dry-run"])
        found = [line.split() for line in text.splitlines() if "image tower: packed" in line]
        planned[tensor] = float(found[0][-1]) if found else float("nan")
        check(code == 0, f"a dry run on 1 rank plans for a group of {tensor}: ends with {code}, {planned[tensor]} GiB of the image tower")
    check(planned[1] > planned[2] > planned[4] > 0, "  less for larger groups")
    code, text = run(2, arguments(work, "frozen", parallel__tensor=2, train__token_cache="memory"))
    check(code == 0, f"frozen towers run without their axis: ends with {code}")


def fault(work):
    masked_common.write_spectra(f"{work}/shards", 30)
    masked_common.input_file(work, f"""
data: {{path: [{work}/shards], split: train}}
train: {{steps: 8, global_batch: 10, lr: 1.0e-3, warmup_steps: 4, validate_interval: 4, micro_batch: 2}}
""")
    for k, (what, place) in enumerate((("loader_read", "loader_read:1:20"), ("shard_read", "shard_read:1:2"))):
        code, text = run(4, masked_common.command_line(work, f"f{k}", model__spectrum__heads=4, parallel__tensor=2), env={"SYZ_FAULT": place}, timeout=30)
        check(code == 3 and "injected failure" in text, f"pretrain-spectrum, {what} fails on one rank of a group: ends with {code} (3)")
        if code != 3:
            print(text)
    write_input(work, f"""
data: {{path: [{work}/shards], split: train}}
train: {{steps: 8, global_batch: 10, validate_interval: 4, micro_batch: 2}}
""")
    for k, (what, place) in enumerate((("loader_read", "loader_read:1:20"), ("shard_read", "shard_read:1:2"))):
        code, text = run(4, arguments(work, f"g{k}", parallel__tensor=2, **FULL), env={"SYZ_FAULT": place}, timeout=30)
        check(code == 3 and "injected failure" in text, f"align, {what} fails on one rank of a group: ends with {code} (3)")
        if code != 3:
            print(text)


with Work() as folder:
    {"align": align, "image": image, "spectrum": spectrum, "resume": resume, "refuse": refuse, "fault": fault}[sys.argv[1]](folder)
finish()
