/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room h5: what is asked of the process that reads a file, and its answers. See request.c. Rank-local. */
#pragma once

#include "file.h"
#include "line.h"

/** One question about the object `name` ("": the root) and its answer; what the reader refuses becomes this rank's
 * error. */
syz_status h5_request(syz_h5 *f, h5_ask *question, const char *name, h5_answer *a);
/** The next answer. */
syz_status h5_listen(syz_h5 *f, h5_answer *a);
/** Text of at most `limit` bytes that follows an answer; the caller's (syz_free). */
syz_status h5_take_text(syz_h5 *f, const h5_answer *a, int64_t limit, char **text);
/** After this nothing more can be asked; `why` is kept for all later calls. Returns `status`. */
syz_status h5_lose_reader(syz_h5 *f, syz_status status, const char *why);
