/* SPDX-License-Identifier: BSD-3-Clause */
/** DINOv2's objective, private to this room: dino.c (set-up, rules), dino_step.c (steps), dino_rows.c (the rows of a
 * step), dino_plan.c (its memory), dino_work.c (its operations), dino_teacher.c (moving average, collapse). */
#pragma once

#include "syzygy/objectives.h"

enum { DINO_GLOBAL, DINO_LOCAL, DINO_HEADS = 2 };

/** Terms of metrics.jsonl, in this order. */
typedef enum dino_term {
  TERM_GLOBAL,
  TERM_LOCAL,
  TERM_PATCH,
  TERM_KOLEO,
  TERM_ENTROPY,
  TERM_ENTROPY_PATCH,
  TERM_MEAN_ENTROPY,
  TERM_MEAN_ENTROPY_PATCH,
  TERM_SPREAD,
  TERM_TEMPERATURE,
  TERM_MOMENTUM,
  DINO_TERMS
} dino_term;

/** Sizes of a rank's step: upper bounds for its places of the global batch. */
typedef struct dino_sizes {
  int64_t first, count;         /**< this rank's places of the global batch */
  int64_t crops, locals;        /**< global and local crops per object: G, L */
  int64_t side, patches, width; /**< patches along a side and in a whole global crop; D */
  int64_t leaves;               /**< of this rank; 0: none */
  syz_passes passes;
  int64_t most_masked; /**< masked patches of this rank */
  int64_t most_student, most_teacher;
  int heads; /**< 1: shared, 2: a separate head for masked patches */
  syz_block_masks masks;
} dino_sizes;

void dino_sizes_of(const syz_dino_options *o, const syz_model_config *c, int size, int rank, dino_sizes *out);
/** Configurations of the parts, from which both the plan and the parts are made. */
syz_crops_config dino_crops_config(const syz_dino_options *o, const dino_sizes *z, bool is_student);
syz_distillation_config dino_distillation_config(const syz_dino_options *o, const syz_model_config *c,
                                                 const dino_sizes *z, int head);
syz_loader_config dino_loader_config(const syz_dino_options *o, const dino_sizes *z);
/** The work of a step of these sizes. */
void dino_work(const syz_dino_options *o, const dino_sizes *z, const syz_model *student, syz_work *w);
/** Most rows of head h for so many objects, of student or teacher; and of both heads together. */
int64_t dino_head_rows(const dino_sizes *z, int head, bool is_student, int64_t objects);
int64_t dino_rows(const dino_sizes *z, bool is_student, int64_t objects);
static inline syz_part dino_head_part(int head) { return head ? SYZ_PART_IBOT_HEAD : SYZ_PART_DINO_HEAD; }

/** teacher += (1 - momentum) (student - teacher), n elements. */
void dino_follow(float *teacher, const float *student, double momentum, int64_t n, int threads);

/** Signs of collapse, each reported once when it begins. */
typedef struct dino_watch {
  bool is_flat, is_single, is_uniform; /**< as of the last step */
  bool was_alive;                      /**< some step of this run had none of these */
} dino_watch;
/** Rank 0 logs. Same values on all ranks. */
void dino_watch_step(dino_watch *w, const syz_dino_options *o, int64_t prototypes, int64_t step,
                     const double term[SYZ_TERMS_MAX]);

/** A head: its projections, its prototypes, and its rows in this step. */
typedef struct dino_head {
  syz_part part;
  syz_projection *student, *teacher;
  syz_distillation *loss;
  int64_t first_student; /* of its rows among all student rows */
  int64_t *leaf_student, *leaf_teacher[SYZ_TARGET_SETS];
  syz_distillation_batch batch;
} dino_head;

/** Objects of this rank that go through the networks together, and where their rows begin. */
typedef struct dino_pass {
  int64_t at, n, masked;          /**< objects [at, at + n) of this rank; masked patches of them */
  int64_t seen, seen_patches;     /**< class tokens and masked patches among the student's rows */
  int64_t taught, taught_patches; /**< among the teacher's */
} dino_pass;

/** The objective on this rank. */
typedef struct dino {
  syz_dino_options options;
  const syz_grid *grid;
  syz_comm *world;
  syz_model *student, *teacher;
  syz_timing *timing;
  syz_judge judge;
  dino_sizes sizes;
  dino_sizes largest; /**< of the first rank, which has the largest share */
  int threads;
  syz_shardset *shards;
  int64_t *object, n_objects; /* those with an image */
  syz_sampler sampler;
  syz_loader *loader;
  syz_batch data;
  syz_crops *seen, *taught; /* the student's and the teacher's backbone */
  dino_head head[DINO_HEADS];
  syz_koleo *koleo[SYZ_TARGETS_PER_ROW];
  dino_watch watch;
  /* Of the current step. */
  int64_t n, masked; /* objects; masked patches of this rank */
  dino_pass *pass;   /* [n_passes] */
  int64_t n_passes;
  uint8_t *mask;        /* [n G, patches] */
  int64_t *row, *place; /* [rows of a pass] chosen rows of the stream, ascending, and where each is put */
  float *chosen;        /* [rows of a pass, D] in the order of `row`, in the backward pass their gradients */
  float *token;         /* [rows, D] chosen tokens of all passes; in the backward pass, pass by pass, their gradients */
  float *koleo_rows;    /* [G, objects, D] class tokens of global crops, then their gradients */
  float *z, *dz, *z_teacher; /* [rows, bottleneck] */
  int64_t *target;           /* [rows, SYZ_TARGETS_PER_ROW] */
  float *row_weight;
  int *term;
} dino;

/** Packs the weights of both networks. */
void dino_pack(dino *d);
/** The step's masks, passes, rows, targets and weights; d->n is set. */
void dino_lay_out_rows(dino *d, int64_t step);
/** Rows of the last forward pass of `c` that enter the loss, in the order of the stream, and the place of each: among
 * the student's rows, or among the teacher's rows of this pass, class tokens first. */
int64_t dino_choose_rows(dino *d, const dino_pass *p, const syz_crops *c, bool is_student);
/** The number of the student's rows of a pass that head h projects, and the first of them. */
int64_t dino_rows_of_head(const dino *d, int head, const dino_pass *p, int64_t *first);
/** As in syz_objective. */
syz_status dino_forward(void *self, int64_t step, const double *scalar, syz_step_result *out);
syz_status dino_backward(void *self, int64_t step, syz_gradients *g, double *scalar_gradient);
void dino_updated(void *self, int64_t step);
void dino_describe(void *self, int64_t step, char *text, size_t room);
