/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room data: where a dataset's bytes are, for those who read them without HDF5 (the loader's thread). */
#pragma once

#include "syzygy/data.h"

/**
 * Offset in the file of the first byte of a dataset whose rows lie one behind the other in this machine's own form of `type`:
 * contiguous, no filter, no external storage, same width, sign and byte order. -1 for any other dataset: read it by syz_h5_read.
 */
int64_t syz_h5_offset(syz_h5 *f, const char *name, syz_h5_type type);
