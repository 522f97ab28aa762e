# SPDX-License-Identifier: BSD-3-Clause
"""tools/convert-checkpoint: checkpoints of the published structures, made here, become model files that give PyTorch's embeddings, and come back
with equal bits; unknown content is refused by name; nothing in a file is executed."""
import collections
import contextlib
import importlib.machinery
import importlib.util
import io
import json
import os
import pickle
import subprocess
import sys
import tempfile
import types

import h5py
import numpy as np
import torch
import yaml

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import SOURCE, above, below, check, finish
from drive import Case

import syzygy_dino as dino
import syzygy_torch as ref

torch.set_num_threads(1)
TOOL = os.path.join(SOURCE, "tools", "convert-checkpoint")

# Lightning keeps hyper-parameters in a class of its own, which a reader need not have.
foreign = types.ModuleType("lightning_like")
exec("class AttributeDict(dict):\n    pass\nclass Scheduler:\n    def __init__(self):\n        self.last = 3\n", foreign.__dict__)
foreign.AttributeDict.__module__ = foreign.Scheduler.__module__ = "lightning_like"


def save(value, path, **options):
    sys.modules["lightning_like"] = foreign
    torch.save(value, path, **options)
    del sys.modules["lightning_like"]


loader = importlib.machinery.SourceFileLoader("convert_checkpoint", TOOL)
program = importlib.util.module_from_spec(importlib.util.spec_from_loader("convert_checkpoint", loader))
loader.exec_module(program)


def tool(*arguments):
    """Inside this process, which saves two seconds of imports a call; one call below starts it as a user does."""
    sys.argv, out = [TOOL] + [str(a) for a in arguments], io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            program.main()
        except SystemExit as end:
            return end.code, out.getvalue()
    return 0, out.getvalue()


def good(label, *arguments):
    code, text = tool(*arguments)
    check(code == 0, f"{label}: exit code {code}")
    if code:
        print(text)
    return text


def refused(label, words, *arguments, code=3):
    found, text = tool(*arguments)
    lacking = [w for w in words if w not in text]
    check(found == code and not lacking, f"{label}: exit code {found}, message lacks {lacking}")
    if lacking:
        print(text)


def same_bits(a, b):
    return list(sorted(a)) == list(sorted(b)) and all(a[k].dtype == b[k].dtype and a[k].shape == b[k].shape and torch.equal(a[k], b[k]) for k in a)


def nested(state, chunk):
    """DINOv2's names with chunks of `chunk` blocks."""
    out = collections.OrderedDict()
    for name, value in state.items():
        head, dot, rest = name.partition("image_encoder.backbone.blocks.") if "image_encoder" in name else ("", "", "")
        if dot:
            i = int(rest.split(".")[0])
            name = f"{dot}{i // chunk}.{rest}"
        out[name] = value
    return out


def embeddings(label, path, model, planes, flux, towers):
    case = Case(path, planes.numpy(), flux.numpy())
    found = case.forward(towers=towers)
    with torch.no_grad():
        wanted = {"image": model.image_encoder(planes).numpy(), "spectrum": model.spectrum_encoder(flux).numpy()}
    for tower in towers:
        above(ref.cosines(found[tower], wanted[tower], True).min(), 0.9999, f"{label} {tower} cosine about the mean")


with tempfile.TemporaryDirectory() as folder:
    def at(name):
        return os.path.join(folder, name)

    config = ref.small_config("patches", embedding=32, depth=5, size=48, section=600, overlap=100)
    config["image"]["layerscale"] = 1e-5
    model = ref.random_model(config, 3)
    state = model.state_dict()
    planes, flux = ref.prepare_images(ref.random_images(10, 2), config), torch.as_tensor(ref.random_flux(10, 3))
    sizes = [w for key, value in (("image.heads", 4), ("spectrum.heads", 3), ("spectrum.overlap", 100), ("embedding.heads", 4)) for w in ("--set", f"{key}={value}")]

    # AstroCLIP, as Lightning saves it, the image blocks nested in chunks of two (5 blocks: 2, 2, 1), a learned temperature beside them.
    full = nested(state, 2)
    full["logit_scale"] = torch.tensor(2.7408)
    astroclip = {"epoch": 3, "global_step": 12, "pytorch-lightning_version": "2.1", "state_dict": full, "optimizer_states": [{"state": {0: torch.ones(3)}}],
                 "lr_schedulers": [foreign.Scheduler()], "hyper_parameters": foreign.AttributeDict(lr=1e-4, temperature=15.5)}
    for label, options in (("zip", {}), ("legacy", {"_use_new_zipfile_serialization": False})):
        save(astroclip, at("astroclip.ckpt"), **options)
        text = good(f"astroclip ({label})", "to-model", at("astroclip.ckpt"), at("astroclip.h5"), *sizes)
        check("[optimizer_states]" in text and "[lr_schedulers]" in text, "what is left behind is said")
        good("and back", "to-pytorch", at("astroclip.h5"), at("back.ckpt"))
        check(same_bits(torch.load(at("back.ckpt"))["state_dict"], full), "equal bits")
    embeddings("astroclip", at("astroclip.h5"), model, planes, flux, ("image", "spectrum"))
    with h5py.File(at("astroclip.h5")) as f:
        check(float(f["parameter/logit_scale"][()]) == np.float32(2.7408), "logit_scale is carried")
        check("checksum" in f["parameter/image_encoder.mlp.encoder.weight"].attrs, "checksums are there")
    done = subprocess.run([TOOL, "show", at("astroclip.h5")], stdout=subprocess.PIPE, text=True)
    check(done.returncode == 0 and "image_encoder.backbone.blocks.4.ls2.gamma (32,) float32" in done.stdout, "show, started as a program")
    good("flat names on request", "to-pytorch", at("astroclip.h5"), at("flat.ckpt"), "--block-chunks", 0)
    check(same_bits(torch.load(at("flat.ckpt"))["state_dict"], {**state, "logit_scale": full["logit_scale"]}), "flat names")

    # DINOv2 / AstroDINO: teacher with heads, nested; student and teacher under "model"; a bare state_dict, flat.
    backbone = {k[len("image_encoder.backbone."):]: v for k, v in nested(state, 2).items() if k.startswith("image_encoder.backbone.")}
    prefixed = {"backbone." + k: v for k, v in backbone.items()}
    sizes = dict(hidden=20, bottleneck=8, prototypes=30)
    both_heads = dino.random_network(dino.make_config(dict(dim=32, depth=1, heads=4), dict(sizes, ibot_head="separate")), 4).state_dict()
    head = {k: v for k, v in both_heads.items() if k.startswith("dino_head.")}
    heads = {k: v for k, v in both_heads.items() if k.startswith(("dino_head.", "ibot_head."))}
    save({"teacher": {**prefixed, **head}}, at("teacher.pth"))
    text = good("dinov2 teacher", "to-model", at("teacher.pth"), at("dino.h5"), "--set", "image.heads=4")
    check("heads dino_head" in text and "not carried" not in text, "its head is carried")
    with h5py.File(at("dino.h5")) as f:
        written = yaml.safe_load(ref.text_attribute(f, "model_config"))["model"]
        check(written["image"]["tokens"] == "dinov2" and "registers" not in written["image"], "tokens dinov2")
        check(written["dino"] == dict(sizes, layers=3, ibot_head="shared"), "sizes of the head")
        check(all((f["parameter/" + k][()] == v.numpy()).all() for k, v in head.items()), "the head's bits")
    network = dino.load_network(at("dino.h5"))
    check(same_bits(network.dino_head.state_dict(), {k[len("dino_head."):]: v for k, v in head.items()}), "the reference reads it")
    good("and back", "to-pytorch", at("dino.h5"), at("back.pth"))
    check(same_bits(torch.load(at("back.pth"))["teacher"], {**prefixed, **head}), "equal bits")
    both = {f"{branch}.{k}": v + (branch == "student" and "weight_g" not in k) for branch in ("student", "teacher") for k, v in {**prefixed, **heads}.items()}
    both["dino_loss.center"] = torch.zeros(1, 30)
    save({"model": both, "optimizer": {"state": {}}, "iteration": 7}, at("training.pth"))
    text = good("dinov2 student", "to-model", at("training.pth"), at("student.h5"), "--set", "image.heads=4", "--branch", "student")
    check(all(word in text for word in ("[optimizer]", "teacher.*", "dino_loss.*")), "what is left behind is said")
    good("dinov2 teacher of the same", "to-model", at("training.pth"), at("dino.h5"), "--set", "image.heads=4")
    good("and back", "to-pytorch", at("student.h5"), at("back.pth"))
    check(same_bits(torch.load(at("back.pth"))["teacher"], {k[len("student."):]: v for k, v in both.items() if k.startswith("student.")}), "the student's bits")
    good("both back", "to-pytorch", at("dino.h5"), at("back.pth"), "--student", at("student.h5"))
    check(same_bits(torch.load(at("back.pth"))["model"], {k: v for k, v in both.items() if k != "dino_loss.center"}), "both branches' bits")
    wrapped = {k.replace("backbone.", "backbone._fsdp_wrapped_module.").replace("blocks.0.", "blocks.0._fsdp_wrapped_module."): v for k, v in both.items()}
    save({"model": wrapped}, at("fsdp.pth"))
    good("names as FSDP wraps them", "to-model", at("fsdp.pth"), at("fsdp.h5"), "--set", "image.heads=4")
    with h5py.File(at("fsdp.h5")) as a, h5py.File(at("dino.h5")) as b:
        same = []
        a["parameter"].visititems(lambda k, v: same.append((v[()] == b["parameter/" + k][()]).all()) if isinstance(v, h5py.Dataset) else None)
        check(len(same) == len(prefixed) + len(heads) and all(same), "the same model")

    # Registers; heads of one layer; weight normalisation as newer PyTorch names it.
    c = dino.make_config(dict(dim=16, depth=2, heads=4, patch=8, size=40, registers=3, layerscale=0.3), dict(layers=1, bottleneck=8, prototypes=30))
    network = dino.random_network(c, 6)
    flat = {k.replace("image_encoder.", ""): v for k, v in network.state_dict().items()}
    published = {k.replace("mlp.0.", "mlp."): v for k, v in flat.items()}
    newer = {k.replace("weight_g", "parametrizations.weight.original0").replace("weight_v", "parametrizations.weight.original1"): v for k, v in published.items()}
    for label, content in (("as published", published), ("newer names", newer)):
        save({"teacher": content}, at("registers.pth"))
        good(f"registers and a head of one layer, {label}", "to-model", at("registers.pth"), at("registers.h5"), "--set", "image.heads=4", "--set", "image.layerscale=0.3")
        check(same_bits(dino.load_network(at("registers.h5")).state_dict(), network.state_dict()), "the same network")
        check(dino.load_network(at("registers.h5")).config["image"] == c["image"], "its configuration")
        good("and back", "to-pytorch", at("registers.h5"), at("back.pth"))
        check(same_bits(torch.load(at("back.pth"))["teacher"], published), "equal bits")
    good("another grid of positions", "to-model", at("registers.pth"), at("grid.h5"), "--set", "image.heads=4", "--size", 24)
    with h5py.File(at("grid.h5")) as f, torch.no_grad():
        below(float(np.abs(f["parameter/image_encoder.backbone.pos_embed"][()] - network.backbone.positions(3).numpy()).max()), 1e-6, "positions as DINOv2 interpolates them")
        check(yaml.safe_load(ref.text_attribute(f, "model_config"))["model"]["image"]["size"] == 24, "its size")
    natural = dict(published, **{"backbone.pos_embed": torch.ones(1, 1 + 37 * 37, 16)})
    save({"teacher": natural}, at("natural.pth"))
    refused("larger than a stamp", ["296", "--size"], "to-model", at("natural.pth"), at("no.h5"), "--set", "image.heads=4")
    good("fitted to the stamp", "to-model", at("natural.pth"), at("natural.h5"), "--set", "image.heads=4", "--size", 144)

    def spoilt(name, words, change, *more):
        copy = dict(both)
        change(copy)
        save({"model": copy}, at("spoilt.pth"))
        refused(name, words, "to-model", at("spoilt.pth"), at("no.h5"), "--set", "image.heads=4", *more)

    spoilt("a gain that is not 1", ["dino_head.last_layer.weight_g", "--without-heads"],
           lambda d: d.update({"teacher.dino_head.last_layer.weight_g": torch.full((30, 1), 1.01)}))
    text = good("its backbone alone", "to-model", at("spoilt.pth"), at("backbone.h5"), "--set", "image.heads=4", "--without-heads")
    check("heads none" in text and "dino_head.*, ibot_head.*" in text, "the heads are said to be left behind")
    with h5py.File(at("backbone.h5")) as a, h5py.File(at("dino.h5")) as b:
        mine, theirs = a["parameter"], b["parameter"]
        check(sorted(mine) == [k for k in sorted(theirs) if k.startswith("image_encoder.")]
               and all((mine[k][()] == theirs[k][()]).all() for k in mine), "the backbone's bits, and nothing else")
    spoilt("heads of two sizes", ["different sizes"], lambda d: d.update({"teacher.ibot_head.last_layer.weight_v": torch.ones(31, 8), "teacher.ibot_head.last_layer.weight_g": torch.ones(31, 1)}))
    spoilt("half a head", ["missing", "dino_head.mlp.2.bias"], lambda d: d.pop("teacher.dino_head.mlp.2.bias"))
    spoilt("a head with batch normalisation", ["dino_head.mlp.1.running_mean"], lambda d: d.update({"teacher.dino_head.mlp.1.running_mean": torch.ones(20)}))
    spoilt("a patch head alone", ["ibot_head without dino_head"], lambda d: [d.pop(k) for k in list(d) if k.startswith("teacher.dino_head")])
    spoilt("flattened shares", ["FSDP"], lambda d: d.update({"teacher.backbone._flat_param": torch.ones(9)}))
    spoilt("no backbone", ["backbone.patch_embed.proj.weight"], lambda d: d.pop("teacher.backbone.patch_embed.proj.weight"))
    refused("registers without class token", ["register"], "to-model", at("registers.pth"), at("no.h5"), "--set", "image.heads=4", "--tokens", "patches")
    refused("another student", ["configurations differ"], "to-pytorch", at("dino.h5"), at("no.pth"), "--student", at("registers.h5"))
    bare = {k[len("image_encoder.backbone."):]: v for k, v in state.items() if k.startswith("image_encoder.backbone.")}
    save(bare, at("bare.pth"))
    good("bare state_dict", "to-model", at("bare.pth"), at("bare.h5"), "--set", "image.heads=4")
    good("and back", "to-pytorch", at("bare.h5"), at("back.pth"))
    check(same_bits(torch.load(at("back.pth"))["teacher"], {"backbone." + k: v for k, v in bare.items()}), "equal bits")

    # SpecFormer: sizes that shapes don't say are in hyper_parameters, whose class is unknown here.
    spectrum = {k[len("spectrum_encoder.backbone."):]: v for k, v in state.items() if k.startswith("spectrum_encoder.backbone.")}
    hyper = dict(input_dim=602, embed_dim=24, num_layers=5, num_heads=3, max_len=80, slice_section_length=600, slice_overlap=100, dropout=0.0)
    save({"state_dict": spectrum, "hyper_parameters": foreign.AttributeDict(hyper), "callbacks": {}}, at("specformer.ckpt"))
    good("specformer", "to-model", at("specformer.ckpt"), at("specformer.h5"))
    with h5py.File(at("specformer.h5")) as f:
        found, _ = ref.read_model_file(at("specformer.h5"))
        check(found["spectrum"] == config["spectrum"], "its configuration")
    good("and back", "to-pytorch", at("specformer.h5"), at("back.ckpt"))
    check(same_bits(torch.load(at("back.ckpt"))["state_dict"], spectrum), "equal bits")
    good("one tower and head", "to-pytorch", at("astroclip.h5"), at("part.ckpt"), "--kind", "specformer")
    check(same_bits(torch.load(at("part.ckpt"))["state_dict"], spectrum), "part of a full model")

    # Half precision widens exactly; other float64 does not fit.
    save({"state_dict": {k: v.half() for k, v in spectrum.items()}, "hyper_parameters": hyper}, at("half.ckpt"))
    good("float16", "to-model", at("half.ckpt"), at("half.h5"))
    save({"state_dict": {k: v.double() * (1 + 1e-12) for k, v in spectrum.items()}, "hyper_parameters": hyper}, at("double.ckpt"))
    refused("float64", ["float64"], "to-model", at("double.ckpt"), at("no.h5"))

    # Refusals.
    def changed(name, change):
        copy = {"state_dict": dict(spectrum), "hyper_parameters": dict(hyper)}
        change(copy)
        save(copy, at(name))
        return at(name)

    first = "blocks.0.mlp.encoder.weight"
    refused("unknown parameter", ["unknown content", "rope.freqs"], "to-model", changed("u.ckpt", lambda c: c["state_dict"].update({"rope.freqs": torch.ones(2)})), at("no.h5"))
    refused("missing parameter", ["missing", first], "to-model", changed("m.ckpt", lambda c: c["state_dict"].pop(first)), at("no.h5"))
    refused("wrong shape", [first, "(5, 5)"], "to-model", changed("s.ckpt", lambda c: c["state_dict"].update({first: torch.ones(5, 5)})), at("no.h5"))
    refused("not finite", [first, "finite"], "to-model", changed("n.ckpt", lambda c: c["state_dict"].update({first: spectrum[first] * float("nan")})), at("no.h5"))
    refused("integers", [first, "int64"], "to-model", changed("i.ckpt", lambda c: c["state_dict"].update({first: spectrum[first].long()})), at("no.h5"))
    refused("no tensor", ["not tensors", first], "to-model", changed("t.ckpt", lambda c: c["state_dict"].update({first: 3})), at("no.h5"))
    refused("heads unknown", ["spectrum.heads", "--set"], "to-model", changed("h.ckpt", lambda c: c.pop("hyper_parameters")), at("no.h5"))
    refused("blocks in disorder", ["chunks"], "to-model", (save({"teacher": {k.replace("blocks.0.1.", "blocks.1.1."): v for k, v in prefixed.items()}}, at("d.pth")), at("d.pth"))[1],
            at("no.h5"), "--set", "image.heads=4")
    refused("unknown key", ["image.foo"], "to-model", at("bare.pth"), at("no.h5"), "--set", "image.heads=4", "--set", "image.foo=1")
    for name, content in (("empty", b""), ("garbage", os.urandom(3000)), ("truncated", open(at("bare.pth"), "rb").read()[:5000])):
        with open(at(name), "wb") as f:
            f.write(content)
        refused(name, [at(name)], "to-model", at(name), at("no.h5"))
    refused("absent", ["absent"], "to-model", at("absent"), at("no.h5"))
    refused("other pickle", ["no state_dict"], "to-model", (save({"a": [1, 2]}, at("a.pth")), at("a.pth"))[1], at("no.h5"))
    refused("not a model file", [at("bare.pth")], "to-pytorch", at("bare.pth"), at("no.pth"))
    refused("no folder to write to", ["cannot write"], "to-model", at("bare.pth"), at("nowhere/no.h5"), "--set", "image.heads=4", code=4)
    refused("no arguments", ["usage"], code=2)

    # Prefixes of wrappers, alone and in one another: the same model as without.
    def parameters(path):
        out = {}
        with h5py.File(path) as f:
            f["parameter"].visititems(lambda k, v: out.update({k: v[()]}) if isinstance(v, h5py.Dataset) else None)
        return out

    def expect_same_model(label, path, other=at("bare.h5")):
        a, b = parameters(path), parameters(other)
        check(sorted(a) == sorted(b) and all(a[k].tobytes() == b[k].tobytes() for k in a), f"{label}: the same model")

    heads = ("--set", "image.heads=4")
    for prefix in ("module.", "_orig_mod.", "model.", "teacher.backbone.", "module._orig_mod.model.teacher.backbone."):
        save({prefix + k: v for k, v in bare.items()}, at("wrapped.pth"))
        good(f"names after {prefix}", "to-model", at("wrapped.pth"), at("wrapped.h5"), *heads)
        expect_same_model(prefix, at("wrapped.h5"))
    save({k.replace("blocks.1.", "blocks.1._orig_mod."): v for k, v in bare.items()}, at("wrapped.pth"))
    good("one block compiled", "to-model", at("wrapped.pth"), at("wrapped.h5"), *heads)
    expect_same_model("one block compiled", at("wrapped.h5"))
    save({**bare, "_orig_mod.norm.weight": bare["norm.weight"] + 1}, at("wrapped.pth"))
    refused("a name twice", ["norm.weight", "two parameters"], "to-model", at("wrapped.pth"), at("no.h5"), *heads)
    save({"state_dict": {"model." + k: v for k, v in full.items()}}, at("wrapped.pth"))
    good("AstroCLIP inside another module", "to-model", at("wrapped.pth"), at("wrapped.h5"), *[w for key, value in
         (("image.heads", 4), ("spectrum.heads", 3), ("spectrum.overlap", 100), ("embedding.heads", 4)) for w in ("--set", f"{key}={value}")])
    expect_same_model("AstroCLIP inside another module", at("wrapped.h5"), at("astroclip.h5"))

    # Without mask_token.
    save({k: v for k, v in bare.items() if k != "mask_token"}, at("inference.pth"))
    text = good("without mask_token", "to-model", at("inference.pth"), at("inference.h5"), *heads)
    found, wanted = parameters(at("inference.h5")), parameters(at("bare.h5"))
    check("no mask_token" in text and not found["image_encoder.backbone.mask_token"].any()
           and all((found[k] == wanted[k]).all() for k in wanted if not k.endswith("mask_token")), "it is said, and zeros")

    # Hugging Face's names of the same network.
    def hugging_face(flat):
        words = (("cls_token", "embeddings.cls_token"), ("mask_token", "embeddings.mask_token"), ("pos_embed", "embeddings.position_embeddings"), ("attn.proj", "attention.output.dense"),
                 ("patch_embed.proj", "embeddings.patch_embeddings.projection"), ("register_tokens", "embeddings.register_tokens"), ("ls1.gamma", "layer_scale1.lambda1"),
                 ("ls2.gamma", "layer_scale2.lambda1"), ("blocks.", "encoder.layer."))
        out = {}
        for name, value in flat.items():
            if "attn.qkv" in name:
                for part, third in zip(("query", "key", "value"), value.chunk(3)):
                    out[name.replace("blocks.", "encoder.layer.").replace("attn.qkv", f"attention.attention.{part}")] = third.clone()
                continue
            name = "layernorm" + name[4:] if name.startswith("norm.") else name
            for own, theirs in words:
                name = name.replace(own, theirs)
            out[name] = value
        return out

    face = hugging_face(bare)
    save(face, at("face.bin"))
    good("Hugging Face's names", "to-model", at("face.bin"), at("face.h5"), *heads)
    expect_same_model("Hugging Face's names", at("face.h5"))
    refused("heads unknown", ["image.heads", "--set"], "to-model", at("face.bin"), at("no.h5"))
    os.mkdir(at("hub"))
    save({**{"dinov2." + k: v for k, v in face.items()}, "classifier.weight": torch.ones(3, 64), "classifier.bias": torch.ones(3)}, at("hub/pytorch_model.bin"))
    with open(at("hub/config.json"), "w") as f:
        f.write('{"model_type": "dinov2", "num_attention_heads": 4}')
    text = good("inside a classifier, heads by config.json", "to-model", at("hub/pytorch_model.bin"), at("face.h5"))
    expect_same_model("inside a classifier", at("face.h5"))
    check("classifier.*" in text and "heads: 4" in text, "the classifier is said to be left behind, heads are known")
    save({k: v for k, v in face.items() if "layer.1.attention.attention.key.bias" not in k}, at("face.bin"))
    refused("a part of a product missing", ["encoder.layer.1.attention.attention.key.bias"], "to-model", at("face.bin"), at("no.h5"), *heads)
    save({**face, "encoder.layer.0.mlp.weights_in.weight": torch.ones(4, 4)}, at("face.bin"))
    refused("SwiGLU", ["encoder.layer.0.mlp.weights_in.weight"], "to-model", at("face.bin"), at("no.h5"), *heads)
    with_registers = hugging_face({k[len("backbone."):]: v for k, v in published.items() if k.startswith("backbone.")})
    save(with_registers, at("face.bin"))
    good("with registers", "to-model", at("face.bin"), at("face.h5"), *heads, "--set", "image.layerscale=0.3")
    good("the same by DINOv2's names", "to-model", at("registers.pth"), at("plain.h5"), *heads, "--set", "image.layerscale=0.3", "--without-heads")
    expect_same_model("with registers", at("face.h5"), at("plain.h5"))

    # safetensors: a length, a JSON object, numbers.
    def safetensors(tensors, path, cut=0, **changes):
        types, header, data = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}, {"__metadata__": {"format": "pt"}}, b""
        for name, value in tensors.items():
            raw = value.contiguous().view(torch.int16).numpy().tobytes() if value.dtype == torch.bfloat16 else value.contiguous().numpy().tobytes()
            header[name] = {"dtype": types[value.dtype], "shape": list(value.shape), "data_offsets": [len(data), len(data) + len(raw)], **changes}
            data += raw
        text = json.dumps(header).encode()
        with open(path, "wb") as f:
            f.write((len(text).to_bytes(8, "little") + text + data)[:-cut or None])

    safetensors(bare, at("bare.safetensors"))
    good("safetensors", "to-model", at("bare.safetensors"), at("safe.h5"), *heads)
    expect_same_model("safetensors", at("safe.h5"))
    safetensors(face, at("face.safetensors"))
    good("Hugging Face's names in safetensors", "to-model", at("face.safetensors"), at("safe.h5"), *heads)
    expect_same_model("Hugging Face's names in safetensors", at("safe.h5"))
    for dtype in (torch.float16, torch.bfloat16):
        safetensors({k: v.to(dtype) for k, v in bare.items()}, at("half.safetensors"))
        save({k: v.to(dtype) for k, v in bare.items()}, at("half.pth"))
        good(f"{dtype} in safetensors", "to-model", at("half.safetensors"), at("safe.h5"), *heads)
        good(f"{dtype} in PyTorch's format", "to-model", at("half.pth"), at("half.h5"), *heads)
        expect_same_model(f"{dtype}", at("safe.h5"), at("half.h5"))
    safetensors(bare, at("bad.safetensors"), cut=100)
    refused("safetensors cut short", ["bad.safetensors", "cut short"], "to-model", at("bad.safetensors"), at("no.h5"), *heads)
    with open(at("bad.safetensors"), "wb") as f:
        f.write(open(at("bare.safetensors"), "rb").read()[:200])
    refused("safetensors cut in its header", ["bad.safetensors", "cut short"], "to-model", at("bad.safetensors"), at("no.h5"), *heads)
    for label, change, word in (("a place that is too long", {"data_offsets": [0, 7]}, "lies at"), ("a negative place", {"data_offsets": [-8, -4]}, "lies at"),
                                ("a large shape", {"shape": [2**40, 2**40]}, "lies at"), ("an unknown type", {"dtype": "F8_E4M3"}, "F8_E4M3")):
        safetensors(bare, at("bad.safetensors"), **change)
        refused(label, ["bad.safetensors", word], "to-model", at("bad.safetensors"), at("no.h5"), *heads)

    # What lies in a checkpoint's place when fetching it went wrong.
    save(bare, at("legacy.pth"), _use_new_zipfile_serialization=False)
    zipped, legacy = open(at("bare.pth"), "rb").read(), open(at("legacy.pth"), "rb").read()
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 1214561337\n"
    for name, content, words in (("archive cut short", zipped[:-2000], ["cut short"]), ("older format cut short", legacy[:-50], ["cut"]),
                                 ("older format cut in its pickle", legacy[:300], ["cut short"]), ("Git LFS pointer", pointer, ["Git LFS pointer", "1214561337", "git lfs pull"]),
                                 ("web page", b"<!DOCTYPE html><html>404</html>", ["web page"]), ("nothing", b"", ["empty"])):
        with open(at("stand-in.pth"), "wb") as f:
            f.write(content)
        refused(name, ["stand-in.pth"] + words, "to-model", at("stand-in.pth"), at("no.h5"), *heads)

    # A pickle that would run a program when loaded in the ordinary way.
    class Attack:
        def __reduce__(self):
            return os.system, (f"touch {at('attacked')}",)

    for options in ({}, {"_use_new_zipfile_serialization": False}):
        torch.save({"state_dict": spectrum, "hyper_parameters": hyper, "callbacks": Attack()}, at("attack.ckpt"), **options)
        good("a file with code in it", "to-model", at("attack.ckpt"), at("attack.h5"))
        check(not os.path.exists(at("attacked")), "the code was not run")
    with open(at("attack.pkl"), "wb") as f:
        pickle.dump(Attack(), f)
    refused("plain pickle with code", [at("attack.pkl")], "to-model", at("attack.pkl"), at("no.h5"))
    check(not os.path.exists(at("attacked")), "the code was not run either")
    check(not [n for n in os.listdir(folder) if n.endswith(".tmp") or n.startswith("no.")], "nothing half-written")
finish()
