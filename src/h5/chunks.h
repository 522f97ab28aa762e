/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room h5: datasets that are written in compressed chunks. See chunks.c. */
#pragma once

#include "file.h"

/** The chunks of a dataset that this rank is putting together. */
typedef struct h5_chunks h5_chunks;

/** Rows per chunk; 0 when a dataset of this size should not be chunked. */
int64_t h5_chunk_rows(int64_t rows, size_t row_bytes);
/** What rank 0 declares: chunked, shuffled, deflated. */
syz_status h5_chunks_declare(hid_t create, int ndim, const hsize_t *dims, int64_t chunk_rows);
/** Not collective. `item`: bytes of one element. */
syz_status h5_chunks_create(int64_t rows, size_t row_bytes, size_t item, h5_chunks **out);
void h5_chunks_destroy(h5_chunks **chunks);
/** Collective, agreed: rows [first, first + n) of this rank. Chunks that are complete now are compressed and written.
 */
syz_status h5_chunks_put(syz_h5 *f, h5_column *column, int64_t first, int64_t n, const void *data);
