/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room probes: objects with their features, labels and sides. */
#pragma once

#include "syzygy/catalogue.h"
#include "syzygy/probes.h"

typedef struct sample_source {
  const char *name; /**< as the input names it */
  int64_t width;
  float *x;        /**< [n, width] of this rank's objects; NaN where an object has no such features */
  int64_t missing; /**< objects without features, or with some that are not finite or all zero */
  char digest[80]; /**< of the model that made them; "": not known */
} sample_source;

typedef struct sample_label {
  const char *name; /**< its formula */
  char unit[72];
  int classes;   /**< 0: a number */
  double *value; /**< [rows] on every rank, NaN: unknown */
  syz_label_counts counts;
  int64_t train, test; /**< objects with a value that take part */
} sample_label;

typedef struct sample {
  syz_comm *comm;
  int64_t rows;                       /**< objects of all files */
  int64_t first, n;                   /**< those of this rank: syz_index_share */
  int64_t *id;                        /**< [rows] */
  double *ra, *dec;                   /**< [rows] */
  uint8_t *role;                      /**< [rows] syz_role */
  uint8_t *passes;                    /**< [rows] the cut, whatever the features and the side */
  int64_t *test_row;                  /**< [test] ascending */
  int64_t train, test, cut, unusable; /**< objects: in train, in test, left out by the cut, without all the features */
  syz_sides sides;
  int n_sources, n_labels;
  sample_source source[SYZ_PROBE_SOURCES];
  sample_label label[SYZ_PROBE_LABELS];
  float *votes; /**< [rows, ZOO_ANSWERS] of Galaxy Zoo, 0 where nobody was asked; NULL: not wanted */
} sample;

/** What a sample must have, and what is not read otherwise. */
typedef struct sample_wants {
  bool labels, votes;
  int folds; /**< labels have two training objects and more for each */
} sample_wants;
/** Collective; agreed. */
syz_status sample_load(const syz_run *run, const syz_probe_data *data, sample_wants wants, sample *s);
void sample_free(sample *s);

/** Label tables joined to the objects; without any, empty. Collective; agreed. */
typedef struct sample_tables sample_tables;
syz_status sample_tables_open(const sample *s, const syz_probe_data *data, sample_tables **out);
/** Columns of the first table, borrowed; none without tables. */
syz_texts sample_tables_names(const sample_tables *t);
/** Whether a formula is of their columns. Collective; agreed. */
syz_status sample_tables_find(const sample_tables *t, const char *formula, bool *is_there);
/** SYZ_ERR_DATA names all of these columns that the tables lack. Collective; agreed. */
syz_status sample_tables_find_all(const sample_tables *t, syz_texts name);
/** Values for all objects, value [rows], NaN without a row; `unit` (may be NULL) when the formula is a column.
 * Collective; agreed. */
syz_status sample_tables_evaluate(const sample_tables *t, const char *formula, double *value, char unit[72]);
void sample_tables_close(sample_tables **t);

/** A formula's values for all objects, value [rows], by the table if it has the columns, otherwise by the labels of the
 * embedding files. Collective; agreed. */
typedef struct sample_columns sample_columns;
syz_status sample_columns_open(sample *s, syz_embedding_set *set, const syz_probe_data *data, sample_columns **out);
syz_status sample_columns_evaluate(sample_columns *c, const char *key, const char *formula, double *value,
                                   syz_label_counts *counts, char unit[72]);
/** Votes for all answers of Galaxy Zoo, votes [rows, ZOO_ANSWERS]. Collective; agreed. */
syz_status sample_columns_votes(sample_columns *c, float *votes);
void sample_columns_close(sample_columns **c);

/** Features of this rank's objects. Collective; agreed. */
syz_status sample_source_load(sample *s, syz_embedding_set *set, sample_columns *c, const syz_probe_data *data,
                              const char *name, sample_source *out);
/** Rows of the sources [n, width], to be given to fits of room analysis. */
syz_rows sample_rows(const sample *s, int source, syz_array_rows *array);
/** What a random stream of an object is named by: its identifier, or its row where it has none (0 and below). */
uint64_t sample_name(const sample *s, int64_t row);
/** Fold of this rank's training objects, fold [n]: a function of seed and object alone; SYZ_FOLDS: not in training. */
void sample_folds(const sample *s, uint64_t seed, int folds, uint8_t *fold);
/** Whether a training object is one of those that watch over training: a function of seed and object. */
bool sample_is_validation(const sample *s, uint64_t seed, double share, int64_t row);
/** Features of objects row [n] on every rank, x [n, width], which holds zeros before. Collective. */
void sample_gather(const sample *s, int source, int64_t n, const int64_t *row, float *x);
