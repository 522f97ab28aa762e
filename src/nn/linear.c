/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The linear layer over any matrix engine.
 *
 * Forward and dx = dy W: one plan each, which keeps the weights in the engine's layout, for any number of rows. dW sums
 * over rows, and a plan has a fixed number of rows, so they are split into pieces of a few sizes, all planned at
 * creation.
 */
#include <string.h>

#include "linear_int8.h"
#include "linear_native.h"
#include "rowwise.h"

enum { PIECES = 6 };

struct syz_linear {
  const syz_compute *compute;
  int64_t out, in, max_rows;
  int64_t stride_x, stride_y; /* see syz_linear_set_rows */
  bool trains, has_bias, has_scale;
  float *bias, *scale;   /* [out] */
  syz_linear_int8 *int8; /* NULL: there is none */
  bool is_int8;
  float *most;               /* [in] largest magnitudes for syz_linear_observe, or NULL */
  syz_linear_native *native; /* if not NULL, everything below is unused */
  void *weight;              /* [out, in] act */
  syz_gemm *forward;         /* float32 product of SCRATCH_ROWS at most into the shared scratch */
  syz_gemm *input;           /* dx = dy W */
  int64_t piece[PIECES];     /* row counts with plans, largest first */
  int pieces;
  syz_gemm *weight_sum[PIECES]; /* dW += dy^T x */
};

enum { SCRATCH_ROWS = 256, WIDEN = 256 };

static syz_status create_plans(syz_linear *l)
{
  syz_status st = SYZ_OK;
  const int64_t sizes[PIECES] = {l->max_rows, SCRATCH_ROWS, 64, 16, 4, 1};
  const syz_dtype act = l->compute->act;
  const syz_gemm_shape forward = {.m = l->max_rows < SCRATCH_ROWS ? l->max_rows : SCRATCH_ROWS,
                                  .n = l->out,
                                  .k = l->in,
                                  .transpose_b = true,
                                  .batch = 1,
                                  .type_ab = act,
                                  .type_c = SYZ_F32,
                                  .keeps_b = true};
  const syz_gemm_shape input = {
      .m = l->max_rows, .n = l->in, .k = l->out, .batch = 1, .type_ab = act, .type_c = act, .keeps_b = true};
  SYZ_TRY(syz_gemm_create(l->compute, &forward, &l->forward));
  if (l->trains) SYZ_TRY(syz_gemm_create(l->compute, &input, &l->input));
  for (int i = 0; i < PIECES && l->trains; i++)
    if ((i == 0 || sizes[i] < l->piece[l->pieces - 1])) l->piece[l->pieces++] = sizes[i];
  for (int i = 0; i < l->pieces; i++) {
    const int64_t rows = l->piece[i];
    const syz_gemm_shape weight = {.m = l->out,
                                   .n = l->in,
                                   .k = rows,
                                   .transpose_a = true,
                                   .batch = 1,
                                   .type_ab = act,
                                   .type_c = SYZ_F32,
                                   .accumulate = true};
    SYZ_TRY(syz_gemm_create(l->compute, &weight, &l->weight_sum[i]));
  }
  SYZ_TRY(syz_compute_reserve(l->compute, (size_t)(SCRATCH_ROWS * l->out) * sizeof(float)));
cleanup:
  return st;
}

syz_status syz_linear_create(const syz_compute *c, int64_t out, int64_t in, int64_t max_rows, bool trains,
                             syz_linear **result)
{
  syz_status st = SYZ_OK;
  syz_linear *l = NULL;
  *result = NULL;
  SYZ_REQUIRE(out >= 1 && in >= 1 && max_rows >= 1, SYZ_ERR_INTERNAL, "linear: %lld x %lld for %lld rows",
              (long long)out, (long long)in, (long long)max_rows);
  SYZ_ALLOC(l, "linear", 1);
  l->compute = c;
  l->out = l->stride_y = out, l->in = l->stride_x = in, l->max_rows = max_rows, l->trains = trains;
  SYZ_ALLOC(l->bias, "linear bias", out);
  SYZ_ALLOC(l->scale, "linear scale", out);
  if (c->engine[c->act] == &syz_engine_native) {
    SYZ_TRY(syz_linear_native_create(c, out, in, max_rows, trains, &l->native));
  } else {
    l->weight = syz_alloc("linear weight", (size_t)(out * in), syz_dtype_size(c->act));
    SYZ_REQUIRE(l->weight, SYZ_ERR_MEMORY, "%s", syz_error_text());
    SYZ_TRY(create_plans(l));
  }
  *result = l;
  l = NULL;
cleanup:
  syz_linear_destroy(&l);
  return st;
}

void syz_linear_set_rows(syz_linear *l, int64_t x, int64_t y)
{
  SYZ_ASSERT(l->native || (x == l->in && y == l->out));
  l->stride_x = x, l->stride_y = y;
  if (l->native) syz_linear_native_set_rows(l->native, x, y);
}

void syz_linear_destroy(syz_linear **l)
{
  if (!*l) return;
  syz_gemm_destroy(&(*l)->forward);
  syz_gemm_destroy(&(*l)->input);
  for (int i = 0; i < PIECES; i++) syz_gemm_destroy(&(*l)->weight_sum[i]);
  syz_linear_int8_destroy(&(*l)->int8);
  syz_linear_native_destroy(&(*l)->native);
  syz_free(&(*l)->weight);
  syz_free(&(*l)->bias);
  syz_free(&(*l)->scale);
  syz_free(l);
}

void syz_linear_pack(syz_linear *l, const float *weight, const float *bias, const float *scale)
{
  const size_t bytes = (size_t)l->out * sizeof(float);
  const double start = syz_profile_begin();
  l->has_bias = bias != NULL;
  l->has_scale = scale != NULL;
  if (bias) memcpy(l->bias, bias, bytes);
  if (scale) memcpy(l->scale, scale, bytes);
  const size_t act = syz_dtype_size(l->compute->act), row = (size_t)l->in * act;
  if (l->native) {
    syz_linear_native_pack(l->native, weight);
  } else {
#pragma omp parallel for schedule(static)
    for (int64_t o = 0; o < l->out; o++)
      syz_convert_to_act(l->compute->act, (char *)l->weight + (size_t)o * row, weight + o * l->in, l->in);
    syz_gemm_take(l->forward, l->weight);
    if (l->input) syz_gemm_take(l->input, l->weight);
  }
  const double copies = l->native && l->trains ? 2 : 1;
  syz_profile_end(start, SYZ_PROFILE_PACKING, "packing", l->out, l->in, 0,
                  (double)(l->out * l->in) * ((double)sizeof(float) + copies * (double)act));
}

bool syz_compute_has_int8(const syz_compute *c) { return syz_has_int8(c->act); }
bool syz_has_int8(syz_dtype act) { return syz_kernel_int8_of(act) != NULL; }

syz_status syz_linear_quantise(syz_linear *l, const float *weight, const float *most)
{
  l->is_int8 = false;
  syz_linear_int8_destroy(&l->int8);
  return syz_linear_int8_create(l->compute, l->out, l->in, l->max_rows, weight, most, &l->int8);
}

void syz_linear_use_int8(syz_linear *l, bool is_int8)
{
  SYZ_ASSERT(!is_int8 || l->int8);
  l->is_int8 = is_int8;
}

void syz_linear_settle(syz_linear *l)
{
  if (!l->is_int8) {
    syz_linear_int8_destroy(&l->int8);
    return;
  }
  syz_free(&l->weight);
  syz_gemm_destroy(&l->forward);
  if (l->native) syz_linear_native_settle(l->native);
}

void syz_linear_observe(syz_linear *l, float *most) { l->most = most; }

const float *syz_linear_scale(const syz_linear *l) { return l->has_scale ? l->scale : NULL; }

/** The largest piece that `rows` still fills. Piece 1 always does. */
static int next_piece(const syz_linear *l, int64_t rows)
{
  int i = 0;
  while (l->piece[i] > rows) i++;
  return i;
}

/* For the profile: 2 m n k operations; rows in, rows out, weights (a byte each in int8). */
static void end_product(const syz_linear *l, double start, const char *what, int64_t rows, size_t bytes_in,
                        size_t bytes_out)
{
  const double m = (double)rows, n = (double)l->out, k = (double)l->in,
               weight = l->is_int8 ? 1 : (double)syz_dtype_size(l->compute->act);
  syz_pulse();
  syz_profile_end(start, SYZ_PROFILE_PRODUCT, what, l->out, l->in, 2 * m * n * k,
                  m * k * (double)bytes_in + m * n * (double)bytes_out + n * k * weight);
}

static size_t forward_out_bytes(const syz_linear *l, syz_epilogue epilogue, bool has_u)
{
  const size_t act = syz_dtype_size(l->compute->act), kept = has_u ? act : 0;
  return kept + (epilogue == SYZ_EPILOGUE_F32        ? sizeof(float)
                 : epilogue == SYZ_EPILOGUE_RESIDUAL ? 2 * sizeof(float)
                                                     : act);
}

static void forward_rows(const syz_linear *l, int64_t rows, const void *x, syz_epilogue epilogue,
                         const int64_t *row_of_y, void *y, void *u)
{
  SYZ_ASSERT(rows >= 0 && rows <= l->max_rows);
  const float *bias = l->has_bias ? l->bias : NULL, *scale = l->has_scale ? l->scale : NULL;
  if (l->most) syz_rows_raise(l->compute->act, l->most, x, l->stride_x, rows, l->in);
  if (l->is_int8) {
    syz_linear_int8_forward(l->int8, rows, x, l->stride_x, epilogue, bias, scale, row_of_y, y, u, l->stride_y);
    return;
  }
  if (l->native) {
    syz_linear_native_forward(l->native, rows, x, epilogue, bias, scale, row_of_y, y, u);
    return;
  }
  const syz_dtype act = l->compute->act;
  const bool is_f32 = epilogue == SYZ_EPILOGUE_F32 || epilogue == SYZ_EPILOGUE_RESIDUAL;
  const size_t size = syz_dtype_size(act), size_y = is_f32 ? sizeof(float) : size;
  float *product = l->compute->scratch->bytes;
  for (int64_t r = 0; r < rows; r += SCRATCH_ROWS) {
    const int64_t n = rows - r < SCRATCH_ROWS ? rows - r : SCRATCH_ROWS;
    syz_gemm_run_rows(l->forward, n, (const char *)x + (size_t)(r * l->in) * size, NULL, NULL, product);
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < n; k++)
      syz_row_epilogue(act, epilogue, product + k * l->out, bias, scale,
                       (char *)y + (size_t)((row_of_y ? row_of_y[r + k] : r + k) * l->out) * size_y,
                       u ? (char *)u + (size_t)((r + k) * l->out) * size : NULL, l->out);
  }
}

void syz_linear_forward(const syz_linear *l, int64_t rows, const void *x, syz_epilogue epilogue, void *y, void *u)
{
  const double start = syz_profile_begin();
  forward_rows(l, rows, x, epilogue, NULL, y, u);
  end_product(l, start, l->is_int8 ? "forward int8" : "forward", rows, syz_dtype_size(l->compute->act),
              forward_out_bytes(l, epilogue, u != NULL));
}

void syz_linear_forward_residual(const syz_linear *l, int64_t rows, const void *x, const int64_t *row_of_y, float *y,
                                 void *u)
{
  const double start = syz_profile_begin();
  forward_rows(l, rows, x, SYZ_EPILOGUE_RESIDUAL, row_of_y, y, u);
  end_product(l, start, l->is_int8 ? "forward int8" : "forward", rows, syz_dtype_size(l->compute->act),
              forward_out_bytes(l, SYZ_EPILOGUE_RESIDUAL, u != NULL));
}

static void backward_input(const syz_linear *l, int64_t rows, const void *dy, void *dx)
{
  SYZ_ASSERT(l->trains && rows >= 0 && rows <= l->max_rows);
  if (l->native) {
    syz_linear_native_backward_input(l->native, rows, dy, NULL, dx);
    return;
  }
  syz_gemm_run_rows(l->input, rows, dy, NULL, NULL, dx);
}

void syz_linear_backward_input(const syz_linear *l, int64_t rows, const void *dy, void *dx)
{
  if (!dx) return;
  const double start = syz_profile_begin();
  backward_input(l, rows, dy, dx);
  end_product(l, start, "backward input", rows, syz_dtype_size(l->compute->act), syz_dtype_size(l->compute->act));
}

static void backward_gelu_input(const syz_linear *l, int64_t rows, const void *dy, const void *u, void *dx)
{
  SYZ_ASSERT(l->trains && rows >= 0 && rows <= l->max_rows);
  if (l->native) {
    syz_linear_native_backward_input(l->native, rows, dy, u, dx);
    return;
  }
  backward_input(l, rows, dy, dx);
  syz_gelu_backward(l->compute->act, dx, dx, u, rows * l->in);
}

void syz_linear_backward_gelu_input(const syz_linear *l, int64_t rows, const void *dy, const void *u, void *dx)
{
  const double start = syz_profile_begin();
  backward_gelu_input(l, rows, dy, u, dx);
  end_product(l, start, "backward input, GELU", rows, 2 * syz_dtype_size(l->compute->act),
              syz_dtype_size(l->compute->act));
}

/* The product rounded to act is first stored in the first half of dx, and then widened to float32 from the last row to
 * the first. */
static void widen_rows(syz_dtype act, float *y, const void *x, int64_t rows, int64_t width)
{
  for (int64_t r = rows - 1; r >= 0; r--) {
    float wide[WIDEN];
    for (int64_t last = width; last > 0; last -= WIDEN) {
      const int64_t first = last > WIDEN ? last - WIDEN : 0;
      syz_convert_to_f32(act, wide, (const char *)x + (size_t)(r * width + first) * syz_dtype_size(act), last - first);
      memcpy(y + r * width + first, wide, (size_t)(last - first) * sizeof *y);
    }
  }
}

void syz_linear_backward_input_f32(const syz_linear *l, int64_t rows, const void *dy, float *dx)
{
  SYZ_ASSERT(l->trains && rows >= 0 && rows <= l->max_rows);
  const double start = syz_profile_begin();
  if (l->native) {
    syz_linear_native_backward_input_f32(l->native, rows, dy, dx);
  } else {
    backward_input(l, rows, dy, dx);
    if (l->compute->act != SYZ_F32) widen_rows(l->compute->act, dx, dx, rows, l->in);
  }
  end_product(l, start, "backward input", rows, syz_dtype_size(l->compute->act), sizeof(float));
}

/* Column sums over blocks of rows, added in block order: the same for any thread count, and more exact than one long
 * sum. */
enum { SUM_ROWS = 64, STRIPE = 256 };

void syz_add_column_sums(syz_dtype act, float *sum, const void *dy, int64_t rows, int64_t width)
{
  const size_t size = syz_dtype_size(act);
#pragma omp parallel for schedule(static)
  for (int64_t first = 0; first < width; first += STRIPE) {
    const int64_t n = width - first < STRIPE ? width - first : STRIPE;
    float block[STRIPE], wide[STRIPE];
    for (int64_t r0 = 0; r0 < rows; r0 += SUM_ROWS) {
      for (int64_t i = 0; i < n; i++) block[i] = 0;
      for (int64_t r = r0; r < rows && r < r0 + SUM_ROWS; r++) {
        syz_convert_to_f32(act, wide, (const char *)dy + (size_t)(r * width + first) * size, n);
        syz_row_add(block, wide, n);
      }
      syz_row_add(sum + first, block, n);
    }
  }
}

static void backward_weight(const syz_linear *l, int64_t rows, const void *dy, const void *x, float *dweight,
                            float *dbias)
{
  SYZ_ASSERT(l->trains && rows >= 0 && rows <= l->max_rows);
  if (l->native) {
    const syz_stretches whole = {l->out, l->out * l->in, l->in};
    syz_linear_native_backward_weight(l->native, rows, dy, x, &whole, dweight, dbias);
    return;
  }
  if (dbias) syz_add_column_sums(l->compute->act, dbias, dy, rows, l->out);
  const size_t size = syz_dtype_size(l->compute->act);
  for (int64_t r = 0; r < rows;) {
    const int i = next_piece(l, rows - r);
    syz_gemm_run(l->weight_sum[i], (const char *)dy + (size_t)(r * l->out) * size,
                 (const char *)x + (size_t)(r * l->in) * size, NULL, dweight);
    r += l->piece[i];
  }
}

void syz_linear_backward_weight(const syz_linear *l, int64_t rows, const void *dy, const void *x, float *dweight,
                                float *dbias)
{
  const double start = syz_profile_begin();
  backward_weight(l, rows, dy, x, dweight, dbias);
  end_product(l, start, "backward weight", rows, syz_dtype_size(l->compute->act), syz_dtype_size(l->compute->act));
}

bool syz_linear_needs_room(const syz_compute *c) { return c->engine[c->act] != &syz_engine_native; }

void syz_linear_backward_weight_in(const syz_linear *l, int64_t rows, const void *dy, const void *x,
                                   const syz_stretches *at, float *dweight, float *dbias, float *room)
{
  SYZ_ASSERT(l->trains && rows >= 0 && rows <= l->max_rows && l->out % at->block == 0);
  const double start = syz_profile_begin();
  if (l->native) {
    syz_linear_native_backward_weight(l->native, rows, dy, x, at, dweight, dbias);
  } else {
    memset(room, 0, (size_t)(l->out * l->in) * sizeof *room);
    backward_weight(l, rows, dy, x, room, dbias);
    for (int64_t o = 0; o < l->out; o++)
      syz_row_add(dweight + o / at->block * at->block_stride + o % at->block * at->row_stride, room + o * l->in, l->in);
  }
  end_product(l, start, "backward weight", rows, syz_dtype_size(l->compute->act), syz_dtype_size(l->compute->act));
}
