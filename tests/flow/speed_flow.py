# SPDX-License-Identifier: BSD-3-Clause
"""
The training of speed_flow.c in PyTorch, float32: speed_flow.py [THREADS [KIND [MEMBERS [EPOCHS]]]]. Times are for all members and 25 epochs, scaled
from those that were run.
"""
import os
import sys
import time

import numpy as np
import torch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from flow_twin import Flow

threads, kind, members, epochs = [int(a) for a in sys.argv[1:]] + [1, 1, 1, 2][len(sys.argv) - 1:]
torch.set_num_threads(threads)
KINDS = ("elementwise", "autoregressive", "coupling")
ROWS, VALID, WIDTH, LABELS, BATCH = 8000, 1600, 128, 5, 128
rng = np.random.default_rng(1)
context = torch.tensor(rng.standard_normal((ROWS, WIDTH)), dtype=torch.float32)
labels = torch.cumsum(context[:, :LABELS] + torch.tensor(rng.standard_normal((ROWS, LABELS)), dtype=torch.float32), 1)
labels = (labels - labels.mean(0)) / labels.std(0)
n = ROWS - VALID
wall = cpu = 0
for member in range(members):
    hidden, layers = int(np.ceil(np.exp(rng.uniform(np.log(16), np.log(32))))), 2 + member % 2
    flow = Flow(KINDS[kind], LABELS, WIDTH, layers, hidden, 3, 8, 3.0, 0.999, kind == 0)
    p = {name: ((torch.rand(shape) * 2 - 1) / np.sqrt(shape[-1])).requires_grad_() for name, shape in flow.names()}
    optimiser = torch.optim.Adam(p.values(), lr=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 25, eta_min=1e-6)
    start, start_cpu = time.perf_counter(), time.process_time()
    for epoch in range(epochs):
        order = torch.randperm(n)
        for at in range(0, n, BATCH):
            rows = order[at:at + BATCH]
            optimiser.zero_grad()
            loss = -flow.forward(p, context[rows], labels[rows])[1].mean()
            loss.backward()
            optimiser.step()
        schedule.step()
        with torch.no_grad():
            valid = -flow.forward(p, context[n:], labels[n:])[1].mean()
    wall += time.perf_counter() - start
    cpu += time.process_time() - start_cpu
    print(f"member {member}: {layers} layers of {hidden}, loss {valid:.4f}", flush=True)
scale = 10 / members * 25 / epochs
print(f"{KINDS[kind]}, {threads} threads: 10 members x 25 epochs would take {wall * scale:.1f} s (processors {cpu * scale:.1f} s)")
