# SPDX-License-Identifier: BSD-3-Clause
"""`pretrain-spectrum` against PyTorch and NumPy, with the program's own masks: five steps of AdamW (losses 1e-5, gradient norms, weights), published and
with inverse variances as weights and bad pixels hidden; the figures of a validation and reconstruction.h5, interpolation by numpy.interp."""
import math

from masked_common import *

import syzygy_torch as ref
import torch

torch.set_num_threads(1)
STEPS, BATCH = 5, 10
OPTIONS = dict(lr=2e-3, lr_min=2e-5, warmup_steps=2, weight_decay=0.1)


class Reference:
    """Masked modelling as src/model/README.md "Masked modelling" and the program's options define it."""

    def __init__(self, config, flux, ivar, weighs, hides):
        self.c = config["spectrum"]
        self.step = self.c["section"] - self.c["overlap"]
        self.weighs, self.hides = weighs, hides
        good = ivar > 0 if hides else np.ones(flux.shape, bool)
        x = flux.astype(np.float64)
        self.mean = np.array([a[g].mean() for a, g in zip(x, good)])
        self.deviation = np.array([max(a[g].std(ddof=1), 0.2) for a, g in zip(x, good)])
        self.normal = (x - self.mean[:, None]) / self.deviation[:, None]
        self.good = good
        self.starts = np.arange(0, PIXELS - self.c["section"] + 1, self.step)
        relative_ivar = np.stack([v / v[v > 0].mean() for v in ivar.astype(np.float64)]) if weighs else np.ones(flux.shape)
        self.ivar = ivar
        self.pieces = self.sections(np.where(good, self.normal, 0))
        self.pieces[:, 0, 0], self.pieces[:, 0, 1] = (self.mean - 2) / 2, (self.deviation - 2) / 8
        self.weight = self.sections(relative_ivar)
        self.weight[:, 0, :2] = 1

    def sections(self, x):
        """[N, pixels] -> [N, T, section + 2], zeros in front."""
        out = np.zeros((len(x), len(self.starts) + 1, self.c["section"] + 2))
        for t, s in enumerate(self.starts):
            out[:, t + 1, 2:] = x[:, s : s + self.c["section"]]
        return out

    def loss(self, backbone, rows, mask):
        """Mean over the scored numbers of spectra `rows` with masks [n, T]; a torch scalar, and how many numbers."""
        target = torch.as_tensor(self.pieces[rows].astype(np.float32))
        hidden = torch.as_tensor(mask)
        seen = torch.where(hidden[:, :, None], torch.zeros_like(target), target)
        x = backbone.data_embed(seen) + backbone.position_embed.weight[: target.shape[1]]
        for block in backbone.blocks:
            x = block(x)
        found = backbone.head(backbone.final_layernorm(x))
        weight = torch.as_tensor(self.weight[rows]) * (seen != target)
        return (weight * (found.double() - target) ** 2).sum() / weight.sum(), int((weight > 0).sum())

    def unseen(self, mask):
        """[n, pixels]: in no section that is seen."""
        out = np.ones((len(mask), PIXELS), bool)
        for i, m in enumerate(mask):
            for t, s in enumerate(self.starts):
                if not m[t + 1]:
                    out[i, s : s + self.c["section"]] = False
        return out

    def interpolated(self, rows, mask):
        """Normalised units; pixels that are seen as they are."""
        out = []
        for i, unseen in zip(rows, self.unseen(mask)):
            usable = ~unseen & self.good[i]
            line = np.interp(np.arange(PIXELS), np.flatnonzero(usable), self.normal[i][usable])
            out.append(np.where(unseen, line, self.normal[i]))
        return np.array(out)

    def pixel_figures(self, rows, mask, value):
        """Weighted mean square of value - truth over the scored pixels (in all masked sections that have them), and of the noise."""
        scored = self.weight[rows] * mask[:, :, None] * (self.pieces[rows] != 0)
        scored[:, 0] = 0
        difference = self.sections(value) - self.pieces[rows]
        with np.errstate(divide="ignore"):
            noise = self.sections(np.where(self.ivar[rows] > 0, 1 / self.ivar[rows], 0) / self.deviation[rows, None] ** 2)
        return (scored * difference**2).sum() / scored.sum(), (scored * noise).sum() / scored.sum()


def train(model, data, mask, spoil=1.0):
    backbone = model.spectrum_encoder.backbone.train()
    parameters = list(backbone.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=OPTIONS["lr"], betas=(0.9, 0.95), eps=1e-8, weight_decay=OPTIONS["weight_decay"])
    history = []
    for step in range(STEPS):
        rows = [(step * BATCH + place) % len(data.pieces) for place in range(BATCH)]
        for group in optimiser.param_groups:
            group["lr"] = spoil * ref.learning_rate(step, OPTIONS["lr"], OPTIONS["lr_min"], OPTIONS["warmup_steps"], STEPS)
        optimiser.zero_grad(set_to_none=True)
        loss, numbers = data.loss(backbone, rows, mask[step])
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        history.append({"loss": float(loss), "grad_norm": float(norm), "masked_numbers": numbers})
    return history


def worst(mine, history, key):
    return max(abs(m[key] - h[key]) / abs(h[key]) for m, h in zip(mine, history))


def steps(work, flux, ivar, config):
    before = {k: v.clone() for k, v in ref.random_model(config, seed=3).state_dict().items()}
    backbone = "spectrum_encoder.backbone."
    ref.write_model_file(f"{work}/start.h5", config, {k: v for k, v in before.items() if k.startswith("spectrum_encoder.")})  # with a pooling head
    mask = masks(work, 77, 0, STEPS, BATCH)
    check((mask.sum(2) == RUNS * WIDTH).all(), "every mask has as many tokens as it should")
    for label, weighs, hides, ranks, keys in [
            ("published", False, False, (1, 3), {}),
            ("ivar", True, True, (3,), dict(masked__ivar_weighted="true", masked__bad_pixels="hidden")),
            ("hidden", False, True, (1,), dict(masked__bad_pixels="hidden", train__micro_batch=1))]:
        data = Reference(config, flux, ivar, weighs, hides)
        model = ref.random_model(config, seed=3)
        history, spoilt = train(model, data, mask), train(ref.random_model(config, seed=3), data, mask, spoil=1.01)
        after = {k: v for k, v in model.state_dict().items() if k.startswith(backbone)}
        moved = math.sqrt(sum(float(((after[k] - before[k]).double() ** 2).sum()) for k in after))
        print(label, "losses", [round(h["loss"], 6) for h in history], flush=True)
        for n in ranks:
            code, text = run(n, command_line(work, f"{label}-{n}", model__file=f"{work}/start.h5", data__shuffle="false", data__split="all",
                                             train__steps=STEPS, train__validate_objects=0, **keys))
            check(code == 0, f"{label}, {n} ranks end with {code}")
            if code:
                print(text)
                continue
            mine = metrics(f"{work}/{label}-{n}")
            check(len(mine) == STEPS and [m["masked_numbers"] for m in mine] == [h["masked_numbers"] for h in history], f"{label}, {n} ranks: the same numbers are scored")
            difference = worst(mine, history, "loss")
            check(difference < 1e-5, f"{label}, {n} ranks: losses differ by {difference:.1e} relative (1e-5)")
            difference = worst(mine, history, "grad_norm")
            check(difference < 1e-4, f"{label}, {n} ranks: gradient norms differ by {difference:.1e} relative (1e-4)")
            with h5py.File(f"{work}/{label}-{n}/model.h5") as f:
                names = set()
                f["parameter"].visititems(lambda k, v: names.add(k) if isinstance(v, h5py.Dataset) else None)
                check(names == set(after), f"{len(names)} parameters, the backbone's")
                off = math.sqrt(sum(float(((torch.as_tensor(f["parameter/" + k][()]) - after[k]).double() ** 2).sum()) for k in after))
            check(off / moved < 0.02, f"{label}, {n} ranks: weights are off by {off / moved:.1e} of the way they went (2e-2)")
        check(worst(spoilt, history, "loss") > 1e-4, f"the tolerance sees a learning rate 1 % larger ({worst(spoilt, history, 'loss'):.1e})")


def figures_of(work, flux, ivar, config, label, weighs, hides, keys):
    """The validation of step 20 against the same figures in NumPy, with the weights of model.h5."""
    held = np.flatnonzero([i % 15 >= 12 for i in range(30)])  # the last fifth of each of the two shards
    seed = SEED  # one whose masks hide the token of mean and deviation of some spectrum
    while not masks(work, 77, VALIDATION_STEP, 1, len(held), seed)[0, :, 0].any():
        seed += 1
    mask = masks(work, 77, VALIDATION_STEP, 1, len(held), seed)[0]
    code, text = run(2, command_line(work, label, seed=seed, **keys))
    check(code == 0, f"{label}: ends with {code}")
    if code:
        print(text)
        return
    found = metrics(f"{work}/{label}", "validation.jsonl")[-1]
    data = Reference(config, flux, ivar, weighs, hides)
    model = ref.Model(config)
    _, state = ref.read_model_file(f"{work}/{label}/model.h5")
    model.load_state_dict(state, strict=False)
    with torch.no_grad():
        loss, _ = data.loss(model.spectrum_encoder.backbone, held, mask)
        no_first = data.weight[:, 0].copy()
        data.weight[:, 0] = 0
        pixel_loss, _ = data.loss(model.spectrum_encoder.backbone, held, mask)
        data.weight[:, 0] = no_first
    line = data.interpolated(held, mask)
    interpolation, noise = data.pixel_figures(held, mask, line)
    check(found["objects"] == len(held), f"{label}: {found['objects']:.0f} held-out objects")
    for name, mine, theirs in [("loss", found["loss"], float(loss)), ("interpolation_loss", found["interpolation_loss"], interpolation),
                               ("noise_loss", found["noise_loss"], noise), ("pixel_loss", found["pixel_loss"], float(pixel_loss)),
                               ("ratio", found["ratio"], interpolation / float(pixel_loss))]:
        check(abs(mine / theirs - 1) < 1e-5, f"{label}: {name} {mine:.8g}, by PyTorch and NumPy {theirs:.8g}: {abs(mine / theirs - 1):.1e} (1e-5)")
    check(found["pixel_loss"] != found["loss"], f"{label}: pixels alone are not all numbers")

    unseen = data.unseen(mask)
    with h5py.File(f"{work}/{label}/reconstruction.h5") as f:
        check(f.attrs["syzygy_format"] in ("reconstruction", b"reconstruction"), f"{label}: the format of reconstruction.h5")
        check(all("units" in d.attrs and "description" in d.attrs and "checksum" in d.attrs for d in f.values()), "its datasets say what they are")
        n = len(f["object_id"])
        rows = np.array([i * len(held) // n for i in range(n)])
        check(n == min(8, len(held)) and (f["object_id"][()] == 39000000000000000 + held[rows]).all(), f"{n} held-out spectra")
        check(np.allclose(f["wavelength"][()], 3600 + 0.8 * np.arange(PIXELS), atol=1e-9), "wavelengths")
        check(np.array_equal(f["flux"][()], flux[held[rows]]) and np.array_equal(f["ivar"][()], ivar[held[rows]]), "flux and ivar as in the shard")
        check(np.allclose(f["redshift"][()], held[rows] / 30), "redshifts")
        check(np.array_equal(f["mask"][()].astype(bool), unseen[rows]), "hidden pixels")
        wanted = np.where(unseen, data.mean[held][:, None] + data.deviation[held][:, None] * line, np.nan)[rows]
        check(np.allclose(f["interpolation"][()], wanted, rtol=1e-5, atol=1e-5, equal_nan=True), "interpolation in flux units")
        # The network's own numbers, averaged over the two sections of a pixel.
        with torch.no_grad():
            target = torch.as_tensor(data.pieces[held[rows]].astype(np.float32))
            seen = torch.where(torch.as_tensor(mask[rows])[:, :, None], torch.zeros_like(target), target)
            b = model.spectrum_encoder.backbone
            x = b.data_embed(seen) + b.position_embed.weight[: target.shape[1]]
            for block in b.blocks:
                x = block(x)
            numbers = b.head(b.final_layernorm(x)).numpy()
        total, times = np.zeros((n, PIXELS)), np.zeros((n, PIXELS))
        for i in range(n):
            for t, s in enumerate(data.starts):
                if mask[rows[i], t + 1]:
                    total[i, s : s + 200] += numbers[i, t + 1, 2:]
                    times[i, s : s + 200] += 1
        covered = unseen[rows] & (times > 0)
        wanted = data.mean[held[rows], None] + data.deviation[held[rows], None] * total / np.maximum(times, 1)
        mine = f["reconstruction"][()]
        check(np.array_equal(~np.isnan(mine), covered) and np.allclose(mine[covered], wanted[covered], rtol=1e-4, atol=1e-4), "reconstruction in flux units")
    if label == "weighted":
        code, text = run(1, ["info", f"{work}/{label}/reconstruction.h5"])
        check(code == 0, f"info says that its checksums hold: {code}")


with Work() as work:
    flux, ivar = write_spectra(f"{work}/shards", 30, 2)
    config = ref.make_config(spectrum=dict(dim=24, depth=2, heads=3, section=200, overlap=100, max_tokens=80))
    input_file(work, f"""
data: {{path: [{work}/shards]}}
train: {{steps: 20, global_batch: {BATCH}, lr: 2.0e-3, lr_min: 2.0e-5, warmup_steps: 2, weight_decay: 0.1, validate_interval: 10}}
""")
    steps(work, flux, ivar, config)
    figures_of(work, flux, ivar, config, "as-published", False, False, {})
    figures_of(work, flux, ivar, config, "weighted", True, True, dict(masked__ivar_weighted="true", masked__bad_pixels="hidden"))
    figures_of(work, flux, ivar, config, "weighted-used", True, False, dict(masked__ivar_weighted="true"))
finish()
