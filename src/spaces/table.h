/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room spaces: two columns of vectors of the objects that have both, read from the files as they are needed,
 * so that nothing of them is kept. */
#pragma once

#include "syzygy/analysis.h"
#include "syzygy/catalogue.h"

/** Some rows of one column, in any order. A read that fails gives zeros, and table_agree_read says so. */
typedef struct column {
  syz_embedding_set *set;
  const char *name;
  int64_t width;
  const int64_t *row; /**< which rows of the set: borrowed */
  syz_status failed;
  char why[SYZ_ERROR_TEXT];
} column;
/** Context of syz_rows: a column. */
void column_read(void *context, int64_t first, int64_t n, float *out);

typedef struct table {
  syz_comm *comm;
  syz_embedding_set *set;
  const char *title;   /**< "embeddings", "before" */
  int64_t first, n;    /**< this rank's rows of the set: by syz_index_share */
  int64_t kept;        /**< of them those whose objects have both */
  int64_t total;       /**< the same on all ranks */
  int64_t *row;        /**< [kept] row of the set */
  int64_t *id;         /**< [kept] */
  uint8_t *half;       /**< [kept] 0 or 1, by the object's identifier */
  int64_t in_half[2];  /**< objects of each, on all ranks */
  int64_t left_out[2]; /**< objects whose vector of each column is missing or not finite */
  int64_t zeros[2];    /**< objects whose vector is all zero; not among left_out */
  column column[2];
  syz_rows rows[2]; /**< the kept ones */
} table;

/** Open files, find out which objects are usable. `key`, `paths`: of the input. Collective; agreed. */
syz_status table_open(syz_comm *c, const char *key, syz_texts paths, syz_texts sources, uint64_t seed,
                      const char *title, table **out);
void table_close(table **t);
/** `st`, the agreed outcome of work on the rows, or rather what went wrong in reading them. Collective; agreed. */
syz_status table_agree_read(table *t, syz_status st);
/** The rows of one half as rows: chosen and row are the caller's to keep, row [kept] scratch. */
syz_rows table_half(const table *t, int side, int half, int64_t *row, syz_chosen_rows *chosen);
