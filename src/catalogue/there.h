/* SPDX-License-Identifier: BSD-3-Clause */
/** Whether the files of embeddings are there already, and whole. */
#pragma once

#include "part.h"
#include "syzygy/data.h"
#include "syzygy/model.h"

typedef struct syz_embed_there {
  bool has_h5;   /**< embedding.h5 is of this key, and every checksum of it holds */
  bool has_fits; /**< embedding.fits is of this key, and its sums hold */
} syz_embed_there;

/** Collective; agreed. A file that is of this key and damaged is warned of and does not count. `rows`: objects wanted.
 * SYZ_ERR_WRITE: a symbolic link is in the place of one of them. */
syz_status syz_embed_look(syz_comm *c, const char *folder, const char *key, int64_t rows, syz_embed_there *out);
/**
 * Put the rows of a whole embedding.h5 back into the partial results, for the blocks that are missing there: then only
 * files are left to be written. Collective; agreed. SYZ_ERR_DATA, SYZ_ERR_WRITE.
 */
syz_status syz_embed_take_back(syz_comm *c, const char *folder, const bool has_tower[SYZ_MODALITIES], int64_t width,
                               syz_embed_part *part, const int64_t *missing, int64_t n_missing);
