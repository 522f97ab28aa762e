# SPDX-License-Identifier: BSD-3-Clause
"""The linear layer in 8-bit integers against PyTorch's own quantisation (fake_quantize_per_channel_affine) followed by a float64 product."""
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import check, finish, skip


def quantised(x, scale, zero, low, high):
    """x as PyTorch's quantisation leaves it, a row a channel; a row that is all zero is left alone."""
    safe = torch.where(scale > 0, scale, torch.ones_like(scale))
    return torch.fake_quantize_per_channel_affine(x, safe, zero, 0, low, high).double()


rng = np.random.default_rng(3)
with tempfile.TemporaryDirectory() as folder:
    for out, n, rows in ((256, 768, 300), (33, 50, 7), (1, 5, 1200)):
        x, w, bias = (rng.normal(size=s).astype(np.float32) for s in ((rows, n), (out, n), (out,)))
        x[::3] = np.abs(x[::3]) - 0.17  # as GELU leaves them
        for name, a in (("x", x), ("w", w), ("bias", bias)):
            a.tofile(f"{folder}/{name}")
        code = subprocess.run([sys.argv[1], str(out), str(n), str(rows), folder]).returncode
        if code == 77:
            skip("no AVX512_VNNI")
        if code != 0:
            sys.exit(f"int8_driver: exit code {code}")
        y = torch.from_numpy(np.fromfile(f"{folder}/y", np.float32).reshape(rows, out)).double()
        tx, tw = torch.from_numpy(x), torch.from_numpy(w)
        low, high = tx.amin(1).clamp(max=0), tx.amax(1).clamp(min=0)
        sx, sw = (high - low) / 255, tw.abs().amax(1) / 127
        zero = torch.round(-low / sx).to(torch.int32)
        want = quantised(tx, sx, zero, 0, 255) @ quantised(tw, sw, torch.zeros(out, dtype=torch.int32), -127, 127).T + torch.from_numpy(bias).double()
        # A number that falls between two steps may be rounded either way by the two programs: then one term differs by a step. Such rows are few.
        error = (y - want).abs() / want.std()
        exact = (error < 3e-6).double().mean().item()
        true = tx.double() @ tw.double().T + torch.from_numpy(bias).double()
        told = f"{out} x {n}, {rows} rows: {100 * exact:.2f} % equal to float32, largest difference {error.max():.2e}, to the exact product {((y - true).std() / true.std()).item():.2e}"
        faulty = (1.01 * y - want).abs() / want.std()
        check(exact > 0.999 and error.max() < 2e-2 and (faulty < 3e-6).double().mean() < 0.5 and (y - true).std() / true.std() < 0.015, told)
finish()
