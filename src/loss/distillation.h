/* SPDX-License-Identifier: BSD-3-Clause */
/** Common to distillation.c (student, gradients) and distillation_teacher.c (targets); private to this room. */
#pragma once

#include <math.h>

#include "distillation_rows.h"
#include "syzygy/loss.h"

enum {
  TILE_PROTOTYPES =
      512, /* packed prototypes of a tile at width 256 are 256 KiB in bfloat16 and stay in L2 with a chunk of logits */
  CHUNK_ROWS = 96, /* rows whose logits of a tile (192 KiB) are formed and used at a time */
};

/** Softmax of a row in base 2: largest exponent so far, sum of 2^(exponent - top), and a sum over prototypes that the
 * owner defines. */
typedef struct row_statistics {
  float top;
  double sum, product;
} row_statistics;

struct syz_distillation {
  syz_comm *world;
  syz_distillation_config config;
  syz_dtype act;
  int threads;
  int64_t tiles;
  void *memory;                       /* of all arrays below, without the layers */
  float *offset[SYZ_TARGET_SETS];     /* [K] subtracted from a teacher's logits: the moving centre, or Sinkhorn-Knopp's
                                         potential */
  float *batch_mean[SYZ_TARGET_SETS]; /* [K] mean logits of the step (SYZ_CENTRE_MEAN) */
  double *z_sum;       /* [leaves, sets, width + 1] sum of the teacher's rows over all ranks, and the number of rows */
  float *z_mean;       /* [sets, width] */
  double *mean_target; /* [sets, K] */
  float *column_top;   /* [sets, tile] Sinkhorn-Knopp: largest exponent and sum of a prototype's rows */
  double *column_sum;  /* [leaves, sets, tile] */
  double *leaf_sum;    /* [leaves, tile] of the mean target; [leaves, terms or sets] of scalars */
  double *received;    /* [sets K] from another rank; with leaves */
  float *inverse;      /* [K] 1 / |v_k| of the student */
  row_statistics *teacher, *student; /* [rows]; product: teacher sum of q (t - top), student sum of q t */
  float *shift;                      /* [teacher rows] Sinkhorn-Knopp: the row's potential, base 2 */
  void *z_teacher, *z_student;       /* [rows, width] act */
  float *target;                     /* [teacher rows, tile] */
  float *logits;                     /* [chunk, max(tile, width)] */
  float *w;      /* [slots, tile, width] unit vectors; then the gradient by them, one slot per leaf to be added */
  void *dlogits; /* [student rows, tile] act */
  void *dz;      /* [chunk, width] act */
  syz_linear **from_teacher, **from_student; /* [tiles] the unit vectors, packed */
  syz_request *travel;                       /* sums of leaves; NULL without */
  /* Of the current step. */
  const syz_distillation_batch *batch;
  int64_t n_teacher[SYZ_TARGET_SETS], first_teacher[SYZ_TARGET_SETS], teacher_rows;
  double global_teacher[SYZ_TARGET_SETS];
  float teacher_scale; /* log2(e) / temperature */
};

/** Number of leaves of this rank; 1 when sums are not reproducible. */
static inline int64_t distillation_leaves(const syz_distillation *d)
{
  return d->config.leaves > 0 ? d->config.leaves : 1;
}

/** Rows [*begin, *end) of a leaf among the teacher's. */
static inline void distillation_leaf(const syz_distillation *d, int set, int64_t leaf, int64_t *begin, int64_t *end)
{
  const int64_t first = d->first_teacher[set], *of = d->config.leaves > 0 ? d->batch->leaf_teacher[set] : NULL;
  *begin = first + (of ? of[leaf] : 0);
  *end = first + (of ? of[leaf + 1] : d->n_teacher[set]);
}

/** of_leaf [leaves, n] -> of_leaf[0] = the sum over the leaves of all ranks, in the fixed order of leaves; without
 * leaves in MPI's order. Collective. */
void distillation_sum(syz_distillation *d, double *of_leaf, size_t n);

/** Prototypes [*first, *first + return) of a tile. */
static inline int64_t distillation_tile(const syz_distillation *d, int64_t tile, int64_t *first)
{
  *first = tile * TILE_PROTOTYPES;
  return d->config.prototypes - *first < TILE_PROTOTYPES ? d->config.prototypes - *first : TILE_PROTOTYPES;
}

/** The n exponents x of the next tile, none of which is above `top`. */
static inline void distillation_add_statistics(row_statistics *s, const float *x, float top, int64_t n)
{
  if (top > s->top) {
    s->sum *= exp2((double)s->top - (double)top);
    s->top = top;
  }
  s->sum += (double)distillation_sum_row(x, s->top, n);
}

/** Statistics of the teacher's rows of this step, and with SYZ_CENTRE_SINKHORN the potentials. Collective. */
void distillation_teacher(syz_distillation *d);
/** d->target [teacher rows, n] for a tile; is_first: also adds up the sums over prototypes (teacher[].product,
 * mean_target). */
void distillation_targets(syz_distillation *d, int64_t tile, bool is_first);
/** Entropies of the targets, after distillation_targets of all tiles. Collective. */
void distillation_entropies(syz_distillation *d, syz_distillation_loss *out);
