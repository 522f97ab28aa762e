# SPDX-License-Identifier: BSD-3-Clause
"""Networks against PyTorch: outputs, losses and gradients with the same dropout, 20 steps of Adam on the same batches; each term spoiled by one per cent is seen."""
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import above, below, check, driver, finish, launch, Work

SQUARES, CLASSES, TWICE = 0, 1, 2
CASES = [  # loss, inputs, outputs, dropout, objects, epochs, batch, hidden: 20 steps in all
    (SQUARES, 37, 3, 0.1, 100, 10, 64, [64, 64]), (SQUARES, 300, 1, 0.1, 64, 20, 64, [32]), (CLASSES, 20, 4, 0.2, 90, 4, 20, [256, 256, 256]), (TWICE, 131, 5, 0.2, 77, 10, 40, [33, 18]),
    (SQUARES, 3, 9, 0.0, 40, 5, 10, []), (CLASSES, 515, 2, 0.5, 7, 20, 256, [9])]
rng = np.random.default_rng(3)


class Network:
    """The driver's weights as tensors; factor[term] spoils a term."""

    def __init__(self, folder, block, loss, factor={}):
        self.layers = [tuple(map(int, line.split())) for line in open(f"{folder}/layers.txt")]
        self.size, self.loss_kind, self.factor = len(block), loss, factor
        self.weight = [torch.tensor(block[w:w + i * s].reshape(i, s)[:, :o].copy(), requires_grad=True) for i, o, s, w, b in self.layers]
        self.bias = [torch.tensor(block[b:b + o].copy(), requires_grad=True) for i, o, s, w, b in self.layers]

    def spoiled(self, term):
        return self.factor.get(term, 1.0)

    def forward(self, x, masks=None):
        for l, (w, b) in enumerate(zip(self.weight, self.bias)):
            x = x @ w * self.spoiled(f"weight{l}") + b * self.spoiled(f"bias{l}")
            if l < len(self.weight) - 1:
                x = F.relu(x)
                if masks is not None:
                    x = x * masks[l][:, :x.shape[1]] * self.spoiled("dropout")
        return x

    def loss(self, z, y):
        if self.loss_kind == SQUARES:
            known = ~torch.isnan(y)
            return ((z[known] - y[known]) ** 2).mean()
        return F.cross_entropy(torch.softmax(z, 1) * self.spoiled("softmax") if self.loss_kind == TWICE else z, y)

    def parameters(self):
        return self.weight + self.bias

    def pack(self, of):
        out = np.zeros(self.size, np.float32)
        for (i, o, s, w, b), weight, bias in zip(self.layers, self.weight, self.bias):
            out[w:w + i * s].reshape(i, s)[:, :o] = of(weight)
            out[b:b + o] = of(bias)
        return out


def difference(got, want):
    apart = np.abs(got - want).max() / np.abs(want).max()
    return apart if np.isfinite(apart) else np.inf


def compare(folder, case):
    loss, inputs, outputs, dropout, n, epochs, batch, hidden = case
    what = f"{['squares', 'classes', 'softmax twice'][loss]} {inputs}-{'-'.join(map(str, hidden))}-{outputs}"
    x = (rng.standard_normal((n, inputs)) * rng.uniform(0.1, 20, inputs) + rng.uniform(-5, 5, inputs)).astype(np.float32)
    x[:, 0] = 7  # a column that does not vary
    y = rng.integers(0, outputs, n).astype(np.float64) if loss else rng.standard_normal((n, outputs)) * 3 + 10 + x[:, -1:]
    if loss == SQUARES and outputs > 1:
        y[rng.random((n, outputs)) < 0.3] = np.nan
        y[5] = np.nan
    object_id = rng.permutation(n) + 39627788403084375
    x.tofile(f"{folder}/x.f32"), y.tofile(f"{folder}/y.f64"), object_id.tofile(f"{folder}/id.i64")
    done = launch(None, driver("perceptron_driver"), folder, loss, inputs, outputs, dropout, n, epochs, batch, *hidden)
    if done.returncode:
        check(False, f"{what}: the driver ends with {done.returncode}: {done.stderr[-300:]}")

    def read(name, kind=np.float32):
        return np.fromfile(f"{folder}/{name}", kind)

    wide = x.astype(np.float64)
    deviation = wide.std(0)
    s = torch.tensor(((wide - wide.mean(0)) / np.where(deviation > 1e-7 * np.abs(wide.mean(0)), deviation, 1)).astype(np.float32))
    mean, scale = (np.nanmean(y, 0), np.nanstd(y, 0)) if loss == SQUARES else (0, 1)
    t = torch.tensor(y, dtype=torch.int64) if loss else torch.tensor(((y - mean) / scale).astype(np.float32))

    def with_factor(factor):
        net = Network(folder, read("weight.f32"), loss, factor)
        masks = [torch.tensor(read(f"mask{l}.f32").reshape(n, -1)) for l in range(len(hidden))]
        value = net.loss(net.forward(s, masks), t)
        value.backward()
        return value.item(), net.pack(lambda p: p.grad.numpy())

    got_loss, got = read("loss.f64", np.float64)[0], read("gradient.f32")
    want_loss, want = with_factor({})
    below(abs(got_loss / want_loss - 1), 1e-5, f"{what}: loss")
    below(difference(got, want), 1e-5, f"{what}: gradients")
    if dropout:
        check(np.abs((read("mask0.f32") == 0).mean() - dropout) < 0.1, f"{what}: share that is dropped")
    terms = [f"{kind}{l}" for kind in ("weight", "bias") for l in range(len(hidden) + 1)] + (["dropout"] if hidden else []) + (["softmax"] if loss == TWICE else [])
    for term in terms:
        above(difference(with_factor({term: 1.01})[1], got), 3e-5, f"{what}: 1 % on {term} is seen")
    # Outputs: the mean over members.
    each = [Network(folder, read(name), loss).forward(s).detach() for name in ("other.f32", "weight.f32")]
    want = np.mean([torch.softmax(z, 1).numpy() if loss else z.numpy() * scale + mean for z in each], 0)
    below(difference(read("predicted.f64", np.float64).reshape(n, outputs), want), 1e-5, f"{what}: predictions")
    # Adam.
    net = Network(folder, read("weight.f32"), loss)
    adam = torch.optim.Adam(net.parameters(), 1e-3)
    orders, losses = read("order.i64", np.int64).reshape(epochs, n), []
    for order in orders:
        check(sorted(order) == list(range(n)), f"{what}: an epoch takes each object once") if sorted(order) != list(range(n)) else None
        total = known = 0
        for at in range(0, n, batch):
            rows = order[at:at + batch]
            value = net.loss(net.forward(s[rows]), t[rows])
            adam.zero_grad()
            value.backward()
            adam.step()
            count = len(rows) if loss else (~torch.isnan(t[rows])).sum().item()
            total, known = total + value.item() * count, known + count
        losses.append(total / known)
    check(epochs < 2 or (orders[0] != orders[1]).any(), f"{what}: epochs differ in their order")
    below(difference(read("epoch_loss.f64", np.float64), np.array(losses)), 1e-4, f"{what}: losses of 20 steps")
    # Of the way that the weights have gone: 1 % on the learning rate would be 1e-2.
    start, end = read("weight.f32"), net.pack(lambda p: p.detach().numpy())
    below(np.abs(read("trained.f32") - end).max() / np.abs(end - start).max(), 2e-3, f"{what}: weights after 20 steps")


for case in CASES:
    with Work() as folder:
        compare(folder, case)
finish()
