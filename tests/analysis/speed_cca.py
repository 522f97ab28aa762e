# SPDX-License-Identifier: BSD-3-Clause
"""Time of SciPy's thin QR of both sides and of the singular values of their product; the peer of speed_cca. Arguments: ROWS WIDTH_X WIDTH_Y."""
import sys
import time

import numpy as np
import scipy.linalg

rows, p, q = [int(v) for v in sys.argv[1:]] or (200000, 1024, 1024)
rng = np.random.default_rng(1)
x, y = rng.standard_normal((rows, p)), rng.standard_normal((rows, q))
x -= x.mean(0)
y -= y.mean(0)
start = time.perf_counter()
qx, _ = scipy.linalg.qr(x, mode="economic", overwrite_a=True, check_finite=False)
qy, _ = scipy.linalg.qr(y, mode="economic", overwrite_a=True, check_finite=False)
middle = time.perf_counter()
rho = np.linalg.svd(qx.T @ qy)[1]
print(f"SciPy {scipy.__version__}: QR {middle - start:.2f} s, with product and singular values {time.perf_counter() - start:.2f} s")
