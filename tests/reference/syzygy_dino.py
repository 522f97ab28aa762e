# SPDX-License-Identifier: BSD-3-Clause
"""DINOv2's training of the image tower a second time, with PyTorch's autograd and AdamW: what `pretrain-image` is tested against.

Written from Oquab et al. 2023 (arXiv:2304.07193), Caron et al. 2021 (arXiv:2104.14294), Zhou et al. 2022 (arXiv:2111.07832), Darcet et al. 2024
(arXiv:2309.16588) and src/model/README.md "DINOv2 pretraining"; nothing here comes from the C sources. What is random (crops, masks, which crops a
branch of a block keeps) is given, so that a run of the program can be repeated. Everything is of the global batch; `dtype` float64 makes it the
arbiter of float32.

    import syzygy_dino as dino
    config = dino.make_config(image=dict(dim=32, depth=3, heads=4, size=72, layerscale=0.5), dino=dict(hidden=48, bottleneck=16, prototypes=1500))
    student = dino.random_network(config, seed=1)                    # weights that hide no term of any layer
    dino.write_model_file("start.h5", student)                       # a model file of ours; dino.load_network reads one
    history = dino.train(student, teacher, inputs, dino.options(steps=3, lr=1e-3))

`inputs[step]` is a dictionary: planes [global [B,G,3,s,s], local [B,L,3,s,s]], mask [B G, patches] (1 = masked), kept [global [depth,2,B G], local
[depth,2,B L]] (1 = the branch computes this crop). Crops of an object lie one after another, as in model.h.
"""
import copy
import math

import h5py
import numpy as np
import torch
import torch.nn.functional as F
import yaml
from torch import nn

import syzygy_torch as ref

PUBLISHED_DINO = {"layers": 3, "hidden": 2048, "bottleneck": 256, "prototypes": 65536, "ibot_head": "shared"}
GROUPS = ("backbone", "dino_head", "ibot_head")


def make_config(image=None, dino=None):
    """The published configuration with single keys replaced; tokens are dinov2's. Unknown keys raise."""
    image = dict(image or {})
    registers = image.pop("registers", 0)
    config = ref.make_config(image=dict(image, tokens="dinov2"))
    config["image"]["registers"] = registers
    config["dino"] = dict(PUBLISHED_DINO)
    for key, value in (dino or {}).items():
        if key not in config["dino"]:
            raise KeyError(f"dino.{key}")
        config["dino"][key] = value
    return config


# Published values (src/model/README.md "DINOv2 pretraining"); schedules count in steps here.
OPTIONS = dict(
    steps=250000, warmup_steps=12500, lr=2e-4, lr_min=1e-6, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.001, weight_decay_end=0.01, clip_grad_norm=3.0,
    drop_rate=0.3, dino_weight=1.0, ibot_weight=1.0, koleo_weight=0.1, centring="mean", sinkhorn_iterations=3, centre_momentum=0.9, student_temperature=0.1,
    teacher_temperature_start=0.04, teacher_temperature=0.07, teacher_warmup_steps=37500, momentum=0.992, momentum_end=1.0, layer_decay=0.9,
    patch_lr_factor=0.2, freeze_last_layer_steps=1250)


def options(**changed):
    unknown = set(changed) - set(OPTIONS)
    if unknown:
        raise KeyError(", ".join(sorted(unknown)))
    return dict(OPTIONS, **changed)


# ----------------------------------------------------------------- network


class Backbone(nn.Module):
    """DINOv2's ViT: [class, registers, patches] tokens of a crop of any size, after the final norm."""

    def __init__(self, c):
        super().__init__()
        self.patch, self.registers = c["patch"], c.get("registers", 0)
        side = c["size"] // c["patch"]
        self.cls_token = nn.Parameter(torch.zeros(1, 1, c["dim"]))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + side * side, c["dim"]))
        if self.registers:
            self.register_tokens = nn.Parameter(torch.zeros(1, self.registers, c["dim"]))
        self.mask_token = nn.Parameter(torch.zeros(1, c["dim"]))
        self.patch_embed = ref.PatchEmbed(c["dim"], c["patch"])
        self.blocks = nn.ModuleList(ref.ImageBlock(c["dim"], c["heads"], c["layerscale"]) for _ in range(c["depth"]))
        self.norm = nn.LayerNorm(c["dim"], eps=1e-6)

    def positions(self, side):
        """The table on a side x side grid: bicubic, scale factor (n + 0.1) / N; the table itself when it has that size."""
        native = math.isqrt(self.pos_embed.shape[1] - 1)
        if side == native:
            return self.pos_embed
        grid = self.pos_embed[:, 1:].reshape(1, native, native, -1).permute(0, 3, 1, 2)
        factor = (side + 0.1) / native
        grid = F.interpolate(grid, scale_factor=(factor, factor), mode="bicubic")
        if grid.shape[-2:] != (side, side):
            raise ValueError(f"positions of {native} x {native} patches became {tuple(grid.shape[-2:])}, not {side} x {side}")
        return torch.cat([self.pos_embed[:, :1], grid.permute(0, 2, 3, 1).reshape(1, side * side, -1)], dim=1)

    def forward(self, planes, mask=None, kept=None, rate=0.0):
        """planes [N,3,s,s] -> [N, 1 + R + P, D]. mask [N,P]. kept [depth,2,N]: stochastic depth, branches of what is kept scaled by 1 / (1 - rate)."""
        x = self.patch_embed(planes)
        if mask is not None:
            x = torch.where(mask.bool().unsqueeze(-1), self.mask_token.to(x.dtype).unsqueeze(0), x)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.positions(planes.shape[-1] // self.patch)
        if self.registers:  # registers have no position
            x = torch.cat([x[:, :1], self.register_tokens.expand(len(x), -1, -1), x[:, 1:]], dim=1)
        for i, block in enumerate(self.blocks):
            for branch, f in enumerate((lambda y: block.ls1(block.attn(block.norm1(y))), lambda y: block.ls2(block.mlp(block.norm2(y))))):
                if kept is None:
                    x = x + f(x)
                    continue
                chosen = torch.nonzero(kept[i][branch]).flatten()
                if len(chosen):
                    x = torch.index_add(x, 0, chosen, f(x[chosen]).to(x.dtype), alpha=1 / (1 - rate))
        return self.norm(x)


class LastLayer(nn.Module):
    """Prototypes, weight-normalised: rows of weight_v at unit length. weight_g is the gain, fixed at 1."""

    def __init__(self, bottleneck, prototypes):
        super().__init__()
        self.weight_g = nn.Parameter(torch.ones(prototypes, 1), requires_grad=False)
        self.weight_v = nn.Parameter(torch.empty(prototypes, bottleneck))
        nn.init.uniform_(self.weight_v, -1 / math.sqrt(bottleneck), 1 / math.sqrt(bottleneck))

    def forward(self, z):
        return F.linear(z, self.weight_g * self.weight_v / self.weight_v.norm(dim=1, keepdim=True))


class Head(nn.Module):
    """MLP, unit length, prototypes. `mlp` has the published numbers: linear layers 0, 2, 4 with GELU between them; a single layer has none."""

    def __init__(self, dim, d):
        super().__init__()
        widths = [dim] + [d["hidden"]] * (d["layers"] - 1) + [d["bottleneck"]]
        layers = []
        for i in range(d["layers"]):
            layers += ([nn.GELU()] if i else []) + [nn.Linear(widths[i], widths[i + 1])]
        self.mlp = nn.Sequential(*layers)
        self.last_layer = LastLayer(d["bottleneck"], d["prototypes"])

    def bottleneck(self, x):
        return F.normalize(self.mlp(x), dim=-1, eps=1e-12)

    def forward(self, x):
        return self.last_layer(self.bottleneck(x))


class Encoder(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.backbone = Backbone(c)


class Network(nn.Module):
    """Student or teacher; state_dict() is what a model file holds under parameter/."""

    def __init__(self, config):
        super().__init__()
        self.config = copy.deepcopy(config)
        self.image_encoder = Encoder(config["image"])
        self.dino_head = Head(config["image"]["dim"], config["dino"])
        if config["dino"]["ibot_head"] == "separate":
            self.ibot_head = Head(config["image"]["dim"], config["dino"])

    @property
    def backbone(self):
        return self.image_encoder.backbone

    @property
    def patch_head(self):
        return self.ibot_head if self.config["dino"]["ibot_head"] == "separate" else self.dino_head

    def groups(self):
        """{group: {name in the group: parameter}} of what trains, in the groups whose gradients are clipped together."""
        out = {name: dict(module.named_parameters()) for name, module in
               (("backbone", self.backbone), ("dino_head", self.dino_head), ("ibot_head", getattr(self, "ibot_head", None))) if module is not None}
        return {group: {n: p for n, p in named.items() if p.requires_grad} for group, named in out.items()}


def random_network(config, seed, strength=1.0):
    """Weights for tests: nothing is near zero or one, so no term of any layer can hide (LayerScale of order 0.5, prototypes of different length)."""
    generator = torch.Generator().manual_seed(seed)
    network = Network(config)
    with torch.no_grad():
        for name, p in network.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            last = name.rsplit(".", 1)[-1]
            if last == "weight_g":
                continue
            if last == "gamma":
                p.copy_(0.5 + 0.1 * noise)
            elif "norm" in name:
                p.copy_(noise * 0.1 + (1.0 if last == "weight" else 0.0))
            elif last in ("cls_token", "pos_embed", "mask_token", "register_tokens"):
                p.copy_(0.3 * noise)
            elif p.dim() == 1:
                p.copy_(0.1 * noise)
            else:
                p.copy_(noise * strength / math.sqrt(p[0].numel()))
            if last == "weight_v":
                p.mul_(torch.rand(len(p), 1, generator=generator) + 0.5)
    return network


def published_network(config, seed):
    """DINOv2's own initial weights: truncated normal 0.02 on linear layers and positions, LayerScale at its initial value, mask token zero."""
    torch.manual_seed(seed)
    network = Network(config)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(network.backbone.pos_embed, std=0.02)
        nn.init.normal_(network.backbone.cls_token, std=1e-6)
        if network.backbone.registers:
            nn.init.normal_(network.backbone.register_tokens, std=1e-6)
    return network


# ------------------------------------------------------------------ losses


def cross_entropy(logits, target, temperature):
    """-sum_k target_k log softmax(logits / temperature)_k of each row; rows of target need not sum to one."""
    return -(target * F.log_softmax(logits / temperature, dim=-1)).sum(-1)


def dino_losses(student_global, student_local, target, temperature):
    """(global, local) terms. student_global [B,G,K], student_local [B,L,K] logits, target [B,G,K] distributions of the teacher's global crops.

    Every student crop against every teacher crop but its own, mean over the batch; both sums are divided by the number of all pairs.
    """
    crops, local = student_global.shape[1], student_local.shape[1]
    pairs = crops * (crops - 1) + max(local * crops, 1)  # the published code counts one local pair even without local crops
    everything = target.sum(1)
    term_global = sum(cross_entropy(s, everything - t, temperature).mean() for s, t in zip(student_global.unbind(1), target.unbind(1)))
    term_local = sum((cross_entropy(s, everything, temperature).mean() for s in student_local.unbind(1)), student_global.new_zeros(()))
    return term_global / pairs, term_local / pairs


def ibot_loss(student, target, mask, temperature):
    """student [M,K] logits and target [M,K] of the masked patches in order, mask [C,P] of all global crops: each crop's patches weigh 1 / how many it has."""
    count = mask.sum(1, keepdim=True).clamp(min=1)
    weight = (1 / count.to(student.dtype)).expand(mask.shape)[mask.bool()]
    return (cross_entropy(student, target, temperature) * weight).sum() / len(mask)


def koleo_loss(x, eps=1e-8):
    """-mean log(distance to the nearest neighbour + eps) of the unit vectors of rows x [N,D]; 0 for a single row."""
    if len(x) < 2:
        return x.sum() * 0
    y = F.normalize(x, dim=-1, eps=eps)
    with torch.no_grad():
        dots = y @ y.T
        dots.fill_diagonal_(-2)
        nearest = dots.argmax(1)
    return -torch.log((y - y[nearest]).norm(dim=1) + eps).mean()


@torch.no_grad()
def sinkhorn_knopp(logits, temperature, iterations):
    """Rows sum to one, prototypes have nearly equal shares. As published, except that the largest exponent is 0 so that none overflows."""
    q = torch.exp((logits - logits.max()) / temperature)
    q = q / q.sum()
    rows, prototypes = q.shape
    for _ in range(iterations):
        q = q / q.sum(0, keepdim=True) / prototypes
        q = q / q.sum(1, keepdim=True) / rows
    return q * rows


class Centre:
    """Teacher logits to targets: a moving mean subtracted, or Sinkhorn-Knopp. One for class tokens, one for masked patches."""

    def __init__(self, prototypes, o, dtype):
        self.options, self.centre = o, torch.zeros(prototypes, dtype=dtype)

    @torch.no_grad()
    def targets(self, logits, temperature):
        if self.options["centring"] == "sinkhorn":
            return sinkhorn_knopp(logits, temperature, self.options["sinkhorn_iterations"])
        target = torch.softmax((logits - self.centre) / temperature, dim=-1)
        m = self.options["centre_momentum"]
        self.centre = self.centre * m + logits.mean(0) * (1 - m)  # of use to the next step
        return target


def entropy(p):
    return -(p * torch.log(p.clamp(min=1e-300))).sum(-1)


def forward(student, teacher, batch, o, centres, temperature):
    """All terms of a step of the global batch: {"loss": ..., ...} tensors."""
    planes, local = batch["planes"]
    objects, crops = planes.shape[:2]
    locals_ = local.shape[1] if local is not None else 0
    planes, mask = planes.flatten(0, 1), batch["mask"]
    masked = mask.bool()
    first = 1 + student.backbone.registers
    with torch.no_grad():
        seen = teacher.backbone(planes)
        logits = teacher.dino_head(seen[:, 0])
        target = centres[0].targets(logits, temperature).view(objects, crops, -1)
        patch_target = centres[1].targets(teacher.patch_head(seen[:, first:][masked]), temperature) if masked.any() else None
    rate = o["drop_rate"]
    kept = batch["kept"] if rate > 0 else [None, None]
    x = student.backbone(planes, mask, kept[0], rate)
    student_global = student.dino_head(x[:, 0]).view(objects, crops, -1)
    if locals_:
        y = student.backbone(local.flatten(0, 1), None, kept[1], rate)
        student_local = student.dino_head(y[:, 0]).view(objects, locals_, -1)
    else:
        student_local = student_global[:, :0]
    out = {}
    out["dino_global"], out["dino_local"] = dino_losses(student_global, student_local, target, o["student_temperature"])
    if patch_target is not None:
        # x 1/2 (share of a crop) x 2 (both crops at once), as the published code has it: a factor of one for any number of crops.
        out["ibot"] = ibot_loss(student.patch_head(x[:, first:][masked]), patch_target, mask, o["student_temperature"])
    else:
        out["ibot"] = x.sum() * 0
    tokens = x[:, 0].view(objects, crops, -1)
    out["koleo"] = sum(koleo_loss(tokens[:, c]) for c in range(crops))  # never between crops of the same object
    out["loss"] = o["dino_weight"] * (out["dino_global"] + out["dino_local"]) + o["ibot_weight"] * out["ibot"] + o["koleo_weight"] * out["koleo"]
    with torch.no_grad():
        out["target_entropy"], out["mean_target_entropy"] = entropy(target).mean(), entropy(target.mean((0, 1)))
        if patch_target is not None:
            out["target_entropy_patch"], out["mean_target_entropy_patch"] = entropy(patch_target).mean(), entropy(patch_target.mean(0))
        unit = F.normalize(tokens, dim=-1, eps=1e-8)
        out["embedding_spread"] = (unit - unit.mean(0)).square().sum(-1).mean(0).sqrt().mean()
    return out


# --------------------------------------------------------------- optimiser


def cosine(step, start, end, steps):
    """Half a cosine from start to end."""
    return end + 0.5 * (start - end) * (1 + math.cos(math.pi * min(step / steps, 1)))


def ramp(step, start, end, steps):
    return start + (end - start) * min(step / steps, 1) if steps else end


def rule(group, name, depth, o):
    """(factor of the learning rate, factor of the weight decay, whether it is the last layer) of a parameter."""
    factor = 1.0
    if group == "backbone":
        if name.startswith("blocks."):
            factor = o["layer_decay"] ** (depth - int(name.split(".")[1]))
        elif not name.startswith("norm."):
            factor = o["layer_decay"] ** (depth + 1)
        if name.startswith("patch_embed."):
            factor *= o["patch_lr_factor"]
    is_bare = name.endswith(".bias") or "norm" in name or "gamma" in name
    return factor, 0.0 if is_bare else 1.0, "last_layer" in name


def make_optimiser(student, o):
    depth = len(student.backbone.blocks)
    groups = [dict(params=[p], rule=rule(group, name, depth, o)) for group, named in student.groups().items() for name, p in named.items()]
    return torch.optim.AdamW(groups, lr=1.0, betas=(o["beta1"], o["beta2"]), eps=o["eps"])


def clip(student, limit):
    """Gradient norms of the groups before they are clipped, each to `limit` (0: not at all). A parameter that no term touched has gradient zero."""
    norms = {}
    for group, named in student.groups().items():
        for p in named.values():
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        norms[group] = float(torch.nn.utils.clip_grad_norm_(named.values(), limit if limit > 0 else math.inf))
    return norms


def apply_schedules(optimiser, step, o):
    lr = ref.learning_rate(step, o["lr"], o["lr_min"], o["warmup_steps"], o["steps"])
    decay = cosine(step, o["weight_decay"], o["weight_decay_end"], o["steps"])
    for group in optimiser.param_groups:
        factor, decay_factor, is_last = group["rule"]
        group["lr"] = 0.0 if is_last and step < o["freeze_last_layer_steps"] else lr * factor
        group["weight_decay"] = decay * decay_factor
    return lr, decay


@torch.no_grad()
def update_teacher(teacher, student, momentum):
    for t, s in zip(teacher.parameters(), student.parameters()):
        t.mul_(momentum).add_(s, alpha=1 - momentum)


def train(student, teacher, inputs, o):
    """Steps 0 .. len(inputs)-1; both networks change. A list of dictionaries of numbers, one per step."""
    dtype = next(student.parameters()).dtype
    teacher.requires_grad_(False)
    optimiser = make_optimiser(student, o)
    centres = [Centre(student.config["dino"]["prototypes"], o, dtype) for _ in range(2)]
    history = []
    for step, batch in enumerate(inputs):
        batch = dict(batch, planes=[None if x is None else torch.as_tensor(x).to(dtype) for x in batch["planes"]], mask=torch.as_tensor(batch["mask"]),
                     kept=[None if k is None else torch.as_tensor(k) for k in batch["kept"]])
        lr, decay = apply_schedules(optimiser, step, o)
        temperature = ramp(step, o["teacher_temperature_start"], o["teacher_temperature"], o["teacher_warmup_steps"])
        optimiser.zero_grad(set_to_none=True)
        terms = forward(student, teacher, batch, o, centres, temperature)
        terms["loss"].backward()
        norms = clip(student, o["clip_grad_norm"])
        optimiser.step()
        momentum = cosine(step, o["momentum"], o["momentum_end"], o["steps"])
        update_teacher(teacher, student, momentum)
        line = {key: float(value) for key, value in terms.items()}
        line.update({f"grad_norm_{group}": norm for group, norm in norms.items()})
        line.update(step=step, lr=lr, weight_decay=decay, momentum=momentum, teacher_temperature=temperature,
                    grad_norm=math.sqrt(sum(norm**2 for norm in norms.values())))
        history.append(line)
    return history


# -------------------------------------------------------------- model file


def write_model_file(path, network):
    """A model file of a backbone and its projection heads, as anybody would write it with h5py."""
    ref.write_model_file(path, network.config, network.state_dict())


def load_network(path):
    """Network of a model file with at least a backbone and dino_head. Unknown or missing parameters raise."""
    with h5py.File(path, "r") as f:
        given = yaml.safe_load(ref.text_attribute(f, "model_config"))["model"]
        names = []
        f["parameter"].visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        state = {name: torch.from_numpy(np.array(f["parameter"][name], dtype=np.float32)) for name in names}
    image = {k: float(v) if k == "layerscale" else v for k, v in given.get("image", {}).items() if k != "tokens"}
    network = Network(make_config(image, given.get("dino")))
    network.load_state_dict(state)
    return network


def read_inputs(path):
    """What tests/train/dino_driver.c wrote: one entry per step for train()."""
    with h5py.File(path, "r") as f:
        steps = sorted((name for name in f if name.startswith("step-")), key=lambda name: int(name[5:]))
        return [dict(planes=[f[name][key][...] if key in f[name] else None for key in ("global", "local")], mask=f[name]["mask"][...],
                     kept=[f[name][key][...] if key in f[name] else None for key in ("kept_global", "kept_local")],
                     index=f[name]["index"][...]) for name in steps]
