/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * train: one loop for all objectives, sums of gradients, checkpoints. The objectives are in objectives.h.
 *
 * A step is a pure function of (weights, moments, arrays of the objective such as a teacher, seed, step), and all of
 * these are in a checkpoint: nothing else has a history, so a run that was stopped and continued on the same number of
 * ranks repeats an uninterrupted one bit for bit, and the number of ranks changes nothing but the order in which
 * gradients are added. The parts: loop.c, checkpoint.c and manifest.c, metrics.c, parts.c (which parameters train, and
 * which share of them each rank updates), gradients.c (sums over ranks while the backward pass runs; sums.c: to be
 * measured), leaf_gradients.c (sums in an order that the batch fixes), digests.c and verify.c (what memory or a
 * processor changed), optimiser.c.
 */
#pragma once

#include "syzygy/base.h"
#include "syzygy/comm.h"
#include "syzygy/model.h"
#include "syzygy/nn.h"

/* -------------------------------------------------------------- gradients */

/** The gradient block of a model, summed over the ranks that hold the same tower while the backward pass still runs. */
typedef struct syz_gradients syz_gradients;
/** How slices of gradients travel between nodes; sums are float32 always. See src/train/gradients.c. */
typedef enum syz_reduction { SYZ_REDUCE_F32, SYZ_REDUCE_BF16 } syz_reduction;
/** Layout of syz_model_weights; the trained parts are zero at the start of a step, and of each leaf: borrowed until
 * syz_gradients_leaf. */
float *syz_gradients_block(syz_gradients *g);
/** The callback for syz_tower_backward (context: the syz_gradients): elements [first, first + count) are final on this
 * rank. */
void syz_gradients_ready(void *g, int64_t first, int64_t count);
/** The gradient of a leaf of this rank is complete: the block is another one from here on, zero again. Without leaves
 * nothing happens. */
void syz_gradients_leaf(syz_gradients *g);
/** Gradient elements that are summed and sent together by so many ranks (the last ones of a part: fewer). */
int64_t syz_gradients_bucket_elements(int ranks);
/** What the sums of gradients take of a rank beside its block: slices on their way between nodes. Of `elements`, by
 * `ranks` ranks on `nodes` nodes. */
size_t syz_gradients_travel_bytes(int64_t elements, int ranks, int nodes, syz_reduction reduction);
/** What sums leaf by leaf take besides, of a rank that has `leaves` leaves of `ranks` ranks. */
size_t syz_gradients_leaf_bytes(int64_t block_elements, int64_t leaves, int ranks);

/** The sums by themselves, to be measured: all parts of the model are trained. Collective over grid->world; agreed. */
typedef struct syz_sums syz_sums;
syz_status syz_sums_create(const syz_grid *grid, const syz_model *model, syz_reduction reduction, int threads,
                           syz_sums **out);
/** Collective where the model's weights are not shared. */
void syz_sums_destroy(syz_sums **s);
syz_gradients *syz_sums_gradients(syz_sums *s);
/** A step: begin, a backward pass into the block that calls syz_gradients_ready (or none), finish. Collective. */
void syz_sums_begin(syz_sums *s);
/** Seconds that the sums took at the end, exposed; *beside_s: those in calls of syz_gradients_ready. */
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

/** How one parameter is updated. */
typedef struct syz_rule {
  double lr_factor, decay_factor; /**< of the step's learning rate and weight decay */
  int64_t frozen_steps;           /**< learning rate 0 in steps below it; the moments move all the same */
  int clip_group;                 /**< gradient norms are formed and clipped within a group */
} syz_rule;

/** State of an objective besides the model's weights (a teacher, a centre): the same on every rank, part of every
 * checkpoint. */
typedef struct syz_array {
  const char *name; /**< of the dataset in state.h5 below `array/` */
  float *x;
  int64_t count;
  syz_nodes *nodes; /**< of all ranks: those of a node have x together; NULL: each has its own */
} syz_array;

/** What a step's forward pass gives: the same on every rank, except wait_s and digest. */
typedef struct syz_step_result {
  double loss, term[SYZ_TERMS_MAX];
  double wait_s;   /**< seconds this rank waited for data */
  uint64_t digest; /**< of what this rank's own forward passes gave, before ranks exchanged anything: shows which rank
                      computed wrongly */
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
  /** What model.h5 (and model-best.h5) is: NULL: the model that trains. With a teacher it is the teacher, and the one
   * that trains becomes model-student.h5. */
  const syz_model *result;
  void *self;
  /** Where gradients go, told once before the first step: for a forward pass that forms some of them at once. NULL: not
   * wanted. Not collective. */
  void (*attach)(void *self, syz_gradients *g);
  /** Steps first .. last-1 will come, in order; the weights are in place. Called again when a step is to be computed
   * once more, or after going back to a checkpoint: inputs are read anew. Collective; agreed. */
  syz_status (*begin)(void *self, int64_t first, int64_t last);
  /** Collective: a failure of this rank is returned, but only after it has taken part in all communication of the step.
   */
  syz_status (*forward)(void *self, int64_t step, const double *scalar, syz_step_result *out);
  /** Adds this rank's part of the gradients; scalar_gradient is the same on all ranks. Collective, failures as in
   * forward; not called when a forward failed. Neither it nor forward changes arrays: both may come again for the same
   * step. */
  syz_status (*backward)(void *self, int64_t step, syz_gradients *g, double *scalar_gradient);
  /** How a parameter is updated; NULL: factors 1, never frozen, group 0. Asked once, at the beginning. */
  void (*rule)(void *self, const syz_parameter *p, syz_rule *out);
  /** The weights have changed: by the update of `step` (a teacher moves), or, step -1, because a checkpoint was read
   * (arrays too). NULL: nothing to do. Called on all ranks; no communication but among those that share weights. */
  void (*updated)(void *self, int64_t step);
  /** What was not finite in this step (objects), for the message. Collective; the same text on all ranks. */
  void (*describe)(void *self, int64_t step, char *text, size_t room);
  /** Figures on held-out objects; n = 0 without any. Collective; agreed. */
  syz_status (*validate)(void *self, int64_t step, const double *scalar, syz_validation *out);
  void (*destroy)(void *self);
} syz_objective;

/* ------------------------------------------------------------------- loop */

/** A value of the input that a checkpoint remembers. When it differs on continuing: is_fixed refuses by name, otherwise
 * a warning. */
typedef struct syz_fact {
  char key[48], value[208];
  bool is_fixed;
} syz_fact;

/** A fact that not every run knows: it is compared where both do. */
#define SYZ_FACT_CONTENT "content of data.path"

typedef struct syz_train_config {
  int64_t steps, global_batch, warmup_steps;
  double lr, lr_min, beta1, beta2, eps, weight_decay;
  double weight_decay_end; /**< half a cosine from weight_decay to it over the steps; equal: constant */
  double clip_grad_norm;   /**< largest gradient norm of each clip group; 0 = off */
  bool trains_backbones;   /**< otherwise only the heads */
  syz_reduction reduction; /**< of gradients between nodes */
  int64_t leaves; /**< of the global batch, for reproducible sums; 0: off. Passes syz_leaves_check; the objective has
                     the same */
  int64_t validate_interval;         /**< steps; 0: only at the end */
  int64_t checkpoint_interval_steps; /**< 0 = off */
  double checkpoint_interval_s;      /**< 0 = off */
  bool recovers;            /**< take a checkpoint without a good manifest when its state holds by its own checksums */
  double time_limit_s;      /**< seconds since the program started; 0 = none */
  int64_t verify_every;     /**< steps between comparisons over ranks and nodes; 0: nothing is verified
                               (src/train/digests.c, verify.c) */
  double verify_jump;       /**< as verify_past.bound: a step that jumps is computed again; 0: every step */
  int64_t timing_from_step; /**< the phases' times begin with this step; 0 = with the run */
  const char *folder;       /**< run folder, exists */
  const char *created_by, *input_yaml;
  const char *engine;   /**< syz_compute_name of what computes, for checkpoints */
  const syz_fact *fact; /**< [n_facts] */
  int n_facts;
  /** For measurements: called at the start of each step; what it returns must be the same on all ranks, and other than
   * SYZ_OK ends the run there, with nothing written. NULL: not called. */
  syz_status (*at_step)(void *watcher, int64_t step);
  void *watcher;
} syz_train_config;

/**
 * Train `model` (weights initialised) to config->steps, going on from the newest good checkpoint in
 * <folder>/checkpoints.
 *
 * Writes metrics.jsonl (one line a step), validation.jsonl, checkpoints/, model-best.h5, and model.h5 at the end (with
 * a teacher: of the teacher, and model-student.h5). Collective over grid->world; the same status on every rank: SYZ_OK,
 * SYZ_STOPPED (signal, STOP file, time limit; a checkpoint was written), SYZ_ERR_NUMERIC (names the step and the
 * objects; nothing was updated or written), SYZ_ERR_CHECKPOINT (there are checkpoints but none is usable),
 * SYZ_ERR_INPUT (the input contradicts the checkpoint), SYZ_ERR_WRITE. With verify_every, what memory or a processor
 * has changed is found: a step that was computed wrongly is taken from the two computations that agree, and after
 * damage to weights or moments the run goes back to its newest checkpoint; SYZ_ERR_NUMERIC when that is not there or
 * does not help.
 */
syz_status syz_train_run(const syz_train_config *config, const syz_grid *grid, syz_model *model,
                         const syz_compute *compute, syz_objective *objective, syz_timing *timing);

/* ------------------------------------------------------------ checkpoints */

/**
 * A checkpoint is a folder checkpoints/step-######## (steps done) with state.h5 and manifest.json, both there before it
 * gets that name. state.h5 has weight/, moment1/ and moment2/<part> [rows, 16] of the trained parts of the model's
 * block (syz_part_name), array/<name> of the objective's arrays, `progress`, `scalar`, and as text attributes what must
 * agree when it is continued. Nothing in it depends on the number of ranks or on the layout of the towers; the sampler
 * and all random numbers are functions of seed and step, so the step is all there is to remember of them.
 */
/** What a checkpoint folder says of itself. */
typedef struct syz_checkpoint_summary {
  int64_t step, bytes;
  int ranks;
  char objective[32];
  char engine[96]; /**< that computed the last steps (syz_compute_name) */
} syz_checkpoint_summary;
/** The engine of the newest checkpoint below <run folder>/checkpoints: what a run that goes on should take; "" without
 * one. Collective; agreed. */
syz_status syz_checkpoint_engine(syz_comm *world, const char *run_folder, char engine[96]);
/**
 * Check a folder `step-########`: manifest, file sizes, file checksums. Collective. SYZ_OK, or SYZ_ERR_CHECKPOINT with
 * the reason. The manifest (manifest.json) lists each file with its size and the sum modulo 2^64 of XXH3(block, block
 * number + 1) over blocks of 1 MiB, so that all ranks check it together.
 */
syz_status syz_checkpoint_check(syz_comm *world, const char *folder, syz_checkpoint_summary *out);
