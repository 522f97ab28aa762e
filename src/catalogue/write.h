/* SPDX-License-Identifier: BSD-3-Clause */
/** The files of embeddings: embedding.h5 and embedding.fits. */
#pragma once

#include "part.h"
#include "syzygy/data.h"
#include "syzygy/model.h"

/** Contents and provenance of the files. The same on every rank; borrowed. */
typedef struct syz_embed_result {
  syz_comm *comm;
  syz_shardset *data;
  syz_embed_part *part; /**< complete; each row holds the towers' embeddings in order, [towers, E] float32 */
  bool has_tower[SYZ_MODALITIES];
  int64_t width; /**< E */
  const char *folder, *created_by, *input_yaml;
  const char *key, *model_digest, *data_digest, *model_file, *precision, *engine, *split; /**< root attributes */
  const char *pooling;   /**< root attribute "tokens" where no pooling head was used; NULL otherwise */
  const char *int8;      /**< root attribute of precision int8: what the calibration chose and found; NULL otherwise */
  const char *data_path; /**< one path per line */
} syz_embed_result;

/** Collective. Each file appears under its name when complete. SYZ_ERR_WRITE, SYZ_ERR_DATA. */
syz_status syz_embed_write_h5(const syz_embed_result *r);
syz_status syz_embed_write_fits(const syz_embed_result *r);
/** Whether an object has this tower's embedding: the model has the tower and the object has its modality. */
bool syz_embed_has(const syz_embed_result *r, syz_modality m, const syz_object *o);
