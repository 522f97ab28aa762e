# SPDX-License-Identifier: BSD-3-Clause
"""report: a run with all its parts, and with parts missing. The page must be well-formed, complete in itself, and show the pixels that are in the data."""
import base64
import io
import json
import os
import re
import shutil
import sys
from html.parser import HTMLParser

import h5py
import numpy as np
from PIL import Image

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import check_quietly as check, finish, scratch
from embed_common import run, write_shard
import syzygy_torch as ref

folder = scratch()
N = 40
image, flux = ref.random_images(N, 1), ref.random_flux(N, 2)
object_id = 39627788403084375 + np.arange(N)
redshift = np.linspace(0.02, 0.5, N)
has_spectrum = np.ones(N, bool)
has_spectrum[7] = False
write_shard(f"{folder}/data.h5", image, flux, object_id, None, has_spectrum, redshift=redshift)
config = ref.small_config()
os.mkdir(f"{folder}/align")
ref.write_model_file(f"{folder}/align/model.h5", config, ref.random_model(config, seed=1).state_dict())
STEPS = 3000
with open(f"{folder}/align/metrics.jsonl", "w") as f:
    for s in range(STEPS):
        f.write(json.dumps({"step": s, "loss": 4 + np.exp(-s / 500), "lr": 1e-3 * (1 - s / STEPS), "grad_norm": None if s == 5 else 1 / (1 + s), "samples_per_s": 100.0}) + "\n")
    f.write('{"step": 3000, "lo')  # a run that ended in the middle of a line
with open(f"{folder}/align/validation.jsonl", "w") as f:
    for s in (1000, 2000):
        f.write(json.dumps({"step": s, "loss": 4.2, "recall_at_10_image_to_spectrum": 0.1, "recall_at_10_spectrum_to_image": 0.2}) + "\n")
with open(f"{folder}/align/input.yaml", "w") as f:
    f.write("seed: 1 # <script>alert('never')</script> & \"quoted\"\n")
json.dump({"ranks": 2, "phases": [{"phase": "forward <image>", "count": 12345, "min_s": 1, "mean_s": 2, "max_s": 3, "share": 0.75}]}, open(f"{folder}/align/timing.json", "w"))

VOID = {"meta", "img", "br", "link", "input", "hr", "path", "line", "circle"}


class Page(HTMLParser):
    """Collects tags, and checks that they are closed in order and refer to nothing outside."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.ids, self.text, self.errors = [], [], set(), [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append((tag, values))
        if "id" in values:
            if values["id"] in self.ids:
                self.errors.append(f"id {values['id']} twice")
            self.ids.add(values["id"])
        for key in ("src", "href"):
            if values.get(key, "#").split(":")[0].split("#")[0] not in ("", "data"):
                self.errors.append(f"{tag} {key} {values[key][:60]}")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.errors.append(f"</{tag}> does not close the last tag")

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [a for t, a in self.tags if t == tag]


def read(path):
    raw = open(path, "rb").read()
    text = raw.decode("utf-8")  # must be valid
    page = Page(text)
    check(text.startswith("<!DOCTYPE html>") and text.endswith("</html>\n"), "a whole page")
    check(not page.open and not page.errors, f"well-formed and self-contained: {page.errors[:5]} {page.open}")
    check(not page.all("script") and "@import" not in text and "url(" not in text, "no scripts, nothing loaded")
    check(page.all("html")[0].get("lang") == "en" and page.all("title") and len(page.all("h1")) == 1, "language, title, one heading")
    check(all(i.get("alt") for i in page.all("img")), "every image has a text")
    check(all(s.get("role") == "img" and s.get("aria-label") or s.get("aria-hidden") for s in page.all("svg")), "every drawing has a text")
    check(not re.search(r"\b(nan|inf)\b", "".join(v or "" for t, a in page.tags for k, v in a.items() if k in ("d", "x", "y", "x1", "y1", "cx", "cy")), re.I), "no NaN in drawings")
    return page, text


keys = {"data.path": f"{folder}/data.h5", "compute.precision": "float32"}
run(2, "embed", {**keys, "model.file": f"{folder}/align/model.h5", "output.dir": f"{folder}/embed"})
run(2, "search", {"search.index": f"{folder}/embed", "search.k": 8, "output.dir": f"{folder}/search"})

# Everything is found from the training's folder alone: what belongs to it is beside it. An embedding that was not searched does not come in the way.
shutil.copytree(f"{folder}/embed", f"{folder}/another")
run(2, "report", arguments=[f"{folder}/align"])
page, text = read(f"{folder}/align/report.html")
check({"training", "retrieval", "gallery", "timing", "provenance"} <= page.ids, f"sections: {page.ids}")
labels = [s.get("aria-label", "") for s in page.all("svg")]
for chart in ("Loss", "Learning rate", "Gradient norm", "Own partner among the first k", "recall@10"):
    check(any(chart in label for label in labels), f"chart {chart}")
for axis in ("step", "loss (nats)", "observed wavelength (Å, vacuum)"):
    check(axis in page.text or any(axis in t for t in page.text), f"axis label {axis}")
check("<script" not in text and "&lt;script&gt;" in text, "text from files is escaped")
check("forward &lt;image&gt;" in text and "12,345" in text, "the timing table")
check("line(s) of the metrics are not JSON" in text, "a broken line is said")
retrieval = json.load(open(f"{folder}/search/retrieval.json"))
recall = next(d for d in retrieval["directions"] if d["query"] == "image" and d["index"] == "spectrum")["recall"]["10"]
check(f"{100 * recall:.1f}" in text, "the retrieval table holds the figures of retrieval.json")
for a, b in (("image", "image"), ("image", "spectrum"), ("spectrum", "image"), ("spectrum", "spectrum")):
    check(text.count(f"<div>{a} → {b}<small>") == 5, f"gallery: 5 objects in direction {a} to {b}")

# The stamps are the data's pixels in the survey's colours, north up.
stamps = [i for i in page.all("img") if i["src"].startswith("data:image/png;base64,")]
check(len(stamps) == 5 * 21, f"{len(stamps)} stamps, 5 x (1 + 4 x 5) expected")
planes = ref.colour_map(__import__("torch").as_tensor(image)).numpy()
for stamp in stamps:
    number = int(re.search(r"object (\d+)", stamp["alt"]).group(1))
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(stamp["src"].split(",")[1]))))
    want = planes[number - object_id[0]][:, ::-1].transpose(1, 2, 0) * 255
    check(pixels.shape == (152, 152, 3) and pixels.dtype == np.uint8, f"stamp of {number}: {pixels.shape}")
    check(np.abs(pixels - want).max() <= 0.51, f"stamp of {number}: pixels differ by {np.abs(pixels - want).max()}")

# Neighbours in the page are those of the files, the query left out where it comes first trivially.
with h5py.File(f"{folder}/search/neighbours-image-image.h5") as f:
    near = dict(zip(f["query_id"][...], f["neighbour_id"][...]))
block = text.split("<article")[1]
query = int(re.search(r"Object <span class=\"id\">(\d+)", block).group(1))
shown = [int(x) for x in re.findall(r"<br><span class=\"id\">(\d+)</span>", block.split("image → spectrum")[0])]
check(shown == [x for x in near[query] if x != query][:5], f"neighbours of {query}: {shown}")

# From the search's folder and by report.run, into a folder of its own; the run folder itself stays as it is.
before = sorted(os.listdir(f"{folder}/search"))
run(1, "report", {"report.run": f"{folder}/search", "output.dir": f"{folder}/page", "report.objects": 1, "report.neighbours_shown": 2})
page, text = read(f"{folder}/page/report.html")
check(len(page.all("img")) == 1 + 4 * 2 and "Loss" in text, "from the search's folder")
check(sorted(os.listdir(f"{folder}/search")) == before, "the run folder is left alone")

# Parts that are not there are said, and so are files that cannot be used.
os.mkdir(f"{folder}/elsewhere")
os.mkdir(f"{folder}/elsewhere/empty")
run(2, "report", arguments=[f"{folder}/elsewhere/empty"])
page, text = read(f"{folder}/elsewhere/empty/report.html")
for part in ("No metrics.jsonl", "No retrieval.json", "No neighbours file", "No timing.json", "No input.yaml"):
    check(part in text, f"said: {part}")
os.rename(f"{folder}/data.h5", f"{folder}/moved.h5")
with open(f"{folder}/search/neighbours-image-spectrum.h5", "r+b") as f:
    f.truncate(300)
run(1, "report", arguments=[f"{folder}/align"])
page, text = read(f"{folder}/align/report.html")
check("The data set is not known or not there" in text and "neighbours-image-spectrum.h5" in text and "No neighbours file for the direction image to spectrum" in text,
      "missing data and a damaged file are said")
# A pretraining run: every number of a step has a chart, neighbours stand beside their baselines, maps and heads are found beside it; no pairs.
os.mkdir(f"{folder}/pre")
tower = f"{folder}/pre/run"
os.mkdir(tower)
terms = ["dino_local", "dino_global", "ibot", "koleo", "target_entropy", "mean_target_entropy", "embedding_spread", "teacher_temperature", "momentum", "grad_norm_backbone"]
with open(f"{tower}/metrics.jsonl", "w") as f:
    for s in range(200):
        f.write(json.dumps({"step": s, "loss": 10 - s / 100, "lr": 1e-4, "grad_norm": 2.0, "samples_per_s": 5.0, "<b>odd": 1.0, **{t: i + s / 200 for i, t in enumerate(terms)}}) + "\n")
with open(f"{tower}/validation.jsonl", "w") as f:
    for s in (100, 200):
        f.write(json.dumps({"step": s, "knn_error": 0.5, "knn_redshift_r2": s / 400, "start_redshift_r2": 0.11, "pixels_redshift_r2": 0.22, "knn_morphology_accuracy": 0.6,
                            "start_morphology_accuracy": 0.3, "pixels_morphology_accuracy": 0.4}) + "\n")
ref.write_model_file(f"{tower}/model.h5", config, {k: v for k, v in ref.random_model(config, seed=1).state_dict().items() if k.startswith("image_encoder.backbone.")})
run(2, "report", arguments=[tower])
page, text = read(f"{tower}/report.html")
check({"training", "timing", "provenance"} <= page.ids and not {"retrieval", "gallery", "patches", "dense"} & page.ids, f"sections of a pretraining run: {page.ids}")
check([a["href"] for a in page.all("a")] == ["#training", "#timing", "#provenance"], "links to the sections that are there")
labels = [s.get("aria-label", "") for s in page.all("svg")]
for chart in ("DINO", "iBOT", "KoLeo", "entropy of the teacher", "spread of the class tokens", "temperature", "momentum", "grad_norm_backbone", "nearest neighbours: redshift r2",
              "nearest neighbours: morphology accuracy"):
    check(any(chart in label for label in labels), f"chart {chart}")
check("<b>odd" not in text, "names from files do not become markup")
check(text.count("class token before training") == 2 and text.count("principal components of the pixels") == 2, "baselines in both charts")
check("0.500" in text and "before training 0.110, pixels 0.220" in text, "the tile of the neighbours")

# Maps and heads that another run of its model left; of another model they are not taken.
for name, model in (("maps", tower), ("strangers", f"{folder}/align")):
    os.mkdir(f"{folder}/pre/{name}")
    with h5py.File(f"{folder}/pre/{name}/patches.h5", "w") as f:
        f.attrs["syzygy_format"] = "patches"
        f.attrs["model_file"] = f"{model}/model.h5"
        f["object_id"] = [7, 8]
        f["variance_ratio"] = [0.5, 0.2, 0.1]
    Image.new("RGB", (584, 288), (10, 20, 30)).save(f"{folder}/pre/{name}/patches-00000-7.png")
    with open(f"{folder}/pre/{name}/patches-00001-8.png", "wb") as f:
        f.write(b"no picture")
dense = {"task": "dense", "model_file": f"{tower}/model.h5", "colours": {"background": "#262830", "disk": "red;x:url(y)"}, "targets": {"distance": "distance <far>"},
         "models": [{"weights": w, "patches": {"mean_iou": m, "accuracy": 0.9, "majority": 0.8, "iou": {"background": 0.95, "bar": None}}, "pixels": {"mean_iou": 0.2}, "r2": {"distance": 0.1}}
                    for w, m in (("trained", 0.456), ("untrained", 0.123))]}
json.dump(dense, open(f"{folder}/pre/maps/probe.json", "w"))
with h5py.File(f"{folder}/pre/maps/dense.h5", "w") as f:
    f["object_id"] = [9]
Image.new("RGB", (744, 144), (1, 2, 3)).save(f"{folder}/pre/maps/dense-00000-9.png")
said = run(1, "report", arguments=[tower])
check(f"maps of patches: {folder}/pre/maps" in said, f"the maps of its own model are taken: {said[-600:]}")
page, text = read(f"{tower}/report.html")
check({"patches", "dense"} <= page.ids, f"sections {page.ids}")
pictures = [np.asarray(Image.open(io.BytesIO(base64.b64decode(i["src"].split(",")[1])))) for i in page.all("img")]
check([p.shape for p in pictures] == [(288, 584, 3), (144, 744, 3)] and (pictures[0] == [10, 20, 30]).all(), f"pictures that are pictures: {[p.shape for p in pictures]}")
check("0.456" in text and "0.123" in text and "distance &lt;far&gt;" in text and "n/a" in text, "the tables of the heads")
check("#262830" in text and "x:url" not in text, "only colours become styles")
check(any("Variance of the patch features" in s.get("aria-label", "") for s in page.all("svg")), "the variances")
# From the folder of the probe itself: the training of its model.
run(1, "report", arguments=[f"{folder}/pre/maps"])
page, text = read(f"{folder}/pre/maps/report.html")
check("KoLeo" in text and "dense" in page.ids, "from the probe's folder")
# Lists where objects belong, and numbers of three hundred digits: a page all the same.
json.dump({**dense, "colours": ["#262830"], "targets": [1], "models": [{"weights": 3, "patches": {"mean_iou": 1e300, "iou": [0.5, "x"]}, "r2": [0.1]}, 7]}, open(f"{folder}/pre/maps/probe.json", "w"))
with open(f"{tower}/validation.jsonl", "a") as f:
    f.write(json.dumps({"step": 300, "knn_error": 0.5, "knn_redshift_r2": 1e300, "start_redshift_r2": 1e300, "pixels_redshift_r2": -1e300}) + "\n")
run(1, "report", arguments=[tower])
page, text = read(f"{tower}/report.html")
check("dense" in page.ids and "before training 1000" in text and ", pixels -1000" in text, "odd values in the files of others")
open(f"{folder}/pre/maps/probe.json", "w").write("{")
with open(f"{folder}/pre/maps/patches.h5", "r+b") as f:
    f.truncate(100)
run(1, "report", arguments=[f"{folder}/pre/maps"])
page, text = read(f"{folder}/pre/maps/report.html")
check("patches.h5 cannot be read" in text and "probe.json cannot be read" in text, "damaged results are said")

run(2, "report", arguments=[f"{folder}/absent"], expect=2)
run(2, "report", {"report.embedding": f"{folder}/absent.h5"}, arguments=[f"{folder}/align"], expect=3)
finish()
