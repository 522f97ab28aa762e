/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * catalogue: a data set through a model, and what its embeddings find: embedding.h5 and embedding.fits, then nearest
 * neighbours within and across modalities and how well an object's own partner is found.
 *
 * Both works have two steps, so that the first can check everything before the run folder is taken. Options are
 * borrowed until the work is closed, and so are the texts and lists in them.
 */
#pragma once

#include "syzygy/data.h"
#include "syzygy/model.h"

/* ------------------------------------------------------------ embeddings */

typedef struct syz_embed_options {
  syz_data_options data; /**< bad: SYZ_BAD_SKIPPED leaves out what the model's towers cannot read */
  const char *model_file;
  syz_compute_options compute;
  int64_t batch; /**< objects per rank that go through a tower at once; the result does not depend on it */
  int64_t calibration_objects; /**< int8: sample for each tower; half of it decides which products are int8, half is
                                  held out to judge */
  double calibration_cosine;   /**< int8: least cosine to the float32 embedding of every held-out object */
} syz_embed_options;

typedef struct syz_embed syz_embed;

/** Open data and model and tell what there is to do. SYZ_ERR_INPUT, SYZ_ERR_DATA, SYZ_ERR_MEMORY. Collective; agreed.
 */
syz_status syz_embed_open(const syz_run *run, const syz_embed_options *options, syz_embed **out);
/**
 * Write <folder>/embedding.h5 and embedding.fits, unless they are there already, whole and of this model and data.
 * Blocks of objects are kept when they are done: after SYZ_STOPPED, or a crash, the same call goes on with the others,
 * on any number of ranks. SYZ_ERR_NUMERIC when an embedding is not finite, or a held-out object stays below
 * calibration_cosine. Collective; agreed.
 */
syz_status syz_embed_write(syz_embed *e);
void syz_embed_close(syz_embed **e);

/* ------------------------------------------------------------ neighbours */

typedef struct syz_neighbours_options {
  syz_texts index, query; /**< embedding files, or folders with an embedding.h5; index none: that of the run's folder;
                             query none: the index */
  const char *index_modality; /**< embeddings to search in: "image", "spectrum" or "all" */
  const char *query_modality; /**< embeddings to search with */
  int64_t k;                  /**< neighbours of each query */
  bool excludes_self;         /**< an object is no neighbour of itself where both modalities are the same */
  const char *label;          /**< label whose regression by neighbours is scored */
  int64_t label_k;            /**< neighbours in that regression; 0: none */
  syz_compute_options compute;
} syz_neighbours_options;

typedef struct syz_neighbours syz_neighbours;

/** Open the embeddings and tell which directions are searched. SYZ_ERR_INPUT, SYZ_ERR_DATA. Collective; agreed. */
syz_status syz_neighbours_open(const syz_run *run, const syz_neighbours_options *options, syz_neighbours **out);
/** Write one <folder>/neighbours-*.h5 per direction, and retrieval.json. After SYZ_STOPPED complete directions are
 * kept. Collective; agreed. */
syz_status syz_neighbours_write(syz_neighbours *s);
void syz_neighbours_close(syz_neighbours **s);
