# SPDX-License-Identifier: BSD-3-Clause
"""Checkpoints that are lost or damaged are never removed; symbolic links are never followed where something is written or removed; a damaged model.h5
of a finished run is written again; a model file with one changed bit of its configuration is refused, also one of the format without checksums."""
import glob
import hashlib
import sys

from common import *

STEPS = 12


def digest(path):
    return hashlib.sha256(open(path, "rb").read()).hexdigest()


def states(folder):
    """Digest of every state.h5 below the checkpoints, whatever its folder is called now."""
    return sorted(digest(p) for p in glob.glob(f"{folder}/checkpoints/*/state.h5"))


def go(work, name, ranks, code, *said, **keys):
    found, text = run(ranks, arguments(work, name, train__warmup_steps=2, **keys))
    good = found == code and all(t in text for t in said)
    check(good, f"{name} {keys} on {ranks} ranks: exit code {found} ({code}), says {said}")
    if not good:
        print(text)
    return text


def flip(path, text, to):
    """The first copy of `text` in the file becomes `to`."""
    data = open(path, "rb").read()
    assert text in data and len(text) == len(to), (path, text)
    open(path, "wb").write(data.replace(text, to, 1))


def copy(work, name, to):
    shutil.copytree(f"{work}/{name}", f"{work}/{to}")


def lost(work, whole):
    folder = f"{work}/lost"
    copy(work, "base", "lost")
    before = states(folder)
    check(len(before) == 2, f"two checkpoints to begin with: {before}")
    for p in glob.glob(f"{folder}/checkpoints/*/manifest.json"):
        os.remove(p)
    for ranks in (2, 1, 3):  # as often as it is tried
        go(work, "lost", ranks, 5, "none of 2 checkpoints is usable", "manifest.json is missing", "nothing was removed", "train.recover=true",
           train__steps=STEPS)
        check(states(folder) == before and len(glob.glob(f"{folder}/checkpoints/step-*")) == 2, f"on {ranks} ranks: both states are where they were")
    go(work, "lost", 2, 0, "continuing from step 8", "its manifest is written again", train__steps=STEPS, train__recover="true")
    check(numbers(folder) == whole, "recovered: every loss, rate and norm as in the undisturbed run, bit for bit")
    code, text = run(1, ["info", f"{folder}/checkpoints/step-{STEPS:08d}"])
    check(code == 0, "and info finds the new checkpoints whole")

    # One manifest lost: the run goes on from the other, and the lost one is set aside.
    copy(work, "base", "one")
    os.remove(f"{work}/one/checkpoints/step-00000008/manifest.json")
    kept = digest(f"{work}/one/checkpoints/step-00000008/state.h5")
    os.makedirs(f"{work}/one/checkpoints/tmp-step-00000009")
    go(work, "one", 2, 0, "continuing from step 4", "is set aside as", "did not finish writing", train__steps=STEPS)
    check(numbers(f"{work}/one") == whole, "one lost: the same run")
    names = sorted(os.listdir(f"{work}/one/checkpoints"))
    check(names == ["aside-step-00000008", "step-00000008", f"step-{STEPS:08d}"], f"one lost: {names}")
    check(digest(f"{work}/one/checkpoints/aside-step-00000008/state.h5") == kept, "one lost: its state is untouched")

    # Damaged manifests, intact states.
    copy(work, "base", "torn")
    for p in glob.glob(f"{work}/torn/checkpoints/*/manifest.json"):
        flip(p, b'"objective"', b'"objectivf"')
    go(work, "torn", 3, 5, "none of 2 checkpoints", "its checksum is", "train.recover=true", train__steps=STEPS)
    go(work, "torn", 3, 0, "continuing from step 8", train__steps=STEPS, train__recover="true")
    # A damaged state is not recovered.
    copy(work, "base", "both")
    for p in glob.glob(f"{work}/both/checkpoints/*"):
        os.remove(f"{p}/manifest.json")
        with h5py.File(f"{p}/state.h5", "r+") as f:
            name = list(f["weight"])[0]
            f[f"weight/{name}"][0, 0] += 1e-6
    before = states(f"{work}/both")
    go(work, "both", 2, 5, "none of 2 checkpoints", "is damaged", train__steps=STEPS, train__recover="true")
    check(states(f"{work}/both") == before, "and not removed either")
    copy(work, "base", "text")  # one bit of an attribute
    for p in glob.glob(f"{work}/text/checkpoints/*"):
        os.remove(f"{p}/manifest.json")
        flip(f"{p}/state.h5", b"!model.spectrum.heads=2", b"!model.spectrum.heads=3")
    go(work, "text", 2, 5, "the checksum of its attributes", train__steps=STEPS, train__recover="true")


def links(work):
    other = f"{work}/other"
    os.makedirs(f"{other}/step")
    for name in ("manifest.json", "state.h5", "notes.txt"):
        open(f"{other}/step/{name}", "w").write("of somebody else")

    def intact():
        return all(open(f"{other}/step/{n}").read() == "of somebody else" for n in ("manifest.json", "state.h5", "notes.txt")) and \
            sorted(os.listdir(other)) == ["step"] and len(os.listdir(f"{other}/step")) == 3

    for name in ("step-00000002", "tmp-step-00000009"):
        copy(work, "base", f"link-{name}")
        os.symlink(f"{other}/step", f"{work}/link-{name}/checkpoints/{name}")
        go(work, f"link-{name}", 2, 4, f"{name} is a symbolic link", train__steps=STEPS)
        check(intact(), f"{name} as a link: what it points to is intact")
    copy(work, "base", "link-all")
    shutil.rmtree(f"{work}/link-all/checkpoints")
    os.symlink(other, f"{work}/link-all/checkpoints")
    go(work, "link-all", 3, 4, "link-all/checkpoints is a symbolic link", train__steps=STEPS)
    check(intact(), "checkpoints as a link: intact")
    for name in ("model.h5", "model.h5.tmp", "metrics.jsonl", "log.txt", ".lock"):
        to = f"link-{name.replace('.', '')}"
        copy(work, "base", to)
        if os.path.exists(f"{work}/{to}/{name}"):
            os.remove(f"{work}/{to}/{name}")
        os.symlink(f"{other}/step/notes.txt", f"{work}/{to}/{name}")
        go(work, to, 1, 4, f"{name} is a symbolic link", train__steps=STEPS)
        check(intact(), f"{name} as a link: intact")
    # The run folder itself, as the user names it, may be one.
    copy(work, "base", "true")
    os.symlink(f"{work}/true", f"{work}/named")
    go(work, "named", 2, 0, "continuing from step 8", train__steps=STEPS)


def model(work, whole):
    folder = f"{work}/done"
    copy(work, "base", "done")
    path = f"{folder}/model.h5"
    os.remove(path)  # it names the folder of the run that this is a copy of
    go(work, "done", 1, 0, "wrote", train__steps=8)
    go(work, "done", 2, 0, "this run is done", train__steps=8)
    right = open(path, "rb").read()
    with h5py.File(path, "r+") as f:
        name = []
        f["parameter"].visititems(lambda n, d: name.append(n) if isinstance(d, h5py.Dataset) else None)
        f[f"parameter/{name[3]}"][...] += 1
    go(work, "done", 3, 0, "is damaged", "it is written again", train__steps=8)
    check(open(path, "rb").read() == right, "a damaged model.h5 of a finished run is written again, the same bytes")
    flip(path, b"spectrum: {dim: 32, depth: 2, heads: 2", b"spectrum: {dim: 32, depth: 2, heads: 4")
    go(work, "done", 1, 0, "the checksum of its attributes", "it is written again", train__steps=8)
    check(open(path, "rb").read() == right, "so is one with a changed text")

    def refused(file, code, *said):
        for ranks, command_ in (1, ["info", file]), (3, ["embed", "--set", f"model.file={file}", "--set", f"data.path=[{work}/shards]", "--set",
                                          f"output.dir={work}/embedded", "--dry-run"]):
            found, text = run(ranks, command_)
            good = found == code and all(t in text for t in said)
            check(good, f"{command_[0]} {os.path.basename(file)} on {ranks} ranks: {found} ({code}), says {said}")
            if not good:
                print(text)

    changes = [(b"spectrum: {dim: 32, depth: 2, heads: 2", b"spectrum: {dim: 32, depth: 2, heads: 4"), (b"overlap: 100", b"overlap: 120"),
               (b"tokens: dinov2", b"tokens: dinov3")]
    one, old, bad = f"{work}/one.h5", f"{work}/old.h5", f"{work}/bad.h5"
    for text, to in changes:
        shutil.copy(path, one)
        data = open(one, "rb").read()
        at = data.index(b"model:\n  image: {dim")  # in model_config: flow style, the input is in block style
        open(one, "wb").write(data[:at] + data[at:].replace(text, to, 1))
        refused(one, 3, "one.h5 is damaged: the checksum of its attributes")
    # As an older version wrote it: read with a warning, and what contradicts itself is refused.
    shutil.copy(path, old)
    with h5py.File(old, "r+") as f:
        del f.attrs["checksum"]
    refused(old, 0, "no checksum")
    for text, to in changes[:2]:
        data = open(old, "rb").read()
        at = data.index(b"model:\n  image: {dim")
        open(bad, "wb").write(data[:at] + data[at:].replace(text, to, 1))
        refused(bad, 3, "bad.h5 is damaged: attribute model_config has model.spectrum." + ("heads = 4" if b"heads" in text else "overlap = 120"),
                "attribute input) has " + ("2" if b"heads" in text else "100"))
    case = os.path.join(os.environ.get("SYZYGY_SKY_DATA", ""), "cases", "model-heads-6-to-4.h5")
    if os.path.exists(case):
        refused(case, 3, "is damaged: attribute model_config has model.spectrum.heads = 4, the input that the file was made from (attribute input) has 6")


with Work() as work:
    write_shards(f"{work}/shards", 16)
    write_input(work, f"""
data: {{path: [{work}/shards], split: all}}
train: {{steps: 8, global_batch: 6, lr: 5.0e-4, lr_min: 5.0e-4, validate_objects: 0, freeze_backbones: true}}
output: {{checkpoint_interval_steps: 4}}
""")
    go(work, "whole", 2, 0, train__steps=STEPS)
    go(work, "base", 2, 0, train__steps=8)
    whole = numbers(f"{work}/whole")
    if sys.argv[1] == "lost":
        lost(work, whole)
    else:
        links(work)
        model(work, whole)
finish()
