/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The losses of DINO and iBOT: cross-entropy of student rows against the targets of teacher rows over K prototypes.
 *
 * With student exponents a_ik = <z_i, w_k> / T_s, p_i = softmax(a_i), targets q_t (distillation_teacher.c), n_i targets
 * of row i and r_i its weight:
 *
 *   loss_i = r_i (n_i log sum_k exp a_ik - sum_t sum_k q_tk a_ik)
 *   dloss/dl_ik = r_i / T_s (n_i p_ik - sum_t q_tk) = g_ik,  dz_i = sum_k g_ik w_k,  dw_k = sum_i g_ik z_i
 *   dv_k = (dw_k - <dw_k, w_k> w_k) / |v_k|,  w_k = v_k / |v_k|
 *
 * Everything runs over tiles of 512 prototypes. The unit vectors of a tile are a linear layer, packed once per step,
 * for the student in both directions. These products are formed for each tile, in this order; each costs 2 K width
 * operations per row of teacher (t) or student (s), summed over tiles:
 *
 *   forward, first pass     t logits: lse_t (with Sinkhorn-Knopp one such pass per iteration)
 *   forward, second pass    t logits: q, its mean over rows; s logits: lse_i, sum q a
 *   backward                t logits: q; s logits: g; dz, dw
 *
 * The total is 3 t + 4 s. Stated speeds count t + 3 s, the work of a program that stores the rows x K arrays. The rest
 * is the price of not storing them: memory is one tile of targets and gradients, 512 x (4 t + 2 s or 4 s) bytes, and
 * the packed prototypes. The second pass over t is needed only for the entropy of the mean target; lse and sum q a
 * alone would need one pass.
 *
 * Measured on one Zen 5 core (tests/loss/speed_distillation.c), bfloat16, 424 student and 360 teacher rows, 65,536
 * prototypes of 256: 265 ms, 72 % of the limit for all operations, 42 % for the counted ones; float32 82 and 48 %.
 * Profile: products 82 %, exponentials 7 %, the rest norms, packing and gradient of the weights and sums. Tiles of 256
 * to 1024 prototypes and chunks of 96 to 192 rows are equally fast to 3 %. Not built: the teacher's exponentials of the
 * first pass kept in bfloat16 (47 MB here) would save the products of both later passes over t, 50 ms by their count.
 */
#include <math.h>
#include <string.h>

#include "distillation.h"

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* Addresses of all arrays in d->memory; with an empty arena only their size. */
static size_t lay_out(syz_distillation *d, void *memory, size_t size)
{
  const syz_distillation_config *c = &d->config;
  const size_t act = syz_dtype_size(d->act), K = (size_t)c->prototypes, width = (size_t)c->width,
               sets = (size_t)c->sets;
  const size_t teacher = (size_t)c->most_teacher, student = (size_t)c->most_student, tile = TILE_PROTOTYPES,
               chunk = CHUNK_ROWS;
  const size_t leaves = (size_t)distillation_leaves(d);
  syz_arena a = {.base = memory, .size = size};
  for (size_t s = 0; s < sets; s++) d->offset[s] = syz_arena_take(&a, K, sizeof(float));
  if (c->centring == SYZ_CENTRE_MEAN)
    for (size_t s = 0; s < sets; s++) d->batch_mean[s] = syz_arena_take(&a, K, sizeof(float));
  d->z_sum = syz_arena_take(&a, leaves * sets * (width + 1), sizeof(double));
  d->z_mean = syz_arena_take(&a, sets * width, sizeof(float));
  d->mean_target = syz_arena_take(&a, sets * K, sizeof(double));
  d->column_top = syz_arena_take(&a, sets * tile, sizeof(float));
  d->column_sum = syz_arena_take(&a, leaves * sets * tile, sizeof(double));
  d->leaf_sum = syz_arena_take(&a, leaves * tile, sizeof(double));
  if (c->leaves > 0) d->received = syz_arena_take(&a, sets * (K > width + 1 ? K : width + 1) + tile, sizeof(double));
  d->inverse = syz_arena_take(&a, K, sizeof(float));
  d->teacher = syz_arena_take(&a, teacher, sizeof *d->teacher);
  d->student = syz_arena_take(&a, student, sizeof *d->student);
  d->shift = syz_arena_take(&a, teacher, sizeof(float));
  d->z_teacher = syz_arena_take(&a, teacher * width, act);
  d->z_student = syz_arena_take(&a, student * width, act);
  d->target = syz_arena_take(&a, teacher * tile, sizeof(float));
  d->logits = syz_arena_take(&a, chunk * (tile > width ? tile : width), sizeof(float));
  d->w = syz_arena_take(&a, (size_t)syz_leaves_slots((int64_t)leaves) * tile * width, sizeof(float));
  d->dlogits = syz_arena_take(&a, student * tile, act);
  d->dz = syz_arena_take(&a, chunk * width, act);
  return a.used;
}

static int64_t tiles_of(const syz_distillation_config *c)
{
  return (c->prototypes + TILE_PROTOTYPES - 1) / TILE_PROTOTYPES;
}

/* Most rows of a product, which is that of the weights' gradient: it has the rows of a leaf, or all rows. */
static int64_t rows_of_layers(const syz_distillation_config *c)
{
  return larger(c->leaves > 0 ? c->most_leaf : c->most_student, CHUNK_ROWS);
}

static syz_status create_layers(syz_distillation *d, const syz_compute *compute)
{
  syz_status st = SYZ_OK;
  const int64_t rows = rows_of_layers(&d->config);
  SYZ_ALLOC(d->from_teacher, "distillation", tiles_of(&d->config));
  SYZ_ALLOC(d->from_student, "distillation", tiles_of(&d->config));
  d->tiles = tiles_of(&d->config);
  for (int64_t i = 0; i < d->tiles; i++) {
    int64_t first;
    const int64_t n = distillation_tile(d, i, &first);
    SYZ_TRY(syz_linear_create(compute, n, d->config.width, CHUNK_ROWS, false, &d->from_teacher[i]));
    SYZ_TRY(syz_linear_create(compute, n, d->config.width, rows, true, &d->from_student[i]));
  }
cleanup:
  return st;
}

syz_status syz_distillation_create(syz_comm *world, const syz_compute *compute, const syz_distillation_config *config,
                                   syz_distillation **out)
{
  syz_status st = SYZ_OK;
  syz_distillation *d = NULL;
  *out = NULL;
  SYZ_REQUIRE(config->prototypes >= 1 && config->width >= 1 && config->most_student >= 0 && config->most_teacher >= 0 &&
                  config->sets >= 1 && config->sets <= SYZ_TARGET_SETS,
              SYZ_ERR_INTERNAL, "distillation: %lld prototypes of %lld, %lld student and %lld teacher rows in %d sets",
              (long long)config->prototypes, (long long)config->width, (long long)config->most_student,
              (long long)config->most_teacher, config->sets);
  SYZ_REQUIRE(config->student_temperature > 0 &&
                  (config->centring != SYZ_CENTRE_SINKHORN || config->sinkhorn_iterations >= 1),
              SYZ_ERR_INTERNAL, "distillation: student temperature %g, %d Sinkhorn-Knopp iterations",
              config->student_temperature, config->sinkhorn_iterations);
  SYZ_REQUIRE(config->leaves <= 0 || (config->leaves & (config->leaves - 1)) == 0, SYZ_ERR_INTERNAL,
              "distillation: %lld leaves", (long long)config->leaves);
  SYZ_ALLOC(d, "distillation", 1);
  d->world = world;
  d->config = *config;
  d->act = syz_compute_act(compute);
  d->threads = syz_compute_threads(compute);
  const size_t bytes = lay_out(d, NULL, 0);
  d->memory = syz_alloc("distillation", bytes, 1);
  SYZ_REQUIRE(d->memory, SYZ_ERR_MEMORY, "%s", syz_error_text());
  lay_out(d, d->memory, bytes);
  SYZ_TRY(create_layers(d, compute));
  if (config->leaves > 0) SYZ_TRY(syz_request_create(world, SYZ_LEAVES_MESSAGES, &d->travel));
  *out = d;
  d = NULL;
cleanup:
  syz_distillation_destroy(&d);
  return st;
}

void syz_distillation_destroy(syz_distillation **d)
{
  if (!d || !*d) return;
  for (int64_t i = 0; i < (*d)->tiles; i++) {
    syz_linear_destroy(&(*d)->from_teacher[i]);
    syz_linear_destroy(&(*d)->from_student[i]);
  }
  syz_request_destroy(&(*d)->travel);
  syz_free(&(*d)->from_teacher);
  syz_free(&(*d)->from_student);
  syz_free(&(*d)->memory);
  syz_free(d);
}

/* The memory of the layers is measured on one tile, because it depends on how their engine packs. */
size_t syz_distillation_bytes(const syz_compute *compute, const syz_distillation_config *config)
{
  syz_distillation d = {.config = *config, .act = syz_compute_act(compute)};
  const int64_t n = config->prototypes < TILE_PROTOTYPES ? config->prototypes : TILE_PROTOTYPES;
  syz_linear *layer[2] = {NULL, NULL};
  size_t bytes = 0;
  /* The first layer also grows the scratch of the context, which does not belong to this loss. */
  for (int pass = 0; pass < 2; pass++) {
    const size_t before = syz_memory_get().live_bytes;
    const bool is_made =
        syz_linear_create(compute, n, config->width, CHUNK_ROWS, false, &layer[0]) == SYZ_OK &&
        syz_linear_create(compute, n, config->width, rows_of_layers(config), true, &layer[1]) == SYZ_OK;
    bytes = is_made ? syz_memory_get().live_bytes - before : 0;
    for (int i = 0; i < 2; i++) syz_linear_destroy(&layer[i]);
  }
  return sizeof d + lay_out(&d, NULL, 0) + (size_t)((double)bytes * (double)config->prototypes / (double)n);
}

/* Passes over the teacher's rows: its log-sum-exps, targets forward, targets backward. With Sinkhorn-Knopp the first
 * kind runs once per iteration. Passes over the student's rows: forward, then the logits again, dz and dw backward. */
syz_loss_work syz_distillation_work(const syz_distillation_config *config, double teacher_rows, double student_rows)
{
  const double product = 2 * (double)config->prototypes * (double)config->width, sets = (double)config->sets;
  const int iterations = config->centring == SYZ_CENTRE_SINKHORN ? config->sinkhorn_iterations : 0;
  const double passes = iterations > 0 ? 2 + iterations : 3, tiles = (double)(tiles_of(config) * iterations);
  syz_loss_work w = {.forward = product * (teacher_rows + student_rows),
                     .backward = product * 2 * student_rows,
                     .again = product * ((passes - 1) * teacher_rows + student_rows),
                     .n = iterations > 0 ? 4 : 2,
                     .call = {{"sums of the teacher's rows", false, sets * (double)(config->width + 1) * 8, 1},
                              {"mean targets", false, sets * (double)config->prototypes * 8, 1},
                              {"maxima of Sinkhorn-Knopp", false, sets * TILE_PROTOTYPES * 4, tiles},
                              {"sums of Sinkhorn-Knopp", false, sets * TILE_PROTOTYPES * 8, tiles}}};
  return w;
}

float *syz_distillation_centre(syz_distillation *d, int set) { return d->offset[set]; }

/* Sums of the teacher's rows over all ranks: logits are linear in z, so `width` numbers per set give their batch mean.
 * Collective. */
static void sum_teacher(syz_distillation *d, const float *z)
{
  const int64_t width = d->config.width, leaves = distillation_leaves(d);
  const int sets = d->config.sets;
  memset(d->z_sum, 0, (size_t)(leaves * sets * (width + 1)) * sizeof *d->z_sum);
  for (int64_t leaf = 0; leaf < leaves; leaf++)
    for (int s = 0; s < sets; s++) {
      double *sum = d->z_sum + (leaf * sets + s) * (width + 1);
      int64_t begin, end;
      distillation_leaf(d, s, leaf, &begin, &end);
      for (int64_t r = begin; r < end; r++) distillation_add_columns(sum, z + r * width, width);
      sum[width] = (double)(end - begin);
    }
  distillation_sum(d, d->z_sum, (size_t)(sets * (width + 1)));
  for (int s = 0; s < sets; s++) {
    const double *sum = d->z_sum + s * (width + 1);
    d->global_teacher[s] = sum[width];
    for (int64_t i = 0; i < width; i++) d->z_mean[s * width + i] = sum[width] > 0 ? (float)(sum[i] / sum[width]) : 0;
  }
}

/* Unit vectors of prototypes [first, first + n) into d->w; inverse lengths too unless NULL. */
static void normalise(syz_distillation *d, const float *weight_v, int64_t first, int64_t n, float *inverse)
{
  const int64_t width = d->config.width;
#pragma omp parallel for schedule(static) num_threads(d->threads)
  for (int64_t k = 0; k < n; k++) {
    const float *v = weight_v + (first + k) * width;
    const float inv = 1.0f / sqrtf(distillation_dot_row(v, v, width));
    for (int64_t i = 0; i < width; i++) d->w[k * width + i] = inv * v[i];
    if (inverse) inverse[first + k] = inv;
  }
}

static void pack(syz_distillation *d, const syz_distillation_batch *batch)
{
  const int64_t width = d->config.width;
  for (int64_t tile = 0; tile < d->tiles; tile++) {
    int64_t first;
    const int64_t n = distillation_tile(d, tile, &first);
    normalise(d, batch->weight_student, first, n, d->inverse);
    syz_linear_pack(d->from_student[tile], d->w, NULL, NULL);
    normalise(d, batch->weight_teacher, first, n, NULL);
    syz_linear_pack(d->from_teacher[tile], d->w, NULL, NULL);
    if (d->config.centring != SYZ_CENTRE_MEAN) continue;
    for (int s = 0; s < d->config.sets; s++)
      for (int64_t k = 0; k < n; k++)
        d->batch_mean[s][first + k] = distillation_dot_row(d->w + k * width, d->z_mean + s * width, width);
  }
}

static float student_scale(const syz_distillation *d)
{
  return (float)(1.0 / (log(2.0) * d->config.student_temperature));
}

/* Exponents a_ik / log 2 of a chunk of student rows, into d->logits [rows, n], within the caller's loop. */
static int64_t form_logits(const syz_distillation *d, int64_t tile, int64_t row, int64_t n_student)
{
  const int64_t rows = n_student - row < CHUNK_ROWS ? n_student - row : CHUNK_ROWS;
  const char *z = (const char *)d->z_student + (size_t)(row * d->config.width) * syz_dtype_size(d->act);
  syz_linear_forward(d->from_student[tile], rows, z, SYZ_EPILOGUE_F32, d->logits, NULL);
  return rows;
}

static void add_student(syz_distillation *d, const syz_distillation_batch *batch, int64_t tile)
{
  int64_t first;
  const int64_t n = distillation_tile(d, tile, &first);
  const float scale = student_scale(d);
  for (int64_t row = 0; row < batch->n_student;) {
    const int64_t rows = form_logits(d, tile, row, batch->n_student);
#pragma omp parallel for schedule(static) num_threads(d->threads)
    for (int64_t r = 0; r < rows; r++) {
      row_statistics *s = &d->student[row + r];
      float *x = d->logits + r * n;
      const float top = distillation_scale_row(x, NULL, scale, n);
      distillation_add_statistics(s, x, top, n);
      const int64_t *target = batch->target + (row + r) * SYZ_TARGETS_PER_ROW;
      for (int t = 0; t < SYZ_TARGETS_PER_ROW; t++)
        if (target[t] >= 0) s->product += (double)distillation_dot_row(d->target + target[t] * n, x, n);
    }
    row += rows;
  }
}

static int targets_of(const syz_distillation_batch *batch, int64_t row)
{
  int n = 0;
  for (int t = 0; t < SYZ_TARGETS_PER_ROW; t++) n += batch->target[row * SYZ_TARGETS_PER_ROW + t] >= 0;
  return n;
}

static void check_batch(const syz_distillation *d, const syz_distillation_batch *batch)
{
  SYZ_ASSERT(batch->n_student >= 0 && batch->n_student <= d->config.most_student);
  SYZ_ASSERT(d->teacher_rows >= 0 && d->teacher_rows <= d->config.most_teacher);
  for (int64_t i = 0; i < batch->n_student; i++) {
    SYZ_ASSERT(batch->term[i] >= 0 && batch->term[i] < SYZ_DISTILLATION_TERMS);
    for (int t = 0; t < SYZ_TARGETS_PER_ROW; t++)
      SYZ_ASSERT(batch->target[i * SYZ_TARGETS_PER_ROW + t] < d->teacher_rows);
  }
}

/* Student rows [*begin, *end) of a leaf. */
static void student_leaf(const syz_distillation *d, const syz_distillation_batch *batch, int64_t leaf, int64_t *begin,
                         int64_t *end)
{
  const bool has = d->config.leaves > 0;
  *begin = has ? batch->leaf_student[leaf] : 0;
  *end = has ? batch->leaf_student[leaf + 1] : batch->n_student;
}

static void sum_terms(syz_distillation *d, const syz_distillation_batch *batch, double term[SYZ_DISTILLATION_TERMS])
{
  const int64_t leaves = distillation_leaves(d);
  memset(d->leaf_sum, 0, (size_t)(leaves * SYZ_DISTILLATION_TERMS) * sizeof *d->leaf_sum);
  for (int64_t leaf = 0; leaf < leaves; leaf++) {
    int64_t begin, end;
    student_leaf(d, batch, leaf, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
      const row_statistics *s = &d->student[i];
      const double lse = (double)s->top + log2(s->sum);
      d->leaf_sum[leaf * SYZ_DISTILLATION_TERMS + batch->term[i]] +=
          log(2.0) * (double)batch->row_weight[i] * ((double)targets_of(batch, i) * lse - s->product);
    }
  }
  distillation_sum(d, d->leaf_sum, SYZ_DISTILLATION_TERMS);
  memcpy(term, d->leaf_sum, SYZ_DISTILLATION_TERMS * sizeof *term);
}

void syz_distillation_forward(syz_distillation *d, const syz_distillation_batch *batch, syz_distillation_loss *out)
{
  const int64_t width = d->config.width;
  d->batch = batch;
  d->teacher_rows = 0;
  for (int s = 0; s < d->config.sets; s++) {
    d->first_teacher[s] = d->teacher_rows;
    d->n_teacher[s] = batch->n_teacher[s];
    d->teacher_rows += batch->n_teacher[s];
  }
  check_batch(d, batch);
  d->teacher_scale = (float)(1.0 / (log(2.0) * batch->teacher_temperature));
  if (d->teacher_rows) syz_convert_to_act(d->act, d->z_teacher, batch->z_teacher, d->teacher_rows * width);
  if (batch->n_student) syz_convert_to_act(d->act, d->z_student, batch->z_student, batch->n_student * width);
  sum_teacher(d, batch->z_teacher);
  pack(d, batch);
  distillation_teacher(d);

  for (int64_t i = 0; i < batch->n_student; i++) d->student[i] = (row_statistics){.top = -INFINITY};
  for (int64_t tile = 0; tile < d->tiles; tile++) {
    distillation_targets(d, tile, true);
    add_student(d, batch, tile);
  }
  distillation_entropies(d, out);
  sum_terms(d, batch, out->term);
}

/* Gradient by the logits of a chunk of rows, d->logits -> d->dlogits [rows, n] act. */
static void form_gradient(syz_distillation *d, const syz_distillation_batch *batch, int64_t row, int64_t rows,
                          int64_t n)
{
  const float scale = student_scale(d);
#pragma omp parallel for schedule(static) num_threads(d->threads)
  for (int64_t r = 0; r < rows; r++) {
    const int64_t i = row + r, *target = batch->target + i * SYZ_TARGETS_PER_ROW;
    const row_statistics *s = &d->student[i];
    const double weight = (double)batch->row_weight[i] / d->config.student_temperature;
    float *x = d->logits + r * n;
    distillation_scale_row(x, NULL, scale, n);
    distillation_exp_row(x, s->top, (float)(weight * (double)targets_of(batch, i) / s->sum), n);
    for (int t = 0; t < SYZ_TARGETS_PER_ROW; t++)
      if (target[t] >= 0) distillation_add_row(x, (float)-weight, d->target + target[t] * n, n);
    syz_convert_to_act(d->act, (char *)d->dlogits + (size_t)(i * n) * syz_dtype_size(d->act), x, n);
  }
}

/* dz += dlogits W for a chunk of rows. The product is in the activation type, the sum over tiles float32. */
static void add_dz(syz_distillation *d, int64_t tile, int64_t row, int64_t rows, int64_t n, float *dz)
{
  const int64_t count = rows * d->config.width;
  const char *dlogits = (const char *)d->dlogits + (size_t)(row * n) * syz_dtype_size(d->act);
  const float *part = d->dz;
  syz_linear_backward_input(d->from_student[tile], rows, dlogits, d->dz);
  if (d->act != SYZ_F32) {
    syz_convert_to_f32(d->act, d->logits, d->dz, count);
    part = d->logits;
  }
  distillation_add_row(dz + row * d->config.width, 1.0f, part, count);
}

/* Turns the gradient by the unit vectors of a tile into that by weight_v, in place. */
static void turn_to_weight(const syz_distillation *d, const float *weight_v, int64_t first, int64_t n, float *w)
{
  const int64_t width = d->config.width;
#pragma omp parallel for schedule(static) num_threads(d->threads)
  for (int64_t k = 0; k < n; k++) {
    const float *v = weight_v + (first + k) * width, inverse = d->inverse[first + k];
    float *dw = w + k * width;
    const float along = distillation_dot_row(dw, v, width) * inverse * inverse;
    distillation_add_row(dw, -along, v, width);
    distillation_scale_row(dw, NULL, inverse, width);
  }
}

/* Adds a tile's gradient to dweight: leaf by leaf, each from its own rows alone, in the fixed order of leaves. */
static void add_dweight(syz_distillation *d, const syz_distillation_batch *batch, int64_t tile, float *dweight)
{
  int64_t first;
  const int64_t n = distillation_tile(d, tile, &first), width = d->config.width, size = TILE_PROTOTYPES * width;
  const size_t act = syz_dtype_size(d->act);
  for (int64_t leaf = 0; leaf < distillation_leaves(d); leaf++) {
    int slot = syz_leaves_slot(leaf);
    float *w = d->w + slot * size;
    int64_t begin, end;
    student_leaf(d, batch, leaf, &begin, &end);
    memset(w, 0, (size_t)(n * width) * sizeof *w);
    syz_linear_backward_weight(d->from_student[tile], end - begin, (const char *)d->dlogits + (size_t)(begin * n) * act,
                               (const char *)d->z_student + (size_t)(begin * width) * act, w, NULL);
    turn_to_weight(d, batch->weight_student, first, n, w);
    for (int m = syz_leaves_merges(leaf); m > 0; m--, slot--)
      distillation_add_row(d->w + (slot - 1) * size, 1.0f, d->w + slot * size, n * width);
  }
  distillation_add_row(dweight + first * width, 1.0f, d->w, n * width);
}

void syz_distillation_backward(syz_distillation *d, const syz_distillation_batch *batch, float *dz, float *dweight)
{
  const int64_t width = d->config.width;
  if (!batch->n_student) return;
  memset(dz, 0, (size_t)(batch->n_student * width) * sizeof *dz);
  for (int64_t tile = 0; tile < d->tiles; tile++) {
    int64_t first;
    const int64_t n = distillation_tile(d, tile, &first);
    distillation_targets(d, tile, false);
    for (int64_t row = 0; row < batch->n_student;) {
      const int64_t rows = form_logits(d, tile, row, batch->n_student);
      form_gradient(d, batch, row, rows, n);
      add_dz(d, tile, row, rows, n, dz);
      row += rows;
    }
    add_dweight(d, batch, tile, dweight);
  }
}

void syz_distillation_update(syz_distillation *d)
{
  if (d->config.centring != SYZ_CENTRE_MEAN) return;
  const double m = d->config.centre_momentum;
  for (int s = 0; s < d->config.sets; s++) {
    if (!(d->global_teacher[s] > 0)) continue;
    for (int64_t k = 0; k < d->config.prototypes; k++)
      d->offset[s][k] = (float)(m * (double)d->offset[s][k] + (1 - m) * (double)d->batch_mean[s][k]);
  }
}
