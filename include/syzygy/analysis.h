/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * analysis: what embeddings know. Exact nearest neighbours across ranks, regression by nearest neighbours, tall
 * matrices over ranks: QR, principal components, canonical correlation, linear heads.
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

/** Rows of a table of `rows` that rank `rank` of `size` must hold: contiguous whole tiles, so products have the same
 * bits for any rank count. */
void syz_index_share(int64_t rows, int size, int rank, int64_t *first, int64_t *n);
/** Of one byte per row, mine [n] of this rank's share, those of all rows on every rank, all [rows]. Collective; agreed:
 * SYZ_ERR_MEMORY. */
syz_status syz_index_gather(syz_comm *c, int64_t rows, const uint8_t *mine, uint8_t *all);

/** Room for this rank's share of `rows` entries of width E = `width`. Collective. Same on all ranks: metric, rows,
 * width. `c` and `compute` are borrowed. SYZ_ERR_MEMORY. */
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

enum { SYZ_KNN_SIZES = 16 };

/** How neighbours predict. */
typedef struct syz_knn_options {
  syz_metric metric;        /**< cosine: of rows as they are; Euclidean: of standardised rows unless is_raw */
  bool is_raw;              /**< do not standardise */
  bool is_uniform;          /**< every neighbour counts alike; otherwise by 1/distance (cosine: 1/(1 - cosine)) */
  int n_k;                  /**< numbers of neighbours, from one search: 1 .. SYZ_KNN_SIZES */
  int64_t k[SYZ_KNN_SIZES]; /**< >= 1, ascending; cut to the number of training rows */
} syz_knn_options;

/** One thing to be predicted from neighbours. */
typedef struct syz_knn_target {
  int classes; /**< 0: a number, the weighted mean; otherwise classes 0 .. classes - 1 <= SYZ_CLASSES_MAX, the largest
                  sum of weights, ties to the lower */
  const float *value; /**< [rows]; NaN: unknown, such a neighbour is passed over. The same on all ranks */
  float *prediction;  /**< [n_k, rows], written: NaN except at test rows, and where none of the k neighbours has a
                         value. The same on all ranks */
} syz_knn_target;

/**
 * Zero-shot regression and classification (src/model/README.md "Evaluation") of many targets from one search: from the
 * targets of the k nearest training rows. Standardised embeddings are those less the training rows' mean, by their
 * deviation (n; 1 where it is 0). A test row that coincides with training rows follows those alone, unless all count
 * alike.
 *
 * Collective. Same on all ranks: rows, width, role [rows] (syz_role), options, targets. x: this rank's rows by
 * syz_index_share, finite where the role is not NONE. Predictions are the same bits on any rank count. SYZ_ERR_INPUT
 * without training or test rows, SYZ_ERR_DATA for a class that is not one of the target's.
 */
syz_status syz_knn_predict(syz_comm *c, const syz_compute *compute, int64_t rows, int64_t width, const float *x,
                           const uint8_t *role, const syz_knn_options *options, int n_targets,
                           const syz_knn_target *target);
/** The same for one number, k neighbours weighted by 1/distance of standardised rows; target [rows] finite where the
 * role is not NONE. */
syz_status syz_knn_regress(syz_comm *c, const syz_compute *compute, int64_t rows, int64_t width, const float *x,
                           const float *target, const uint8_t *role, int64_t k, float *prediction);

/** Mean and deviation (divided by n; 1 where it is 0) of each column over the training rows, [width] each, the same
 * bits on any rank count. x, role [n]: of this rank. Collective; agreed. SYZ_ERR_INPUT without training rows. */
syz_status syz_exact_moments(syz_comm *c, int64_t n, int64_t width, const float *x, const uint8_t *role, double *mean,
                             double *deviation);

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

/** Some rows of others: context of syz_chosen_rows_read; neighbouring ones are read at once. */
typedef struct syz_chosen_rows {
  const syz_rows *of;
  const int64_t *row; /**< [n] which */
} syz_chosen_rows;
void syz_chosen_rows_read(void *context, int64_t first, int64_t n, float *out);

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

/**
 * X = Q R with orthonormal columns of Q, whatever the rank of X (src/analysis/tall_qr.c): Householder on each rank, a
 * tree over ranks, pivoted columns at its root.
 *
 * Collective; agreed. x [n, width]: this rank's rows; out, when Q is wanted: its rows of Q in the first *rank columns,
 * the others mean nothing. r [width, width]: rows 0 .. *rank - 1 are R on all ranks, columns in X's order (no
 * triangle). *rank: pivots above tolerance times the first. Ranks change the last bits only. Memory beside x: an eighth
 * of it and some width^2. SYZ_ERR_MEMORY.
 */
syz_status syz_tall_qr(syz_comm *c, int64_t n, int64_t width, double *x, double tolerance, bool wants_q, int64_t *rank,
                       double *r);

/* --------------------------------------- what two modalities have in common */

typedef struct syz_cca_options {
  double tolerance;       /**< of the rank of either side, its columns standardised: float32 numbers are not independent
                             below 1e-6 */
  int64_t scalapack_from; /**< singular values of matrices of this size and more by ScaLAPACK over all ranks */
  int64_t permutations;   /**< of the partners, for the largest correlation by chance; 0: none */
  uint64_t seed;
} syz_cca_options;

/** Canonical correlations of two sides, 0 and 1: pairs of linear maps whose variates correlate most. */
typedef struct syz_cca {
  int64_t rows, width[2], rank[2], pairs; /**< pairs: the smaller rank */
  double *mean[2];                        /**< [width] */
  double *weight[2];   /**< [pairs, width] variates of unit variance (divided by n - 1), of least norm (standardised
                          columns); the component of largest size of side 0 positive */
  double *correlation; /**< [pairs] descending, 0 .. 1 */
  int64_t permutations;
  double *shuffled; /**< [permutations] the largest correlation with other partners each */
  double threshold; /**< their 99 % quantile (linear between them); NaN without */
  double departure; /**< from Q^T Q = 1: the largest number of Q^T Q z - z, z random signs, of both sides */
} syz_cca;
/**
 * By QR of both sides and singular values of Qx^T Qy. Collective; agreed; the same on all ranks. x, y: as many rows on
 * each rank. Memory: x and y in float64 and about an eighth. SYZ_ERR_INPUT when there are no more rows than both ranks
 * together, which forces correlations of 1, or a side is constant; SYZ_ERR_NUMERIC for rows that are not finite;
 * SYZ_ERR_MEMORY.
 */
syz_status syz_cca_fit(syz_comm *c, const syz_rows *x, const syz_rows *y, const syz_cca_options *options,
                       syz_cca **out);
void syz_cca_destroy(syz_cca **a);
/** y [n, count]: the first `count` variates of x [n, width of the side]. Not collective; allocates nothing. */
void syz_cca_project(const syz_cca *a, int side, int64_t count, int64_t n, const float *x, float *y);
/** Correlations [pairs] of the variates in any rows, also others than it was fitted on; NaN for constant ones.
 * Collective; agreed. */
syz_status syz_cca_correlate(syz_comm *c, const syz_cca *a, const syz_rows *x, const syz_rows *y, double *correlation);

/** Correlations with the other half's weights: nothing in them is fitted to the rows that they are of. */
typedef struct syz_cca_held {
  syz_cca *fit[2];     /**< on each half; without permutations */
  int64_t pairs;       /**< of the half that has fewer */
  double *correlation; /**< [pairs] mean of both halves */
  double error;        /**< of each when there is nothing in common: 1 / sqrt(rows) */
  int64_t shared;      /**< leading ones above 3 errors */
} syz_cca_held;
/** half [x->n]: 0 or 1, to which each row of this rank belongs. Collective; agreed; as syz_cca_fit. */
syz_status syz_cca_hold_out(syz_comm *c, const syz_rows *x, const syz_rows *y, const uint8_t *half,
                            const syz_cca_options *options, syz_cca_held **out);
void syz_cca_held_destroy(syz_cca_held **h);
/** -1/2 sum ln(1 - rho^2) in nats, of Gaussians; correlations below 0 count 0. */
double syz_gaussian_information(const double *rho, int64_t n);

/** Means over random draws of n pairs, each with its error. x, y: rows of the same objects, made of unit length. */
typedef struct syz_pair_means {
  int64_t n, draws;
  double bound[2];         /**< ln n - InfoNCE (both directions), nats: a lower bound of the information, at most ln n;
                              NaN when the widths differ */
  double uniformity[2][2]; /**< of x, of y: ln of the mean of exp(-2 |a - b|^2) over all pairs of different rows */
} syz_pair_means;
/** Collective; agreed; the same bits on any ranks. `scale`: factor of the cosines in InfoNCE. Draws are whole on one
 * rank. SYZ_ERR_INPUT when n < 2 or more than there are. */
syz_status syz_pairs_draw(syz_comm *c, const syz_rows *x, const syz_rows *y, int64_t n, int64_t draws, double scale,
                          uint64_t seed, syz_pair_means *out);

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

enum { SYZ_PENALTIES = 64 /**< most of a choice by cross-validation */ };

typedef struct syz_softmax_options {
  int classes;                /**< 1 .. SYZ_CLASSES_MAX */
  const double *class_weight; /**< [classes] factor of a row's loss; NULL: 1 */
  double l2; /**< penalty l2/2 |W|^2 on the weights of standardised features, beside the weighted mean of the losses */
  bool is_as_it_is;   /**< features are standardised already */
  int64_t iterations; /**< at most so many */
  double tolerance;   /**< converged when no component of the gradient is larger */
} syz_softmax_options;
typedef struct syz_softmax_result {
  double loss; /**< weighted mean cross-entropy, without the penalty */
  double gradient;
  int64_t iterations;
  bool has_converged;
  /** Of syz_softmax_path_fit: the penalty with the least mean cross-entropy of held-out rows, and that of each. */
  int chosen;
  double held_out_loss[SYZ_PENALTIES];
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

/** Penalties to choose from by cross-validation. */
typedef struct syz_softmax_path {
  syz_softmax_options fit; /**< all but l2 */
  int folds;               /**< 2 .. SYZ_FOLDS */
  int n_penalties;         /**< 1: nothing to choose; at most SYZ_PENALTIES */
  const double *penalty;   /**< [n_penalties], each an l2 */
} syz_softmax_path;
/** syz_softmax_fit with a penalty by cross-validation, features standardised inside each fold. fold [rows.n]: fold of
 * each row of this rank; SYZ_FOLDS and more: left out. Collective; agreed. Errors as syz_softmax_fit. */
syz_status syz_softmax_path_fit(syz_comm *c, const syz_rows *rows, const int8_t *label, const uint8_t *fold,
                                const syz_softmax_path *options, syz_linear_head **out, syz_softmax_result *result);

/** Questions about a row, each with several answers: answers begin[q] .. begin[q + 1] - 1 are those of question q. */
enum { SYZ_QUESTIONS = 32, SYZ_ANSWERS = 128 };
typedef struct syz_dirichlet_options {
  int questions;      /**< 1 .. SYZ_QUESTIONS */
  const int *begin;   /**< [questions + 1] from 0 on; at most SYZ_ANSWERS answers */
  double l2;          /**< penalty l2/2 |W|^2 on the weights of standardised features, beside the mean loss of a row */
  int64_t iterations; /**< at most so many */
  double tolerance;   /**< converged when no component of the gradient is larger */
} syz_dirichlet_options;
typedef struct syz_dirichlet_result {
  double loss; /**< mean over rows, without the penalty */
  double gradient;
  int64_t iterations, rows; /**< rows: of all ranks, with a vote */
  bool has_converged;
} syz_dirichlet_result;
/** Concentrations of a Dirichlet distribution for each answer, from 1 to 101, of what a head says [answers]. */
void syz_dirichlet_concentrations(int answers, const double *raw, double *alpha);
/**
 * -ln of the probability of votes [answers] by a Dirichlet-multinomial distribution for each question, each [questions]
 * (may be NULL), 0 where nobody was asked, and their sum. gradient [answers] by raw; may be NULL.
 */
double syz_dirichlet_loss(int questions, const int *begin, const float *votes, const double *raw, double *each,
                          double *gradient);
/**
 * A head that says the concentrations of all questions at once, by L-BFGS over all rows, in float64. Not convex: it
 * begins at equal concentrations of 51.
 *
 * Collective; agreed. votes [rows.n, answers]: counts of this rank's rows; a row without any vote is left out of the
 * loss, but counts where features are standardised. Only the order of float64 sums depends on the ranks. SYZ_ERR_INPUT
 * without a vote.
 */
syz_status syz_dirichlet_fit(syz_comm *c, const syz_rows *rows, const float *votes,
                             const syz_dirichlet_options *options, syz_linear_head **out, syz_dirichlet_result *result);

/**
 * Fit a ridge regression of several targets on standardised features: minimise sum (y - w x - b)^2 + alpha n |w|^2 over
 * w and b, by Cholesky in float64.
 *
 * Collective; agreed. target [rows.n, targets]; rows with a NaN target are excluded for all targets. SYZ_ERR_INPUT with
 * fewer than 2 rows, SYZ_ERR_NUMERIC when the equations are singular (alpha 0).
 */
syz_status syz_ridge_fit(syz_comm *c, const syz_rows *rows, int targets, const float *target, double alpha,
                         syz_linear_head **out);

enum { SYZ_RIDGE_TARGETS = 64, SYZ_FOLDS = 32 };

/** Penalties to choose from by cross-validation. */
typedef struct syz_ridge_options {
  int folds;           /**< 2 .. SYZ_FOLDS */
  int n_alphas;        /**< 1 .. SYZ_PENALTIES */
  const double *alpha; /**< [n_alphas] >= 0, each as in syz_ridge_fit */
} syz_ridge_options;
/** What cross-validation found for each target. */
typedef struct syz_ridge_result {
  int64_t rows[SYZ_RIDGE_TARGETS];                 /**< with a value */
  int chosen[SYZ_RIDGE_TARGETS];                   /**< number of the penalty with the least error */
  double error[SYZ_RIDGE_TARGETS * SYZ_PENALTIES]; /**< [targets, n_alphas] mean squared error of held-out folds */
} syz_ridge_result;
/**
 * syz_ridge_fit for each target with its own penalty, chosen by cross-validation in which features are standardised
 * inside each fold. The rows are read twice; the work is that of one product X^T X and folds + 1 eigenproblems.
 *
 * Collective; agreed; the same on all ranks. fold [rows.n]: fold of each row of this rank; SYZ_FOLDS and more:
 * left out. target [rows.n, targets], targets <= SYZ_RIDGE_TARGETS: a row with NaN is left out of that target alone.
 * Memory beside the rows: (folds + 2) width^2 doubles. SYZ_ERR_INPUT with fewer than 2 rows per fold, SYZ_ERR_NUMERIC
 * for features that are not finite.
 */
syz_status syz_ridge_path_fit(syz_comm *c, const syz_rows *rows, const uint8_t *fold, int targets, const float *target,
                              const syz_ridge_options *options, syz_linear_head **out, syz_ridge_result *result);

/** R^2 of several targets over rows that the ranks hold; a row with a NaN target is left out. y, prediction [n,
 * targets]; out [targets]. Collective. */
void syz_r_squared_over_ranks(syz_comm *c, int64_t n, int targets, const float *y, const float *prediction,
                              double *out);
