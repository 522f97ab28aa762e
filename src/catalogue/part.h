/* SPDX-License-Identifier: BSD-3-Clause */
/** Partial results: what makes a repeated command go on where the last one ended. */
#pragma once

#include "syzygy/base.h"
#include "syzygy/comm.h"

/**
 * A scratch folder with one file of result rows and one of block digests. A block (fixed rows, by global row number)
 * counts as done when the digest of its bytes is there and holds, so it does not matter when or how an earlier run
 * ended, nor on how many ranks.
 */
typedef struct syz_embed_part syz_embed_part;

/** Rows of a block; the last one may have fewer. */
enum { SYZ_EMBED_BLOCK = 64 };

/**
 * Open or begin `folder`. Results made under another `key` (model, data, precision) or of another shape are thrown
 * away, and that is said. Collective. *missing: the blocks that are still to be computed, ascending, the same on all
 * ranks; borrowed. SYZ_ERR_WRITE.
 */
syz_status syz_embed_part_open(syz_comm *c, const char *folder, uint64_t key, int64_t rows, size_t row_bytes,
                               syz_embed_part **out, const int64_t **missing, int64_t *n_missing);
/** What these results were made with, beside the key: a later run under the same key recalls it. Thrown away with the
 * results. Collective. SYZ_ERR_WRITE. */
syz_status syz_embed_part_remember(syz_embed_part *p, const void *bytes, size_t n);
/** *is_there: it is, n bytes long and undamaged; then the bytes are the same on all ranks. Collective. */
syz_status syz_embed_part_recall(syz_embed_part *p, void *bytes, size_t n, bool *is_there);
/** First row and number of rows of a block. */
void syz_embed_part_block(const syz_embed_part *p, int64_t block, int64_t *first, int64_t *n);
/** Keep a block's rows. Not collective. SYZ_ERR_WRITE. */
syz_status syz_embed_part_put(syz_embed_part *p, int64_t block, const void *rows);
/** Rows of blocks that are done, by any rank, before a barrier. Not collective. SYZ_ERR_DATA. */
syz_status syz_embed_part_get(syz_embed_part *p, int64_t first, int64_t n, void *rows);
void syz_embed_part_close(syz_embed_part **p);
/** Close, and remove the folder. Collective. */
void syz_embed_part_remove(syz_embed_part **p);
