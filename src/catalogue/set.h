/* SPDX-License-Identifier: BSD-3-Clause */
/** Several embedding files read as one table. */
#pragma once

#include "syzygy/base.h"
#include "syzygy/comm.h"
#include "syzygy/data.h"
#include "syzygy/model.h"

/** One numbering over the rows of several embedding files, in the order given. */
typedef struct syz_embedding_set {
  syz_comm *comm; /**< borrowed; NULL: this process alone */
  int n_files;
  char **path;    /**< [n_files] */
  syz_h5 **file;  /**< [n_files] */
  int64_t *begin; /**< [n_files + 1] first row of each file; the last is the number of rows */
  int64_t rows;
  int64_t width[SYZ_MODALITIES]; /**< 0: no file holds this modality */
} syz_embedding_set;

/**
 * Open and check: object_id (N), image_embedding and/or spectrum_embedding (N, E), the same E in all files. An item may
 * be a folder: its embedding.h5. Collective with `comm`. `key` (the input key that named the files) goes into messages.
 * SYZ_ERR_DATA names file, dataset, found, wanted.
 */
syz_status syz_embedding_set_open(syz_comm *c, const char *key, int n, const char *const *path,
                                  syz_embedding_set **out);
void syz_embedding_set_close(syz_embedding_set **s);
/** Rows [first, first + n): embedding [n, width], NaN for files without this modality or objects whose has_<modality>
 * is 0. Independent. */
syz_status syz_embedding_set_read(syz_embedding_set *s, syz_modality m, int64_t first, int64_t n, float *x);
syz_status syz_embedding_set_ids(syz_embedding_set *s, int64_t first, int64_t n, int64_t *id);
/** SYZ_ERR_DATA unless label/<name> holds one number per row in every file that has it. */
syz_status syz_embedding_set_check_label(syz_embedding_set *s, const char *key, const char *name);
/** label/<name> of rows [first, first + n), NaN where a file has none. Checked before by syz_embedding_set_check_label.
 */
syz_status syz_embedding_set_label(syz_embedding_set *s, const char *name, int64_t first, int64_t n, float *value);
bool syz_embedding_set_has_label(syz_embedding_set *s, const char *name);
