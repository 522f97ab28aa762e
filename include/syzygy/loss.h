/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * loss: losses over the global batch and their gradients: InfoNCE, distillation (DINO, iBOT), KoLeo; and how well pairs
 * are retrieved.
 *
 * Each rank holds rows of embeddings; what a loss computes it computes over the rows of all ranks. Nothing here knows
 * of towers or of a loop.
 */
#pragma once

#include "syzygy/base.h"
#include "syzygy/comm.h"
#include "syzygy/model.h" /* syz_modality, which is part of this face */
#include "syzygy/nn.h"

/** What a loss does in a step, for plans: operations of its products (one multiply-add is two), collective calls. */
enum { SYZ_LOSS_CALLS = 4 };
typedef struct syz_loss_work {
  double forward, backward; /**< as they count when a speed is stated */
  double again;             /**< formed again rather than kept */
  int n;
  syz_call call[SYZ_LOSS_CALLS];
} syz_loss_work;

/* ---------------------------------------------------------------- InfoNCE */

/** Smallest norm an embedding is divided by (src/model/README.md "Alignment"). */
#define SYZ_EMBEDDING_EPS 1e-3f

/**
 * Symmetric cross-entropy over the global batch: logits[i,j] = s <x_i, y_j> of the L2-normalised image and spectrum
 * embeddings.
 *
 * Each rank holds rows of one or both modalities: those that hold a modality share its G rows in contiguous blocks, in
 * world order (syz_share). No rank ever holds the G x G logits, only tiles of them. Two ways, chosen by the size of the
 * batch:
 *
 * - Up to `ring_pairs` the normalised embeddings of all ranks are gathered (2 G x E). Every row's statistics are formed
 * over the same column tiles in the same order on any rank, in float64 from float32 products, and the loss is the sum
 * of the G rows in row order: neither it nor a row's gradient depends on the number of ranks, not by a bit.
 * - Above, one modality's rows travel around the ring of ranks in pieces, and nobody holds more than its own rows and
 * three pieces. Products are in the type of the compute context (bfloat16: so are the normalised rows), statistics
 * float32 in tiles of 96 x 256 and float64 between them; half the operations of the other way (8 G^2 E in all, one
 * quarter of them forward). Sums are in an order that depends on the number of ranks: losses agree to 1e-5.
 */
typedef struct syz_infonce syz_infonce;

typedef struct syz_infonce_config {
  int64_t global_batch, width;  /**< G >= 1, may be smaller than the number of ranks; E */
  bool has_image, has_spectrum; /**< whether this rank holds rows of it */
  int64_t ring_pairs;           /**< larger global batches go around the ring; 0: all do */
  int64_t piece_rows;           /**< most rows of a piece; 0: 2048 */
  bool streams;                 /**< the caller keeps no embeddings: it uses put and get below */
  int64_t most_blocks; /**< for measurements: the first round of pieces, and so many blocks of 1152 own rows for each;
                          results mean nothing. 0: all */
} syz_infonce_config;

/** The default of loss.ring_pairs: gathered, two modalities of 1024 numbers are 128 MiB there. */
enum { SYZ_RING_PAIRS = 16384 };

typedef struct syz_infonce_loss {
  double loss;              /**< mean of the two directions, natural logarithm */
  double image_to_spectrum; /**< mean over images of -log softmax over the spectra */
  double spectrum_to_image;
} syz_infonce_loss;

/** Collective; agreed. The same on all ranks: everything but has_*. */
syz_status syz_infonce_create(syz_comm *world, const syz_compute *compute, const syz_infonce_config *config,
                              syz_infonce **out);
void syz_infonce_destroy(syz_infonce **l);
/** Bytes on a rank that holds what config->has_* say; so many ranks hold each modality. */
size_t syz_infonce_bytes(const syz_compute *compute, const syz_infonce_config *config, int image_ranks,
                         int spectrum_ranks);
/** Of one pair. Around the ring products are in the type of `compute`, else float32. */
syz_loss_work syz_infonce_work(const syz_compute *compute, const syz_infonce_config *config);
/** Whether such a batch goes around the ring. */
bool syz_infonce_is_ring(const syz_infonce_config *config);
/** The rows of the global batch that this rank holds; count 0 for a modality it does not have. */
void syz_infonce_rows(const syz_infonce *l, syz_modality m, int64_t *first, int64_t *count);
/** Collective. embedding[m]: [count, E] as the towers give them, NULL without rows, or where they were put before.
 * scale: s. The same result on every rank; not finite when an embedding is not. */
void syz_infonce_forward(syz_infonce *l, double scale, const float *const embedding[SYZ_MODALITIES],
                         syz_infonce_loss *out);
/**
 * Gradient of the global loss by this rank's rows, after syz_infonce_forward: dembedding[m] [count, E] is written; NULL
 * where there are no rows, or, with `streams`, to be fetched later. dlog_scale (NULL: not wanted, the same on all
 * ranks): derivative by log s, the same on every rank. Collective.
 */
void syz_infonce_backward(syz_infonce *l, float *const dembedding[SYZ_MODALITIES], double *dlog_scale);

/* With `streams` no array [count, E] is needed outside: a chunk of rows [at, at + n) of this rank is put as soon as its
 * embeddings are there, before the forward call, and its gradient is fetched when it is needed, after the backward
 * call. Around the ring the objective then holds the rows in the type of the products and one modality's gradient in
 * float32; the other one's takes the place of its rows, in their type (towers apart: float32 both). Not collective. */
void syz_infonce_put(syz_infonce *l, syz_modality m, int64_t at, int64_t n, const float *embedding);
void syz_infonce_get(syz_infonce *l, syz_modality m, int64_t at, int64_t n, float *dembedding);

/** Operations of this rank's products in the last forward or backward call. */
double syz_infonce_operations(const syz_infonce *l);
/** All normalised embeddings of the last forward call, all [G, E], on every rank. Collective; agreed. */
syz_status syz_infonce_gather(syz_infonce *l, syz_modality m, float *all);
/** Rows of the last forward call that are not finite: how many there are, and in place[0 .. most) the first of them in
 * the global batch. Collective; the same on every rank. most <= 16. */
int64_t syz_infonce_not_finite(syz_infonce *l, syz_modality m, int most, int64_t *place);

/* -------------------------------------------------------------- retrieval */

enum { SYZ_RECALL_CUTS = 3 };
/** Cuts of the recall figures: 1, 5, 10. */
extern const int syz_recall_cut[SYZ_RECALL_CUTS];

/** How well the pair of a query is found among n candidates, by cosine. Equal cosines share their places. */
typedef struct syz_retrieval {
  int64_t n;
  double recall[SYZ_MODALITIES]
               [SYZ_RECALL_CUTS]; /**< [modality of the query]: share of queries with their pair among the first k */
  double median_rank[SYZ_MODALITIES]; /**< 1 is best; (n + 1) / 2 is chance */
} syz_retrieval;

/**
 * Collective; agreed. image, spectrum [n, E] normalised, the same on every rank; pair i is (image i, spectrum i). The
 * queries are shared out over the ranks and compared tile by tile.
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
 * Logits are <z, w_k / |w_k|> of the K = `prototypes` rows of last_layer.weight_v with unit vectors z; they exist only
 * a tile of prototypes at a time and are computed again where they are needed again. Teacher rows come in sets (class
 * tokens, masked patches) with a centre [K] or a Sinkhorn-Knopp problem each. Statistics of teacher and student rows
 * are in float32 over a fixed order of tiles with float64 sums: no row's result depends on the number of ranks; sums
 * over rows are over the global batch.
 */
enum { SYZ_TARGET_SETS = 2, SYZ_TARGETS_PER_ROW = 8 };
typedef struct syz_distillation syz_distillation;
typedef struct syz_distillation_config {
  int64_t prototypes, width;          /**< K, bottleneck */
  int64_t most_student, most_teacher; /**< most rows of this rank in a call */
  int64_t leaves; /**< of this rank, a power of two, as is the number of ranks: sums in their order (src/comm/leaves.c);
                     0: none */
  int64_t most_leaf; /**< with leaves: most student rows of one; the same on every rank */
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
/** Of so many rows. What is formed again: see distillation.c. */
syz_loss_work syz_distillation_work(const syz_distillation_config *config, double teacher_rows, double student_rows);
/** The moving centre [K] of a set (SYZ_CENTRE_MEAN): state of the run, the same on every rank; borrowed. Starts at
 * zero. */
float *syz_distillation_centre(syz_distillation *d, int set);
/** What a step brings. Teacher rows of set s: [n_teacher[s], width] in z_teacher, sets one after another;
 * global_teacher[s] rows on all ranks. */
typedef struct syz_distillation_batch {
  const float *weight_student, *weight_teacher; /**< last_layer.weight_v [K, width] */
  int64_t n_teacher[SYZ_TARGET_SETS];
  const float *z_teacher;
  double teacher_temperature;
  int64_t n_student;
  const float *z_student;  /**< [n_student, width] */
  const int64_t *target;   /**< [n_student, SYZ_TARGETS_PER_ROW] teacher rows of this rank that a student row is held
                              against; -1: none */
  const float *row_weight; /**< [n_student] factor of a row's sum of cross-entropies */
  const int *term;         /**< [n_student] which of the terms below a row adds to */
  const int64_t *leaf_student,
      *leaf_teacher[SYZ_TARGET_SETS]; /**< with leaves: [leaves + 1] where the rows of each begin, in its set */
} syz_distillation_batch;
enum { SYZ_DISTILLATION_TERMS = 4 };
typedef struct syz_distillation_loss {
  double term[SYZ_DISTILLATION_TERMS];    /**< sums over all ranks of row_weight * sum over targets of cross-entropy */
  double target_entropy[SYZ_TARGET_SETS]; /**< mean entropy of a target, in nats: log K is uniform, 0 one prototype */
  double mean_entropy[SYZ_TARGET_SETS]; /**< entropy of the mean target over the global batch: 0 when all rows have the
                                           same prototype */
} syz_distillation_loss;
/** Collective. The same result on every rank; not finite when an input is not. A set that has no row on any rank is
 * left out: its entropies are 0, its centre stays. */
void syz_distillation_forward(syz_distillation *d, const syz_distillation_batch *batch, syz_distillation_loss *out);
/** Gradient by this rank's student rows and by the student's weight_v: dz [n_student, width] is written, dweight [K,
 * width] += . After forward, with the same batch. No communication. */
void syz_distillation_backward(syz_distillation *d, const syz_distillation_batch *batch, float *dz, float *dweight);
/** Move the centres by the step's batch means (SYZ_CENTRE_MEAN); after forward, before the weights change. No
 * communication. */
void syz_distillation_update(syz_distillation *d);

/**
 * KoLeo (Sablayrolles et al. 2019, arXiv:1806.03198): -mean log(|x_i - x_nn(i)| + 1e-8) of the unit vectors of the
 * global batch, with gradient through both ends. The rows are shared by syz_share over world in order.
 */
typedef struct syz_koleo syz_koleo;
/** Not collective. rows: of the global batch. */
syz_status syz_koleo_create(syz_comm *world, const syz_compute *compute, int64_t rows, int64_t width, syz_koleo **out);
void syz_koleo_destroy(syz_koleo **k);
size_t syz_koleo_bytes(const syz_compute *compute, int64_t rows, int64_t width);
/** Of one row; products are float32. */
syz_loss_work syz_koleo_work(int64_t rows, int64_t width);
/** Collective. x: this rank's rows, `stride` floats apart, not normalised (eps 1e-8). *spread: root mean square
 * distance of the unit vectors from their mean, 1 when they fill the sphere, 0 when all are the same. Loss 0 for a
 * global batch of one. The same on every rank. */
void syz_koleo_forward(syz_koleo *k, const float *x, int64_t stride, double *loss, double *spread);
/** dx [own rows] of `stride` floats += scale * gradient. No communication. */
void syz_koleo_backward(syz_koleo *k, double scale, float *dx, int64_t stride);
