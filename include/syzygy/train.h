/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * train: one loop for three objectives (contrastive `align`, DINOv2, masked modelling of spectra), their losses over the global batch, retrieval
 * figures, checkpoints.
 *
 * A step is a pure function of (weights, moments, arrays of the objective such as a teacher, seed, step), and all of these are in a checkpoint:
 * nothing else has a history, so a run that was stopped and continued on the same number of ranks repeats an uninterrupted one bit for bit, and
 * the number of ranks changes nothing but the order in which gradients are added. The parts: loop.c, checkpoint.c and manifest.c, metrics.c,
 * plan.c and memory.c (what a run takes, whether the ranks of a node fit), parts.c (which parameters train, and which share of them each rank updates),
 * gradients.c (sums over ranks while the backward pass runs; sums.c: to be measured), digests.c and verify.c (what memory or a processor changed), leaves.c and leaf_gradients.c (sums in an order that the batch
 * fixes), optimiser.c; align*.c, infonce.c, retrieval.c; dino*.c, distillation*.c, koleo.c; masked*.c; similarity.c (tiles of cosines); infonce_ring.c,
 * infonce_pieces.c and infonce_tile.c for large batches.
 */
#pragma once

#include "syzygy/base.h"
#include "syzygy/comm.h"
#include "syzygy/data.h"
#include "syzygy/model.h"
#include "syzygy/nn.h"

/* ---------------------------------------------------------------- InfoNCE */

/** Smallest norm an embedding is divided by (src/model/README.md "Alignment"). */
#define SYZ_EMBEDDING_EPS 1e-3f

/**
 * Symmetric cross-entropy over the global batch: logits[i,j] = s <x_i, y_j> of the L2-normalised image and spectrum embeddings.
 *
 * Each rank holds rows of one or both modalities: those that hold a modality share its G rows in contiguous blocks, in world order
 * (syz_share). No rank ever holds the G x G logits, only tiles of them. Two ways, chosen by the size of the batch:
 *
 * - Up to `ring_pairs` the normalised embeddings of all ranks are gathered (2 G x E). Every row's statistics are formed over the same column tiles
 *   in the same order on any rank, in float64 from float32 products, and the loss is the sum of the G rows in row order: neither it nor a row's
 *   gradient depends on the number of ranks, not by a bit.
 * - Above, one modality's rows travel around the ring of ranks in pieces, and nobody holds more than its own rows and three pieces. Products are in
 *   the type of the compute context (bfloat16: so are the normalised rows), statistics float32 in tiles of 96 x 256 and float64 between them; half the
 *   operations of the other way (8 G^2 E in all, one quarter of them forward). Sums are in an order that depends on the number of ranks: losses
 *   agree to 1e-5.
 */
typedef struct syz_infonce syz_infonce;

typedef struct syz_infonce_config {
  int64_t global_batch, width;    /**< G >= 1, may be smaller than the number of ranks; E */
  bool has_image, has_spectrum;   /**< whether this rank holds rows of it */
  int64_t ring_pairs;             /**< larger global batches go around the ring; 0: all do */
  int64_t piece_rows;             /**< most rows of a piece; 0: 2048 */
  bool streams;                   /**< the caller keeps no embeddings: it uses put and get below */
  int64_t most_blocks;            /**< for measurements: the first round of pieces, and so many blocks of 1152 own rows for each; results mean nothing. 0: all */
} syz_infonce_config;

/** The default of loss.ring_pairs: gathered, two modalities of 1024 numbers are 128 MiB there. */
enum { SYZ_RING_PAIRS = 16384 };

typedef struct syz_infonce_loss {
  double loss;              /**< mean of the two directions, natural logarithm */
  double image_to_spectrum; /**< mean over images of -log softmax over the spectra */
  double spectrum_to_image;
} syz_infonce_loss;

/** Collective; agreed. The same on all ranks: everything but has_*. */
syz_status syz_infonce_create(syz_comm *world, const syz_compute *compute, const syz_infonce_config *config, syz_infonce **out);
void syz_infonce_destroy(syz_infonce **l);
/** Bytes on a rank that holds what config->has_* say; so many ranks hold each modality. */
size_t syz_infonce_bytes(const syz_compute *compute, const syz_infonce_config *config, int image_ranks, int spectrum_ranks);
/** Whether this batch goes around the ring. */
bool syz_infonce_is_ring(const syz_infonce *l);
/** The rows of the global batch that this rank holds; count 0 for a modality it does not have. */
void syz_infonce_rows(const syz_infonce *l, syz_modality m, int64_t *first, int64_t *count);
/** Collective. embedding[m]: [count, E] as the towers give them, NULL without rows, or where they were put before. scale: s. The same result on
 * every rank; not finite when an embedding is not. */
void syz_infonce_forward(syz_infonce *l, double scale, const float *const embedding[SYZ_MODALITIES], syz_infonce_loss *out);
/**
 * Gradient of the global loss by this rank's rows, after syz_infonce_forward: dembedding[m] [count, E] is written; NULL where there are no rows, or, with
 * `streams`, to be fetched later. dlog_scale (NULL: not wanted, the same on all ranks): derivative by log s, the same on every rank. Collective.
 */
void syz_infonce_backward(syz_infonce *l, float *const dembedding[SYZ_MODALITIES], double *dlog_scale);

/* With `streams` no array [count, E] is needed outside: a chunk of rows [at, at + n) of this rank is put as soon as its embeddings are there, before the
 * forward call, and its gradient is fetched when it is needed, after the backward call. Around the ring the objective then holds the rows in the type of
 * the products and one modality's gradient in float32; the other one's takes the place of its rows, in their type (towers apart: float32 both). Not
 * collective. */
void syz_infonce_put(syz_infonce *l, syz_modality m, int64_t at, int64_t n, const float *embedding);
void syz_infonce_get(syz_infonce *l, syz_modality m, int64_t at, int64_t n, float *dembedding);

/** Operations of this rank's products in the last forward or backward call. */
double syz_infonce_operations(const syz_infonce *l);
/** All normalised embeddings of the last forward call, all [G, E], on every rank. Collective; agreed. */
syz_status syz_infonce_gather(syz_infonce *l, syz_modality m, float *all);
/** Rows of the last forward call that are not finite: how many there are, and in place[0 .. most) the first of them in the global batch. Collective; the
 * same on every rank. most <= 16. */
int64_t syz_infonce_not_finite(syz_infonce *l, syz_modality m, int most, int64_t *place);

/* -------------------------------------------------------------- retrieval */

enum { SYZ_RECALL_CUTS = 3 };
/** Cuts of the recall figures: 1, 5, 10. */
extern const int syz_recall_cut[SYZ_RECALL_CUTS];

/** How well the pair of a query is found among n candidates, by cosine. Equal cosines share their places. */
typedef struct syz_retrieval {
  int64_t n;
  double recall[SYZ_MODALITIES][SYZ_RECALL_CUTS]; /**< [modality of the query]: share of queries with their pair among the first k */
  double median_rank[SYZ_MODALITIES];             /**< 1 is best; (n + 1) / 2 is chance */
} syz_retrieval;

/**
 * Collective; agreed. image, spectrum [n, E] normalised, the same on every rank; pair i is (image i, spectrum i). The queries are shared
 * out over the ranks and compared tile by tile.
 */
syz_status syz_retrieval_evaluate(syz_comm *world, const syz_compute *compute, int64_t n, int64_t width, const float *image, const float *spectrum,
                                  syz_retrieval *out);

/* -------------------------------------------------------------- gradients */

/** The gradient block of a model, summed over the ranks that hold the same tower while the backward pass still runs. */
typedef struct syz_gradients syz_gradients;
/** How slices of gradients travel between nodes; sums are float32 always. See src/train/gradients.c. */
typedef enum syz_reduction { SYZ_REDUCE_F32, SYZ_REDUCE_BF16 } syz_reduction;
/** Layout of syz_model_weights; the trained parts are zero at the start of a step, and of each leaf: borrowed until syz_gradients_leaf. */
float *syz_gradients_block(syz_gradients *g);
/** The callback for syz_tower_backward (context: the syz_gradients): elements [first, first + count) are final on this rank. */
void syz_gradients_ready(void *g, int64_t first, int64_t count);
/** The gradient of a leaf of this rank is complete: the block is another one from here on, zero again. Without leaves nothing happens. */
void syz_gradients_leaf(syz_gradients *g);
/**
 * Whether a batch can be cut into leaves for reproducible sums (src/train/leaves.c): a power of two that divides the batch, and that the number of ranks
 * divides which share it (grid NULL: not looked at yet). 0: none are wanted. SYZ_ERR_INPUT names the numbers that fit. Not collective; ranks of
 * towers that are apart may differ.
 */
syz_status syz_leaves_check(const syz_grid *grid, int64_t global_batch, int64_t leaves);

/** The sums by themselves, to be measured: all parts of the model are trained. Collective over grid->world; agreed. */
typedef struct syz_sums syz_sums;
syz_status syz_sums_create(const syz_grid *grid, const syz_model *model, syz_reduction reduction, int threads, syz_sums **out);
/** Collective where the model's weights are not shared. */
void syz_sums_destroy(syz_sums **s);
syz_gradients *syz_sums_gradients(syz_sums *s);
/** A step: begin, a backward pass into the block that calls syz_gradients_ready (or none), finish. Collective. */
void syz_sums_begin(syz_sums *s);
/** Seconds that the sums took at the end, exposed; *beside_s: those in calls of syz_gradients_ready. */
double syz_sums_finish(syz_sums *s, double *beside_s);

/* --------------------------------------------------- losses of pretraining */

/** How a teacher's logits become targets. */
typedef enum syz_centring {
  SYZ_CENTRE_MEAN,    /**< softmax((logits - centre) / temperature), centre a moving mean of the batch mean over all ranks */
  SYZ_CENTRE_SINKHORN /**< Sinkhorn-Knopp over the global batch, in the log domain (Caron et al. 2020, arXiv:2006.09882) */
} syz_centring;

/**
 * Cross-entropy between teacher and student over prototypes (DINO, Caron et al. 2021, arXiv:2104.14294; iBOT, Zhou et al. 2022, arXiv:2111.07832).
 *
 * Logits are <z, w_k / |w_k|> of the K = `prototypes` rows of last_layer.weight_v with unit vectors z; they exist only a tile of prototypes at a
 * time and are computed again where they are needed again. Teacher rows come in sets (class tokens, masked patches) with a centre
 * [K] or a Sinkhorn-Knopp problem each. Statistics of teacher and student rows are in float32 over a fixed order of tiles with float64 sums: no
 * row's result depends on the number of ranks; sums over rows are over the global batch.
 */
enum { SYZ_TARGET_SETS = 2, SYZ_TARGETS_PER_ROW = 8 };
typedef struct syz_distillation syz_distillation;
typedef struct syz_distillation_config {
  int64_t prototypes, width;        /**< K, bottleneck */
  int64_t most_student, most_teacher; /**< most rows of this rank in a call */
  int64_t leaves;                   /**< of this rank, a power of two, as is the number of ranks: sums in their order (src/train/leaves.c); 0: none */
  int64_t most_leaf;                /**< with leaves: most student rows of one; the same on every rank */
  int sets;                         /**< of teacher rows */
  syz_centring centring;
  int sinkhorn_iterations;          /**< 3 */
  double centre_momentum;           /**< 0.9 */
  double student_temperature;       /**< 0.1 */
} syz_distillation_config;
/** Not collective. SYZ_ERR_MEMORY. */
syz_status syz_distillation_create(syz_comm *world, const syz_compute *compute, const syz_distillation_config *config, syz_distillation **out);
void syz_distillation_destroy(syz_distillation **d);
size_t syz_distillation_bytes(const syz_compute *compute, const syz_distillation_config *config);
/** The moving centre [K] of a set (SYZ_CENTRE_MEAN): state of the run, the same on every rank; borrowed. Starts at zero. */
float *syz_distillation_centre(syz_distillation *d, int set);
/** What a step brings. Teacher rows of set s: [n_teacher[s], width] in z_teacher, sets behind one another; global_teacher[s] rows on all ranks. */
typedef struct syz_distillation_batch {
  const float *weight_student, *weight_teacher; /**< last_layer.weight_v [K, width] */
  int64_t n_teacher[SYZ_TARGET_SETS];
  const float *z_teacher;
  double teacher_temperature;
  int64_t n_student;
  const float *z_student;      /**< [n_student, width] */
  const int64_t *target;       /**< [n_student, SYZ_TARGETS_PER_ROW] teacher rows of this rank that a student row is held against; -1: none */
  const float *row_weight;     /**< [n_student] factor of a row's sum of cross-entropies */
  const int *term;             /**< [n_student] which of the terms below a row adds to */
  const int64_t *leaf_student, *leaf_teacher[SYZ_TARGET_SETS]; /**< with leaves: [leaves + 1] where the rows of each begin, in its set */
} syz_distillation_batch;
enum { SYZ_DISTILLATION_TERMS = 4 };
typedef struct syz_distillation_loss {
  double term[SYZ_DISTILLATION_TERMS];     /**< sums over all ranks of row_weight * sum over targets of cross-entropy */
  double target_entropy[SYZ_TARGET_SETS];  /**< mean entropy of a target, in nats: log K is uniform, 0 one prototype */
  double mean_entropy[SYZ_TARGET_SETS];    /**< entropy of the mean target over the global batch: 0 when all rows have the same prototype */
} syz_distillation_loss;
/** Collective. The same result on every rank; not finite when an input is not. A set that has no row on any rank is left out: its entropies are 0,
 * its centre stays. */
void syz_distillation_forward(syz_distillation *d, const syz_distillation_batch *batch, syz_distillation_loss *out);
/** Gradient by this rank's student rows and by the student's weight_v: dz [n_student, width] is written, dweight [K, width] += . After forward, with
 * the same batch. No communication. */
void syz_distillation_backward(syz_distillation *d, const syz_distillation_batch *batch, float *dz, float *dweight);
/** Move the centres by the step's batch means (SYZ_CENTRE_MEAN); after forward, before the weights change. No communication. */
void syz_distillation_update(syz_distillation *d);

/**
 * KoLeo (Sablayrolles et al. 2019, arXiv:1806.03198): -mean log(|x_i - x_nn(i)| + 1e-8) of the unit vectors of the global batch, with gradient through
 * both ends. The rows are shared by syz_share over world in order.
 */
typedef struct syz_koleo syz_koleo;
/** Not collective. rows: of the global batch. */
syz_status syz_koleo_create(syz_comm *world, const syz_compute *compute, int64_t rows, int64_t width, syz_koleo **out);
void syz_koleo_destroy(syz_koleo **k);
size_t syz_koleo_bytes(const syz_compute *compute, int64_t rows, int64_t width);
/** Collective. x: this rank's rows, `stride` floats apart, not normalised (eps 1e-8). *spread: root mean square distance of the unit vectors from their
 * mean, 1 when they fill the sphere, 0 when all are the same. Loss 0 for a global batch of one. The same on every rank. */
void syz_koleo_forward(syz_koleo *k, const float *x, int64_t stride, double *loss, double *spread);
/** dx [own rows] of `stride` floats += scale * gradient. No communication. */
void syz_koleo_backward(syz_koleo *k, double scale, float *dx, int64_t stride);

/* ------------------------------------------------------------ memory plan */

enum { SYZ_PLAN_ITEMS = 20 };
typedef struct syz_plan_item {
  const char *name; /**< "weights", "activations": a literal */
  size_t bytes;
  bool is_of_node; /**< once a node, shared by its ranks; otherwise of each rank */
} syz_plan_item;
/** What a run takes of the memory of the rank with the largest share, item by item. */
typedef struct syz_plan {
  syz_plan_item item[SYZ_PLAN_ITEMS];
  int n;
  int sharers; /**< at most so many ranks of a node have such items together (parallel.ranks_per_node); 0: all of them */
} syz_plan;
/** bytes 0: not added. */
void syz_plan_add(syz_plan *p, const char *name, size_t bytes);
void syz_plan_add_shared(syz_plan *p, const char *name, size_t bytes);
size_t syz_plan_rank_bytes(const syz_plan *p);   /**< without what the node shares */
size_t syz_plan_shared_bytes(const syz_plan *p); /**< what the node shares */
size_t syz_plan_node_bytes(const syz_plan *p, int ranks);
/** What the sums of gradients take of a rank beside its block: slices on their way between nodes. Of `elements`, by `ranks` ranks on `nodes` nodes. */
size_t syz_gradients_travel_bytes(int64_t elements, int ranks, int nodes, syz_reduction reduction);

/* ------------------------------------------------------------- objectives */

enum { SYZ_TERMS_MAX = 16, SYZ_SCALARS_MAX = 4, SYZ_FIGURES_MAX = 24, SYZ_FIGURE_NAME = 48, SYZ_CLIP_GROUPS = 4, SYZ_ARRAYS_MAX = 12 };

/** How one parameter is updated. */
typedef struct syz_rule {
  double lr_factor, decay_factor; /**< of the step's learning rate and weight decay */
  int64_t frozen_steps;           /**< learning rate 0 in steps below it; the moments move all the same */
  int clip_group;                 /**< gradient norms are formed and clipped within a group */
} syz_rule;

/** State of an objective besides the model's weights (a teacher, a centre): the same on every rank, part of every checkpoint. */
typedef struct syz_array {
  const char *name; /**< of the dataset in state.h5 below `array/` */
  float *x;
  int64_t count;
  syz_nodes *nodes; /**< of all ranks: those of a node have x together; NULL: each has its own */
} syz_array;

/** What a step's forward pass gives: the same on every rank, except wait_s and digest. */
typedef struct syz_step_result {
  double loss, term[SYZ_TERMS_MAX];
  double wait_s; /**< seconds this rank waited for data */
  uint64_t digest; /**< of what this rank's own forward passes gave, before ranks exchanged anything: shows which rank computed wrongly */
} syz_step_result;

/** Named results of a validation; figure 0 is what the best model is judged by, smaller is better. */
typedef struct syz_validation {
  int n;
  char name[SYZ_FIGURES_MAX][SYZ_FIGURE_NAME];
  double value[SYZ_FIGURES_MAX];
} syz_validation;

/**
 * What is trained: a table of functions, so that the loop knows nothing of towers and losses.
 *
 * Scalars are parameters outside the model's block (a learned temperature): replicated, float64, updated by the same AdamW.
 */
typedef struct syz_objective {
  const char *name;
  int n_terms, n_scalars;
  const char *term_name[SYZ_TERMS_MAX], *scalar_name[SYZ_SCALARS_MAX];
  double scalar_start[SYZ_SCALARS_MAX];
  int n_clip_groups; /**< 0: one */
  const char *clip_group_name[SYZ_CLIP_GROUPS];
  int n_arrays;
  syz_array array[SYZ_ARRAYS_MAX];
  /** What model.h5 (and model-best.h5) is: NULL: the model that trains. With a teacher it is the teacher, and the one that trains becomes
   * model-student.h5. */
  const syz_model *result;
  void *self;
  /** Where gradients go, told once before the first step: for a forward pass that forms some of them at once. NULL: not wanted. Not collective. */
  void (*attach)(void *self, syz_gradients *g);
  /** Steps first .. last-1 will come, in order; the weights are in place. Called again when a step is to be computed once more, or after going back to a
   * checkpoint: inputs are read anew. Collective; agreed. */
  syz_status (*begin)(void *self, int64_t first, int64_t last);
  /** Collective: a failure of this rank is returned, but only after it has taken part in all communication of the step. */
  syz_status (*forward)(void *self, int64_t step, const double *scalar, syz_step_result *out);
  /** Adds this rank's part of the gradients; scalar_gradient is the same on all ranks. Collective, failures as in forward; not called
   * when a forward failed. Neither it nor forward changes arrays: both may come again for the same step. */
  syz_status (*backward)(void *self, int64_t step, syz_gradients *g, double *scalar_gradient);
  /** How a parameter is updated; NULL: factors 1, never frozen, group 0. Asked once, at the beginning. */
  void (*rule)(void *self, const syz_parameter *p, syz_rule *out);
  /** The weights have changed: by the update of `step` (a teacher moves), or, step -1, because a checkpoint was read (arrays too). NULL: nothing to
   * do. Called on all ranks; no communication but among those that share weights. */
  void (*updated)(void *self, int64_t step);
  /** What was not finite in this step (objects), for the message. Collective; the same text on all ranks. */
  void (*describe)(void *self, int64_t step, char *text, size_t room);
  /** Figures on held-out objects; n = 0 without any. Collective; agreed. */
  syz_status (*validate)(void *self, int64_t step, const double *scalar, syz_validation *out);
  void (*destroy)(void *self);
} syz_objective;

/* ------------------------------------------------------------------- loop */

/** A value of the input that a checkpoint remembers. When it differs on continuing: is_fixed refuses by name, otherwise a warning. */
typedef struct syz_fact {
  char key[48], value[208];
  bool is_fixed;
} syz_fact;

/** A fact that not every run knows: it is compared where both do. */
#define SYZ_FACT_CONTENT "content of data.path"

typedef struct syz_train_config {
  int64_t steps, global_batch, warmup_steps;
  double lr, lr_min, beta1, beta2, eps, weight_decay;
  double weight_decay_end;           /**< half a cosine from weight_decay to it over the steps; equal: constant */
  double clip_grad_norm;             /**< largest gradient norm of each clip group; 0 = off */
  bool trains_backbones;             /**< otherwise only the heads */
  syz_reduction reduction;           /**< of gradients between nodes */
  int64_t leaves;                    /**< of the global batch, for reproducible sums; 0: off. Passes syz_leaves_check; the objective has the same */
  int64_t validate_interval;         /**< steps; 0: only at the end */
  int64_t checkpoint_interval_steps; /**< 0 = off */
  double checkpoint_interval_s;      /**< 0 = off */
  bool recovers;                     /**< take a checkpoint without a good manifest when its state holds by its own checksums */
  double time_limit_s;               /**< seconds since the program started; 0 = none */
  int64_t verify_every;              /**< steps between comparisons over ranks and nodes; 0: nothing is verified (src/train/digests.c, verify.c) */
  double verify_jump;                /**< as verify_past.bound: a step that jumps is computed again; 0: every step */
  int64_t timing_from_step;          /**< the phases' times begin with this step; 0 = with the run */
  const char *folder;                /**< run folder, exists */
  const char *created_by, *input_yaml;
  const char *engine; /**< syz_compute_name of what computes, for checkpoints */
  const syz_fact *fact; /**< [n_facts] */
  int n_facts;
  /** For measurements: called at the start of each step; what it returns must be the same on all ranks, and other than SYZ_OK ends the run there,
   * with nothing written. NULL: not called. */
  syz_status (*at_step)(void *watcher, int64_t step);
  void *watcher;
} syz_train_config;

/**
 * Train `model` (weights initialised) to config->steps, going on from the newest good checkpoint in <folder>/checkpoints.
 *
 * Writes metrics.jsonl (one line a step), validation.jsonl, checkpoints/, model-best.h5, and model.h5 at the end (with a teacher: of the teacher, and
 * model-student.h5). Collective over
 * grid->world; the same status on every rank: SYZ_OK, SYZ_STOPPED (signal, STOP file, time limit; a checkpoint was written),
 * SYZ_ERR_NUMERIC (names the step and the objects; nothing was updated or written), SYZ_ERR_CHECKPOINT (there are checkpoints but none
 * is usable), SYZ_ERR_INPUT (the input contradicts the checkpoint), SYZ_ERR_WRITE. With verify_every, what memory or a processor has changed is
 * found: a step that was computed wrongly is taken from the two computations that agree, and after damage to weights or moments the run goes back to its
 * newest checkpoint; SYZ_ERR_NUMERIC when that is not there or does not help.
 */
syz_status syz_train_run(const syz_train_config *config, const syz_grid *grid, syz_model *model, const syz_compute *compute, syz_objective *objective,
                         syz_timing *timing);

/* ------------------------------------------------------------ checkpoints */

/**
 * A checkpoint is a folder checkpoints/step-######## (steps done) with state.h5 and manifest.json, both there before it gets that
 * name. state.h5 has weight/, moment1/ and
 * moment2/<part> [rows, 16] of the trained parts of the model's block (syz_part_name), array/<name> of the objective's arrays,
 * `progress`, `scalar`, and as text attributes what must agree when it is continued. Nothing in it depends on the number of ranks or on the
 * layout of the towers; the sampler and all random numbers are functions of seed and step, so the step is all there is to remember of them.
 */
/** What a checkpoint folder says of itself. */
typedef struct syz_checkpoint_summary {
  int64_t step, bytes;
  int ranks;
  char objective[32];
  char engine[96]; /**< that computed the last steps (syz_compute_name) */
} syz_checkpoint_summary;
/** The engine of the newest checkpoint below <run folder>/checkpoints: what a run that goes on should take; "" without one. Collective; agreed. */
syz_status syz_checkpoint_engine(syz_comm *world, const char *run_folder, char engine[96]);
/**
 * Check a folder `step-########`: manifest, file sizes, file checksums. Collective. SYZ_OK, or SYZ_ERR_CHECKPOINT with the reason.
 * The manifest (manifest.json) lists each file with its size and the sum modulo 2^64 of XXH3(block, block number + 1) over blocks of
 * 1 MiB, so that all ranks check it together.
 */
syz_status syz_checkpoint_check(syz_comm *world, const char *folder, syz_checkpoint_summary *out);

/* ------------------------------------------------------------------ align */

typedef enum syz_cache_place { SYZ_CACHE_DISK, SYZ_CACHE_MEMORY, SYZ_CACHE_NONE } syz_cache_place;

typedef struct syz_align_config {
  uint64_t seed;
  int64_t global_batch;
  int64_t micro_batch; /**< objects a forward pass; a rank with more runs them in turn, and twice; 0: see align.c */
  int64_t leaves;      /**< as in syz_train_config */
  bool freezes_backbones, shuffles, learns_logit_scale;
  double logit_scale; /**< s; the start when it is learned */
  int64_t ring_pairs; /**< as in syz_infonce_config */
  syz_augment augment;
  syz_cache_place cache;    /**< where the tokens of frozen towers are kept */
  const char *cache_folder; /**< for SYZ_CACHE_DISK */
  int64_t validate_objects; /**< at most so many held-out objects */
  int loader_ahead;
  const char *folder;  /**< run folder: a STOP file there ends the computation of tokens early; NULL: not looked at */
  double time_limit_s; /**< as in syz_train_config */
} syz_align_config;

/** Contradictions within a configuration: SYZ_ERR_INPUT. Not collective; the same on every rank. */
syz_status syz_align_check(const syz_align_config *config);

/**
 * The contrastive objective. Objects of `train` with both modalities take part; `test` (may be NULL) is for validation. Its begin plans
 * the towers of `model`; with frozen backbones and a cache, it computes the tokens of all objects first (with progress), and may return
 * SYZ_STOPPED when asked to stop meanwhile: tokens on disk are kept. Everything is borrowed and outlives the objective. Collective; agreed.
 * SYZ_ERR_DATA when no object has both modalities, SYZ_ERR_INPUT for augmentation with a token cache, SYZ_ERR_MEMORY when activations do not fit
 * (names the batch that would).
 */
syz_status syz_align_create(const syz_align_config *config, const syz_grid *grid, const syz_compute *compute, syz_model *model, syz_shardset *train,
                            syz_shardset *test, syz_timing *timing, syz_objective *out);
/** What a run on `ranks` ranks that hold the towers of `model` takes of a rank. Not collective. SYZ_ERR_MEMORY when the layers can't be made. */
syz_status syz_align_plan(const syz_align_config *config, int ranks, const syz_model *model, syz_plan *out);

/* ------------------------------------------------------------------- dino */

/** A figure on held-out objects from outside this room (nearest neighbours, src/app): collective; agreed. */
typedef struct syz_judge {
  void *context;
  syz_status (*judge)(void *context, int64_t step, syz_validation *out);
} syz_judge;

typedef struct syz_dino_options {
  uint64_t seed;
  int64_t global_batch, steps;
  int64_t micro_batch; /**< objects of a pass; a rank with more runs them in turn, and the student's twice; 0: all of its share, or of a leaf */
  int64_t leaves;      /**< as in syz_train_config */
  bool shuffles;
  syz_crops_augment crops;
  double mask_probability, mask_ratio_min, mask_ratio_max, mask_aspect_min; /**< as in syz_block_masks, of the global crops */
  double drop_rate;                                      /**< stochastic depth of the student */
  double dino_weight, ibot_weight, koleo_weight;
  syz_centring centring;
  int sinkhorn_iterations;
  double centre_momentum, student_temperature;
  double teacher_temperature_start, teacher_temperature; /**< ramp over teacher_warmup_steps */
  int64_t teacher_warmup_steps;
  double momentum, momentum_end;                         /**< of the teacher: half a cosine over the steps */
  double layer_decay, patch_lr_factor;                   /**< 0.9, 0.2 */
  int64_t freeze_last_layer_steps;
  int loader_ahead;
} syz_dino_options;

/** SYZ_ERR_INPUT for contradictions. Not collective. */
syz_status syz_dino_check(const syz_dino_options *options, const syz_model_config *model);
/** As syz_align_plan. */
syz_status syz_dino_plan(const syz_dino_options *options, int ranks, const syz_model *student, syz_plan *out);
/** Useful operations of one object's step, forward and backward, with what stochastic depth leaves out not counted. */
double syz_dino_flops(const syz_dino_options *options, const syz_model_config *model);
/**
 * The DINOv2 objective: student and teacher hold equal configurations of PURPOSE_DINO (the teacher starts as it is). Everything is borrowed and
 * outlives the objective; judge may be NULL. Collective; agreed. SYZ_ERR_DATA when no object has an image, SYZ_ERR_MEMORY when the ranks of a node do
 * not fit together.
 */
syz_status syz_dino_create(const syz_dino_options *options, const syz_grid *grid, const syz_compute *compute, syz_model *student, syz_model *teacher,
                           syz_shardset *train, const syz_judge *judge, syz_timing *timing, syz_objective *out);

/* ----------------------------------------------------------------- masked */

typedef struct syz_masked_options {
  uint64_t seed;
  int64_t global_batch, micro_batch; /**< micro_batch: spectra of one pass; 0: 16 */
  int64_t leaves;                    /**< as in syz_train_config */
  bool shuffles;
  int64_t runs, run_tokens;          /**< masked runs of a spectrum, tokens of each: 6, 50 */
  bool weighs_ivar;                  /**< squares weighted by ivar over the object's mean ivar */
  bool hides_bad;                    /**< pixels with ivar 0 are neither seen nor scored */
  int64_t validate_objects;          /**< at most so many held-out spectra */
  int loader_ahead;
  const char *folder;                /**< every validation writes reconstruction.h5 into it: held-out spectra, what was hidden, what was said of it;
                                        NULL: does not */
  const char *created_by, *input_yaml; /**< for that file */
} syz_masked_options;
/** SYZ_ERR_INPUT for contradictions. Not collective. */
syz_status syz_masked_check(const syz_masked_options *options, const syz_model_config *model);
/** As syz_align_plan. */
syz_status syz_masked_plan(const syz_masked_options *options, int ranks, const syz_model *model, syz_plan *out);
/**
 * The masked-modelling objective on a model of PURPOSE_MASKED. `test` and `judge` may be NULL. Validation: the loss on held-out spectra with fixed
 * masks, and that of linear interpolation across the masked runs on the same numbers. Everything is borrowed and outlives the objective. Collective;
 * agreed. SYZ_ERR_DATA when no object has a spectrum, SYZ_ERR_INPUT for weights by ivar without any, SYZ_ERR_MEMORY when the ranks of a node do not
 * fit together.
 */
syz_status syz_masked_train_create(const syz_masked_options *options, const syz_grid *grid, const syz_compute *compute, syz_model *model,
                                   syz_shardset *train, syz_shardset *test, const syz_judge *judge, syz_timing *timing, syz_objective *out);
