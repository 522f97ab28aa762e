/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * analysis: what embeddings know. Exact nearest neighbours across ranks, retrieval figures, regression by nearest neighbours.
 *
 * Axes: Q queries, N index entries, E embedding width. Everything here is float32 with sums that are reported in float64.
 * No result depends on the number of ranks: tiles have a fixed size by global row number and ties go to the lower row.
 */
#pragma once

#include "syzygy/base.h"
#include "syzygy/comm.h"
#include "syzygy/nn.h"

/* ---------------------------------------------------------------- search */

typedef enum syz_metric {
  SYZ_METRIC_COSINE,   /**< rows and queries are L2-normalised inside; score = cosine, larger is nearer */
  SYZ_METRIC_EUCLIDEAN /**< score = distance, smaller is nearer */
} syz_metric;

/** One neighbour. Missing ones (k larger than the index) have row -1, id -1 and score NaN, behind all others. */
typedef struct syz_neighbour {
  int64_t row; /**< row of the index, global */
  int64_t id;  /**< that row's id */
  float score; /**< of the metric */
} syz_neighbour;

/** Where a query's own object stands in the index: its partner is the first valid row with the query's id. */
typedef struct syz_pair {
  int64_t row;    /**< partner, or -1 when the id is not in the index */
  int64_t larger; /**< rows of other ids that are strictly nearer than the partner */
  int64_t ties;   /**< rows of other ids exactly as near as the partner */
  float score;    /**< the partner's own; NaN without one */
} syz_pair;

/** A table of rows to search in, shared out over ranks. See src/analysis/search.c for the method. */
typedef struct syz_index syz_index;

/** Which rows of a table of `rows` rank `rank` of `size` must hold: contiguous, whole tiles, so that products have the same bits on any rank count.
 */
void syz_index_share(int64_t rows, int size, int rank, int64_t *first, int64_t *n);

/**
 * Room for this rank's share of `rows` entries of width E = `width`.
 *
 * Collective. Same on all ranks: metric, rows, width. `comm` and `compute` are borrowed. SYZ_ERR_MEMORY when there is none.
 */
syz_status syz_index_create(syz_comm *c, const syz_compute *compute, syz_metric metric, int64_t rows, int64_t width, syz_index **out);
void syz_index_destroy(syz_index **x);
/** This rank's rows [n, E], to be filled by the caller before sealing; borrowed. */
float *syz_index_rows(syz_index *x);
/** This rank's ids [n], to be filled before sealing; borrowed. Preset: the global row number. */
int64_t *syz_index_ids(syz_index *x);
/** This rank's flags [n]: 0 leaves a row out of the search. Preset 1. To be set before sealing; borrowed. */
uint8_t *syz_index_valid(syz_index *x);
/**
 * The rows are there: normalise (cosine), leave out rows with NaN or infinite numbers and (cosine) zero length, sort the ids.
 * Collective. `valid`: rows that take part, on all ranks; may be NULL.
 */
syz_status syz_index_seal(syz_index *x, int64_t *valid);

/** How many queries to hand over at once so that partial results stay within some tens of MB (more only for k above 40,000). */
int64_t syz_index_block(int64_t k);

typedef struct syz_search_options {
  int64_t k;             /**< >= 1 */
  bool excludes_same_id; /**< leave out entries with the query's own id */
} syz_search_options;

/**
 * The k nearest entries of each query, best first; ties in row order. Exact: every product is computed.
 *
 * Collective. Same on all ranks: n, query [n, E], query_id [n] (may be NULL when neither ids are excluded nor pairs wanted), options.
 * A query with NaN or infinite numbers or (cosine) zero length has only missing neighbours and no pair.
 * Results are left on the rank that syz_share(n, size, rank) gives each query to: best [share, k]; pair [share] or NULL.
 * Rows of the score matrix live in one tile at a time; memory is O(n k) per rank.
 */
syz_status syz_index_search(syz_index *x, int64_t n, const float *query, const int64_t *query_id, const syz_search_options *options,
                            syz_neighbour *best, syz_pair *pair);

/* --------------------------------------------------------------- metrics */

enum { SYZ_RECALLS = 4 };
/** 1, 5, 10, 50. */
extern const int syz_recall_at[SYZ_RECALLS];

/**
 * Retrieval of known pairs among `candidates` entries. Where entries tie with the partner, its place is taken to be uniform among
 * them (so that a collapsed embedding scores chance, not 100 %).
 */
typedef struct syz_pair_figures {
  int64_t pairs, candidates;
  double recall[SYZ_RECALLS]; /**< fraction of pairs within the first 1, 5, 10, 50 */
  double chance[SYZ_RECALLS]; /**< k / candidates, at most 1 */
  double median_rank, mean_reciprocal_rank, chance_median_rank;
} syz_pair_figures;
/** Not collective. pair [n]; entries without a partner do not count. NaN figures when there is no pair at all. SYZ_ERR_MEMORY. */
syz_status syz_pair_score(const syz_pair *pair, int64_t n, int64_t candidates, syz_pair_figures *out);

/** 1 - sum (y - p)^2 / sum (y - mean y)^2 in float64; NaN when n < 2 or y is constant. */
double syz_r_squared(const float *y, const float *prediction, int64_t n);

/* ------------------------------------------------- regression by neighbours */

typedef enum syz_role { SYZ_ROLE_NONE, SYZ_ROLE_TRAIN, SYZ_ROLE_TEST } syz_role;

/**
 * Zero-shot regression (recipes.md section 6): the mean of the targets of the k nearest training rows, weights 1/distance, in embeddings that are
 * standardised by the training rows' mean and deviation (n; 1 where it is 0). A test row that coincides with training rows takes their mean.
 *
 * Collective. Same on all ranks: rows, width, target [rows], role [rows] (syz_role), k >= 1. x: this rank's rows by syz_index_share, finite where the
 * role is not NONE. prediction [rows]: NaN except at test rows; the same on all ranks, bit for bit on any rank count. k is cut to the number of
 * training rows. SYZ_ERR_INPUT without training or test rows.
 */
syz_status syz_knn_regress(syz_comm *c, const syz_compute *compute, int64_t rows, int64_t width, const float *x, const float *target,
                           const uint8_t *role, int64_t k, float *prediction);
