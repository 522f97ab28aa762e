/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * train: one loop for all objectives, sums of gradients, checkpoints. The objectives are in objectives.h.
 *
 * A step is a pure function of (weights, moments, arrays of the objective such as a teacher, seed, step), and a
 * checkpoint has all of these. There is no other state, so a run that was stopped and continued on the same number of
 * ranks repeats an uninterrupted one bit for bit; the number of ranks changes only the order in which gradients are
 * added. The parts: loop.c, checkpoint.c and manifest.c, metrics.c, parts.c (which parameters train, and which share of
 * them each rank updates), gradients.c (sums over ranks during the backward pass; sums.c: these sums alone, for
 * measurements), leaf_gradients.c (sums in an order that only the batch decides), digests.c and verify.c (errors of
 * memory and processors), optimiser.c.
 */
#pragma once

#include "syzygy/base.h"
#include "syzygy/comm.h"
#include "syzygy/model.h"
#include "syzygy/nn.h"

/* -------------------------------------------------------------- gradients */

/** The gradient block of a model, summed during the backward pass over the ranks that hold the same tower. */
typedef struct syz_gradients syz_gradients;
/** Type in which gradients travel between nodes; sums are always float32. See src/train/gradients.c. */
typedef enum syz_reduction { SYZ_REDUCE_F32, SYZ_REDUCE_BF16 } syz_reduction;
/** The block, with the layout of syz_model_weights; its trained parts are zero at the start of a step and of each leaf.
 * Borrowed until syz_gradients_leaf. */
float *syz_gradients_block(syz_gradients *g);
/** The syz_ready of backward passes, whose context is the syz_gradients: elements [first, first + count) are final on
 * this rank. */
void syz_gradients_ready(void *g, int64_t first, int64_t count);
/** Call when the gradient of a leaf is complete on this rank; syz_gradients_block then returns a zeroed block. Does
 * nothing without leaves. */
void syz_gradients_leaf(syz_gradients *g);
/** Gradient elements that `ranks` ranks sum and send together; the last group of a part may be smaller. */
int64_t syz_gradients_bucket_elements(int ranks);
/** Bytes per rank for the sums of `elements` gradients by `ranks` ranks on `nodes` nodes, besides the block: slices in
 * transit between nodes. */
size_t syz_gradients_travel_bytes(int64_t elements, int ranks, int nodes, syz_reduction reduction);
/** Further bytes per rank for sums by leaf, when each of `ranks` ranks has `leaves` leaves. */
size_t syz_gradients_leaf_bytes(int64_t block_elements, int64_t leaves, int ranks);

/** The sums alone, for measurements: all parts of the model are trained. Collective over grid->world; agreed. */
typedef struct syz_sums syz_sums;
syz_status syz_sums_create(const syz_grid *grid, const syz_model *model, syz_reduction reduction, int threads,
                           syz_sums **out);
/** Collective where the model's weights are not shared. */
void syz_sums_destroy(syz_sums **s);
syz_gradients *syz_sums_gradients(syz_sums *s);
/** A step consists of begin, a backward pass that calls syz_gradients_ready (or none), and finish. Collective. */
void syz_sums_begin(syz_sums *s);
/** Returns the seconds that the sums still took at the end; *beside_s: seconds in calls of syz_gradients_ready. */
double syz_sums_finish(syz_sums *s, double *beside_s);

/* ------------------------------------------------------------- objectives */

enum {
  SYZ_TERMS_MAX = 16,
  SYZ_SCALARS_MAX = 4,
  SYZ_FIGURES_MAX = 24,
  SYZ_FIGURE_NAME = 48,
  SYZ_CLIP_GROUPS = 4,
  SYZ_ARRAYS_MAX = 12
};

/** How to update one parameter. */
typedef struct syz_rule {
  double lr_factor, decay_factor; /**< factors of the step's learning rate and weight decay */
  int64_t frozen_steps;           /**< before this step the learning rate is 0; moments are updated nevertheless */
  int clip_group;                 /**< gradients are clipped by the norm of their group */
} syz_rule;

/** State of an objective besides the model's weights (a teacher, a centre): the same on every rank, and in every
 * checkpoint. */
typedef struct syz_array {
  const char *name; /**< name of the dataset array/<name> in state.h5 */
  float *x;
  int64_t count;
  syz_nodes *nodes; /**< nodes whose ranks share x; NULL: each rank has its own */
} syz_array;

/** Results of a step's forward pass: the same on every rank, except wait_s and digest. */
typedef struct syz_step_result {
  double loss, term[SYZ_TERMS_MAX];
  double wait_s;   /**< seconds this rank waited for data */
  uint64_t digest; /**< of the outputs of this rank's forward passes, before ranks exchange anything: reveals which rank
                      computed wrongly */
} syz_step_result;

/** Named figures of a validation; figure 0 decides which model is best, smaller is better. */
typedef struct syz_validation {
  int n;
  char name[SYZ_FIGURES_MAX][SYZ_FIGURE_NAME];
  double value[SYZ_FIGURES_MAX];
} syz_validation;

/**
 * An objective: a table of functions, so that the loop knows nothing of towers and losses.
 *
 * Scalars are parameters outside the model's block (a learned temperature): replicated, float64, updated by the same
 * AdamW.
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
  /** The model that model.h5 and model-best.h5 hold; NULL: the one that trains. With a teacher it is the teacher, and
   * the one that trains becomes model-student.h5. */
  const syz_model *result;
  void *self;
  /** Called once before the first step with the gradients, for a forward pass that already computes some of them. May
   * be NULL. Not collective. */
  void (*attach)(void *self, syz_gradients *g);
  /** Prepare for steps first .. last - 1, in order; the weights are ready. Called again before a step is repeated and
   * after a return to a checkpoint: inputs must then be read again. Collective; agreed. */
  syz_status (*begin)(void *self, int64_t first, int64_t last);
  /** Collective. A rank that fails must still take part in all communication of the step before it returns its status.
   */
  syz_status (*forward)(void *self, int64_t step, const double *scalar, syz_step_result *out);
  /** Add this rank's part of the gradients; scalar_gradient is the same on all ranks. Collective, with failures as in
   * forward; not called after a forward pass that failed on any rank. Neither forward nor backward may change arrays:
   * both may be called again for the same step. */
  syz_status (*backward)(void *self, int64_t step, syz_gradients *g, double *scalar_gradient);
  /** Set how a parameter is updated; NULL: factors 1, never frozen, group 0. Called once, at the beginning. */
  void (*rule)(void *self, const syz_parameter *p, syz_rule *out);
  /** Called when the weights have changed: by the update of `step` (a teacher moves), or with step -1 because a
   * checkpoint was read, arrays included. May be NULL. Called on all ranks; only ranks that share weights may
   * communicate. */
  void (*updated)(void *self, int64_t step);
  /** Write for the error message which objects were not finite in this step. Collective; the same text on all ranks. */
  void (*describe)(void *self, int64_t step, char *text, size_t room);
  /** Compute figures on held-out objects; n = 0 without figures. Collective; agreed. */
  syz_status (*validate)(void *self, int64_t step, const double *scalar, syz_validation *out);
  void (*destroy)(void *self);
} syz_objective;

/* ------------------------------------------------------------------- loop */

/** An input value that a checkpoint records. If it differs when a run continues, is_fixed refuses and names it;
 * otherwise there is a warning. */
typedef struct syz_fact {
  char key[48], value[208];
  bool is_fixed;
} syz_fact;

/** A fact that not every run knows; it is compared when both runs have it. */
#define SYZ_FACT_CONTENT "content of data.path"

typedef struct syz_train_config {
  int64_t steps, global_batch, warmup_steps;
  double lr, lr_min, beta1, beta2, eps, weight_decay;
  double weight_decay_end; /**< half a cosine leads from weight_decay to it over the steps */
  double clip_grad_norm;   /**< largest gradient norm of each clip group; 0 = off */
  bool trains_backbones;   /**< otherwise only the heads */
  syz_reduction reduction; /**< of gradients between nodes */
  int64_t leaves; /**< leaves of the global batch, for reproducible sums; 0: off. Must pass syz_leaves_check; the
                     objective has the same */
  int64_t validate_interval;         /**< steps; 0: only at the end */
  int64_t checkpoint_interval_steps; /**< 0 = off */
  double checkpoint_interval_s;      /**< 0 = off */
  bool recovers;        /**< accept a checkpoint without a good manifest when the checksums in its state are right */
  double time_limit_s;  /**< seconds since the program started; 0 = none */
  int64_t verify_every; /**< steps between comparisons over ranks and nodes (src/train/digests.c, verify.c); 0: none */
  double verify_jump;   /**< a step whose loss or gradient norm jumps by more (src/train/verify.h) is computed again; 0:
                           every step */
  int64_t timing_from_step; /**< times of phases count from this step; 0 = from the start of the run */
  const char *folder;       /**< run folder, exists */
  const char *created_by, *input_yaml;
  const char *engine;   /**< syz_compute_name of what computes, for checkpoints */
  const syz_fact *fact; /**< [n_facts] */
  int n_facts;
  /** For measurements: called at the start of each step. Its status must be the same on all ranks; any other than
   * SYZ_OK ends the run there and writes nothing. May be NULL. */
  syz_status (*at_step)(void *watcher, int64_t step);
  void *watcher;
} syz_train_config;

/**
 * Train `model` (weights initialised) to config->steps, starting from the newest good checkpoint in
 * <folder>/checkpoints if there is one.
 *
 * Writes metrics.jsonl (one line per step), validation.jsonl, checkpoints/, model-best.h5, and at the end model.h5
 * (with a teacher also model-student.h5). Collective over grid->world; the same status on every rank: SYZ_OK,
 * SYZ_STOPPED (signal, STOP file, time limit; a checkpoint was written), SYZ_ERR_NUMERIC (names the step and the
 * objects; nothing was updated or written), SYZ_ERR_CHECKPOINT (there are checkpoints but none is usable),
 * SYZ_ERR_INPUT (the input contradicts the checkpoint), SYZ_ERR_WRITE. With verify_every, errors of memory and
 * processors are detected: a wrong step is replaced by one of two computations that agree, and after damage to weights
 * or moments the run returns to its newest checkpoint; SYZ_ERR_NUMERIC when there is none or it does not help.
 */
syz_status syz_train_run(const syz_train_config *config, const syz_grid *grid, syz_model *model,
                         const syz_compute *compute, syz_objective *objective, syz_timing *timing);

/* ------------------------------------------------------------ checkpoints */

/**
 * A checkpoint is a folder checkpoints/step-######## (steps done) with state.h5 and manifest.json, both complete before
 * it gets that name. state.h5 has weight/, moment1/ and moment2/<part> [rows, 16] of the trained parts of the model's
 * block (syz_part_name), array/<name> of the objective's arrays, `progress`, `scalar`, and the facts that must agree
 * when the run continues, as text attributes. Nothing in it depends on the number of ranks or on how the towers are
 * divided over ranks. The sampler and all random numbers are functions of seed and step, so only the step is recorded.
 */
/** What a checkpoint folder says about itself. */
typedef struct syz_checkpoint_summary {
  int64_t step, bytes;
  int ranks;
  char objective[32];
  char engine[96]; /**< engine of the last steps (syz_compute_name) */
} syz_checkpoint_summary;
/** The engine of the newest checkpoint in <run_folder>/checkpoints, which a run that continues should use; "" without a
 * checkpoint. Collective; agreed. */
syz_status syz_checkpoint_engine(syz_comm *world, const char *run_folder, char engine[96]);
/**
 * Check a folder `step-########`: manifest, file sizes, file checksums. Collective. SYZ_OK, or SYZ_ERR_CHECKPOINT with
 * the reason. The manifest (manifest.json) lists each file with its size and the sum modulo 2^64 of XXH3(block, block
 * number + 1) over blocks of 1 MiB, so that ranks can divide the check.
 */
syz_status syz_checkpoint_check(syz_comm *world, const char *folder, syz_checkpoint_summary *out);
