/* SPDX-License-Identifier: BSD-3-Clause */
/** Embeddings in 8-bit integers: which products of a model can use them, found on a sample of the data. See int8.c. */
#pragma once

#include "part.h"
#include "syzygy/catalogue.h"

/** Model, data and options of a choice. Borrowed. */
typedef struct syz_embed_int8_job {
  const syz_embed_options *options;
  syz_comm *comm;
  syz_shardset *data;
  syz_model *model;
  const syz_compute *compute;
  const bool *has_tower; /**< [SYZ_MODALITIES] */
  int64_t batch;         /**< objects that go through a tower at once */
} syz_embed_int8_job;

typedef struct syz_embed_int8 syz_embed_int8;

/**
 * The choice that `part` holds from an earlier run, or a new one, which is then stored there. The same for any number
 * of ranks. Plans of the towers are dropped. SYZ_ERR_NUMERIC when a held-out object stays below
 * embed.calibration_cosine; SYZ_ERR_INPUT for too small a sample. Collective.
 */
syz_status syz_embed_int8_make(const syz_embed_int8_job *job, syz_embed_part *part, syz_embed_int8 **out);
void syz_embed_int8_destroy(syz_embed_int8 **q);
/** Apply the choice to a tower, after each time it is planned. Not collective. */
syz_status syz_embed_int8_apply(const syz_embed_int8 *q, syz_model *m, syz_modality tower);
/** One line per tower, for the log and as provenance: how many products, which not, and the cosines of the held-out
 * objects. Borrowed. */
const char *syz_embed_int8_text(const syz_embed_int8 *q);
