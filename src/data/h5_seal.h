/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room data: the checksum over a file's attributes, names, types and shapes. See h5_seal.c. */
#pragma once

#include "h5_file.h"

/** What the root attribute `checksum` of this open file has to be; of a file being written once its datasets' checksums are there. Rank-local. */
syz_status h5_seal_sum(syz_h5 *f, uint64_t *sum);
/** Compare it where the file has one, and note whether it has. Rank-local. SYZ_ERR_DATA. */
syz_status h5_seal_check(syz_h5 *f);
