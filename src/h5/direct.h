/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room h5: writing past the page cache, through the lane that syz_direct_open gives. */
#pragma once

#include "syzygy/h5.h"

/** Copies `data` and returns before it is written; calls for neighbouring bytes become one piece. SYZ_ERR_WRITE, also
 * for a failure of an earlier call. */
syz_status syz_direct_write(syz_direct *lane, int64_t at, size_t bytes, const void *data);
/** Whether these bytes follow those of the last call. */
bool syz_direct_follows(const syz_direct *lane, int64_t at);
/** Wait until the file system has everything (it need not be on the disk yet). SYZ_ERR_WRITE. */
syz_status syz_direct_flush(syz_direct *lane);
