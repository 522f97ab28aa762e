# SPDX-License-Identifier: BSD-3-Clause
"""Embeddings against PyTorch, object by object, and the files: h5py, astropy, missing modalities, labels, any batch, any rank count."""
import os
import sys

import h5py
import numpy as np
from astropy.io import fits

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import check_quietly as check, finish, scratch
from embed_common import read_datasets, run, same_bits, write_shard
import syzygy_torch as ref

folder = scratch()
N = 150  # two whole blocks and a short one; three files
image, flux = ref.random_images(N, 1), ref.random_flux(N, 2)
object_id = 39627788403084375 + 7 * np.arange(N)[::-1]
has_image, has_spectrum = np.ones(N, bool), np.ones(N, bool)
has_image[[0, 5, 64, 65, 66, 149]] = False
has_spectrum[[3, 65, 127, 128]] = False
image[~has_image] = 0
flux[~has_spectrum] = 0
redshift = np.where(np.arange(N) % 10 == 3, np.nan, np.arange(N) / N).astype(np.float32)
os.mkdir(f"{folder}/data")
for i, (a, b) in enumerate([(0, 70), (70, 71), (71, N)]):
    write_shard(f"{folder}/data/part-{i}.h5", image[a:b], flux[a:b], object_id[a:b], has_image[a:b], has_spectrum[a:b], redshift=redshift[a:b], mass=np.arange(a, b), size=np.ones(b - a))
    with h5py.File(f"{folder}/data/part-{i}.h5", "r+") as f:  # only one file states the unit of the mass; the files contradict each other about the size
        f["label/mass"].attrs["units"] = "dex(solMass)" if i == 1 else ""
        f["label/size"].attrs["units"] = "pixel" if i == 1 else "arcsec"


def embed(name, ranks, model, precision, **more):
    output = f"{folder}/{name}"
    run(ranks, "embed", {"data.path": f"{folder}/data", "model.file": model, "output.dir": output, "compute.precision": precision, **more})
    return output


def expected(model):
    z_image, z_spectrum = ref.embed(ref.load_model(model), image, flux)
    return {"image": z_image, "spectrum": z_spectrum}


def compare(output, want, has, limit, limit_mean, what):
    got = read_datasets(f"{output}/embedding.h5")
    for m in ("image", "spectrum"):
        rows, x = has[m], got[m + "_embedding"]
        check(x.dtype == np.float32 and x.shape == want[m].shape, f"{what}: {m} {x.dtype} {x.shape}")
        check(np.isnan(x[~rows]).all() and np.isfinite(x[rows]).all(), f"{what}: NaN exactly where there is no {m}")
        check((got["has_" + m] == rows).all(), f"{what}: has_{m}")
        worst, worst_mean = ref.cosines(x[rows], want[m][rows]).min(), ref.cosines(x[rows], want[m][rows], about_mean=True).min()
        print(f"{what}: {m}: least cosine {worst:.9f}, about the mean {worst_mean:.7f}")
        check(worst >= limit and worst_mean >= limit_mean, f"{what}: {m}: cosines {worst} {worst_mean}, wanted {limit} {limit_mean}")
    return got


def check_fits(output, got):
    with fits.open(f"{output}/embedding.fits", checksum=True) as f:
        f.verify("exception")
        t = f["EMBEDDING"]
        check(len(f) == 2 and t.header["EXTNAME"] == "EMBEDDING" and "CHECKSUM" in t.header and "DATASUM" in t.header, "FITS: one table with checksums")
        check(t.verify_checksum() == 1 and t.verify_datasum() == 1, "FITS: the checksums hold")
        labels = [name[6:] for name in got if name.startswith("label/")]
        check([c.name for c in t.columns] == ["TARGETID", "RA", "DEC", "IMAGE_EMBEDDING", "SPECTRUM_EMBEDDING", *labels], f"FITS columns {t.columns.names}")
        with h5py.File(f"{output}/embedding.h5") as h:
            for name in labels:
                unit = h["label/" + name].attrs.get("units", b"")
                unit = unit.decode() if isinstance(unit, bytes) else unit
                check(np.array_equal(np.asarray(t.data[name]), got["label/" + name], equal_nan=True) and (t.columns[name].unit or "") == unit, f"FITS {name} equals HDF5, unit {unit!r}")
        check(t.columns["RA"].unit == "deg" and t.columns["DEC"].unit == "deg", "FITS units")
        for column, name in (("TARGETID", "object_id"), ("RA", "ra"), ("DEC", "dec"), ("IMAGE_EMBEDDING", "image_embedding"), ("SPECTRUM_EMBEDDING", "spectrum_embedding")):
            check(np.array_equal(np.asarray(t.data[column]), got[name], equal_nan=name not in ("object_id",)), f"FITS {column} equals HDF5 {name}")
        check(t.header["MODELDIG"] == h5py.File(f"{output}/embedding.h5").attrs["model_digest"], "FITS: the model's digest")


has = {"image": has_image, "spectrum": has_spectrum}
for tokens in ("patches", "dinov2"):
    model = f"{folder}/{tokens}.h5"
    config = ref.small_config(tokens=tokens)
    ref.write_model_file(model, config, ref.random_model(config, seed=5).state_dict())
    want = expected(model)
    results = {}
    for precision, limits in (("float32", (0.99999, 0.9999)), ("bfloat16", (0.999, 0.97))):
        for ranks in (1, 3):
            output = embed(f"{tokens}-{precision}-{ranks}", ranks, model, precision)
            results[precision, ranks] = compare(output, want, has, *limits, f"{tokens} {precision} {ranks} ranks")
        check(same_bits(results[precision, 1], results[precision, 3]), f"{tokens} {precision}: 1 and 3 ranks give the same bits")
    if tokens == "patches":
        got = results["float32", 1]
        check((got["object_id"] == object_id).all(), "order and identifiers")
        check(np.array_equal(got["label/redshift"], redshift, equal_nan=True) and (got["label/mass"] == np.arange(N)).all(), "labels are carried over")
        check_fits(f"{folder}/patches-float32-3", got)
        with h5py.File(f"{folder}/patches-float32-1/embedding.h5") as f:
            units = {name: f[name].attrs["units"] for name in ("label/mass", "label/size", "label/redshift")}
            check(units == {"label/mass": "dex(solMass)", "label/size": "", "label/redshift": ""}, f"units of labels are carried over: {units}")
            check(f.attrs["syzygy_format"] == "embedding" and f.attrs["format_version"] == 1 and "embed" in f.attrs["input"], "root attributes")
            check(all("units" in f[k].attrs and "description" in f[k].attrs and "checksum" in f[k].attrs for k in got), "each dataset has units, description, checksum")
        check(not os.path.exists(f"{folder}/patches-float32-1/embedding.part"), "partial results are removed")
        for batch, ranks in ((1, 2), (7, 1), (200, 2)):
            other = embed(f"batch-{batch}", ranks, model, "float32", **{"embed.batch": batch})
            check(same_bits(got, read_datasets(f"{other}/embedding.h5")), f"batch {batch} on {ranks} ranks gives the same bits")
        again = run(2, "embed", {"data.path": f"{folder}/data", "model.file": model, "output.dir": f"{folder}/batch-7", "compute.precision": "float32"})
        check("nothing to do" in again, "a finished command says so")
        part = embed("split", 2, model, "float32", **{"data.split": "test"})
        check(np.array_equal(read_datasets(f"{part}/embedding.h5")["object_id"], np.concatenate([object_id[56:70], object_id[70:71], object_id[71 + 63 : N]])),
              "split test: the last fifth of each file")

# AstroCLIP's own file: groups, axes (x, y, band), no positions. The same pixels, so the same bits.
both = np.flatnonzero(has_image & has_spectrum)
with h5py.File(f"{folder}/astroclip.h5", "w") as f:
    for group, rows in (("0", both[:60]), ("1", both[60:])):
        f[f"{group}/images"] = image[rows].transpose(0, 3, 2, 1)
        f[f"{group}/spectra"] = flux[rows][:, :, None]
        f[f"{group}/redshifts"] = redshift[rows]
        f[f"{group}/targetids"] = object_id[rows]
run(2, "embed", {"data.path": f"{folder}/astroclip.h5", "model.file": f"{folder}/patches.h5", "output.dir": f"{folder}/astroclip", "compute.precision": "float32"})
got, shards = read_datasets(f"{folder}/astroclip/embedding.h5"), read_datasets(f"{folder}/patches-float32-1/embedding.h5")
check((got["object_id"] == object_id[both]).all() and np.isnan(got["ra"]).all(), "AstroCLIP: identifiers, no positions")
check(np.array_equal(got["label/redshift"], redshift[both], equal_nan=True), "AstroCLIP: redshifts")
for m in ("image_embedding", "spectrum_embedding"):
    check(np.array_equal(got[m], shards[m][both]), f"AstroCLIP: {m} as from shards")

# A model with one tower: only its embedding.
config = ref.small_config()
whole = ref.random_model(config, seed=9)
ref.write_model_file(f"{folder}/one.h5", config, {k: v for k, v in whole.state_dict().items() if k.startswith("spectrum_encoder")})
got = read_datasets(f"{embed('one', 2, f'{folder}/one.h5', 'float32')}/embedding.h5")
check("image_embedding" not in got and not got["has_image"].any(), "no image tower, no image embedding")
want = ref.embed(whole.eval(), image, flux)[1]
check(ref.cosines(got["spectrum_embedding"][has_spectrum], want[has_spectrum]).min() >= 0.99999, "one tower: cosines")
check([c.name for c in fits.open(f"{folder}/one/embedding.fits")[1].columns][:4] == ["TARGETID", "RA", "DEC", "SPECTRUM_EMBEDDING"], "one tower: FITS columns")
# Towers without pooling heads, as pretraining leaves them: the class token, or the mean of the tokens; also of a model with heads on request.
import torch

for tower, tokens in (("image", "dinov2"), ("image", "patches"), ("spectrum", "patches")):
    config = ref.small_config(tokens=tokens)
    whole = ref.random_model(config, seed=11).eval()
    bare = {k: v for k, v in whole.state_dict().items() if k.startswith(f"{tower}_encoder.backbone.")}
    ref.write_model_file(f"{folder}/bare.h5", config, bare)
    with torch.no_grad():
        token = whole.image_encoder.backbone(ref.prepare_images(torch.as_tensor(image), config)) if tower == "image" else whole.spectrum_encoder.backbone(torch.as_tensor(flux))
    want = (token[:, 0] if tokens == "dinov2" else token.mean(1)).numpy()
    for precision, ranks, limit in (("float32", 2, 1e-5), ("bfloat16", 1, 0.05)):
        output = embed(f"bare-{tower}-{tokens}-{precision}", ranks, f"{folder}/bare.h5", precision)
        got, rows = read_datasets(f"{output}/embedding.h5"), has[tower]
        worst = np.abs(got[f"{tower}_embedding"][rows] - want[rows]).max() / np.abs(want[rows]).max()
        check(got[f"{tower}_embedding"].shape == want.shape and worst < limit, f"{tower} {tokens} {precision}: tokens differ by {worst:.2e} of the largest number")
    if tokens == "dinov2":
        continue
    ref.write_model_file(f"{folder}/headed.h5", config, {k: v for k, v in whole.state_dict().items() if k.startswith(f"{tower}_encoder.")})
    other = embed(f"headed-{tower}", 3, f"{folder}/headed.h5", "float32", **{"embed.pooling": "tokens"})
    check(same_bits(read_datasets(f"{folder}/bare-{tower}-{tokens}-float32/embedding.h5"), read_datasets(f"{other}/embedding.h5")), f"{tower}: heads that are not used change nothing")
    with h5py.File(f"{other}/embedding.h5") as a, h5py.File(f"{folder}/bare-{tower}-{tokens}-float32/embedding.h5") as b:
        check(a.attrs["pooling"] == "tokens" and a.attrs["model_digest"] == b.attrs["model_digest"], "pooling is told, and the digest is that of the tower")
for keys, model, reason in (({"embed.pooling": "tokens"}, "patches.h5", "one width"), ({"embed.pooling": "head"}, "bare.h5", "backbone and head")):
    said = run(2, "embed", {"data.path": f"{folder}/data", "model.file": f"{folder}/{model}", "output.dir": f"{folder}/refused", **keys}, expect=2 if "width" in reason else 3)
    check(reason in said and not os.path.exists(f"{folder}/refused"), f"refused: {reason}: {said[-400:]}")
finish()
