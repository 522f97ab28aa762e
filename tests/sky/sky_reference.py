# SPDX-License-Identifier: BSD-3-Clause
"""What the Python references of the sky room share: the grid, and runs of the tool."""
import os
import subprocess
import sys
import warnings

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import check_quietly as check, driver

warnings.filterwarnings("ignore")
S = 7781
GRID = 3600.0 + 0.8 * np.arange(S)
DRIVER = driver("sky_driver")


def run(*arguments, data=None, environment=None):
    """Exit code, bytes, message."""
    p = subprocess.run([DRIVER] + [str(a) for a in arguments], input=data, capture_output=True, timeout=200, env={**os.environ, **(environment or {})})
    return p.returncode, p.stdout, p.stderr.decode(errors="replace")


def good(*arguments, data=None):
    code, out, message = run(*arguments, data=data)
    check(code == 0, f"{arguments}: exit code {code}: {message}")
    return out


def refused(text, *arguments, code=3):
    got, _, message = run(*arguments)
    check(got == code and text in message, f"{arguments}: expected code {code} with '{text}', got {got}: {message}")


def spectra(path, *options):
    """Kind, table of text fields, flux and ivar (n, S)."""
    out = good("spectra", path, *options)
    lines = out.split(b"\n", 2)
    kind, n, rest = lines[0].decode(), int(lines[1]), lines[2]
    table = []
    for _ in range(n):
        line, rest = rest.split(b"\n", 1)
        table.append(line.decode().split())
    pixels = np.frombuffer(rest, np.float32).reshape(n, 2, S)
    return kind, table, pixels[:, 0], pixels[:, 1]
