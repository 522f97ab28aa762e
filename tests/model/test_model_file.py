# SPDX-License-Identifier: BSD-3-Clause
"""Model files from outside: written by h5py in every accepted way, read to PyTorch's embeddings on 1 and 3 ranks; written by the C program, read by
h5py; and files that must be refused with exit code 3 and a message that names file, object and reason, on 1 and 3 ranks, within the time limit."""
import os
import shutil
import sys
import tempfile
import time

import h5py
import numpy as np
import torch
import yaml

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import above, check, finish
import drive
from drive import Case

import syzygy_torch as ref

torch.set_num_threads(1)
RANKS = (1, 3)


def compare(label, case, wanted, **options):
    for ranks in RANKS:
        found = case.forward(ranks=ranks, towers=tuple(wanted), **options)
        for tower in wanted:
            above(ref.cosines(found[tower], wanted[tower]).min(), 0.99999, f"{label}, {ranks} ranks, {tower} cosine")
            above(ref.cosines(found[tower], wanted[tower], True).min(), 0.9999, f"{label}, {ranks} ranks, {tower} cosine about the mean")


def accepted(folder, config, model, planes, flux):
    with torch.no_grad():
        wanted = {"image": model.image_encoder(planes).numpy(), "spectrum": model.spectrum_encoder(flux).numpy()}
    text = yaml.safe_dump({"model": config}, sort_keys=False)
    fewer = {**config, "embedding": {k: v for k, v in config["embedding"].items() if v != ref.PUBLISHED["embedding"][k]}}
    assert fewer != config
    for label, attribute in (
        ("variable-length text", text),
        ("fixed-length text", np.bytes_(text)),
        ("text with other sections and only what differs from the defaults", yaml.safe_dump({"model": fewer, "compute": {"precision": "float32"}}, sort_keys=False)),
    ):
        path = os.path.join(folder, "accepted.h5")
        ref.write_model_file(path, config, model.state_dict(), model_config=attribute)
        compare(label, Case(path, planes.numpy(), flux.numpy()), wanted)

    # As other programs may store it: float64, big-endian, chunked and compressed; a temperature beside the towers.
    path = os.path.join(folder, "types.h5")
    ref.write_model_file(path, config, {})
    with h5py.File(path, "a") as f:
        for i, (name, value) in enumerate(model.state_dict().items()):
            value = value.numpy()
            kind = {0: "<f8", 1: ">f4", 2: "<f4"}[i % 3]
            f.create_dataset("parameter/" + name, data=value.astype(kind), **({"compression": "gzip"} if i % 2 and value.ndim else {}))
        f["parameter/logit_scale"] = np.float32(np.log(15.5))
    compare("other storage types", Case(path, planes.numpy(), flux.numpy()), wanted)

    # One tower only.
    path = os.path.join(folder, "one.h5")
    ref.write_model_file(path, config, {k: v for k, v in model.state_dict().items() if k.startswith("spectrum_encoder")})
    compare("one tower", Case(path, flux=flux.numpy()), {"spectrum": wanted["spectrum"]})

    # Fewer and more pixels than the positions were learned for. 16 pixels of patch 8: 2 of 5 positions a side; 56: 7.
    for size in (16, 56):
        grown = ref.prepare_images(ref.random_images(10, 2), {"image": {"size": size}})
        with torch.no_grad():
            expected = model.image_encoder(grown).numpy()
        path = os.path.join(folder, "image.h5")
        ref.write_model_file(path, config, {k: v for k, v in model.state_dict().items() if k.startswith("image_encoder")})
        compare(f"positions for {size} pixels", Case(path, grown.numpy()), {"image": expected}, size=size)


def written(folder, config, model, planes, flux):
    """A file of the C program through h5py: names, shapes, attributes; and a bit that flips in it is noticed."""
    path = os.path.join(folder, "source.h5")
    ref.write_model_file(path, config, model.state_dict())
    case = Case(path, planes.numpy(), flux.numpy())
    zeros = np.zeros((case.n, config["embedding"]["dim"]), np.float32)
    gradients = case.gradients(zeros, zeros)
    check(not any(g.any() for g in gradients.values()), "gradients of zero are zero")
    out = os.path.join(case.folder.name, "gradients.h5")
    with h5py.File(out) as f:
        check(ref.text_attribute(f, "syzygy_format") == "model" and f.attrs["format_version"] == 1, "format")
        check(yaml.load(ref.text_attribute(f, "model_config"), yaml.SafeLoader)["model"] == config, "configuration")
        shapes = {name: tuple(f["parameter"][name].shape) for name in model.state_dict()}
        check(shapes == {name: tuple(value.shape) for name, value in model.state_dict().items()}, "names and shapes")
        kinds = {f["parameter"][name].dtype for name in shapes}
        check(kinds == {np.dtype("<f4")}, "types")
        some = f["parameter/spectrum_encoder.backbone.position_embed.weight"]
        check(all(key in some.attrs for key in ("units", "description", "checksum")), "units, description, checksum")
        offset = some.id.get_offset() + 5
    check(not ref.load_model(out) is None, "state_dict of PyTorch takes it")
    with open(out, "r+b") as f:
        f.seek(offset)
        byte = f.read(1)[0]
        f.seek(offset)
        f.write(bytes([byte ^ 4]))
    refused("flipped bit", out, case, ["spectrum_encoder.backbone.position_embed.weight", "checksum"])


def refused(label, path, case, words, code=3, every_count=False):
    """On three ranks, where a rank could be left waiting; with every_count on one as well."""
    for ranks in RANKS if every_count else RANKS[-1:]:
        begin = time.time()
        try:
            drive.run(["tower_driver", path, "float32", 4, "embed", case.n, case.prefix, os.path.join(case.folder.name, "refused")], ranks, timeout=30)
            check(False, f"{label}, {ranks} ranks: refused")
        except drive.BadRun as bad:
            lacking = [w for w in words + [os.path.basename(path)] if w not in bad.text]
            check(bad.code == code and not lacking, f"{label}, {ranks} ranks: exit code {bad.code} in {time.time() - begin:.1f} s, message lacks {lacking}")
            if lacking:
                print(bad.text)


def hostile(folder, config, model, planes, flux):
    case = Case("", planes.numpy(), flux.numpy())
    good = os.path.join(folder, "good.h5")
    ref.write_model_file(good, config, model.state_dict())

    def altered(name, change):
        path = os.path.join(folder, name + ".h5")
        shutil.copy(good, path)
        with h5py.File(path, "a") as f:
            change(f)
        return path

    def set_config(text):
        return lambda f: f.attrs.__setitem__("model_config", text)

    def replace(name, value):
        def change(f):
            del f["parameter/" + name]
            if value is not None:
                f["parameter/" + name] = value
        return change

    text = yaml.safe_dump({"model": config}, sort_keys=False)
    gamma = "image_encoder.backbone.blocks.1.ls1.gamma"
    bad = model.state_dict()[gamma].numpy().copy()
    bad[3] = np.nan
    raw = open(good, "rb").read()
    for name, content, words in (
        ("empty", b"", []),
        ("garbage", np.random.default_rng(1).bytes(40000), []),
        ("truncated", raw[: len(raw) // 2], []),
        ("beginning", raw[:100], []),
        ("text", b"model:\n  image: {dim: 32}\n", []),
    ):
        path = os.path.join(folder, name + ".h5")
        with open(path, "wb") as f:
            f.write(content)
        refused(name, path, case, words, every_count=True)
    refused("absent", os.path.join(folder, "absent.h5"), case, [])
    refused("a folder", folder, case, [])
    refused("no configuration", altered("noconfig", lambda f: f.attrs.__delitem__("model_config")), case, ["model_config"])
    refused("configuration is a number", altered("number", set_config(3)), case, ["model_config"])
    refused("other text", altered("other", set_config("towers: {}")), case, ["model_config", "towers"])
    refused("unknown key", altered("key", set_config(text.replace("depth", "deptj", 1))), case, ["deptj", "depth"])
    refused("contradiction", altered("heads", set_config(text.replace("heads: 4", "heads: 5", 1))), case, ["model.image.heads = 5"])
    refused("out of range", altered("range", set_config(text.replace("dim: 36", "dim: 99999999999", 1))), case, ["model_config", "dim"])
    refused("too large for the file", altered("large", set_config(text.replace("dim: 36", "dim: 65536", 1))), case, ["cls_token", "65536"])
    refused("deeper than the file", altered("deep", set_config(text.replace("depth: 2", "depth: 1000", 1))), case, ["image backbone is incomplete", "blocks.2."])
    refused("shard", altered("shard", lambda f: f.attrs.__setitem__("syzygy_format", "shard")), case, ["shard"])
    refused("missing parameter", altered("missing", replace(gamma, None)), case, [gamma, "missing"])
    refused("unknown parameter", altered("unknown", lambda f: f.__setitem__("parameter/image_encoder.backbone.register_tokens", np.zeros(3))), case,
            ["image_encoder.backbone.register_tokens"])
    refused("wrong shape", altered("shape", replace(gamma, np.zeros(35, np.float32))), case, [gamma, "(35)", "(36)"])
    refused("one axis more", altered("axis", replace(gamma, np.zeros((36, 1), np.float32))), case, [gamma, "(36, 1)"])
    refused("not a number", altered("nan", replace(gamma, bad)), case, [gamma, "element 3", "finite"], every_count=True)
    refused("texts for numbers", altered("texts", replace(gamma, np.array([b"a"] * 36))), case, [gamma])
    refused("group for dataset", altered("group", lambda f: (f.__delitem__("parameter/" + gamma), f.create_group("parameter/" + gamma))), case, [gamma])
    refused("nothing inside", altered("nothing", lambda f: f.__delitem__("parameter")), case, ["no parameters"])
    refused("no head", altered("nohead", lambda f: [f.__delitem__("parameter/" + k) for k in model.state_dict() if "image_encoder" in k and "backbone" not in k]),
            case, ["no image head"])


with tempfile.TemporaryDirectory() as folder:
    config = ref.small_config("dinov2", embedding=24, image_dim=36, size=40, section=600, overlap=100)
    model = ref.random_model(config, 5)
    planes = ref.prepare_images(ref.random_images(10, 2), config)
    flux = torch.as_tensor(ref.random_flux(10, 3))
    accepted(folder, config, model, planes, flux)
    written(folder, config, model, planes, flux)
    hostile(folder, config, model, planes, flux)
finish()
