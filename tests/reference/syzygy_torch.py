# SPDX-License-Identifier: BSD-3-Clause
"""The same science as src/model and src/objectives, written a second time with PyTorch: what the C program is tested against.

Written from the published method (Parker et al. 2024, arXiv:2310.03024; Oquab et al. 2023, arXiv:2304.07193): both towers, pooling heads,
InfoNCE, AdamW, schedule, colour mapping. Nothing here comes from the C sources. The pooling head is PyTorch's own MultiheadAttention,
so the cheap form of the C program is compared with the plain one. Parameters carry the published names; a state_dict() of
`Model` is what a model file holds under parameter/.

    import syzygy_torch as ref
    config = ref.make_config(image=dict(dim=64, depth=2, heads=4), ...)        # published sizes where nothing is said
    model = ref.random_model(config, seed=1)                                    # weights that make embeddings differ
    ref.write_model_file("model.h5", config, model.state_dict())
    image, flux = ref.random_images(8, 2), ref.random_flux(8, 3)                # raw: nanomaggy g, r, z [N,3,152,152]; [N,7781]
    z_image, z_spectrum = model(ref.prepare_images(image, config), flux)
    loss = ref.info_nce(z_image, z_spectrum, 15.5)
    history = ref.train(model, image, flux, steps=6, global_batch=8, ...)       # the loop of `align`, shuffle off

Run as a program: syzygy_torch.py embed MODEL.h5 SHARD.h5 OUT.npz.
"""
import copy
import math
import sys

import h5py
import numpy as np
import torch
import torch.nn.functional as F
import yaml
from torch import nn

PUBLISHED = {
    "image": {"dim": 1024, "depth": 24, "heads": 16, "patch": 12, "size": 144, "tokens": "patches", "layerscale": 1.0e-5},
    "spectrum": {"dim": 768, "depth": 6, "heads": 6, "section": 20, "overlap": 10, "max_tokens": 800},
    "embedding": {"dim": 1024, "heads": 4, "dropout": 0.1},
}
PIXELS = 7781


def make_config(**sections):
    """The published configuration with single keys replaced: make_config(image=dict(dim=64)). Unknown keys raise."""
    config = copy.deepcopy(PUBLISHED)
    for section, keys in sections.items():
        for key, value in keys.items():
            if key not in config[section]:
                raise KeyError(f"{section}.{key}")
            config[section][key] = value
    return config


def small_config(tokens="patches", embedding=32, image_dim=32, spectrum_dim=24, depth=2, dropout=0.0, size=144, section=200, overlap=100):
    """A configuration of a few thousand parameters with every kind of layer. section 200, overlap 100: 76 + 1 tokens."""
    return make_config(
        image=dict(dim=image_dim, depth=depth, heads=4, patch=12 if size % 12 == 0 else 8, size=size, tokens=tokens, layerscale=0.1),
        spectrum=dict(dim=spectrum_dim, depth=depth, heads=3, section=section, overlap=overlap, max_tokens=80),
        embedding=dict(dim=embedding, heads=4, dropout=dropout),
    )


# ------------------------------------------------------------------ inputs


def colour_map(image):
    """[N,3,H,W] nanomaggy in g, r, z -> planes z, r, g in [0, 1] (Legacy Survey viewer; src/sky/README.md "Colour mapping")."""
    scale = torch.tensor([6.0, 3.4, 2.2], dtype=image.dtype).view(1, 3, 1, 1)
    shifted = image * scale + 0.03
    brightness = shifted.clamp(min=0).mean(dim=1, keepdim=True)
    stretch = torch.asinh(20 * brightness) / math.sqrt(20)
    divisor = torch.where(brightness == 0, torch.full_like(brightness, 1e-6), brightness)
    return (shifted * stretch / divisor).clamp(0, 1).flip(1)


def prepare_images(image, config):
    """Raw stamps [N,3,152,152] -> what the network is fed: colour mapping, centre crop."""
    image = torch.as_tensor(image)
    size = config["image"]["size"]
    top, left = (image.shape[2] - size) // 2, (image.shape[3] - size) // 2
    return colour_map(image)[:, :, top : top + size, left : left + size].contiguous()


def random_images(n, seed, size=152):
    """Stamps that differ much from object to object: a few Gaussian blobs with colours, and noise. float32 nanomaggy."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size].astype(np.float64)
    out = rng.normal(0, 0.01, (n, 3, size, size))
    for i in range(n):
        for _ in range(rng.integers(1, 5)):
            cy, cx = rng.uniform(0.2, 0.8, 2) * size
            width = rng.uniform(2, 20)
            profile = np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * width**2))
            out[i] += rng.lognormal(-1.5, 1.0, 3)[:, None, None] * profile
    return out.astype(np.float32)


def random_flux(n, seed, pixels=PIXELS):
    """Spectra that differ much: slope, lines, noise of different strength. float32, 1e-17 erg/s/cm2/Angstrom."""
    rng = np.random.default_rng(seed)
    t = np.linspace(-1, 1, pixels)
    out = np.empty((n, pixels))
    for i in range(n):
        out[i] = rng.normal(3, 3) + rng.normal(0, 2) * t + rng.normal(0, 1) * t**2
        for _ in range(rng.integers(2, 12)):
            centre, width = rng.uniform(-1, 1), rng.uniform(0.0005, 0.02)
            out[i] += rng.normal(0, 8) * np.exp(-((t - centre) ** 2) / (2 * width**2))
        out[i] += rng.normal(0, rng.uniform(0.02, 2), pixels)
    return out.astype(np.float32)


# ------------------------------------------------------------ transformer


def self_attention(x, qkv, projection, heads):
    """softmax(q k^T / sqrt(Dh)) v; rows of the qkv weight are q, then k, then v, each split by head."""
    batch, tokens, dim = x.shape
    q, k, v = qkv(x).reshape(batch, tokens, 3, heads, dim // heads).permute(2, 0, 3, 1, 4)
    weights = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(dim // heads), dim=-1)
    return projection((weights @ v).transpose(1, 2).reshape(batch, tokens, dim))


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        return self_attention(x, self.qkv, self.proj, self.heads)


class LayerScale(nn.Module):
    def __init__(self, dim, initial):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), float(initial)))

    def forward(self, x):
        return x * self.gamma


class ImageMlp(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class ImageBlock(nn.Module):
    def __init__(self, dim, heads, layerscale):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = ImageMlp(dim)
        if layerscale:
            self.ls1 = LayerScale(dim, layerscale)
            self.ls2 = LayerScale(dim, layerscale)
        else:
            self.ls1 = self.ls2 = nn.Identity()

    def forward(self, x):
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class PatchEmbed(nn.Module):
    def __init__(self, dim, patch):
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=patch, stride=patch)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


class ImageBackbone(nn.Module):
    """DINOv2's ViT. tokens 'patches': AstroCLIP's quirk, neither class token nor positions."""

    def __init__(self, c):
        super().__init__()
        self.config = c
        patches = (c["size"] // c["patch"]) ** 2
        self.cls_token = nn.Parameter(torch.zeros(1, 1, c["dim"]))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + patches, c["dim"]))
        self.mask_token = nn.Parameter(torch.zeros(1, c["dim"]))
        self.patch_embed = PatchEmbed(c["dim"], c["patch"])
        self.blocks = nn.ModuleList(ImageBlock(c["dim"], c["heads"], c["layerscale"]) for _ in range(c["depth"]))
        self.norm = nn.LayerNorm(c["dim"], eps=1e-6)

    def positions(self, patches):
        native = self.pos_embed.shape[1] - 1
        if patches == native:
            return self.pos_embed
        side, wanted = math.isqrt(native), math.isqrt(patches)
        factor = (wanted + 0.1) / side
        grid = self.pos_embed[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
        grid = F.interpolate(grid, scale_factor=(factor, factor), mode="bicubic")
        assert grid.shape[-2:] == (wanted, wanted)
        return torch.cat([self.pos_embed[:, :1], grid.permute(0, 2, 3, 1).reshape(1, patches, -1)], dim=1)

    def forward(self, x):
        x = self.patch_embed(x)
        if self.config["tokens"] == "dinov2":
            positions = self.positions(x.shape[1])
            x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1) + positions
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class SpectrumAttention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.attention = nn.Linear(dim, 3 * dim)
        self.projection = nn.Linear(dim, dim)

    def forward(self, x):
        return self_attention(x, self.attention, self.projection, self.heads)


class Mlp(nn.Module):
    def __init__(self, dim, dropout=0.0):
        super().__init__()
        self.encoder = nn.Linear(dim, 4 * dim)
        self.decoder = nn.Linear(4 * dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        return self.dropout(self.decoder(F.gelu(self.encoder(x))))


class SpectrumBlock(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.layernorm1 = nn.LayerNorm(dim, eps=1e-5)
        self.attention = SpectrumAttention(dim, heads)
        self.layernorm2 = nn.LayerNorm(dim, eps=1e-5)
        self.mlp = Mlp(dim)

    def forward(self, x):
        x = x + self.attention(self.layernorm1(x))
        return x + self.mlp(self.layernorm2(x))


class SpectrumBackbone(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.config = c
        self.data_embed = nn.Linear(c["section"] + 2, c["dim"])
        self.position_embed = nn.Embedding(c["max_tokens"], c["dim"])
        self.blocks = nn.ModuleList(SpectrumBlock(c["dim"], c["heads"]) for _ in range(c["depth"]))
        self.final_layernorm = nn.LayerNorm(c["dim"], eps=1e-5)
        self.head = nn.Linear(c["dim"], c["section"] + 2)

    def preprocess(self, flux):
        """[N, pixels] -> [N, T, section + 2]; a section that would run over the end is dropped."""
        mean = flux.mean(dim=1, keepdim=True)
        deviation = flux.std(dim=1, keepdim=True).clamp(min=0.2)
        sections = ((flux - mean) / deviation).unfold(1, self.config["section"], self.config["section"] - self.config["overlap"])
        tokens = F.pad(sections, (2, 0, 1, 0))
        tokens[:, 0, 0] = (mean[:, 0] - 2) / 2
        tokens[:, 0, 1] = (deviation[:, 0] - 2) / 8
        return tokens

    def forward(self, flux):
        x = self.preprocess(flux)
        x = self.data_embed(x) + self.position_embed.weight[: x.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.final_layernorm(x)

    def reconstruct(self, flux):
        return self.head(self.forward(flux))


# ---------------------------------------------------------- pooling heads


class CrossAttention(nn.Module):
    """One learned query attends to the tokens; PyTorch's own multi-head attention."""

    def __init__(self, width, e):
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, 1, e["dim"]))
        self.multihead_attn = nn.MultiheadAttention(e["dim"], e["heads"], batch_first=True, kdim=width, vdim=width)
        self.dropout = nn.Dropout(e["dropout"])
        self.layernorm = nn.LayerNorm(e["dim"], eps=1e-5)

    def forward(self, tokens):
        query = self.query.expand(tokens.shape[0], -1, -1)
        pooled = self.multihead_attn(query, tokens, tokens, need_weights=False)[0]
        return self.layernorm(self.dropout(pooled))[:, 0]


class Tower(nn.Module):
    def __init__(self, backbone, width, e, is_residual):
        super().__init__()
        self.backbone = backbone
        self.cross_attention = CrossAttention(width, e)
        self.mlp = Mlp(e["dim"], e["dropout"])
        self.is_residual = is_residual

    def head(self, tokens):
        z = self.cross_attention(tokens)
        return z + self.mlp(z) if self.is_residual else self.mlp(z)  # the published towers differ in this

    def forward(self, x):
        return self.head(self.backbone(x))


class Model(nn.Module):
    """Both towers; names as in the published checkpoint."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.image_encoder = Tower(ImageBackbone(config["image"]), config["image"]["dim"], config["embedding"], False)
        self.spectrum_encoder = Tower(SpectrumBackbone(config["spectrum"]), config["spectrum"]["dim"], config["embedding"], True)

    def forward(self, planes, flux):
        return self.image_encoder(planes), self.spectrum_encoder(flux)


def random_model(config, seed, strength=1.0):
    """Weights for tests: nothing is near zero or one, so no term of any layer can hide (LayerScale is of order 0.5, not 1e-5)."""
    generator = torch.Generator().manual_seed(seed)
    model = Model(config)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            last = name.rsplit(".", 1)[-1]
            if name.endswith("gamma"):
                p.copy_(0.5 + 0.1 * noise)
            elif "norm" in name:
                p.copy_(noise * 0.1 + (1.0 if last == "weight" else 0.0))
            elif last in ("cls_token", "pos_embed", "mask_token") or "position_embed" in name:
                p.copy_(0.3 * noise)
            elif last == "query":
                p.copy_(noise)
            elif p.dim() == 1:
                p.copy_(0.1 * noise)
            else:
                p.copy_(noise * strength / math.sqrt(p[0].numel()))
            if "q_proj" in name or "k_proj" in name or name.endswith("in_proj_weight"):
                p.mul_(2.0)  # attention far from a plain mean
    return model.eval()


# -------------------------------------------------- objective and training


def info_nce(z_image, z_spectrum, scale):
    """Symmetric cross-entropy over the whole batch; the two directions' mean. Embeddings normalised with eps 1e-3."""
    a = F.normalize(z_image, dim=-1, eps=1e-3)
    b = F.normalize(z_spectrum, dim=-1, eps=1e-3)
    logits = scale * a @ b.T
    target = torch.arange(len(a))
    return 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))


def learning_rate(step, lr, lr_min, warmup_steps, steps):
    """Step counts from 0: linear from 0 over the warm-up, then cosine from lr to lr_min at `steps`."""
    if step < warmup_steps:
        return lr * step / warmup_steps
    if step >= steps:
        return lr_min
    return lr_min + 0.5 * (lr - lr_min) * (1 + math.cos(math.pi * (step - warmup_steps) / (steps - warmup_steps)))


def train(model, image, flux, steps, global_batch, lr=1e-4, lr_min=2e-7, warmup_steps=0, total_steps=None, weight_decay=0.05, clip_grad_norm=1.0,
          logit_scale=15.5, learn_logit_scale=False, freeze_backbones=False, rate=learning_rate):
    """The loop of `align` with data.shuffle off: step s takes objects [s B, (s+1) B) modulo N. Raw stamps and flux.

    Returns a list of dicts: loss, lr, grad_norm (before clipping), scale. The model must have dropout 0 to be comparable.
    A parameter without gradient (class token in mode patches, mask token, the spectrum `head`) is left alone by AdamW: not even decayed.
    """
    dtype = next(model.parameters()).dtype
    planes = prepare_images(torch.as_tensor(image), model.config).to(dtype)
    flux = torch.as_tensor(flux).to(dtype)
    model.train()
    for tower in (model.image_encoder, model.spectrum_encoder):
        tower.backbone.requires_grad_(not freeze_backbones)
    parameters = [p for p in model.parameters() if p.requires_grad]
    log_scale = torch.tensor(math.log(logit_scale), dtype=dtype, requires_grad=learn_logit_scale)
    if learn_logit_scale:
        parameters.append(log_scale)
    optimiser = torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=weight_decay)
    history = []
    for step in range(steps):
        rows = [(step * global_batch + place) % len(flux) for place in range(global_batch)]
        now = rate(step, lr, lr_min, warmup_steps, total_steps if total_steps is not None else steps)
        for group in optimiser.param_groups:
            group["lr"] = now
        optimiser.zero_grad(set_to_none=True)
        loss = info_nce(*model(planes[rows], flux[rows]), log_scale.exp())
        loss.backward()
        used = [p for p in parameters if p.grad is not None]
        norm = torch.nn.utils.clip_grad_norm_(used, clip_grad_norm if clip_grad_norm > 0 else math.inf)
        optimiser.step()
        history.append({"loss": float(loss), "lr": now, "grad_norm": float(norm), "scale": float(log_scale.exp())})
    model.eval()
    return history


# -------------------------------------------------------------- model file


def write_model_file(path, config, state, **attributes):
    """A model file (src/data/README.md "Models"), as anybody would write it with h5py (string attributes of variable length, no checksums)."""
    with h5py.File(path, "w") as f:
        f.attrs["syzygy_format"] = "model"
        f.attrs["format_version"] = 1
        f.attrs["model_config"] = yaml.safe_dump({"model": config}, sort_keys=False)
        for key, value in attributes.items():
            f.attrs[key] = value
        for name, value in state.items():
            f["parameter/" + name] = torch.as_tensor(value).detach().float().numpy()


def text_attribute(f, name):
    value = f.attrs[name]
    return value.decode() if isinstance(value, bytes) else str(value)


def read_model_file(path):
    """(config, {name: float32 tensor}) of a model file; keys that are not given have published values."""
    with h5py.File(path, "r") as f:
        given = yaml.load(text_attribute(f, "model_config"), Loader=yaml.SafeLoader)["model"]
        names = []
        f["parameter"].visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        state = {name: torch.from_numpy(np.array(f["parameter"][name], dtype=np.float32)) for name in names}
    # YAML 1.1 reads 1e-05 (no dot) as text.
    config = make_config(**{s: {k: float(v) if k in ("layerscale", "dropout") else v for k, v in keys.items()} for s, keys in given.items()})
    return config, state


def load_model(path):
    config, state = read_model_file(path)
    model = Model(config)
    missing, unexpected = model.load_state_dict(state, strict=False)
    prefixes = {name.split(".")[0] for name in state}
    missing = [name for name in missing if name.split(".")[0] in prefixes]
    if missing or unexpected:
        raise ValueError(f"{path}: missing {missing}, unexpected {unexpected}")
    return model.eval()


# -------------------------------------------------------------- comparison


def cosines(a, b, about_mean=False):
    """Cosine of each row of a with the same row of b, in float64; about the mean of b if asked for."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if about_mean:
        centre = b.mean(axis=0)
        a, b = a - centre, b - centre
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@torch.no_grad()
def embed(model, image, flux, batch=16):
    """Embeddings [N,E] of raw stamps and spectra as float32 arrays."""
    out = [], []
    for i in range(0, len(flux), batch):
        planes = prepare_images(torch.as_tensor(image[i : i + batch]), model.config)
        for part, z in zip(out, model(planes, torch.as_tensor(flux[i : i + batch]))):
            part.append(z.numpy())
    return np.concatenate(out[0]), np.concatenate(out[1])


def main(arguments):
    if len(arguments) != 4 or arguments[0] != "embed":
        sys.exit(__doc__)
    model = load_model(arguments[1])
    with h5py.File(arguments[2], "r") as f:
        image, flux = np.asarray(f["image"], np.float32), np.asarray(f["spectrum"], np.float32)
    z_image, z_spectrum = embed(model, image, flux)
    np.savez(arguments[3], image_embedding=z_image, spectrum_embedding=z_spectrum)


if __name__ == "__main__":
    main(sys.argv[1:])
