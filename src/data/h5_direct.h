/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room data: large pieces of a file past the page cache, moved by a thread. See h5_direct.c. */
#pragma once

#include "syzygy/base.h"

typedef struct h5_direct h5_direct;

/** Whether the settings of this run want it. */
bool h5_direct_is_wanted(void);

enum { H5_DIRECT_WORTH = 1 << 20 /**< bytes below which it is not */ };

/** A lane to a file that exists, for writing or for reading; NULL where the file system has no direct access, or
 * without memory or a thread: then go through the page cache. `path` is copied. */
h5_direct *h5_direct_open(const char *path, bool is_write);
/** What is still under way is waited for. */
void h5_direct_close(h5_direct **lane);
/** Copies `data` and returns before it is written; calls for neighbouring bytes become one piece. SYZ_ERR_WRITE, also
 * of an earlier call. */
syz_status h5_direct_write(h5_direct *lane, int64_t at, size_t bytes, const void *data);
/** Whether these bytes follow those of the last call. */
bool h5_direct_follows(const h5_direct *lane, int64_t at);
/** Wait until everything is with the file system (not: on the disk). */
syz_status h5_direct_flush(h5_direct *lane);
/** SYZ_ERR_DATA. */
syz_status h5_direct_read(h5_direct *lane, int64_t at, size_t bytes, void *to);
/** Whether the page cache holds this byte: then reading through it is faster. */
bool h5_direct_is_cached(const h5_direct *lane, int64_t at);
