/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Targets of the distillation loss from the teacher's logits l_jk: q_jk = exp((l_jk - c_k) / T - lse_j), in either
 * centring.
 *
 * SYZ_CENTRE_MEAN: c is the moving centre as it was before this step. One pass over the tiles finds lse_j.
 *
 * SYZ_CENTRE_SINKHORN: DINOv2's sinkhorn_knopp_teacher (Oquab et al. 2023, arXiv:2304.07193) in the log domain. Its
 * Q[k, j] = exp(l_jk / T), divided in turn by its sums over j, to 1/K, and over k, to 1/B, and multiplied by B at the
 * end, is exp(l_jk / T + u_k + v_j) with
 *
 *   u_k = -log sum_j exp(l_jk / T + v_j),  v_j = -log sum_k exp(l_jk / T + u_k),  v = 0 at first,
 *
 * without constants, which the last normalisation would cancel. So the result has the form above with c = -T u and lse
 * = -v. u_k needs all rows of all ranks, but no other prototype: a tile's u is known after two small sums over ranks
 * (maximum, then sum of exponentials relative to it), and its part of v follows from the logits at hand. Each iteration
 * is thus one pass of products over the tiles, 3 where the mean needs 1.
 *
 * A row's sums over prototypes are float32 within a tile and float64 beyond it; sums over rows are float64, relative to
 * the maximum over all ranks: they depend on the number of ranks by their order alone, 1e-16, and with leaves
 * (src/comm/leaves.c) not at all.
 */
#include <math.h>
#include <string.h>

#include "distillation.h"

static const char *teacher_row(const syz_distillation *d, int64_t row)
{
  return (const char *)d->z_teacher + (size_t)(row * d->config.width) * syz_dtype_size(d->act);
}

/* Logits of a chunk of teacher rows, into their place among the targets. Returns the number of rows. */
static int64_t form_logits(const syz_distillation *d, int64_t tile, int64_t n, int64_t row)
{
  const int64_t rows = d->teacher_rows - row < CHUNK_ROWS ? d->teacher_rows - row : CHUNK_ROWS;
  syz_linear_forward(d->from_teacher[tile], rows, teacher_row(d, row), SYZ_EPILOGUE_F32, d->target + row * n, NULL);
  return rows;
}

static const float *offset_of(const syz_distillation *d, int64_t row, int64_t first)
{
  const int set = d->config.sets > 1 && row >= d->first_teacher[1] ? 1 : 0;
  return d->offset[set] + first;
}

static void clear_statistics(syz_distillation *d)
{
  for (int64_t r = 0; r < d->teacher_rows; r++) d->teacher[r] = (row_statistics){.top = -INFINITY};
}

/* Rows [row, row + rows) of d->target become exponents and enter their rows' sums. */
static void add_rows(syz_distillation *d, int64_t row, int64_t rows, int64_t first, int64_t n)
{
#pragma omp parallel for schedule(static) num_threads(d->threads)
  for (int64_t r = row; r < row + rows; r++) {
    float *x = d->target + r * n;
    const float top = distillation_scale_row(x, offset_of(d, r, first), d->teacher_scale, n);
    distillation_add_statistics(&d->teacher[r], x, top, n);
  }
}

enum { STRIPE = 128 }; /* columns that a thread takes at a time */

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* The potentials of a tile's prototypes, from its logits in d->target. Collective. */
static void solve_columns(syz_distillation *d, int64_t first, int64_t n)
{
  const int sets = d->config.sets;
  const int64_t leaves = distillation_leaves(d);
  for (int64_t i = 0; i < sets * n; i++) d->column_top[i] = -INFINITY;
  memset(d->column_sum, 0, (size_t)(leaves * sets * n) * sizeof *d->column_sum);
  for (int s = 0; s < sets; s++) {
    const int64_t begin = d->first_teacher[s], end = begin + d->n_teacher[s];
#pragma omp parallel for schedule(static) num_threads(d->threads)
    for (int64_t k = 0; k < n; k += STRIPE)
      for (int64_t r = begin; r < end; r++)
        distillation_top_columns(d->column_top + s * n + k, d->target + r * n + k, d->teacher_scale, d->shift[r],
                                 smaller(STRIPE, n - k));
  }
  syz_allreduce_f32(d->world, d->column_top, (size_t)(sets * n), SYZ_MAX);
  for (int64_t leaf = 0; leaf < leaves; leaf++)
    for (int s = 0; s < sets; s++) {
      double *sum = d->column_sum + (leaf * sets + s) * n;
      int64_t begin, end;
      distillation_leaf(d, s, leaf, &begin, &end);
#pragma omp parallel for schedule(static) num_threads(d->threads)
      for (int64_t k = 0; k < n; k += STRIPE)
        for (int64_t r = begin; r < end; r++)
          distillation_sum_columns(sum + k, d->target + r * n + k, d->teacher_scale, d->shift[r],
                                   d->column_top + s * n + k, smaller(STRIPE, n - k));
    }
  distillation_sum(d, d->column_sum, (size_t)(sets * n));
  for (int s = 0; s < sets; s++) {
    if (!(d->global_teacher[s] > 0)) continue;
    for (int64_t k = 0; k < n; k++)
      d->offset[s][first + k] =
          (float)(((double)d->column_top[s * n + k] + log2(d->column_sum[s * n + k])) / (double)d->teacher_scale);
  }
}

static void sinkhorn_pass(syz_distillation *d)
{
  for (int64_t tile = 0; tile < d->tiles; tile++) {
    int64_t first;
    const int64_t n = distillation_tile(d, tile, &first);
    for (int64_t r = 0; r < d->teacher_rows;) r += form_logits(d, tile, n, r);
    solve_columns(d, first, n);
    add_rows(d, 0, d->teacher_rows, first, n);
  }
}

void distillation_teacher(syz_distillation *d)
{
  if (d->config.centring == SYZ_CENTRE_MEAN) {
    clear_statistics(d);
    for (int64_t tile = 0; tile < d->tiles; tile++) {
      int64_t first;
      const int64_t n = distillation_tile(d, tile, &first);
      for (int64_t r = 0; r < d->teacher_rows;) {
        const int64_t rows = form_logits(d, tile, n, r);
        add_rows(d, r, rows, first, n);
        r += rows;
      }
    }
    return;
  }
  for (int64_t r = 0; r < d->teacher_rows; r++) d->shift[r] = 0;
  for (int i = 0; i < d->config.sinkhorn_iterations; i++) {
    clear_statistics(d);
    sinkhorn_pass(d);
    for (int64_t r = 0; r < d->teacher_rows; r++)
      d->shift[r] = (float)(-(double)d->teacher[r].top - log2(d->teacher[r].sum));
  }
}

void distillation_targets(syz_distillation *d, int64_t tile, bool is_first)
{
  int64_t first;
  const int64_t n = distillation_tile(d, tile, &first);
  for (int64_t row = 0; row < d->teacher_rows;) {
    const int64_t rows = form_logits(d, tile, n, row);
#pragma omp parallel for schedule(static) num_threads(d->threads)
    for (int64_t r = row; r < row + rows; r++) {
      row_statistics *s = &d->teacher[r];
      float *x = d->target + r * n;
      distillation_scale_row(x, offset_of(d, r, first), d->teacher_scale, n);
      const float product = distillation_exp_row(x, s->top, (float)(1.0 / s->sum), n);
      if (is_first) s->product += (double)product;
    }
    row += rows;
  }
  if (!is_first) return;
  for (int s = 0; s < d->config.sets; s++) {
    for (int64_t leaf = 0; leaf < distillation_leaves(d); leaf++) {
      double *sum = d->leaf_sum + leaf * n;
      int64_t begin, end;
      distillation_leaf(d, s, leaf, &begin, &end);
#pragma omp parallel for schedule(static) num_threads(d->threads)
      for (int64_t k = 0; k < n; k += STRIPE) {
        for (int64_t c = k; c < smaller(k + STRIPE, n); c++) sum[c] = 0;
        for (int64_t r = begin; r < end; r++)
          distillation_add_columns(sum + k, d->target + r * n + k, smaller(STRIPE, n - k));
      }
    }
    syz_leaves_merge_f64(d->leaf_sum, distillation_leaves(d), (size_t)n);
    memcpy(d->mean_target + s * d->config.prototypes + first, d->leaf_sum, (size_t)n * sizeof *d->leaf_sum);
  }
}

void distillation_entropies(syz_distillation *d, syz_distillation_loss *out)
{
  const int64_t K = d->config.prototypes;
  double *entropy = d->leaf_sum;
  memset(entropy, 0, (size_t)(distillation_leaves(d) * SYZ_TARGET_SETS) * sizeof *entropy);
  for (int64_t leaf = 0; leaf < distillation_leaves(d); leaf++)
    for (int s = 0; s < d->config.sets; s++) {
      int64_t begin, end;
      distillation_leaf(d, s, leaf, &begin, &end);
      for (int64_t r = begin; r < end; r++)
        entropy[leaf * SYZ_TARGET_SETS + s] += log2(d->teacher[r].sum) - d->teacher[r].product;
    }
  distillation_sum(d, entropy, SYZ_TARGET_SETS);
  if (d->config.leaves > 0)
    syz_leaves_sum_f64(d->world, d->travel, d->mean_target, (size_t)(d->config.sets * K),
                       d->received); /* a rank's leaves are added tile by tile */
  else
    syz_allreduce_f64(d->world, d->mean_target, (size_t)(d->config.sets * K), SYZ_SUM);
  for (int s = 0; s < SYZ_TARGET_SETS; s++) {
    out->target_entropy[s] = out->mean_entropy[s] = 0;
    if (s >= d->config.sets || !(d->global_teacher[s] > 0)) continue;
    double sum = 0;
    for (int64_t k = 0; k < K; k++) {
      const double q = d->mean_target[s * K + k] / d->global_teacher[s];
      sum -= q == 0 ? 0 : q * log(q);
    }
    out->target_entropy[s] = log(2.0) * entropy[s] / d->global_teacher[s];
    out->mean_entropy[s] = sum;
  }
}
