/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * catalogue: embeds a data set by a model, into embedding.h5 and embedding.fits, reads these files as one table,
 * and searches embeddings: nearest neighbours within and across modalities, and how well an object's own partner is
 * found.
 *
 * Both have two steps: opening checks everything before the run folder is created or changed. Options, with their texts
 * and lists, are borrowed until closing.
 */
#pragma once

#include "syzygy/data.h"
#include "syzygy/h5.h"
#include "syzygy/model.h"

/* ------------------------------------------------------- embedding files */

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
/** Positions in degrees, NaN for files without. Independent. */
syz_status syz_embedding_set_places(syz_embedding_set *s, int64_t first, int64_t n, double *ra, double *dec);
/** Digest of the model that made the embeddings, of the first file that says it; "": none does. Independent. */
syz_status syz_embedding_set_model(syz_embedding_set *s, char digest[80]);
/** Unit of label/<name>, of the first file that says one; "": none does. Independent. */
syz_status syz_embedding_set_label_unit(syz_embedding_set *s, const char *name, char unit[72]);
syz_status syz_embedding_set_ids(syz_embedding_set *s, int64_t first, int64_t n, int64_t *id);
/** SYZ_ERR_DATA unless label/<name> is one number a row in every file that has it. */
syz_status syz_embedding_set_check_label(syz_embedding_set *s, const char *key, const char *name);
/** label/<name> of rows [first, first + n), NaN where a file has none. Checked before by syz_embedding_set_check_label.
 */
syz_status syz_embedding_set_label(syz_embedding_set *s, const char *name, int64_t first, int64_t n, float *value);
/** Whether any file has label/<name>. */
bool syz_embedding_set_has_label(syz_embedding_set *s, const char *name);

/**
 * Vectors by name: "image" and "spectrum" are the embeddings as above, another name is a dataset (N, E) as it stands,
 * for example of another program. *width: E, the same in all files that have it; SYZ_ERR_DATA when none has. `key`
 * goes into messages. Independent.
 */
syz_status syz_embedding_set_vectors(syz_embedding_set *s, const char *key, const char *name, int64_t *width);
/** Rows [first, first + n) of them [n, width]; NaN as above. Checked before by syz_embedding_set_vectors. Independent.
 */
syz_status syz_embedding_set_read_vectors(syz_embedding_set *s, const char *name, int64_t width, int64_t first,
                                          int64_t n, float *x);

/* ------------------------------------------------------------ embeddings */

/** What makes one vector of a tower's tokens. */
typedef enum syz_pooling {
  SYZ_POOLING_AUTO, /**< the pooling head, or the tokens where no tower of the model has one */
  SYZ_POOLING_HEAD,
  SYZ_POOLING_TOKENS, /**< no head: the class token (tokens: dinov2), or the mean of all tokens */
} syz_pooling;

typedef struct syz_embed_options {
  syz_data_options data; /**< bad: SYZ_BAD_SKIPPED skips objects that the model's towers cannot read */
  const char *model_file;
  syz_pooling pooling;
  syz_compute_options compute;
  int64_t batch;               /**< objects per rank and forward pass; the result does not depend on it */
  int64_t calibration_objects; /**< int8: sample per tower; one half decides which products are int8, the other tests
                                  the result */
  double calibration_cosine;   /**< int8: least cosine to the float32 embedding, for every object of the second half */
} syz_embed_options;

typedef struct syz_embed syz_embed;

/** Open data and model and log what there is to do. SYZ_ERR_INPUT, SYZ_ERR_DATA, SYZ_ERR_MEMORY. Collective; agreed. */
syz_status syz_embed_open(const syz_run *run, const syz_embed_options *options, syz_embed **out);
/**
 * Write <folder>/embedding.h5 and embedding.fits, unless complete files of this model and data exist. Finished blocks
 * of objects are kept: after SYZ_STOPPED or a crash the same call continues with the others, on any number of ranks.
 * SYZ_ERR_NUMERIC when an embedding is not finite, or a held-out object is below calibration_cosine. Collective;
 * agreed.
 */
syz_status syz_embed_write(syz_embed *e);
void syz_embed_close(syz_embed **e);

/* ------------------------------------------------------------ neighbours */

typedef struct syz_neighbours_options {
  syz_texts index, query; /**< embedding files, or folders with an embedding.h5; empty index: the run's folder; empty
                             query: the index */
  const char *index_modality; /**< embeddings to search in: "image", "spectrum" or "all" */
  const char *query_modality; /**< embeddings to search with */
  int64_t k;                  /**< neighbours of each query */
  bool excludes_self;         /**< within one modality, an object is not its own neighbour */
  const char *label;          /**< label to predict from neighbours and score */
  int64_t label_k;            /**< neighbours per prediction; 0: no prediction */
  syz_compute_options compute;
} syz_neighbours_options;

typedef struct syz_neighbours syz_neighbours;

/** Open the embeddings and log which directions will be searched. SYZ_ERR_INPUT, SYZ_ERR_DATA. Collective; agreed. */
syz_status syz_neighbours_open(const syz_run *run, const syz_neighbours_options *options, syz_neighbours **out);
/** Write one <folder>/neighbours-*.h5 per direction, and retrieval.json. After SYZ_STOPPED, complete directions are
 * kept. Collective; agreed. */
syz_status syz_neighbours_write(syz_neighbours *s);
void syz_neighbours_close(syz_neighbours **s);
