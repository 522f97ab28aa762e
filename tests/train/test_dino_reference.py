# SPDX-License-Identifier: BSD-3-Clause
"""tests/reference/syzygy_dino.py against the forms in which the papers and the published code state each piece, so that what `pretrain-image` is held
against is right itself. Needs no binary."""
import os
import sys

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import check, finish
import syzygy_dino as dino
import torch
import torch.nn.functional as F

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)


def near(what, a, b, tolerance=1e-12):
    a, b = torch.as_tensor(np.asarray(a.detach() if torch.is_tensor(a) else a)), torch.as_tensor(np.asarray(b.detach() if torch.is_tensor(b) else b))
    difference = float((a.double() - b.double()).abs().max()) / max(float(b.double().abs().max()), 1e-30)
    is_good = a.shape == b.shape and difference <= tolerance
    check(is_good, f"{what}: {difference:.1e} relative ({tolerance:.0e})")


generator = torch.Generator().manual_seed(5)


def random(*shape):
    return torch.randn(*shape, generator=generator)


B, G, L, K = 5, 2, 3, 40
student_global, student_local, teacher = random(B, G, K), random(B, L, K), torch.softmax(3 * random(B, G, K), -1)

# DINO: crops of one kind one after another, the teacher's halves exchanged, one cross-entropy of a mean over both halves, doubled.
swapped = torch.cat([teacher[:, 1], teacher[:, 0]])
together = -(swapped * F.log_softmax(torch.cat([student_global[:, 0], student_global[:, 1]]) / 0.1, -1)).sum(-1).mean() * 2 / (2 + 2 * L)
apart = sum(-(t * F.log_softmax(s / 0.1, -1)).sum(-1).mean() for s in student_local.unbind(1) for t in teacher.unbind(1)) / (2 + 2 * L)
found = dino.dino_losses(student_global, student_local, teacher, 0.1)
near("DINO, global crops", found[0], together)
near("DINO, local crops", found[1], apart)

# iBOT: dense form over all patches with the mask as a weight.
P = 9
mask = (torch.rand(B * G, P, generator=generator) < 0.4)
mask[3] = False
dense_student, dense_teacher = random(B * G, P, K), torch.softmax(random(B * G, P, K), -1)
rows = (dense_teacher * F.log_softmax(dense_student / 0.1, -1)).sum(-1)
dense = -((rows * mask).sum(-1) / mask.sum(-1).clamp(min=1)).mean()
near("iBOT", dino.ibot_loss(dense_student[mask], dense_teacher[mask], mask, 0.1), dense)

# KoLeo: every pair by hand, and its gradient by central differences.
x = random(7, 4).requires_grad_(True)
unit = (x / x.norm(dim=1, keepdim=True)).detach().numpy()
distance = np.sqrt(((unit[:, None] - unit[None]) ** 2).sum(-1)) + np.eye(7) * 9
near("KoLeo", dino.koleo_loss(x), -np.log(distance.min(1)).mean(), 1e-7)
near("KoLeo's gradient", torch.autograd.functional.jacobian(dino.koleo_loss, x), torch.tensor(
    [[(float(dino.koleo_loss(x + d)) - float(dino.koleo_loss(x - d))) / 2e-6 for d in (1e-6 * F.one_hot(torch.tensor(4 * i + j), 28).view(7, 4) for j in range(4))]
     for i in range(7)]), 1e-7)
near("KoLeo of one row", dino.koleo_loss(x[:1]), 0.0)

# Sinkhorn-Knopp: prototypes by samples, as the paper writes it; iterated to the end both sums are uniform.
logits = random(11, K)
q = torch.exp(logits / 0.5).T
q /= q.sum()
for _ in range(3):
    q /= q.sum(1, keepdim=True)
    q /= K
    q /= q.sum(0, keepdim=True)
    q /= 11
near("Sinkhorn-Knopp", dino.sinkhorn_knopp(logits, 0.5, 3), (q * 11).T)
converged = dino.sinkhorn_knopp(logits, 0.5, 500)
near("converged: rows", converged.sum(1), torch.ones(11))
near("converged: prototypes", converged.sum(0), torch.full((K,), 11 / K), 1e-9)

# Moving centre: the target of a step uses the centre before it moves.
centre = dino.Centre(K, dino.options(), torch.float64)
for step in range(3):
    near(f"targets of step {step}", centre.targets(logits + step, 0.07),
         torch.softmax((logits + step - (0 if step == 0 else sum((0.1 * 0.9 ** (step - 1 - s)) * (logits + s).mean(0) for s in range(step)))) / 0.07, -1))

# Weight normalisation, and its gradient, against PyTorch's.
config = dino.make_config(image=dict(dim=16, depth=3, heads=4, patch=4, size=20, layerscale=0.5, registers=2), dino=dict(hidden=12, bottleneck=8, prototypes=K))
network = dino.random_network(config, 2).double()
last = torch.nn.utils.weight_norm(torch.nn.Linear(8, K, bias=False))
with torch.no_grad():
    last.weight_v.copy_(network.dino_head.last_layer.weight_v)
    last.weight_g.fill_(1)
z, direction = random(6, 8), random(6, K)
near("prototypes", network.dino_head.last_layer(z), last(z))
(last(z) * direction).sum().backward()
(network.dino_head.last_layer(z) * direction).sum().backward()
near("gradient by weight_v", network.dino_head.last_layer.weight_v.grad, last.weight_v.grad)

# Network: masks, registers, other grids.
backbone, planes = network.backbone, random(4, 3, 20, 20)
mask = torch.rand(4, 25, generator=generator) < 0.5
plain = backbone(planes)
near("no mask and an empty mask", backbone(planes, torch.zeros(4, 25)), plain)
near("tokens", torch.tensor(plain.shape), torch.tensor([4, 1 + 2 + 25, 16]))
hidden = planes.clone()
hidden.view(4, 3, 5, 4, 5, 4).permute(0, 2, 4, 1, 3, 5)[mask.view(4, 5, 5)] = 7
hidden.requires_grad_(True)
near("masked pixels are not seen", torch.autograd.grad(backbone(hidden, mask).sum(), hidden)[0].view(4, 3, 5, 4, 5, 4).permute(0, 2, 4, 1, 3, 5)[mask.view(4, 5, 5)],
     torch.zeros(int(mask.sum()), 3, 4, 4))
# Keys's cubic kernel (a = -0.75) on the source coordinate (i + 0.5) N / (n + 0.1) - 0.5, borders repeated.
native, side = 5, 3
weights = np.zeros((side, native))
for i in range(side):
    place = (i + 0.5) * native / (side + 0.1) - 0.5
    for k in range(int(np.floor(place)) - 1, int(np.floor(place)) + 3):
        d = abs(place - k)
        w = (1.25 * d - 2.25) * d * d + 1 if d <= 1 else -0.75 * (((d - 5) * d + 8) * d - 4)
        weights[i, min(max(k, 0), native - 1)] += w
table = backbone.pos_embed.detach().numpy()[0, 1:].reshape(native, native, -1)
near("positions on a 3 x 3 grid", backbone.positions(3)[0, 1:], np.einsum("iy,jx,yxd->ijd", weights, weights, table).reshape(9, -1), 1e-6)
near("class position is not interpolated", backbone.positions(3)[0, 0], backbone.pos_embed[0, 0])

# Stochastic depth: everything kept at rate 0 is the plain network; what is dropped passes by; what is kept is scaled.
kept = torch.ones(3, 2, 4)
near("all kept at rate 0", backbone(planes, kept=kept, rate=0.0), plain)
scaled = dino.random_network(config, 2).double()
with torch.no_grad():
    for block in scaled.backbone.blocks:
        block.ls1.gamma.mul_(1 / 0.7)
        block.ls2.gamma.mul_(1 / 0.7)
near("all kept at rate 0.3 is LayerScale / 0.7", backbone(planes, kept=kept, rate=0.3), scaled.backbone(planes))
kept[:, :, 2] = 0
near("a crop that no branch keeps", backbone(planes, kept=kept, rate=0.3)[2], dino.random_network(config, 2).double().backbone.norm(
    torch.cat([(backbone.cls_token[0] + backbone.pos_embed[0, :1]), backbone.register_tokens[0], backbone.patch_embed(planes[2:3])[0] + backbone.pos_embed[0, 1:]])))

# Rules: layers counted as the published code does, 0 for the embeddings, depth + 1 for the norm and the heads.
o = dino.options(layer_decay=0.8, patch_lr_factor=0.2)
for group, name, layer, factor, decay in (("backbone", "cls_token", 0, 1, 1), ("backbone", "pos_embed", 0, 1, 1), ("backbone", "register_tokens", 0, 1, 1),
                                          ("backbone", "mask_token", 0, 1, 1), ("backbone", "patch_embed.proj.weight", 0, 0.2, 1),
                                          ("backbone", "patch_embed.proj.bias", 0, 0.2, 0), ("backbone", "blocks.0.attn.qkv.weight", 1, 1, 1),
                                          ("backbone", "blocks.2.ls1.gamma", 3, 1, 0), ("backbone", "blocks.2.norm1.weight", 3, 1, 0),
                                          ("backbone", "norm.weight", 4, 1, 0), ("dino_head", "mlp.0.weight", 4, 1, 1), ("dino_head", "mlp.0.bias", 4, 1, 0),
                                          ("dino_head", "last_layer.weight_v", 4, 1, 1)):
    near(f"rule of {group}.{name}", torch.tensor(dino.rule(group, name, 3, o)[:2]), torch.tensor([0.8 ** (4 - layer) * factor, decay]))
near("what trains", torch.tensor(sorted(map(len, network.groups().values()))), torch.tensor([7, 5 + 2 + 3 * 14 + 1]))
near("half a cosine", torch.tensor([dino.cosine(i, 0.992, 1.0, 8) for i in range(9)]), 1.0 + 0.5 * (0.992 - 1.0) * (1 + np.cos(np.pi * np.arange(9) / 8)))

# Whole steps: the order of the objects does not matter, a frozen last layer stays, the teacher is the moving mean.
side_mask = (torch.rand(6 * G, 25, generator=generator) < 0.3)
batch = dict(planes=[random(6, G, 3, 20, 20), random(6, L, 3, 12, 12)], mask=side_mask,
             kept=[(torch.rand(3, 2, 6 * G, generator=generator) < 0.7), (torch.rand(3, 2, 6 * L, generator=generator) < 0.7)])
order = torch.randperm(6, generator=generator)
moved = dict(planes=[x[order] for x in batch["planes"]], mask=side_mask.view(6, G, -1)[order].flatten(0, 1),
             kept=[k.view(3, 2, 6, -1)[:, :, order].flatten(2) for k in batch["kept"]])
o = dino.options(steps=4, warmup_steps=0, lr=1e-3, freeze_last_layer_steps=1, teacher_warmup_steps=2, momentum=0.9, clip_grad_norm=0.1)
for centring in ("mean", "sinkhorn"):
    run = dict(o, centring=centring)
    a, t = dino.random_network(config, 2).double(), dino.random_network(config, 3).double()
    first = {k: v.clone() for k, v in a.state_dict().items()}
    before = {k: v.clone() for k, v in t.state_dict().items()}
    one = dino.train(a, t, [batch, batch], run)
    two = dino.train(dino.random_network(config, 2).double(), dino.random_network(config, 3).double(), [moved, moved], run)
    for key in one[1]:
        near(f"{centring}: {key} of objects in another order", two[1][key], one[1][key], 1e-9)
    a, t = dino.random_network(config, 2).double(), dino.random_network(config, 3).double()
    dino.train(a, t, [batch], run)
    near("frozen last layer", a.dino_head.last_layer.weight_v, first["dino_head.last_layer.weight_v"], 0)
    near("moving mean", t.state_dict()["dino_head.mlp.2.weight"], 0.9 * before["dino_head.mlp.2.weight"] + 0.1 * a.state_dict()["dino_head.mlp.2.weight"])
finish()
