# SPDX-License-Identifier: BSD-3-Clause
"""KoLeo over the global batch against PyTorch in float64: loss, gradient, spread; uneven shares and ranks without rows.

argv: test_koleo (the C side), rank counts."""
import os
import sys
import tempfile

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import check, finish, launch


def koleo(x, scale, eps=1e-8):
    """DINOv2's koleo_loss, except that the distance is exact: torch.nn.PairwiseDistance adds its eps to the difference."""
    x = x.clone().requires_grad_()
    y = F.normalize(x, eps=eps, p=2, dim=-1)
    with torch.no_grad():
        dots = y @ y.t()
        dots.fill_diagonal_(-2)
        nearest = dots.argmax(1)
    loss = -torch.log((y - y[nearest]).norm(dim=1) + eps).mean()
    (scale * loss).backward()
    spread = ((y - y.mean(0)) ** 2).sum(1).mean().sqrt()
    return float(loss), float(spread), x.grad.numpy()


def rows(n, width, stride, common, seed):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, stride, generator=g) + common * torch.randn(stride, generator=g)
    x *= torch.exp(torch.randn(n, 1, generator=g))
    if n > 8:  # some that are close to each other, and chains of neighbours
        x[1] = x[0] + 1e-3 * x[1]
        x[3], x[4] = x[2] * 1.1 + 1e-2 * x[3], x[2] * 0.9 + 2e-2 * x[4]
    return x.numpy()


def main():
    program, ranks = sys.argv[1], [int(r) for r in sys.argv[2:]]
    cases = [(n, w, s, scale, rows(n, w, s, c, i))
             for i, (n, w, s, scale, c) in enumerate([(2, 3, 3, 1.0, 0.0), (5, 16, 20, 0.1, 0.5), (64, 48, 48, 0.1, 1.0), (137, 33, 40, 2.0, 3.0),
                                                      (1030, 20, 20, 0.1, 0.0)])]
    for n_ranks in ranks:
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "in"), "wb") as f:
                f.write(np.int64(len(cases)).tobytes())
                for n, w, s, scale, x in cases:
                    f.write(np.array([n, w, s], np.int64).tobytes() + np.float64(scale).tobytes() + x.astype(np.float32).tobytes())
            p = launch(n_ranks, program, folder, timeout=100)
            if not check(p.returncode == 0, f"ranks {n_ranks}: exit code {p.returncode} {p.stderr}"):
                return
            files = [open(os.path.join(folder, f"out.{r}"), "rb").read() for r in range(n_ranks)]
        at = [0] * n_ranks
        for n, w, s, scale, x in cases:
            loss, spread, grad = koleo(torch.tensor(x[:, :w], dtype=torch.float64), scale)
            got, numbers = [], set()
            for r in range(n_ranks):
                count = n // n_ranks + (r < n % n_ranks)
                numbers.add(tuple(np.frombuffer(files[r], np.float64, 2, at[r])))
                at[r] += 16
                got.append(np.frombuffer(files[r], np.float32, count * s, at[r]).reshape(count, s))
                at[r] += 4 * count * s
            # The gradient lies on top of 1: its last bits are those of 1.
            dx = np.concatenate(got)[:, :w].astype(np.float64) - 1
            difference = np.abs(dx - grad).max() / max(np.abs(grad).max(), 1e-2)
            faulty = np.abs(dx - 1.01 * grad).max() / max(np.abs(grad).max(), 1e-2)
            g = numbers.pop()
            good = not numbers and abs(g[0] - loss) < 1e-6 * (1 + abs(loss)) and abs(g[1] - spread) < 1e-6 and difference < 1e-5 < faulty
            check(good, f"ranks {n_ranks} rows {n} x {w}: loss {g[0]:.6f} off {abs(g[0] - loss):.1e}, spread {g[1]:.4f} off {abs(g[1] - spread):.1e}, "
                        f"gradient off {difference:.1e} (with a fault of 1 % {faulty:.1e}), tolerance 1e-5")


if __name__ == "__main__":
    main()
    finish()
