/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room probes: datasets of predictions.h5. */
#pragma once

#include "method.h"
#include "syzygy/data.h"
#include "syzygy/h5.h"

/** A dataset of all test objects [test] or, with `numbers`, [test, numbers]; the same data on all ranks. Collective. */
syz_status predictions_put(const job *p, syz_h5 *f, const char *name, syz_h5_type type, int64_t numbers,
                           const void *data, const char *unit, const char *description);
/** Objects, true values and predictions; scratch [test]. Collective; agreed. */
syz_status predictions_fill(const job *p, syz_h5 *f, double *scratch);
/** The same as a FITS table, with quantiles of posteriors. Rank 0 alone. */
syz_status predictions_write_fits(const job *p, const char *path);
