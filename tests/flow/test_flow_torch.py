# SPDX-License-Identifier: BSD-3-Clause
"""Density, gradients and inverse of the three kinds of flow against PyTorch in float64 (flow_twin.py); each term spoiled by one per cent is seen."""
import os
import sys

import numpy as np
import torch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import below, check, driver, finish, launch, Work
from flow_twin import Flow, TERMS

KINDS = ("elementwise", "autoregressive", "coupling")
CASES = [  # kind, labels, context, layers, hidden, hidden layers, bins, bound, end slope, keeps order, objects
    (0, 3, 7, 2, 19, 3, 8, 3.0, 0.999, 1, 150), (1, 5, 9, 3, 17, 3, 8, 5.0, 1.0, 0, 200), (2, 5, 6, 3, 18, 2, 6, 4.0, 1.0, 0, 130),
    (1, 1, 4, 1, 5, 1, 2, 3.0, 1.0, 0, 3), (2, 10, 3, 2, 13, 3, 8, 5.0, 1.0, 0, 33), (1, 10, 131, 2, 31, 4, 10, 5.0, 1.0, 1, 128), (2, 1, 2, 1, 6, 3, 5, 2.0, 1.0, 1, 16),
    (0, 4, 5, 3, 9, 2, 8, 3.0, 1.0, 0, 20)]
rng = np.random.default_rng(7)


def run(folder, case, precision):
    done = launch(None, driver("flow_driver"), folder, *case[:-1], precision, case[-1])
    check(done.returncode == 0, f"driver on {case}: {done.stderr[-500:]}") if done.returncode else None


def read(folder, name, *shape):
    return np.fromfile(f"{folder}/{name}.f64").reshape(*shape)


def twin(flow, table, values, context, s, weight):
    """log q, z and gradients of sum weight log q in the order of the table."""
    p = {name: torch.tensor(values[offset:offset + int(np.prod(shape))].reshape(shape), requires_grad=True) for name, (shape, offset) in table.items()}
    c, y = torch.tensor(context.astype(np.float64), requires_grad=True), torch.tensor(s, requires_grad=True)
    z, log_q = flow.forward(p, c, y)
    (log_q * torch.tensor(weight)).sum().backward()
    dparameters = np.zeros(len(values))
    for name, (shape, offset) in table.items():
        if p[name].grad is not None:
            dparameters[offset:offset + int(np.prod(shape))] = p[name].grad.numpy().ravel()
    return dict(log_q=log_q.detach().numpy(), z=z.detach().numpy(), dparameters=dparameters, ds=y.grad.numpy(), dcontext=c.grad.numpy())


def difference(got, want):
    apart = np.abs(got - want).max() / max(1, np.abs(want).max())
    return apart if np.isfinite(apart) else np.inf


def compare(folder, case):
    kind, labels, width, *_, n = case
    flow = Flow(KINDS[kind], *case[1:-1])
    run(folder, case, 1)
    rows = [line.split() for line in open(f"{folder}/table.txt")]
    table = {name.removeprefix("member.0."): ((int(r), int(c)) if int(c) else (int(r),), int(at)) for name, r, c, at in rows}
    what = f"{KINDS[kind]} {labels} labels, {case[3]} layers"
    check([(name, shape) for name, (shape, _) in table.items()] == flow.names(), f"{what}: {len(rows)} names and shapes")
    # As trained networks have them. With weights twice as large bins of 1/1000 of the box follow upon each other, whose inverse multiplies rounding by 1e9.
    values = np.concatenate([rng.uniform(-1, 1, int(np.prod(shape))) * (1.5 / np.sqrt(shape[1]) if len(shape) > 1 else 0.4) for shape, _ in table.values()])
    context = rng.standard_normal((n, width)).astype(np.float32)
    s = rng.standard_normal((n, labels)) * 1.5  # some outside of the box
    s[0] = flow.bound * 1.2
    weight = rng.uniform(0.5, 1.5, n)
    for name, value in dict(parameters=values, s=s, weight=weight).items():
        value.tofile(f"{folder}/{name}.f64")
    context.tofile(f"{folder}/context.f32")
    want = twin(flow, table, values, context, s, weight)
    got = {}
    for precision, density, gradient, back in ((1, 1e-9, 1e-7, 1e-9), (0, 1e-4, 1e-4, 1e-4)):
        run(folder, case, precision)
        text = f"{what}, float{64 if precision else 32}"
        got[precision] = {name: read(folder, name, *np.shape(want[name])) for name in want}
        for name, value in got[precision].items():
            below(difference(value, want[name]), density if name in ("log_q", "z") else gradient, f"{text}: {name}")
        below(np.abs(read(folder, "back", n, labels) - s).max(), back, f"{text}: back from the base")
        same = twin(flow, table, values, np.repeat(context[:1], n, 0), s, weight)["log_q"]
        below(difference(read(folder, "shared", n), same), density, f"{text}: log q with one context for all")
        if precision:
            weights, losses = train(flow, table, values, context, s)
            below(difference(read(folder, "losses", 8), losses), density, f"{text}: losses of four steps")
            below(difference(read(folder, "trained", len(values)), weights), 1e-7, f"{text}: weights after four steps")
            off = difference(read(folder, "trained", len(values)), train(flow, table, values, context, s, 1.01)[0])
            check(off > 1e-7, f"{text}: a rate 1 % larger moves them by {off:.2e}")
    return flow, table, values, context, s, weight, want, got


def train(flow, table, values, context, s, fault=1.0):
    """Four steps of torch's Adam on the mean of -log q, the rate down half a cosine; weights, losses before and after each step."""
    p = {name: torch.tensor(values[offset:offset + int(np.prod(shape))].reshape(shape), requires_grad=True) for name, (shape, offset) in table.items()}
    c, y = torch.tensor(context.astype(np.float64)), torch.tensor(s)
    optimiser = torch.optim.Adam(p.values(), lr=1e-2 * fault)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 4, eta_min=1e-4)
    before, after = [], []
    for _ in range(4):
        optimiser.zero_grad()
        loss = -flow.forward(p, c, y)[1].mean()
        loss.backward()
        norm = np.sqrt(sum(float((v.grad ** 2).sum()) for v in p.values() if v.grad is not None))
        for v in p.values():
            if v.grad is not None:
                v.grad *= min(1, 1 / norm)
        optimiser.step()
        schedule.step()
        before.append(loss.item())
        after.append(-flow.forward(p, c, y)[1].mean().item())
    weights = np.zeros(len(values))
    for name, (shape, offset) in table.items():
        weights[offset:offset + int(np.prod(shape))] = p[name].detach().numpy().ravel()
    return weights, np.array(before + after)


def spoil(flow, table, values, context, s, weight, want, got):
    """One per cent on one term is seen in the density and in gradients, in float32 too."""
    for term in TERMS:
        flow.fault = term
        faulty = twin(flow, table, values, context, s, weight)
        for precision, limit in ((1, 1e-7), (0, 1e-4)):
            seen = max(difference(got[precision][name], faulty[name]) for name in ("log_q", "z"))
            felt = max(difference(got[precision][name], faulty[name]) for name in ("dparameters", "ds"))
            check(seen > limit and felt > limit, f"1 % of {term}, float{64 if precision else 32}: log q or z differs by {seen:.2e}, gradients by {felt:.2e}, at least {limit:g}")


for case in CASES:
    with Work() as folder:
        parts = compare(folder, case)
        if case is CASES[1]:
            kept = parts
spoil(*kept)
finish()
