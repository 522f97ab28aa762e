/* SPDX-License-Identifier: BSD-3-Clause */
/** Whether the embedding files exist already and are undamaged. */
#pragma once

#include "part.h"
#include "syzygy/data.h"
#include "syzygy/model.h"

typedef struct syz_embed_there {
  bool has_h5;   /**< embedding.h5 was made under this key, and all its checksums hold */
  bool has_fits; /**< embedding.fits was made under this key, and its checksums hold */
} syz_embed_there;

/** Collective; agreed. A damaged file of this key is warned of and counts as missing. `rows`: number of objects.
 * SYZ_ERR_WRITE: one of the files is a symbolic link. */
syz_status syz_embed_look(syz_comm *c, const char *folder, const char *key, int64_t rows, syz_embed_there *out);
/**
 * Copy the rows of an undamaged embedding.h5 into the blocks missing from the partial results, so that only files
 * remain to be written. Collective; agreed. SYZ_ERR_DATA, SYZ_ERR_WRITE.
 */
syz_status syz_embed_take_back(syz_comm *c, const char *folder, const bool has_tower[SYZ_MODALITIES], int64_t width,
                               syz_embed_part *part, const int64_t *missing, int64_t n_missing);
