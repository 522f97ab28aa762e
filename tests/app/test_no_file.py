# SPDX-License-Identifier: BSD-3-Clause
"""A FIFO or a device where a file is wanted is refused by its name on any number of ranks; nobody waits for its other end."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import BINARY, check_quietly as check, finish
from ingest_common import coadd, folder, ingest

os.mkfifo(f"{folder}/fifo.fits")
coadd(f"{folder}/coadd.fits", 1)
for ranks in (1, 3):
    for k, (key, path, what) in enumerate((("images", f"{folder}/fifo.fits", "a FIFO"), ("catalogues", "/dev/zero", "a device"), ("redshifts", f"{folder}/fifo.fits", "a FIFO"))):
        _, text = ingest(f"refused-{ranks}-{k}", ranks, code=3, text=what, spectra=f"{folder}/coadd.fits", **{key: path})
        check(path in text, f"{key}: the message names {path}: {text[-500:]}")
# What lies in a folder and is no file is not looked at.
ingest("folder", 1, spectra=folder)
for arguments, code in ((["info", f"{folder}/fifo.fits"], 3), (["info", "/dev/zero"], 3)):
    p = subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=60)
    check(p.returncode == code and arguments[-1] in p.stdout + p.stderr, f"{arguments}: exit code {p.returncode}: {p.stdout}{p.stderr}")
os.rename(f"{folder}/fifo.fits", f"{folder}/fifo.yaml")
p = subprocess.run([BINARY, "ingest", f"{folder}/fifo.yaml"], capture_output=True, text=True, timeout=60)
check(p.returncode == 2 and "fifo.yaml" in p.stdout + p.stderr and "a FIFO" in p.stdout + p.stderr, f"input file: exit code {p.returncode}: {p.stdout}{p.stderr}")
finish()
