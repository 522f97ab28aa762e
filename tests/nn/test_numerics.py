# SPDX-License-Identifier: BSD-3-Clause
"""Attention, AdamW and L2 normalisation against PyTorch.

argv: numerics_driver (the C side). Differences are L2 norms relative to the reference's own."""
import math
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import above, below, finish

program = sys.argv[1]


def must_exceed(what, value, limit):
    above(value, limit, what + " (planted fault)")


def run(folder, *args):
    code = subprocess.call([program, folder, *map(str, args)], stderr=subprocess.DEVNULL)
    if code not in (0, 77):
        raise SystemExit(f"numerics_driver {args}: exit code {code}")
    return code == 0


def write(folder, name, x):
    x = x.contiguous()
    (x.view(torch.int16) if x.dtype == torch.bfloat16 else x).numpy().tofile(os.path.join(folder, name))


def read(folder, name, shape, dtype=torch.float32):
    path = os.path.join(folder, name)
    if dtype == torch.bfloat16:
        return torch.from_numpy(np.fromfile(path, np.int16)).view(torch.bfloat16).reshape(shape)
    return torch.from_numpy(np.fromfile(path, np.float32)).reshape(shape)


def distance(x, y):
    return float((x.double() - y.double()).norm() / y.double().norm())


def attention(qkv, dout, scale):
    """out, lse and dqkv by autograd, in qkv's own type."""
    x = qkv.clone().requires_grad_()
    q, k, v = x.permute(2, 0, 3, 1, 4)
    s = (q @ k.transpose(-1, -2)) * scale
    out = (s.softmax(-1) @ v).transpose(1, 2)
    out.backward(dout)
    return out.detach(), s.detach().double().logsumexp(-1), x.grad


def test_attention(folder):
    for dtype, name in ((torch.float32, "f32"), (torch.bfloat16, "bf16")):
        limit = 1e-5 if name == "f32" else 6e-3
        worst = 0.0
        for b, t, n, d in ((1, 144, 16, 64), (2, 145, 3, 64), (3, 26, 2, 64), (1, 778, 6, 128), (2, 17, 2, 8), (1, 63, 5, 20)):
            g = torch.Generator().manual_seed(t * d)
            qkv, dout = torch.randn(b, t, 3, n, d, generator=g).to(dtype), torch.randn(b, t, n, d, generator=g).to(dtype)
            write(folder, "qkv", qkv)
            write(folder, "dout", dout)
            if not run(folder, "attention", name, b, t, n, d):
                print(f"attention {name}: not on this processor")
                break
            out, lse = read(folder, "out", (b, t, n, d), dtype), read(folder, "lse", (b, n, t))
            dqkv = read(folder, "dqkv", (b, t, 3, n, d), dtype)
            ref = attention(qkv.double(), dout.double(), 1 / math.sqrt(d))
            errors = [distance(out, ref[0])] + [distance(dqkv[:, :, i], ref[2][:, :, i]) for i in range(3)]
            worst = max([worst] + errors)
            for what, error in zip(("out", "dq", "dk", "dv"), errors):
                below(error, limit, f"attention {name} {(b, t, n, d)} {what}")
            below(float((lse.double() - ref[1]).abs().max()), 2e-5, f"attention {name} {(b, t, n, d)} lse")
            # PyTorch in the same storage type is no nearer to the float64 result than we are (factor 2 for luck).
            if name == "bf16" and t < 200:
                same = attention(qkv, dout, 1 / math.sqrt(d))
                below(errors[0], 2 * distance(same[0], ref[0]), f"attention bf16 {(b, t, n, d)} against PyTorch's own error")
            if t == 145:
                wrong = attention(qkv.double(), dout.double(), 1.01 / math.sqrt(d))
                must_exceed(f"attention {name} dq", distance(dqkv[:, :, 0], wrong[2][:, :, 0]), limit)
        print(f"attention {name}: worst {worst:.2g}, limit {limit:.2g}")


def test_adamw(folder):
    n, steps, scale = 20011, 20, 0.25
    for lr, decay in ((1e-3, 0.05), (1e-4, 0.0), (3e-2, 0.2)):
        g = torch.Generator().manual_seed(3)
        w, grads = torch.randn(n, generator=g), torch.randn(steps, n, generator=g) * 10.0 ** torch.randint(-6, 2, (n,), generator=g)
        write(folder, "w", w)
        write(folder, "g", grads)
        run(folder, "adamw", n, steps, lr, decay, scale)

        def reference(rate):
            p = torch.nn.Parameter(w.double())
            optimiser = torch.optim.AdamW([p], lr=rate, betas=(0.9, 0.999), eps=1e-8, weight_decay=decay)
            for s in range(steps):
                p.grad = grads[s].double() * scale
                optimiser.step()
            return p.detach(), optimiser.state[p]

        expected, state = reference(lr)
        out = read(folder, "w_out", (n,))
        # Of the distance moved; a weight of 1 is rounded to 6e-8 at each step.
        moved = (expected - w.double()).norm()
        limit = 1e-5 + 20 * 6e-8 * math.sqrt(n) / float(moved)
        error = float((out.double() - expected).norm() / moved)
        below(error, limit, f"adamw lr {lr} weight")
        below(distance(read(folder, "m_out", (n,)), state["exp_avg"]), 1e-6, f"adamw lr {lr} m")
        below(distance(read(folder, "v_out", (n,)), state["exp_avg_sq"]), 1e-6, f"adamw lr {lr} v")
        wrong = reference(1.01 * lr)[0]
        must_exceed(f"adamw lr {lr}", float((out.double() - wrong).norm() / moved), limit)
        print(f"adamw lr {lr}: {error:.2g} of the distance moved, limit {limit:.2g}")


def test_l2norm(folder):
    rows, width = 50, 1024
    for eps in (1e-12, 32.0):  # the second clamps about half of the rows
        g = torch.Generator().manual_seed(4)
        x, dy = torch.randn(rows, width, generator=g), torch.randn(rows, width, generator=g)
        write(folder, "x", x)
        write(folder, "dy", dy)
        run(folder, "l2norm", rows, width, eps)
        r = x.double().requires_grad_()
        y = torch.nn.functional.normalize(r, dim=-1, eps=eps)
        y.backward(dy.double())
        below(distance(read(folder, "y", (rows, width)), y.detach()), 2e-7, f"l2norm {eps} y")
        below(distance(read(folder, "dx", (rows, width)), r.grad), 2e-7, f"l2norm {eps} dx")


torch.set_num_threads(1)
with tempfile.TemporaryDirectory() as place:
    test_attention(place)
    test_adamw(place)
    test_l2norm(place)
finish()
