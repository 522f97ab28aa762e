/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room h5: the checksum over a file's attributes, names, types and shapes. See seal_sum.c. */
#pragma once

#include "file.h"

enum { H5_SEAL_CHARS = 17 /**< of a checksum as text, with its end */ };

/** What the root attribute `checksum` of this open file has to be; of a file being written once its datasets' checksums
 * are there. name [n]: all datasets, sorted; `path` is for messages. Calls the library: of a file from outside in a
 * reader process only. SYZ_ERR_DATA, SYZ_ERR_MEMORY. */
syz_status h5_seal_sum(hid_t file, const char *path, const char *const *name, int64_t n, uint64_t *sum);
/** Compare it where the file has one, and note whether it has. Rank-local. SYZ_ERR_DATA. */
syz_status h5_seal_check(syz_h5 *f);
