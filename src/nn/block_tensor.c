/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The transformer block on the t ranks of a tensor group, in the sequence-parallel form of Korthikanti et al. 2022
 * (arXiv:2205.05198, section 4.2.2).
 *
 * Between the products every rank has the rows of its own sequences: residual stream, norms, biases after the second
 * product of a branch, LayerScale. For the products the group's rows are gathered, and a rank computes its heads (its
 * hidden columns) for all of them:
 *
 *   forward   norm of own rows -> gather -> qkv of own heads -> attention -> proj, partial sums ->
 *             reduce-scatter -> bias, LayerScale, residual
 *   backward  LayerScale of own rows -> gather -> proj -> attention -> qkv, partial sums ->
 *             reduce-scatter -> norm
 *
 * and the same with fc1, GELU, fc2. The normed rows are kept for own sequences alone and gathered again in the backward
 * pass, as published: so the memory of activations per rank is the same as without a group. Partial sums are float32 in
 * every precision. The gathered rows are ordered by rank, and within a rank as its branch keeps them, so no row is
 * copied twice.
 *
 * Volume: for R rows of width D in the group, one transfer is (t - 1) / t R D elements sent and received per rank. A
 * branch has two transfers forward (act, float32) and three backward (act twice, float32 once). A block with s bytes
 * per element of act moves (t - 1) / t R D (6 s + 16) bytes per step each way, 28 per number in bfloat16, and 128 bytes
 * of counts per rank and forward call.
 *
 * Price, full-size towers in bfloat16, 2 ranks on the 2 cores of one machine (tests/nn/speed_tensor, CPU time): forward
 * and backward cost 4.4 % more than the same objects on each rank alone (8 images per rank), 3.5 % (2 spectra per
 * rank). The packed weights of a ViT-L block shrink from 48.4 to 24.4 MiB per rank.
 *
 * Biases of proj and fc2, LayerScale and norms have gradients from own rows, and a rank's share of the weights from all
 * rows of the group. The sum of gradients over the data axis, which contains the group, completes both.
 */
#include "block.h"

#include <string.h>

typedef struct block_tensor {
  syz_comm *comm; /* borrowed; NULL: a plan */
  int64_t ranks, rank;
  float *proj_bias, *fc2_bias, *scale1, *scale2; /* [D] of the packed step, for own rows */
  bool has_scale;
} block_tensor;

double syz_block_exchange_bytes(int64_t dim, int ranks, syz_dtype act, double forwards)
{
  const double s = (double)syz_dtype_size(act);
  return (double)(ranks - 1) * (double)dim * (forwards * (2 * s + 8) + 4 * s + 8);
}

/* Floats of the largest weight share that has gaps in the full layout, and of the bias of qkv. */
static size_t share_floats(const syz_block *b)
{
  const int64_t in = b->config.dim, columns = 3 * b->width > b->hidden ? 3 * b->width : b->hidden;
  return (size_t)(columns * in + 3 * b->width);
}

syz_status block_tensor_create(syz_block *b, int64_t ranks)
{
  syz_status st = SYZ_OK;
  block_tensor *t = NULL;
  const int64_t dim = b->config.dim;
  SYZ_ALLOC(t, "block of a tensor group", 1);
  b->tensor = t; /* freed with the block, also after a failure */
  *t = (block_tensor){
      .comm = b->config.tensor, .ranks = ranks, .rank = b->config.tensor ? syz_comm_rank(b->config.tensor) : 0};
  SYZ_ALLOC(t->proj_bias, "block bias", dim);
  SYZ_ALLOC(t->fc2_bias, "block bias", dim);
  SYZ_ALLOC(t->scale1, "block scale", dim);
  SYZ_ALLOC(t->scale2, "block scale", dim);
  SYZ_TRY(syz_compute_reserve(b->compute, share_floats(b) * sizeof(float)));
cleanup:
  return st;
}

void block_tensor_destroy(block_tensor **t)
{
  if (!*t) return;
  syz_free(&(*t)->proj_bias);
  syz_free(&(*t)->fc2_bias);
  syz_free(&(*t)->scale1);
  syz_free(&(*t)->scale2);
  syz_free(t);
}

/* ------------------------------------------- a rank's share of the weights */

/* A rank's share of a full matrix: `n` blocks of rows, in the full matrix from `first` on. */
typedef struct share {
  int64_t n, first, columns;
  syz_stretches at;
} share;

/* Rows of q, k and v of this rank's heads; columns: of a row (1: of the bias). */
static share share_of_qkv(const syz_block *b, int64_t columns)
{
  return (share){3, b->tensor->rank * b->width * columns, columns, {b->width, b->config.dim * columns, columns}};
}

/* This rank's `columns` of a matrix with D rows. */
static share share_of_columns(const syz_block *b, int64_t columns)
{
  const int64_t all = columns * b->tensor->ranks;
  return (share){1, b->tensor->rank * columns, columns, {b->config.dim, b->config.dim * all, all}};
}

static void copy_share(share s, float *to, const float *full)
{
  for (int64_t o = 0; o < s.n * s.at.block; o++)
    memcpy(to + o * s.columns, full + s.first + o / s.at.block * s.at.block_stride + o % s.at.block * s.at.row_stride,
           (size_t)s.columns * sizeof *to);
}

static void pack_scale(syz_block *b, float *scale, const float *layerscale)
{
  const float *from = block_scale(b, layerscale);
  b->tensor->has_scale = from != NULL;
  if (from) memcpy(scale, from, (size_t)b->config.dim * sizeof *scale);
}

void block_tensor_pack(syz_block *b, const syz_block_parameters *w)
{
  block_tensor *t = b->tensor;
  const int64_t dim = b->config.dim;
  float *part = b->compute->scratch->bytes, *bias = part + 3 * b->width * dim;
  memcpy(t->proj_bias, w->proj_bias, (size_t)dim * sizeof *bias);
  memcpy(t->fc2_bias, w->fc2_bias, (size_t)dim * sizeof *bias);
  pack_scale(b, t->scale1, w->ls1);
  pack_scale(b, t->scale2, w->ls2);
  copy_share(share_of_qkv(b, dim), part, w->qkv_weight);
  copy_share(share_of_qkv(b, 1), bias, w->qkv_bias);
  syz_linear_pack(b->qkv, part, bias, NULL);
  copy_share(share_of_columns(b, b->width), part, w->proj_weight);
  syz_linear_pack(b->proj, part, NULL, NULL);
  syz_linear_pack(b->fc1, w->fc1_weight + t->rank * b->hidden * dim, w->fc1_bias + t->rank * b->hidden, NULL);
  copy_share(share_of_columns(b, b->hidden), part, w->fc2_weight);
  syz_linear_pack(b->fc2, part, NULL, NULL);
}

/* ------------------------------------------------------ rows of the group */

enum { BRANCHES = 2 };

/* The rows of a branch on all ranks. */
typedef struct group_rows {
  const int64_t *n; /* [ranks] at a distance of BRANCHES * SYZ_GROUPS_MAX: sequences of each group */
  int64_t *rows;    /* [ranks] */
  int64_t all, first;
} group_rows;

static size_t count_places(const block_tensor *t) { return (size_t)t->ranks * BRANCHES * SYZ_GROUPS_MAX; }

static group_rows rows_of(const syz_block *b, const int64_t *counts, int branch, int64_t *rows)
{
  const block_tensor *t = b->tensor;
  group_rows q = {.n = counts + branch * SYZ_GROUPS_MAX, .rows = rows};
  for (int64_t r = 0; r < t->ranks; r++) {
    rows[r] = 0;
    for (int g = 0; g < b->most.groups; g++) {
      const int64_t n = q.n[r * BRANCHES * SYZ_GROUPS_MAX + g];
      SYZ_ASSERT(n >= 0 && n <= b->most.count[g]); /* planned alike on all ranks */
      rows[r] += n * b->most.tokens[g];
    }
    if (r < t->rank) q.first += rows[r];
    q.all += rows[r];
  }
  return q;
}

/* Collective: what each rank's branches compute, counts [ranks, branch, group]. */
static void exchange_counts(const syz_block *b, const branches *k, int64_t *counts)
{
  SYZ_ASSERT(b->tensor->comm);
  int64_t mine[BRANCHES][SYZ_GROUPS_MAX];
  memcpy(mine[0], k->attention.n, sizeof mine[0]);
  memcpy(mine[1], k->mlp.n, sizeof mine[1]);
  syz_allgather(b->tensor->comm, mine, counts, sizeof mine);
}

static void gather(const syz_block *b, const group_rows *q, void *all)
{
  syz_rows_gather(b->tensor->comm, all, q->rows, (size_t)b->config.dim * syz_dtype_size(b->compute->act));
}

static void attend(const syz_block *b, const group_rows *q, const void *qkv, const void *heads, const float *lse,
                   const void *dheads, void *dqkv)
{
  int64_t row = 0;
  for (int64_t r = 0; r < b->tensor->ranks; r++)
    row = block_attend(b, q->n + r * BRANCHES * SYZ_GROUPS_MAX, row, qkv, heads, lse, dheads, dqkv);
}

/* ------------------------------------------------------------------ memory */

/* Activations kept by the forward pass. In inference only the group's exist, and n1, n2 are NULL. r: own rows, R: the
 * group's. */
typedef struct saved_views {
  int64_t *counts;                            /* what exchange_counts brought */
  void *qkv, *heads, *u, *g;                  /* [R1, 3 width], [R1, width], [R2, hidden] x 2 act */
  void *n1, *n2, *branch1, *branch2;          /* [r1, D], [r2, D] x 2 act; branches with LayerScale only */
  float *x0, *x1;                             /* [r1, D], [r2, D] the rows of the stream that enter each branch */
  float *mean1, *rstd1, *mean2, *rstd2, *lse; /* [r1] x 2, [r2] x 2, [R1, heads] */
} saved_views;

/* The counts are first, because the layout of the rest follows from them. More rows never need less memory. */
static int64_t *plan_counts(const syz_block *b, syz_arena *a)
{
  return syz_arena_take(a, count_places(b->tensor), sizeof(int64_t));
}

static saved_views plan_saved(const syz_block *b, int64_t r1, int64_t r2, int64_t all1, int64_t all2, bool is_kept,
                              syz_arena *a)
{
  const size_t act = syz_dtype_size(b->compute->act), f32 = sizeof(float), dim = (size_t)b->config.dim;
  const size_t own1 = (size_t)r1, own2 = (size_t)r2, R1 = (size_t)all1, R2 = (size_t)all2;
  const size_t width = (size_t)b->width, hidden = (size_t)b->hidden;
  saved_views v = {0};
  v.qkv = syz_arena_take(a, R1 * 3 * width, act);
  v.heads = syz_arena_take(a, R1 * width, act);
  v.g = syz_arena_take(a, R2 * hidden, act);
  if (!is_kept) return v;
  v.u = syz_arena_take(a, R2 * hidden, act);
  v.n1 = syz_arena_take(a, own1 * dim, act);
  v.n2 = syz_arena_take(a, own2 * dim, act);
  v.x0 = syz_arena_take(a, own1 * dim, f32);
  v.x1 = syz_arena_take(a, own2 * dim, f32);
  v.mean1 = syz_arena_take(a, own1, f32);
  v.rstd1 = syz_arena_take(a, own1, f32);
  v.mean2 = syz_arena_take(a, own2, f32);
  v.rstd2 = syz_arena_take(a, own2, f32);
  v.lse = syz_arena_take(a, R1 * (size_t)b->heads, f32);
  if (!b->config.has_layerscale) return v;
  v.branch1 = syz_arena_take(a, own1 * dim, act);
  v.branch2 = syz_arena_take(a, own2 * dim, act);
  return v;
}

/* Scratch of both passes; R: the larger of the group's rows in the two branches. */
typedef struct work_views {
  void *all;          /* [R, D] act: what is gathered */
  float *sum, *stage; /* [R, D] partial sums, in own rows then the sums; of the reduce-scatter */
  void *dheads;       /* [R, width] act; backward */
  void *wide;         /* [R, max(hidden, 3 width)] act; backward */
  float *bias, *room; /* [3 width] gradient of the share of qkv's bias; a weight gradient's share, for engines that need
                         it; backward */
} work_views;

static work_views plan_work(const syz_block *b, int64_t all, bool is_backward, syz_arena *a)
{
  const size_t act = syz_dtype_size(b->compute->act), rows = (size_t)all;
  const int64_t wide = b->hidden > 3 * b->width ? b->hidden : 3 * b->width;
  work_views w = {0};
  w.all = syz_arena_take(a, rows * (size_t)b->config.dim, act);
  w.sum = syz_arena_take(a, rows * (size_t)b->config.dim, sizeof(float));
  w.stage = syz_arena_take(a, SYZ_ROWS_STAGE, sizeof(float));
  if (!is_backward) return w;
  w.dheads = syz_arena_take(a, rows * (size_t)b->width, act);
  w.wide = syz_arena_take(a, rows * (size_t)wide, act);
  w.bias = syz_arena_take(a, (size_t)(3 * b->width), sizeof(float));
  if (syz_linear_needs_room(b->compute)) w.room = syz_arena_take(a, share_floats(b), sizeof(float));
  return w;
}

static int64_t *plan_rows(const syz_block *b, syz_arena *a)
{
  return syz_arena_take(a, (size_t)(BRANCHES * b->tensor->ranks), sizeof(int64_t));
}

size_t block_tensor_saved_bytes(const syz_block *b, int64_t rows)
{
  syz_arena a = {0};
  const int64_t all = rows * b->tensor->ranks;
  plan_counts(b, &a);
  plan_saved(b, rows, rows, all, all, true, &a);
  return a.used + 64;
}

size_t block_tensor_workspace_bytes(const syz_block *b, int64_t rows)
{
  syz_arena forward = {0}, backward;
  const int64_t all = rows * b->tensor->ranks;
  int64_t *table[2];
  block_plan_tables(rows, rows, table, &forward);
  plan_rows(b, &forward);
  backward = forward;
  plan_counts(b, &forward);
  plan_work(b, all, false, &forward);
  plan_saved(b, rows, rows, all, all, false, &forward);
  if (b->trains) plan_work(b, all, true, &backward);
  return (forward.used > backward.used ? forward.used : backward.used) + 64;
}

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* ----------------------------------------------------------------- forward */

/* Own rows of the summed product into the stream; branch [rows, D] act or NULL. */
static void add_branch(const syz_block *b, const kept_rows *k, const float *sum, const float *bias, const float *scale,
                       float *x, void *branch)
{
  const int64_t dim = b->config.dim;
#pragma omp parallel for schedule(static)
  for (int64_t r = 0; r < k->rows; r++)
    syz_row_epilogue(b->compute->act, SYZ_EPILOGUE_RESIDUAL, sum + r * dim, bias, scale,
                     x + (k->at ? k->at[r] : r) * dim, branch ? block_at(b, branch, r * dim) : NULL, dim);
}

/* Norm of own rows, kept in n (unless NULL), and of all ranks' rows in w->all. */
static void norm_and_gather(const syz_block *b, const kept_rows *k, const group_rows *q, const work_views *w, void *n,
                            float *mean, float *rstd, float *copy, const float *x, const float *gain, const float *bias)
{
  const int64_t dim = b->config.dim;
  void *own = block_at(b, w->all, q->first * dim);
  syz_layernorm_forward_at(b->compute->act, own, mean, rstd, copy, x, k->at, gain, bias, b->config.eps, k->rows, dim,
                           dim);
  if (n) memcpy(n, own, (size_t)(k->rows * dim) * syz_dtype_size(b->compute->act));
  gather(b, q, w->all);
}

static void sum_and_add(const syz_block *b, const kept_rows *k, const group_rows *q, const work_views *w,
                        const float *bias, const float *scale, float *x, void *branch)
{
  const int64_t dim = b->config.dim;
  syz_rows_reduce_scatter(b->tensor->comm, w->sum, q->rows, dim, w->stage);
  add_branch(b, k, w->sum + q->first * dim, bias, b->tensor->has_scale ? scale : NULL, x, branch);
}

void block_tensor_forward(const syz_block *b, const syz_sequences *s, const syz_subset *subset, float *x, void *saved,
                          void *workspace)
{
  const block_tensor *t = b->tensor;
  syz_arena scratch = {.base = workspace, .size = SIZE_MAX}, kept = {.base = saved, .size = SIZE_MAX},
            *keeper = saved ? &kept : &scratch;
  const branches k = block_begin(b, s, subset, &scratch);
  int64_t *rows = plan_rows(b, &scratch), *counts = plan_counts(b, keeper);
  exchange_counts(b, &k, counts);
  const group_rows attention = rows_of(b, counts, 0, rows), mlp = rows_of(b, counts, 1, rows + t->ranks);
  const work_views w = plan_work(b, larger(attention.all, mlp.all), false, &scratch);
  const saved_views v = plan_saved(b, k.attention.rows, k.mlp.rows, attention.all, mlp.all, saved != NULL, keeper);
  if (attention.all > 0) {
    norm_and_gather(b, &k.attention, &attention, &w, v.n1, v.mean1, v.rstd1, v.x0, x, b->norm1_gain, b->norm1_bias);
    syz_linear_forward(b->qkv, attention.all, w.all, SYZ_EPILOGUE_NONE, v.qkv, NULL);
    attend(b, &attention, v.qkv, v.heads, v.lse, NULL, NULL);
    syz_linear_forward(b->proj, attention.all, v.heads, SYZ_EPILOGUE_F32, w.sum, NULL);
    sum_and_add(b, &k.attention, &attention, &w, t->proj_bias, t->scale1, x, v.branch1);
  }
  if (mlp.all > 0) {
    norm_and_gather(b, &k.mlp, &mlp, &w, v.n2, v.mean2, v.rstd2, v.x1, x, b->norm2_gain, b->norm2_bias);
    syz_linear_forward(b->fc1, mlp.all, w.all, SYZ_EPILOGUE_GELU, v.g, v.u);
    syz_linear_forward(b->fc2, mlp.all, v.g, SYZ_EPILOGUE_F32, w.sum, NULL);
    sum_and_add(b, &k.mlp, &mlp, &w, t->fc2_bias, t->scale2, x, v.branch2);
  }
}

/* ---------------------------------------------------------------- backward */

/* The gradient of a branch's output: own rows through LayerScale, which has its own gradient, then all ranks' rows in
 * w->all. */
static void scale_and_gather(const syz_block *b, const kept_rows *k, const group_rows *q, const work_views *w,
                             const float *dx, const void *branch, const float *scale, float *dscale, float *dbias)
{
  const int64_t dim = b->config.dim;
  const syz_dtype act = b->compute->act;
  void *own = block_at(b, w->all, q->first * dim);
  syz_layerscale_backward_at(act, own, b->config.has_layerscale ? dscale : NULL, b->branch_scale, dx, k->at, branch,
                             b->tensor->has_scale ? scale : NULL, k->rows, dim, dim);
  syz_add_column_sums(act, dbias, own, k->rows, dim);
  gather(b, q, w->all);
}

/* The gradient of a weight's share, into the full layout. */
static void add_weight_share(const syz_linear *l, share s, const group_rows *q, const work_views *w, const void *dy,
                             const void *x, float *dweight, float *dbias)
{
  syz_linear_backward_weight_in(l, q->all, dy, x, &s.at, dweight + s.first, dbias, w->room);
}

static void gather_again(const syz_block *b, const kept_rows *k, const group_rows *q, const work_views *w,
                         const void *n)
{
  const int64_t dim = b->config.dim;
  memcpy(block_at(b, w->all, q->first * dim), n, (size_t)(k->rows * dim) * syz_dtype_size(b->compute->act));
  gather(b, q, w->all);
}

static void backward_mlp(const syz_block *b, const kept_rows *k, const group_rows *q, float *dx, const saved_views *v,
                         const work_views *w, const syz_block_parameters *g)
{
  const block_tensor *t = b->tensor;
  const int64_t dim = b->config.dim, first = t->rank * b->hidden;
  scale_and_gather(b, k, q, w, dx, v->branch2, t->scale2, g->ls2, g->fc2_bias);
  add_weight_share(b->fc2, share_of_columns(b, b->hidden), q, w, w->all, v->g, g->fc2_weight, NULL);
  syz_linear_backward_gelu_input(b->fc2, q->all, w->all, v->u, w->wide);
  gather_again(b, k, q, w, v->n2);
  syz_linear_backward_weight(b->fc1, q->all, w->wide, w->all, g->fc1_weight + first * dim, g->fc1_bias + first);
  syz_linear_backward_input_f32(b->fc1, q->all, w->wide, w->sum);
  syz_rows_reduce_scatter(t->comm, w->sum, q->rows, dim, w->stage);
  syz_layernorm_backward_at(dx, k->at, true, g->norm2_gain, g->norm2_bias, SYZ_F32, w->sum + q->first * dim, v->x1,
                            v->mean2, v->rstd2, b->norm2_gain, k->rows, dim, dim);
}

static void backward_attention(const syz_block *b, const kept_rows *k, const group_rows *q, float *dx,
                               const saved_views *v, const work_views *w, const syz_block_parameters *g)
{
  const block_tensor *t = b->tensor;
  const int64_t dim = b->config.dim;
  scale_and_gather(b, k, q, w, dx, v->branch1, t->scale1, g->ls1, g->proj_bias);
  add_weight_share(b->proj, share_of_columns(b, b->width), q, w, w->all, v->heads, g->proj_weight, NULL);
  syz_linear_backward_input(b->proj, q->all, w->all, w->dheads);
  attend(b, q, v->qkv, v->heads, v->lse, w->dheads, w->wide);
  gather_again(b, k, q, w, v->n1);
  memset(w->bias, 0, (size_t)(3 * b->width) * sizeof *w->bias);
  add_weight_share(b->qkv, share_of_qkv(b, dim), q, w, w->wide, w->all, g->qkv_weight, w->bias);
  for (int64_t i = 0; i < 3; i++)
    syz_row_add(g->qkv_bias + i * dim + t->rank * b->width, w->bias + i * b->width, b->width);
  syz_linear_backward_input_f32(b->qkv, q->all, w->wide, w->sum);
  syz_rows_reduce_scatter(t->comm, w->sum, q->rows, dim, w->stage);
  syz_layernorm_backward_at(dx, k->at, true, g->norm1_gain, g->norm1_bias, SYZ_F32, w->sum + q->first * dim, v->x0,
                            v->mean1, v->rstd1, b->norm1_gain, k->rows, dim, dim);
}

void block_tensor_backward(const syz_block *b, const syz_sequences *s, const syz_subset *subset, float *dx,
                           const void *saved, const syz_block_parameters *gradients, void *workspace)
{
  syz_arena kept = {.base = (unsigned char *)(uintptr_t)saved, .size = SIZE_MAX},
            scratch = {.base = workspace, .size = SIZE_MAX};
  const branches k = block_begin(b, s, subset, &scratch);
  int64_t *rows = plan_rows(b, &scratch);
  const int64_t *counts = plan_counts(b, &kept);
  const group_rows attention = rows_of(b, counts, 0, rows), mlp = rows_of(b, counts, 1, rows + b->tensor->ranks);
  const saved_views v = plan_saved(b, k.attention.rows, k.mlp.rows, attention.all, mlp.all, true, &kept);
  const work_views w = plan_work(b, larger(attention.all, mlp.all), true, &scratch);
  if (mlp.all > 0) backward_mlp(b, &k.mlp, &mlp, dx, &v, &w, gradients);
  if (attention.all > 0) backward_attention(b, &k.attention, &attention, dx, &v, &w, gradients);
}
