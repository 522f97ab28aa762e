/* SPDX-License-Identifier: BSD-3-Clause */
/** Partial results, with which a repeated command continues where the last one ended. */
#pragma once

#include "syzygy/base.h"
#include "syzygy/comm.h"

/**
 * A scratch folder with one file of result rows and one of block digests. A block (fixed rows, by global row number)
 * counts as done when its digest is stored and holds, so it does not matter when or how an earlier run ended, nor on
 * how many ranks.
 */
typedef struct syz_embed_part syz_embed_part;

/** Rows of a block; the last one may have fewer. */
enum { SYZ_EMBED_BLOCK = 64 };

/**
 * Open or create `folder`. Results made under another `key` (model, data, precision) or of another shape are discarded,
 * and the log says so. Collective. *missing: the blocks still to be computed, ascending, the same on all ranks;
 * borrowed. SYZ_ERR_WRITE.
 */
syz_status syz_embed_part_open(syz_comm *c, const char *folder, uint64_t key, int64_t rows, size_t row_bytes,
                               syz_embed_part **out, const int64_t **missing, int64_t *n_missing);
/** Store facts about these results beyond the key, for a later run under the same key. Discarded with the results.
 * Collective. SYZ_ERR_WRITE. */
syz_status syz_embed_part_remember(syz_embed_part *p, const void *bytes, size_t n);
/** *is_there: whether such facts exist, n bytes long and undamaged; then all ranks get the same bytes. Collective. */
syz_status syz_embed_part_recall(syz_embed_part *p, void *bytes, size_t n, bool *is_there);
/** First row and number of rows of a block. */
void syz_embed_part_block(const syz_embed_part *p, int64_t block, int64_t *first, int64_t *n);
/** Store a block's rows. Not collective. SYZ_ERR_WRITE. */
syz_status syz_embed_part_put(syz_embed_part *p, int64_t block, const void *rows);
/** Read rows of blocks that any rank has stored; put a barrier between. Not collective. SYZ_ERR_DATA. */
syz_status syz_embed_part_get(syz_embed_part *p, int64_t first, int64_t n, void *rows);
void syz_embed_part_close(syz_embed_part **p);
/** Close, and remove the folder. Collective. */
void syz_embed_part_remove(syz_embed_part **p);
