# SPDX-License-Identifier: BSD-3-Clause
"""report: a run with all its parts, and with parts missing. The page must be well-formed, complete in itself, and show the pixels that are in the data."""
import base64
import io
import json
import os
import re
import shutil
from html.parser import HTMLParser

import h5py
import numpy as np
from PIL import Image

from embed_common import check, result, run, scratch, write_shard
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
run(2, "report", arguments=[f"{folder}/absent"], expect=2)
run(2, "report", {"report.embedding": f"{folder}/absent.h5"}, arguments=[f"{folder}/align"], expect=3)
result()
