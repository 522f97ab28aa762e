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
/** What there is of posteriors; scratch [test, 5]. Collective. */
syz_status posterior_put(const job *p, syz_h5 *f, const posterior *q, double *scratch);
