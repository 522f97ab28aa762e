/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * loss: losses over the global batch and their gradients: InfoNCE, distillation (DINO, iBOT), KoLeo; and retrieval of
 * pairs.
 *
 * Each rank holds rows of embeddings; a loss is computed over the rows of all ranks. Nothing here calls towers or knows
 * of the training loop.
 */
#pragma once

#include "syzygy/base.h"
#include "syzygy/comm.h"
#include "syzygy/model.h" /* syz_modality, which is part of this face */
#include "syzygy/nn.h"

/** Work of a loss in a step, for plans: operations of its products (one multiply-add is two) and collective calls. */
enum { SYZ_LOSS_CALLS = 4 };
typedef struct syz_loss_work {
  double forward, backward; /**< operations that a stated speed counts */
  double again;             /**< operations that are repeated to save memory */
  int n;
  syz_call call[SYZ_LOSS_CALLS];
} syz_loss_work;

/* ---------------------------------------------------------------- InfoNCE */

/** Smallest norm by which an embedding is divided (src/model/README.md "Alignment"). */
#define SYZ_EMBEDDING_EPS 1e-3f

/**
 * Symmetric cross-entropy over the global batch: logits[i,j] = s <x_i, y_j> of the L2-normalised image and spectrum
 * embeddings.
 *
 * Each rank holds rows of one or both modalities: the G rows of a modality are divided in contiguous blocks, in world
 * order (syz_share), over the ranks that hold it. No rank ever holds the G x G logits, only tiles of them. The size of
 * the batch decides between two methods:
 *
 * - Up to `ring_pairs` the normalised embeddings of all ranks are gathered (2 G x E). The statistics of a row are sums
 * over the same column tiles in the same order on any rank, in float64 from float32 products, and the loss is the sum
 * of the G rows in row order: loss and gradients have the same bits for any number of ranks.
 * - In larger batches the rows of one modality travel around the ring of ranks in pieces, and a rank holds only its own
 * rows and three pieces. Products and normalised rows have the type of the compute context, statistics are float32 in
 * tiles of 96 x 256 and float64 between tiles. It needs half the operations of the first method (8 G^2 E in all, a
 * quarter of them forward). The order of sums depends on the number of ranks: losses agree to 1e-5.
 */
typedef struct syz_infonce syz_infonce;

typedef struct syz_infonce_config {
  int64_t global_batch, width;  /**< G >= 1, may be smaller than the number of ranks; E */
  bool has_image, has_spectrum; /**< whether this rank holds rows of the modality */
  int64_t ring_pairs;           /**< larger global batches use the ring; 0: all do */
  int64_t piece_rows;           /**< most rows of a piece; 0: 2048 */
  bool streams;                 /**< the caller keeps no embeddings and uses syz_infonce_put and _get */
  int64_t most_blocks; /**< for measurements: compute only the first round of pieces, and for each so many blocks of
                          1152 own rows, with meaningless results; 0: compute all */
} syz_infonce_config;

/** The default of loss.ring_pairs: gathering two modalities of width 1024 then takes 128 MiB. */
enum { SYZ_RING_PAIRS = 16384 };

typedef struct syz_infonce_loss {
  double loss;              /**< mean of the two directions, natural logarithm */
  double image_to_spectrum; /**< mean over images of -log softmax over the spectra */
  double spectrum_to_image;
} syz_infonce_loss;

/** Collective; agreed. Same on all ranks: everything except has_*. */
syz_status syz_infonce_create(syz_comm *world, const syz_compute *compute, const syz_infonce_config *config,
                              syz_infonce **out);
void syz_infonce_destroy(syz_infonce **l);
/** Bytes of a rank that holds the modalities of config->has_*. image_ranks, spectrum_ranks: ranks that hold each. */
size_t syz_infonce_bytes(const syz_compute *compute, const syz_infonce_config *config, int image_ranks,
                         int spectrum_ranks);
/** Work per pair. Products have the type of `compute` in the ring, otherwise float32. */
syz_loss_work syz_infonce_work(const syz_compute *compute, const syz_infonce_config *config);
/** Whether such a batch uses the ring. */
bool syz_infonce_is_ring(const syz_infonce_config *config);
/** The rows of the global batch that this rank holds; count 0 for a modality that it lacks. */
void syz_infonce_rows(const syz_infonce *l, syz_modality m, int64_t *first, int64_t *count);
/** Collective. embedding[m]: [count, E] as the towers give them; NULL without rows, or after syz_infonce_put.
 * scale: s. The same result on every rank; not finite when an embedding is not. */
void syz_infonce_forward(syz_infonce *l, double scale, const float *const embedding[SYZ_MODALITIES],
                         syz_infonce_loss *out);
/**
 * Gradient of the global loss with respect to this rank's rows, after syz_infonce_forward: dembedding[m] [count, E] is
 * written; NULL without rows, or with `streams` for a later syz_infonce_get. dlog_scale: derivative by log s, the same
 * on every rank; NULL on all ranks: not wanted. Collective.
 */
void syz_infonce_backward(syz_infonce *l, float *const dembedding[SYZ_MODALITIES], double *dlog_scale);

/* With `streams` the caller needs no array [count, E]: before the forward call it puts rows [at, at + n) of this rank
 * as soon as their embeddings are computed, and after the backward call it gets their gradients when needed. In the
 * ring the loss then holds the rows in the type of the products and the gradient of one modality in float32; the
 * gradient of the other replaces its rows, in their type (with towers apart both are float32). Not collective. */
void syz_infonce_put(syz_infonce *l, syz_modality m, int64_t at, int64_t n, const float *embedding);
void syz_infonce_get(syz_infonce *l, syz_modality m, int64_t at, int64_t n, float *dembedding);

/** Operations of this rank's products in the last forward or backward call. */
double syz_infonce_operations(const syz_infonce *l);
/** All normalised embeddings of the last forward call, all [G, E], on every rank. Collective; agreed. */
syz_status syz_infonce_gather(syz_infonce *l, syz_modality m, float *all);
/** Number of rows of the last forward call that are not finite, and in place[0 .. most) the places of the first ones in
 * the global batch. Collective; the same on every rank. most <= 16. */
int64_t syz_infonce_not_finite(syz_infonce *l, syz_modality m, int most, int64_t *place);

/* -------------------------------------------------------------- retrieval */

enum { SYZ_RECALL_CUTS = 3 };
/** Cuts of the recall figures: 1, 5, 10. */
extern const int syz_recall_cut[SYZ_RECALL_CUTS];

/** How well the partner of a query is found among n candidates by cosine. Equal cosines share their places. */
typedef struct syz_retrieval {
  int64_t n;
  double recall[SYZ_MODALITIES][SYZ_RECALL_CUTS]; /**< [modality of the query]: fraction of queries with their partner
                                                     among the first k */
  double median_rank[SYZ_MODALITIES];             /**< 1 is best; (n + 1) / 2 is chance */
} syz_retrieval;

/**
 * Collective; agreed. image, spectrum [n, E] normalised, the same on every rank; pair i is (image i, spectrum i). Each
 * rank compares a share of the queries, tile by tile.
 */
syz_status syz_retrieval_evaluate(syz_comm *world, const syz_compute *compute, int64_t n, int64_t width,
                                  const float *image, const float *spectrum, syz_retrieval *out);

/* --------------------------------------------------- losses of pretraining */

/** How a teacher's logits become targets. */
typedef enum syz_centring {
  SYZ_CENTRE_MEAN, /**< softmax((logits - centre) / temperature), centre a moving mean of the batch mean over all ranks
                    */
  SYZ_CENTRE_SINKHORN /**< Sinkhorn-Knopp over the global batch, in the log domain (Caron et al. 2020, arXiv:2006.09882)
                       */
} syz_centring;

/**
 * Cross-entropy between teacher and student over prototypes (DINO, Caron et al. 2021, arXiv:2104.14294; iBOT, Zhou et
 * al. 2022, arXiv:2111.07832).
 *
 * Logits are <z, w_k / |w_k|> of unit vectors z with the K = `prototypes` rows of last_layer.weight_v. They exist only
 * for one tile of prototypes at a time and are computed again when needed. Teacher rows come in sets (class tokens,
 * masked patches), each with its own centre [K] or Sinkhorn-Knopp problem. Statistics of a row are float32 in a fixed
 * order of tiles with float64 sums, so they do not depend on the number of ranks; sums over rows are over the global
 * batch.
 */
enum { SYZ_TARGET_SETS = 2, SYZ_TARGETS_PER_ROW = 8 };
typedef struct syz_distillation syz_distillation;
typedef struct syz_distillation_config {
  int64_t prototypes, width;          /**< K, bottleneck */
  int64_t most_student, most_teacher; /**< most rows of this rank per call */
  int64_t leaves; /**< leaves of this rank, for sums in their order (src/comm/leaves.c); a power of two, as the number
                     of ranks must be; 0: none */
  int64_t most_leaf; /**< with leaves: most student rows per leaf; the same on every rank */
  int sets;          /**< of teacher rows */
  syz_centring centring;
  int sinkhorn_iterations;    /**< 3 */
  double centre_momentum;     /**< 0.9 */
  double student_temperature; /**< 0.1 */
} syz_distillation_config;
/** Not collective. SYZ_ERR_MEMORY. */
syz_status syz_distillation_create(syz_comm *world, const syz_compute *compute, const syz_distillation_config *config,
                                   syz_distillation **out);
void syz_distillation_destroy(syz_distillation **d);
size_t syz_distillation_bytes(const syz_compute *compute, const syz_distillation_config *config);
/** Work of so many rows. src/loss/distillation.c says what is computed again. */
syz_loss_work syz_distillation_work(const syz_distillation_config *config, double teacher_rows, double student_rows);
/** The moving centre [K] of a set (SYZ_CENTRE_MEAN), the same on every rank; borrowed. It starts at zero and belongs in
 * checkpoints. */
float *syz_distillation_centre(syz_distillation *d, int set);
/** Input of a step. z_teacher has the teacher rows [n_teacher[s], width] of all sets s, one after another. */
typedef struct syz_distillation_batch {
  const float *weight_student, *weight_teacher; /**< last_layer.weight_v [K, width] */
  int64_t n_teacher[SYZ_TARGET_SETS];
  const float *z_teacher;
  double teacher_temperature;
  int64_t n_student;
  const float *z_student;  /**< [n_student, width] */
  const int64_t *target;   /**< [n_student, SYZ_TARGETS_PER_ROW] teacher rows of this rank that are a student row's
                              targets; -1: none */
  const float *row_weight; /**< [n_student] factor of a row's sum of cross-entropies */
  const int *term;         /**< [n_student] the term to which a row adds */
  const int64_t *leaf_student,
      *leaf_teacher[SYZ_TARGET_SETS]; /**< with leaves: [leaves + 1] first row of each leaf, within its set */
} syz_distillation_batch;
enum { SYZ_DISTILLATION_TERMS = 4 };
typedef struct syz_distillation_loss {
  double term[SYZ_DISTILLATION_TERMS];    /**< sums over all ranks of row_weight * sum over targets of cross-entropy */
  double target_entropy[SYZ_TARGET_SETS]; /**< mean entropy of a target, in nats: log K is uniform, 0 one prototype */
  double mean_entropy[SYZ_TARGET_SETS]; /**< entropy of the mean target over the global batch; 0 when all rows have the
                                           same prototype */
} syz_distillation_loss;
/** Collective. The same result on every rank; not finite when an input is not. A set without rows on any rank has
 * entropies 0 and keeps its centre. */
void syz_distillation_forward(syz_distillation *d, const syz_distillation_batch *batch, syz_distillation_loss *out);
/** Gradient with respect to this rank's student rows and the student's weight_v: dz [n_student, width] is written,
 * dweight [K, width] += . After forward, with the same batch. No communication. */
void syz_distillation_backward(syz_distillation *d, const syz_distillation_batch *batch, float *dz, float *dweight);
/** Move the centres by the step's batch means (SYZ_CENTRE_MEAN); after forward, before the weights change. No
 * communication. */
void syz_distillation_update(syz_distillation *d);

/**
 * KoLeo (Sablayrolles et al. 2019, arXiv:1806.03198): -mean log(|x_i - x_nn(i)| + 1e-8) of the unit vectors of the
 * global batch, with gradients of both points of a pair. The rows are divided over world by syz_share.
 */
typedef struct syz_koleo syz_koleo;
/** Not collective. rows: of the global batch. */
syz_status syz_koleo_create(syz_comm *world, const syz_compute *compute, int64_t rows, int64_t width, syz_koleo **out);
void syz_koleo_destroy(syz_koleo **k);
size_t syz_koleo_bytes(const syz_compute *compute, int64_t rows, int64_t width);
/** Work per row; products are float32. */
syz_loss_work syz_koleo_work(int64_t rows, int64_t width);
/** Collective. x: this rank's rows, `stride` floats apart, not normalised (eps 1e-8). *spread: root mean square
 * distance of the unit vectors from their mean, 1 when they fill the sphere, 0 when all are the same. The loss of a
 * global batch of one is 0. The same on every rank. */
void syz_koleo_forward(syz_koleo *k, const float *x, int64_t stride, double *loss, double *spread);
/** dx [own rows] of `stride` floats += scale * gradient. No communication. */
void syz_koleo_backward(syz_koleo *k, double scale, float *dx, int64_t stride);
