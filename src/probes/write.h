/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room probes: pieces of probe.json and predictions.h5. */
#pragma once

#include <cjson/cJSON.h>

#include "few.h"
#include "posterior.h"
#include "syzygy/h5.h"

/** All of probe.json, which the caller deletes; incomplete without memory, as writing it finds out. */
cJSON *probe_json(const job *p);
cJSON *posterior_json(const job *p, const posterior *q);
enum { POSTERIOR_SCRATCH = 2 * POSTERIOR_CONFORMAL, POSTERIOR_UNIT = 80 };
/** What there is of posteriors; scratch [test, POSTERIOR_SCRATCH]. Collective. */
syz_status posterior_put(const job *p, syz_h5 *f, const posterior *q, double *scratch);
/** Rows [test, numbers] from those of the q->n objects, `stride` apart, NaN elsewhere; the caller's. NULL: no memory.
 */
float *posterior_rows(const job *p, const posterior *q, int64_t numbers, const float *of_object, int64_t stride);
/** Unit of a density of something in `unit`. */
void posterior_density_unit(const char *unit, size_t room, char *out);
