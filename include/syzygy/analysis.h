/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * analysis: what embeddings know. Exact nearest neighbours across ranks, regression by nearest neighbours, principal
 * components, linear heads.
 *
 * Axes: Q queries, N index entries, E embedding width. Data are float32; sums that are reported are float64. No result
 * depends on the number of ranks, unless stated: neighbours are ordered by float64 scores, and among equal scores the
 * lower row comes first.
 */
#pragma once

#include "syzygy/base.h"
#include "syzygy/comm.h"
#include "syzygy/figures.h"
#include "syzygy/nn.h"

/* ---------------------------------------------------------------- search */

typedef enum syz_metric {
  SYZ_METRIC_COSINE,   /**< score = cosine, larger is nearer */
  SYZ_METRIC_EUCLIDEAN /**< score = distance, smaller is nearer */
} syz_metric;

/** One neighbour. Missing neighbours (k larger than the index) have row -1, id -1 and score NaN, after all others. */
typedef struct syz_neighbour {
  int64_t row; /**< row of the index, global */
  int64_t id;  /**< that row's id */
  float score; /**< of the metric */
} syz_neighbour;

/** A table of rows to search in, distributed over ranks. Method: src/analysis/search.c. */
typedef struct syz_index syz_index;

/** Rows of a table of `rows` that rank `rank` of `size` must hold: contiguous whole tiles, so that products have the
 * same bits for any rank count.
 */
void syz_index_share(int64_t rows, int size, int rank, int64_t *first, int64_t *n);

/**
 * Room for this rank's share of `rows` entries of width E = `width`.
 *
 * Collective. Same on all ranks: metric, rows, width. `c` and `compute` are borrowed. SYZ_ERR_MEMORY.
 */
syz_status syz_index_create(syz_comm *c, const syz_compute *compute, syz_metric metric, int64_t rows, int64_t width,
                            syz_index **out);
void syz_index_destroy(syz_index **x);
/** This rank's rows [n, E], to be filled by the caller before sealing; borrowed. */
float *syz_index_rows(syz_index *x);
/** This rank's ids [n], to be filled before sealing; borrowed. Initially the global row numbers. */
int64_t *syz_index_ids(syz_index *x);
/** This rank's flags [n], to be set before sealing: 0 excludes a row from the search. Initially 1; borrowed. */
uint8_t *syz_index_valid(syz_index *x);
/**
 * Prepare the filled index for searches: exclude rows with NaN or infinite numbers and (cosine) zero length, sort the
 * ids. Collective. *valid: number of rows that remain, on all ranks; may be NULL.
 */
syz_status syz_index_seal(syz_index *x, int64_t *valid);

/** Bytes of an index with n rows on this rank, and of a search in it with `queries` queries at once. */
size_t syz_index_bytes(const syz_compute *c, int64_t n, int64_t width, int64_t queries, int64_t k);

/** Number of queries per search call that keeps partial results within some tens of MB (more for k above 40,000). */
int64_t syz_index_block(int64_t k);

typedef struct syz_search_options {
  int64_t k;             /**< >= 1 */
  bool excludes_same_id; /**< exclude entries with the query's own id */
} syz_search_options;

/**
 * The k nearest entries of each query, best first, by float64 scores of the rows as given; equal scores in row order.
 * Exact with any type of the compute context, which only affects the speed: see src/analysis/search.c.
 *
 * Collective. Same on all ranks: n, query [n, E], query_id [n] (may be NULL when neither ids are excluded nor pairs
 * wanted), options. A query with NaN or infinite numbers or (cosine) zero length has only missing neighbours and no
 * pair. Each rank gets the results of its queries by syz_share(n, size, rank): best [share, k]; pair [share] or NULL.
 * Scores are computed tile by tile; memory is O(n k) per rank.
 */
syz_status syz_index_search(syz_index *x, int64_t n, const float *query, const int64_t *query_id,
                            const syz_search_options *options, syz_neighbour *best, syz_pair *pair);

/* ------------------------------------------------- regression by neighbours */

typedef enum syz_role { SYZ_ROLE_NONE, SYZ_ROLE_TRAIN, SYZ_ROLE_TEST } syz_role;

/** One quantity to predict from neighbours. */
typedef struct syz_knn_target {
  int classes;        /**< 0: predict a number by the weighted mean; otherwise predict one of so many classes (<=
                         SYZ_CLASSES_MAX), the one with the largest sum of weights, the lower among equals */
  const float *value; /**< [rows], the same on all ranks; a neighbour with NaN (unknown) is skipped */
  float *prediction; /**< [rows], written, the same on all ranks; NaN except at test rows, and there if no neighbour has
                        a value */
} syz_knn_target;

/**
 * Zero-shot regression and classification (src/model/README.md "Evaluation") of many targets from one search: from the
 * targets of the k nearest training rows, weights 1/distance, in embeddings that are standardised by the training rows'
 * mean and deviation (n; 1 where it is 0). For a test row that coincides with training rows only these count.
 *
 * Collective. Same on all ranks: rows, width, role [rows] (syz_role), k >= 1, targets. x: this rank's rows by
 * syz_index_share, finite where the role is not NONE. Predictions have the same bits for any rank count. k is limited
 * to the number of training rows. SYZ_ERR_INPUT without training or test rows, SYZ_ERR_DATA for a class out of range.
 */
syz_status syz_knn_predict(syz_comm *c, const syz_compute *compute, int64_t rows, int64_t width, const float *x,
                           const uint8_t *role, int64_t k, int n_targets, const syz_knn_target *target);
/** The same for one number; target [rows] finite where the role is not NONE. */
syz_status syz_knn_regress(syz_comm *c, const syz_compute *compute, int64_t rows, int64_t width, const float *x,
                           const float *target, const uint8_t *role, int64_t k, float *prediction);

/* ------------------------------------------------ tall matrices over ranks */

/**
 * A tall matrix, distributed by rows in rank order, that is read one block at a time and may be stored in any form.
 * `read` writes rows first .. first + n - 1 of this rank as float32 [n, width]; it cannot fail and does not
 * communicate.
 */
typedef struct syz_rows {
  int64_t n, width; /**< rows of this rank; width is the same on all ranks */
  void *context;
  void (*read)(void *context, int64_t first, int64_t n, float *out);
} syz_rows;

/** An array as syz_rows: context of syz_array_rows_read. */
typedef struct syz_array_rows {
  syz_dtype type;
  const void *x; /**< [n, width] */
  int64_t width;
} syz_array_rows;
void syz_array_rows_read(void *context, int64_t first, int64_t n, float *out);

/**
 * Principal components: mean, directions of largest variance (divided by n - 1), their variances. Float64.
 *
 * A direction's sign makes its component of largest size positive, so results agree between rank counts and with other
 * programs.
 */
typedef struct syz_pca {
  int64_t rows, width,
      components; /**< rows: of all ranks; components: found, fewer than requested if directions have no variance */
  double total_variance;
  double *mean;      /**< [width] */
  double *variance;  /**< [components], descending */
  double *direction; /**< [components, width], orthonormal */
} syz_pca;

/** The eigenproblem has the size of the matrix's smaller side. */
typedef struct syz_pca_options {
  int64_t components;     /**< most components, >= 1 */
  int64_t scalapack_from; /**< from this size on ScaLAPACK solves eigenproblems on all ranks; LAPACK on rank 0 solves
                             smaller ones */
} syz_pca_options;

/**
 * Collective; agreed; the same on all ranks. The covariance of the columns [width, width], or for more columns than
 * rows the products of the rows [n, n], is summed over ranks in float64, and each rank holds all of it. SYZ_ERR_INPUT
 * with fewer than 2 rows, SYZ_ERR_NUMERIC for rows that are not finite or an eigenproblem that fails (residuals are
 * checked), SYZ_ERR_MEMORY.
 */
syz_status syz_pca_fit(syz_comm *c, const syz_rows *rows, const syz_pca_options *options, syz_pca **out);
void syz_pca_destroy(syz_pca **p);
/** y [n, components] = (x - mean) direction^T, x [n, width] float32. Not collective; allocates nothing. */
void syz_pca_project(const syz_pca *p, int64_t n, const float *x, float *y);

/* ------------------------------------------------------------ linear heads */

/** A linear map of raw features: y = weight x + bias. */
typedef struct syz_linear_head {
  int64_t outputs, width;
  double *weight; /**< [outputs, width] */
  double *bias;   /**< [outputs]; -inf for a class without training rows */
} syz_linear_head;
void syz_linear_head_destroy(syz_linear_head **h);
/** y [n, outputs] of x [n, width]. Not collective; allocates nothing. */
void syz_linear_head_apply(const syz_linear_head *h, int64_t n, const float *x, float *y);

typedef struct syz_softmax_options {
  int classes;                /**< 1 .. SYZ_CLASSES_MAX */
  const double *class_weight; /**< [classes] factor of a row's loss; NULL: 1 */
  double l2;          /**< penalty l2/2 |W|^2 on weights of standardised features, added to the weighted mean loss */
  int64_t iterations; /**< most iterations */
  double tolerance;   /**< converged when no component of the gradient is larger */
} syz_softmax_options;
typedef struct syz_softmax_result {
  double loss; /**< weighted mean cross-entropy, without the penalty */
  double gradient;
  int64_t iterations;
  bool has_converged;
} syz_softmax_result;
/**
 * Fit a softmax regression on standardised features by L-BFGS over all rows at once, in float64 (Nocedal & Wright 2006,
 * algorithm 7.4).
 *
 * Collective; agreed. label [rows.n]: class of each row of this rank; -1: excluded. Classes without rows keep a bias of
 * -inf. Only the order of float64 sums depends on the ranks. SYZ_ERR_INPUT without rows or for a label out of range.
 */
syz_status syz_softmax_fit(syz_comm *c, const syz_rows *rows, const int8_t *label, const syz_softmax_options *options,
                           syz_linear_head **out, syz_softmax_result *result);

/**
 * Fit a ridge regression of several targets on standardised features: minimise sum (y - w x - b)^2 + alpha n |w|^2 over
 * w and b, by Cholesky in float64.
 *
 * Collective; agreed. target [rows.n, targets]; rows with a NaN target are excluded for all targets. SYZ_ERR_INPUT with
 * fewer than 2 rows, SYZ_ERR_NUMERIC when the equations are singular (alpha 0).
 */
syz_status syz_ridge_fit(syz_comm *c, const syz_rows *rows, int targets, const float *target, double alpha,
                         syz_linear_head **out);

/** R^2 of several targets over the rows of all ranks; a row with a NaN target is excluded. y, prediction [n,
 * targets]; out [targets]. Collective. */
void syz_r_squared_over_ranks(syz_comm *c, int64_t n, int targets, const float *y, const float *prediction,
                              double *out);
