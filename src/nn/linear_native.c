/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The linear layer on the own kernels.
 *
 * Two packed copies of the weights, one for y = x W^T (summed over the inputs) and one for dx = dy W (summed over the
 * outputs). The weight gradient dW += dy^T x sums over rows: x is packed in blocks of rows, dy in pieces that then stay
 * in L2, which costs 2 to 6 % of the product and lets it run at full speed (oneDNN's strided form reaches 80 to 85 % of
 * the limit).
 */
#include "linear_native.h"

#include <omp.h>

struct syz_linear_native {
  const syz_compute *compute;
  const syz_kernel *kernel;
  int64_t out, in;
  int64_t stride_x, stride_y; /* see syz_linear_set_rows */
  uint32_t *forward, *input;
};

enum {
  SUM_UNITS_MAX = 640, /* most units that one block of the weight gradient sums over */
  STREAMED = 1 << 20,  /* larger weights leave the caches before they are used: packing past the caches saves a third of
                          the memory traffic */
  LEFT_ROWS = 192, /* rows of dW per thread at a time: their part of dy, packed (480 KiB), and a panel of x (160 KiB)
                      stay in L2 */
};

/** Blocks of about equal size with a whole number of pairs, so that only the last row of all can be without a partner.
 */
static int64_t sum_rows(const syz_kernel *q, int64_t rows)
{
  const int64_t blocks = syz_ceil_div(rows, SUM_UNITS_MAX * q->unit);
  return syz_ceil_div(syz_ceil_div(rows, blocks), 2) * 2;
}

/** Words of scratch for a block of `rows`: x packed, shared; and each thread's part of dy. Whole cache lines. */
static int64_t weight_right_words(const syz_linear_native *l, int64_t rows)
{
  return syz_packed_words(l->in, syz_units(l->kernel, rows));
}
static int64_t weight_left_words(const syz_linear_native *l, int64_t rows)
{
  return syz_ceil_div(syz_packed_left_words(l->kernel, LEFT_ROWS, syz_units(l->kernel, rows)), 16) * 16;
}
/* The same for all of dy, packed in at most STRETCHES stretches, each in whole strips. */
enum { STRETCHES = 4 };
static int64_t weight_whole_left_words(const syz_linear_native *l, int64_t rows)
{
  return (l->out + STRETCHES * l->kernel->rows) * syz_units(l->kernel, rows);
}

syz_status syz_linear_native_create(const syz_compute *c, int64_t out, int64_t in, int64_t max_rows, bool trains,
                                    syz_linear_native **result)
{
  syz_status st = SYZ_OK;
  syz_linear_native *l;
  *result = NULL;
  SYZ_ALLOC(l, "linear", 1);
  l->compute = c;
  l->kernel = c->kernel[c->act];
  l->out = l->stride_y = out, l->in = l->stride_x = in;
  SYZ_ALLOC(l->forward, "linear weight", syz_packed_words(out, syz_units(l->kernel, in)));
  /* Scratch: rows of odd length, padded to whole units; packed blocks of dy and x. */
  const int64_t longest = in > out ? in : out;
  int64_t words =
      !syz_packs_left(l->kernel) && longest % l->kernel->unit ? max_rows * syz_units(l->kernel, longest) : 0;
  if (trains) {
    SYZ_ALLOC(l->input, "linear weight", syz_packed_words(in, syz_units(l->kernel, out)));
    const int64_t most = SUM_UNITS_MAX * l->kernel->unit, block = max_rows < most ? max_rows + 1 : most;
    const int64_t left =
        syz_packs_left(l->kernel) ? weight_whole_left_words(l, block) : c->threads * weight_left_words(l, block);
    const int64_t packed = weight_right_words(l, block) + left;
    if (packed > words) words = packed;
  }
  SYZ_TRY(syz_compute_reserve(c, (size_t)words * sizeof(uint32_t)));
  SYZ_TRY(syz_kernel_reserve(c, l->kernel, max_rows, longest));
  *result = l;
  l = NULL;
cleanup:
  syz_linear_native_destroy(&l);
  return st;
}

void syz_linear_native_destroy(syz_linear_native **l)
{
  if (!*l) return;
  syz_free(&(*l)->forward);
  syz_free(&(*l)->input);
  syz_free(l);
}

int64_t syz_row_stride(const syz_compute *c, int64_t width)
{
  enum { LINE = 64 }; /* bytes; so much more spreads rows over all sets */
  const syz_kernel *q = c->engine[c->act] == &syz_engine_native ? c->kernel[c->act] : NULL;
  const bool is_packed =
      q && q->reads_rows && width % (q->unit * q->depth) == 0 && !q->reads_rows(width / q->unit, syz_units(q, width));
  return is_packed ? width + LINE / (int64_t)syz_dtype_size(c->act) : width;
}

void syz_linear_native_set_rows(syz_linear_native *l, int64_t x, int64_t y) { l->stride_x = x, l->stride_y = y; }

void syz_linear_native_settle(syz_linear_native *l) { syz_free(&l->forward); }

void syz_linear_native_pack(syz_linear_native *l, const float *weight)
{
  const syz_kernel *q = l->kernel;
  const int64_t units_in = syz_units(q, l->in), units_out = syz_units(q, l->out);
  const bool streams = l->out * l->in >= STREAMED;
  /* Both copies are made from 64 rows of W at a time, which the second finds in L2: reading W twice from memory takes
   * 1.5 times as long. */
#pragma omp parallel for schedule(static)
  for (int64_t o = 0; o < l->out; o += SYZ_TILE_COLUMNS) {
    const int rows = l->out - o < SYZ_TILE_COLUMNS ? (int)(l->out - o) : SYZ_TILE_COLUMNS;
    q->pack->weight_rows(l->forward + o * units_in, weight + o * l->in, l->in, rows, l->in, streams);
    if (!l->input) continue;
    for (int64_t i = 0; i < l->in; i += SYZ_TILE_COLUMNS)
      q->pack->weight_columns(l->input + i * units_out + o / q->unit * SYZ_TILE_COLUMNS, weight + o * l->in + i, l->in,
                              l->in - i < SYZ_TILE_COLUMNS ? (int)(l->in - i) : SYZ_TILE_COLUMNS, rows, streams);
  }
}

/** Rows of x as units: in place, or copied with a zero after each row of odd length. */
static syz_left left_of(const syz_linear_native *l, const void *x, int64_t stride, int64_t rows, int64_t k)
{
  const int64_t units = syz_units(l->kernel, k);
  if (k % l->kernel->unit == 0 || syz_packs_left(l->kernel)) return (syz_left){x, stride};
  const syz_bf16 *from = x;
  syz_bf16 *to = l->compute->scratch->bytes;
#pragma omp parallel for schedule(static)
  for (int64_t r = 0; r < rows; r++) {
    for (int64_t i = 0; i < k; i++) to[r * 2 * units + i] = from[r * stride + i];
    to[r * 2 * units + k].bits = 0;
  }
  return (syz_left){l->compute->scratch->bytes, units * l->kernel->unit};
}

syz_tile_end syz_linear_end(int64_t out, int64_t stride, syz_epilogue epilogue, const float *bias, const float *scale,
                            const int64_t *row_of_y, void *y, void *u)
{
  static const syz_tile_action action[] = {[SYZ_EPILOGUE_NONE] = SYZ_TILE_ACT,
                                           [SYZ_EPILOGUE_F32] = SYZ_TILE_F32,
                                           [SYZ_EPILOGUE_RESIDUAL] = SYZ_TILE_RESIDUAL,
                                           [SYZ_EPILOGUE_GELU] = SYZ_TILE_GELU};
  const bool is_f32 = epilogue == SYZ_EPILOGUE_F32 || epilogue == SYZ_EPILOGUE_RESIDUAL;
  return (syz_tile_end){.action = action[epilogue],
                        .bias = bias,
                        .scale = scale,
                        .y = y,
                        .ldy = is_f32 ? out : stride,
                        .u = u,
                        .ldu = !u       ? 0
                               : is_f32 ? out
                                        : stride,
                        .row_of_y = row_of_y};
}

void syz_linear_native_forward(const syz_linear_native *l, int64_t rows, const void *x, syz_epilogue epilogue,
                               const float *bias, const float *scale, const int64_t *row_of_y, void *y, void *u)
{
  const syz_tile_end end = syz_linear_end(l->out, l->stride_y, epilogue, bias, scale, row_of_y, y, u);
  syz_kernel_product(l->compute, l->kernel, rows, l->out, l->in, left_of(l, x, l->stride_x, rows, l->in), l->forward,
                     &end);
}

void syz_linear_native_backward_input(const syz_linear_native *l, int64_t rows, const void *dy, const void *u, void *dx)
{
  const syz_tile_end end = {.action = u ? SYZ_TILE_SLOPE : SYZ_TILE_ACT,
                            .y = dx,
                            .ldy = l->stride_x,
                            .u = (void *)(uintptr_t)u, /* read only in this action */
                            .ldu = u ? l->stride_x : 0};
  syz_kernel_product(l->compute, l->kernel, rows, l->in, l->out, left_of(l, dy, l->stride_y, rows, l->out), l->input,
                     &end);
}

void syz_linear_native_backward_input_f32(const syz_linear_native *l, int64_t rows, const void *dy, float *dx)
{
  const syz_tile_end end = {.action = SYZ_TILE_F32, .y = dx, .ldy = l->in};
  syz_kernel_product(l->compute, l->kernel, rows, l->in, l->out, left_of(l, dy, l->stride_y, rows, l->out), l->input,
                     &end);
}

/** Rows [first, first + m) of dW (all at row_stride), and their bias sums, from one block of n rows of dy and the
 * packed block of x. */
static void add_weight_rows(const syz_linear_native *l, int64_t first, int64_t m, int64_t n, const char *dy,
                            const uint32_t *x, uint32_t *left, float *dweight, int64_t row_stride, float *dbias)
{
  const syz_kernel *q = l->kernel;
  const char *from = dy + (size_t)first * syz_dtype_size(l->compute->act);
  const int64_t units = syz_units(q, n);
  const syz_tile_end end = {.action = SYZ_TILE_ADD, .y = dweight, .ldy = row_stride};
  q->pack_left_columns(left, from, l->stride_y, m, n);
  if (dbias) q->pack->add_column_sums(dbias + first, from, l->stride_y, n, m);
  for (int64_t j = 0; j < l->in; j += SYZ_TILE_COLUMNS)
    q->block(m, l->in - j < SYZ_TILE_COLUMNS ? l->in - j : SYZ_TILE_COLUMNS, units, left, 0, x + j * units, &end, first,
             j, syz_kernel_room(l->compute));
}

/** All of dW from one block of n rows: tiles need a block of columns of x in L2 while all of dy, packed once, is
 * streamed. Called in a parallel region. */
static void add_weight_whole(const syz_linear_native *l, int64_t n, const char *dy, const uint32_t *x, uint32_t *left,
                             const syz_stretches *at, float *dweight, float *dbias)
{
  const syz_kernel *q = l->kernel;
  const int64_t units = syz_units(q, n), stretch = syz_packed_left_words(q, at->block, units),
                size = (int64_t)syz_dtype_size(l->compute->act);
  const int64_t pieces = syz_ceil_div(at->block, LEFT_ROWS);
  SYZ_ASSERT(l->out / at->block <= STRETCHES);
#pragma omp for schedule(static)
  for (int64_t p = 0; p < l->out / at->block * pieces; p++) {
    const int64_t b = p / pieces, in_block = p % pieces * LEFT_ROWS, rest = at->block - in_block,
                  m = rest < LEFT_ROWS ? rest : LEFT_ROWS;
    const char *from = dy + (b * at->block + in_block) * size;
    q->pack_left_columns(left + b * stretch + in_block * units, from, l->stride_y, m, n);
    if (dbias) q->pack->add_column_sums(dbias + b * at->block + in_block, from, l->stride_y, n, m);
  }
  for (int64_t b = 0; b < l->out / at->block; b++) {
    const syz_tile_end end = {.action = SYZ_TILE_ADD, .y = dweight + b * at->block_stride, .ldy = at->row_stride};
    syz_kernel_product_inside(l->compute, q, at->block, l->in, units, left + b * stretch, x, &end);
  }
#pragma omp barrier
}

void syz_linear_native_backward_weight(const syz_linear_native *l, int64_t rows, const void *dy, const void *x,
                                       const syz_stretches *at, float *dweight, float *dbias)
{
  const syz_kernel *q = l->kernel;
  const int64_t pieces = syz_ceil_div(at->block, LEFT_ROWS);
  const int64_t size = (int64_t)syz_dtype_size(l->compute->act), block = rows ? sum_rows(q, rows) : 1;
  const int64_t left_words = weight_left_words(l, block);
  /* Never more threads than have scratch, even if another context has raised their number. */
#pragma omp parallel num_threads(l->compute->threads)
  for (int64_t r = 0; r < rows; r += block) {
    const int64_t n = rows - r < block ? rows - r : block;
    const char *from = (const char *)dy + r * l->stride_y * size;
    uint32_t *right = l->compute->scratch->bytes, *left = right + weight_right_words(l, block);
#pragma omp for schedule(static)
    for (int64_t p = 0; p < syz_pack_groups(q, n); p++)
      syz_kernel_pack_columns_group(q, right, (const char *)x + r * l->stride_x * size, l->stride_x, l->in, n, p);
    if (syz_packs_left(q)) {
      add_weight_whole(l, n, from, right, left, at, dweight, dbias);
      continue;
    }
#pragma omp for schedule(static)
    for (int64_t p = 0; p < l->out / at->block * pieces; p++) { /* no piece crosses the border of a stretch */
      const int64_t b = p / pieces, in_block = p % pieces * LEFT_ROWS, left_rows = at->block - in_block;
      add_weight_rows(l, b * at->block + in_block, left_rows < LEFT_ROWS ? left_rows : LEFT_ROWS, n, from, right,
                      left + left_words * omp_get_thread_num(),
                      dweight + b * (at->block_stride - at->block * at->row_stride), at->row_stride, dbias);
    }
  }
}
