/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room probes: pieces of probe.json and predictions.h5. */
#pragma once

#include <cjson/cJSON.h>

#include "few.h"
#include "posterior.h"
#include "syzygy/h5.h"

/** A number as JSON has it; null where it is not finite. */
cJSON *json_number(double value);
void json_add(cJSON *o, const char *name, double value);
cJSON *posterior_json(const job *p, const posterior *q);

/** A dataset of all test objects [test] or, with `numbers`, [test, numbers]; the same data on all ranks. Collective. */
syz_status predictions_put(const job *p, syz_h5 *f, const char *name, syz_h5_type type, int64_t numbers,
                           const void *data, const char *unit, const char *description);
enum { PREDICTIONS_NAME = 128 };
/** A formula or a file as part of a dataset's name, in which / leads into a group; long ones end with their checksum.
 */
void predictions_name(const char *text, char out[PREDICTIONS_NAME]);
/** What there is of posteriors; scratch [test, 5]. Collective. */
syz_status posterior_put(const job *p, syz_h5 *f, const posterior *q, double *scratch);
/** The same predictions as a FITS table. Rank 0 alone. */
syz_status predictions_write_fits(const job *p, const char *path);
