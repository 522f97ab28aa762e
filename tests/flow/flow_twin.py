# SPDX-License-Identifier: BSD-3-Clause
"""
Conditional rational-quadratic spline flows in PyTorch, float64, written from Durkan et al. 2019 (arXiv:1906.04032, equations 4 to 8), pyro's
conditional_spline (networks, softmax with least sizes, slope at the ends) and the choice of labels of each layer that the issue describes; not from the
C code. `fault` multiplies one named term by 1.01: a comparison must see each of them.
"""
import math

import torch
from torch.nn.functional import linear, relu, softmax, softplus

TERMS = ("width", "height", "slope", "end", "edge_x", "edge_y", "numerator", "denominator", "log_slope", "log_ratio", "square", "context", "label", "bias", "last")
LEAST = 1e-3


def networks(kind, labels, context, hidden, hidden_layers, bins):
    """Of one layer: (positions it sees, positions it gives, shapes of its linear layers)."""
    if kind == "elementwise":
        nets = [(0, range(labels))]
    elif kind == "autoregressive":
        nets = [(d, range(d, d + 1)) for d in range(labels)]
    else:
        nets = [(labels // 2, range(labels // 2, labels))]
    return [(seen, given, [(hidden, context + seen)] + [(hidden, hidden)] * (hidden_layers - 1) + [(len(given) * (3 * bins - 1), hidden)]) for seen, given in nets]


class Flow:
    def __init__(self, kind, labels, context, layers, hidden, hidden_layers, bins, bound, end_slope, keeps_order):
        self.labels, self.layers, self.bins, self.bound, self.end_slope, self.keeps_order = labels, layers, bins, bound, end_slope, keeps_order
        self.nets = networks(kind, labels, context, hidden, hidden_layers, bins)
        self.width = context
        self.fault = None

    def names(self):
        return [(f"layer.{layer}.dimension.{d}.linear.{j}.{part}", shape if part == "weight" else shape[:1]) for layer in range(self.layers)
                for d, (_, _, shapes) in enumerate(self.nets) for j, shape in enumerate(shapes) for part in ("weight", "bias")]

    def term(self, name, x):
        return x * 1.01 if self.fault == name else x

    def network(self, p, layer, d, context, seen):
        x = torch.cat([self.term("context", context), self.term("label", seen)], 1)
        count = len(self.nets[d][2])
        for j in range(count):
            name = f"layer.{layer}.dimension.{d}.linear.{j}."
            weight = p[name + "weight"]
            x = linear(x, self.term("last", weight) if j == count - 1 else weight, self.term("bias", p[name + "bias"]))
            if j < count - 1:
                x = relu(x)
        return x

    def spline(self, raw_w, raw_h, raw_s, y):
        """[n, labels, K], the same, [n, labels, K - 1], [n, labels] -> z, log dz/dy."""
        k, b = self.bins, self.bound
        w = self.term("width", LEAST + (1 - LEAST * k) * softmax(raw_w, -1)) * 2 * b
        h = self.term("height", LEAST + (1 - LEAST * k) * softmax(raw_h, -1)) * 2 * b
        end = torch.full_like(raw_s[..., :1], self.term("end", self.end_slope))
        slope = torch.cat([end, self.term("slope", LEAST + softplus(raw_s)), end], -1)
        zero = torch.zeros_like(end)
        x, v = torch.cat([zero, w.cumsum(-1)], -1) - b, torch.cat([zero, h.cumsum(-1)], -1) - b
        inside = y.abs() <= b
        at = torch.where(inside, y, torch.zeros_like(y))
        place = (at[..., None] >= x[..., 1:-1]).sum(-1, keepdim=True)
        pick = lambda a: a.gather(-1, place)[..., 0]
        width, height, d0, d1 = pick(w), pick(h), pick(slope), slope.gather(-1, place + 1)[..., 0]
        t, m = (at - self.term("edge_x", pick(x))) / width, height / width
        u = t * (1 - t)
        below = m + self.term("denominator", d0 + d1 - 2 * m) * u
        z = self.term("edge_y", pick(v)) + height * self.term("numerator", m * t ** 2 + d0 * u) / below
        log_slope = self.term("log_ratio", 2 * torch.log(m / below)) + self.term("log_slope", torch.log(d1 * t ** 2 + 2 * m * u + d0 * (1 - t) ** 2))
        return torch.where(inside, z, y), torch.where(inside, log_slope, torch.zeros_like(y))

    def forward(self, p, context, s):
        total = 0
        for layer in range(self.layers):
            if layer and not self.keeps_order:
                s = s.flip(1)
            parts = [s[:, :self.nets[0][1][0]]]  # what a coupling layer leaves alone
            for d, (seen, given, _) in enumerate(self.nets):
                raw = self.network(p, layer, d, context, s[:, :seen])
                n, k = len(given), self.bins
                w, h, slope = raw[:, :n * k].reshape(-1, n, k), raw[:, n * k:2 * n * k].reshape(-1, n, k), raw[:, 2 * n * k:].reshape(-1, n, k - 1)
                z, log_slope = self.spline(w, h, slope, s[:, given[0]:given[-1] + 1])
                parts.append(z)
                total = total + log_slope.sum(1)
            s = torch.cat(parts, 1)
        z = s if self.keeps_order or self.layers % 2 else s.flip(1)
        return z, total - self.term("square", 0.5 * (z ** 2).sum(1)) - 0.5 * self.labels * math.log(2 * math.pi)
