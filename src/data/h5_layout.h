/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room data: where a dataset's bytes are, for those who read them without HDF5 (the loader's thread), and
 * what the settings of HDF5 files mean for flat ones. */
#pragma once

#include "syzygy/data.h"

/**
 * Offset in the file of the first byte of a dataset whose rows lie one behind the other in this machine's own form of
 * `type`: contiguous, no filter, no external storage, same width, sign and byte order. -1 for any other dataset: read
 * it by syz_h5_read.
 */
int64_t syz_h5_offset(syz_h5 *f, const char *name, syz_h5_type type);

/** A flat file that all ranks will write, rank-local: with io.driver mpio it is made anew with the stripes of the
 * settings, otherwise it is left alone. SYZ_ERR_WRITE. */
syz_status h5_flat_create(const char *path);
/** Rank-local: with io.driver mpio its bytes get their place on the disk. SYZ_ERR_WRITE when there is no space. */
syz_status h5_flat_reserve(int fd, const char *path, int64_t bytes);
