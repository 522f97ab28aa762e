# SPDX-License-Identifier: BSD-3-Clause
"""The report's section on masked modelling: a figure for each held-out spectrum of reconstruction.h5 with its runs shaded where they were hidden, three
curves whose heights are those of the file; without the file no section; a damaged one is said to be so and the page is made all the same."""
import os
import re
import sys
import warnings

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import harness  # lets the next line find the helpers of other rooms
from masked_common import *

warnings.simplefilter("ignore", RuntimeWarning)  # means of nothing are NaN, as they should be
LEFT, RIGHT = 52, 712  # of the drawing, in its own units


def page(work):
    code, text = run(1, ["report", f"{work}/run", "--set", f"output.dir={work}/page"])
    check(code == 0, f"report ends with {code}")
    if code:
        print(text)
    return open(f"{work}/page/report.html").read()


def hidden_runs(mask):
    """First and last pixel of the runs of two or more."""
    edge = np.flatnonzero(np.diff(np.r_[0, mask, 0]))
    return [(a, b - 1) for a, b in zip(edge[::2], edge[1::2]) if b - a >= 2]


with Work() as work:
    write_spectra(f"{work}/shards", 30, 2)
    input_file(work, f"""
data: {{path: [{work}/shards]}}
train: {{steps: 12, global_batch: 8, lr: 1.0e-3, warmup_steps: 4}}
""")
    code, text = run(1, command_line(work, "run", masked__bad_pixels="hidden"))
    check(code == 0, f"pretrain-spectrum ends with {code}")
    html = page(work)
    check('href="#reconstruction"' in html and "after step 12" in html, "the page has the section, and says after which step")
    figures_ = re.findall(r'<figure class="card">(.*?)</figure>', html, re.S)
    with h5py.File(f"{work}/run/reconstruction.h5") as f:
        file = {k: f[k][()] for k in f}
    check(len(figures_) == len(file["object_id"]) == 6, f"{len(figures_)} figures")
    for i, figure in enumerate(figures_):
        check(str(file["object_id"][i]) in figure and f"redshift {file['redshift'][i]:.4f}" in figure, "object and redshift")
        check(f"hidden pixels {file['pixel_loss'][i]:.4g}, by interpolation {file['interpolation_loss'][i]:.4g}" in figure, "and both errors")
        shaded = [(float(x), float(w)) for x, w in re.findall(r'<rect style="fill:var\(--line\);opacity:.55" x="([0-9.]+)" y="\d+" width="([0-9.]+)"', figure)]
        wanted = [(LEFT + a / (PIXELS - 1) * (RIGHT - LEFT), (b - a) / (PIXELS - 1) * (RIGHT - LEFT)) for a, b in hidden_runs(file["mask"][i])]
        check(len(shaded) == len(wanted) and np.abs(np.array(shaded) - np.array(wanted)).max() < 0.11, f"{len(shaded)} runs shaded where they are")
        curves = {c: np.array([(float(x), float(y)) for x, y in re.findall(r"[ML]([0-9.]+) ([0-9.]+)", d)])
                  for c, d in re.findall(r'<path class="curve (k0|k1|k2 dashed)" style="stroke-width:[0-9.]+" d="([^"]*)"', figure)}
        check(set(curves) == {"k0", "k1", "k2 dashed"}, "three curves")
        stretch = np.arange(649) * PIXELS // 648
        mean = np.array([np.nanmean(file["reconstruction"][i][a:b]) for a, b in zip(stretch, stretch[1:])])
        at = np.isfinite(mean)
        # Heights are linear in flux: fit the scale on the reconstruction and hold the interpolation against it.
        drawn = curves["k1"]
        check(len(drawn) == at.sum(), f"{at.sum()} points of the reconstruction")
        inside = (drawn[:, 1] > 22.05) & (drawn[:, 1] < 177.95)  # not cut off at the frame
        slope, offset = np.polyfit(mean[at][inside], drawn[inside, 1], 1)
        check(slope < 0 and np.abs(np.polyval([slope, offset], mean[at]) - drawn[:, 1])[inside].max() < 0.11, "at their heights")
        line = np.array([np.nanmean(file["interpolation"][i][a:b]) for a, b in zip(stretch, stretch[1:])])
        line, other = line[np.isfinite(line)], curves["k2 dashed"]
        inside = (other[:, 1] > 22.05) & (other[:, 1] < 177.95)
        check(len(line) == len(other) and np.abs(np.polyval([slope, offset], line) - other[:, 1])[inside].max() < 0.5, "the interpolation on the same scale")

    good = open(f"{work}/run/reconstruction.h5", "rb").read()
    for spoil, said in [("shape", "flux is not of shape"), ("format", "not a reconstruction"), ("truncated", "cannot be shown")]:
        with open(f"{work}/run/reconstruction.h5", "wb") as f:
            f.write(good[: len(good) // 3] if spoil == "truncated" else good)
        if spoil == "shape":
            with h5py.File(f"{work}/run/reconstruction.h5", "r+") as f:
                del f["flux"], f.attrs["checksum"]
                f["flux"] = np.zeros((6, 100), np.float32)
        if spoil == "format":
            with h5py.File(f"{work}/run/reconstruction.h5", "r+") as f:
                f.attrs["syzygy_format"] = "shard"
                del f.attrs["checksum"]
        html = page(work)
        check(said in html and '<figure class="card">' not in html, f"{spoil}: the page says {said!r}")
    os.remove(f"{work}/run/reconstruction.h5")
    check('id="reconstruction"' not in page(work), "without the file there is no section")
finish()
