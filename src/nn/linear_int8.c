/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The forward product of a linear layer in 8-bit integers (kernel_int8.h).
 *
 * Rows of activations are quantised a sweep at a time into the shared scratch and read from there while they are still
 * in cache; each row alone, so that its bits do not depend on the others. There is a cache line between rows: at a
 * multiple of 4 KiB the six rows of a tile would share one set of the L1 cache.
 */
#include "linear_int8.h"

#include <math.h>

#include "linear_native.h"

enum { SWEEP_ROWS = 1728, LINE_WORDS = 16 };

struct syz_linear_int8 {
  const syz_compute *compute;
  const syz_kernel *kernel;
  int64_t out, in, sweep;
  int64_t row_words; /* from one quantised row to the next */
  uint32_t *weight;
  float *column_scale; /* [out, up to whole panels] */
  int32_t *column_sum;
  float *factor; /* [in] multiplies the activations, or NULL */
};

/** A sweep's rows in the scratch. */
typedef struct sweep_views {
  float *scale;
  int32_t *zero;
  uint32_t *rows;
} sweep_views;

static sweep_views views(const syz_linear_int8 *l, syz_arena *a)
{
  sweep_views v;
  v.scale = syz_arena_take(a, (size_t)l->sweep, sizeof *v.scale);
  v.zero = syz_arena_take(a, (size_t)l->sweep, sizeof *v.zero);
  v.rows = syz_arena_take(a, (size_t)(l->sweep * l->row_words), sizeof *v.rows);
  return v;
}

/** The factors of the weights, [in] into `factor`: they shift range from the activations to the weights, as the square
 * root of the ratio of their magnitudes. */
static void choose_factor(const syz_linear_int8 *l, const float *weight, const float *most, float *factor)
{
  for (int64_t i = 0; i < l->in; i++) factor[i] = 0;
  for (int64_t o = 0; o < l->out; o++)
    for (int64_t i = 0; i < l->in; i++) factor[i] = fmaxf(factor[i], fabsf(weight[o * l->in + i]));
  for (int64_t i = 0; i < l->in; i++) {
    const float f = factor[i] > 0 ? sqrtf(most[i] / factor[i]) : 1;
    factor[i] = f > 1e-6f && f < 1e6f ? f : 1; /* an input that is always 0, or was never observed */
  }
}

syz_status syz_linear_int8_create(const syz_compute *c, int64_t out, int64_t in, int64_t max_rows, const float *weight,
                                  const float *most, syz_linear_int8 **result)
{
  syz_status st = SYZ_OK;
  syz_linear_int8 *l = NULL;
  *result = NULL;
  SYZ_REQUIRE(syz_kernel_int8_of(c->act), SYZ_ERR_INPUT,
              "int8 products need AVX512_VNNI (on Arm I8MM), which this processor does not have");
  SYZ_REQUIRE(in <= SYZ_INT8_LONGEST, SYZ_ERR_INPUT, "int8 products can sum over at most %d inputs, not %lld",
              (int)SYZ_INT8_LONGEST, (long long)in);
  SYZ_ALLOC(l, "linear int8", 1);
  *l = (syz_linear_int8){.compute = c, .kernel = syz_kernel_int8_of(c->act), .out = out, .in = in};
  const int64_t units = syz_units(l->kernel, in), columns = syz_ceil_div(out, SYZ_TILE_COLUMNS) * SYZ_TILE_COLUMNS;
  l->sweep = max_rows < SWEEP_ROWS ? max_rows : SWEEP_ROWS;
  l->row_words = syz_ceil_div(units, LINE_WORDS) * LINE_WORDS + LINE_WORDS;
  SYZ_ALLOC(l->weight, "linear int8 weight", syz_packed_words(out, units));
  SYZ_ALLOC(l->column_scale, "linear int8 scales", columns);
  SYZ_ALLOC(l->column_sum, "linear int8 sums", columns);
  if (most) {
    SYZ_ALLOC(l->factor, "linear int8 factor", in);
    choose_factor(l, weight, most, l->factor);
  }
#pragma omp parallel for schedule(static)
  for (int64_t o = 0; o < columns; o += SYZ_TILE_COLUMNS)
    syz_int8_pack_weight(l->weight + o * units, l->column_scale + o, l->column_sum + o, weight + o * in, in,
                         out - o < SYZ_TILE_COLUMNS ? (int)(out - o) : SYZ_TILE_COLUMNS, in, l->factor,
                         l->kernel->in_tiles);
  if (l->factor)
    for (int64_t i = 0; i < in; i++) l->factor[i] = 1 / l->factor[i];
  syz_arena measure = {0};
  views(l, &measure);
  SYZ_TRY(syz_compute_reserve(c, measure.used + 64));
  SYZ_TRY(syz_kernel_reserve(c, l->kernel, l->sweep, in));
  *result = l;
  l = NULL;
cleanup:
  syz_linear_int8_destroy(&l);
  return st;
}

void syz_linear_int8_destroy(syz_linear_int8 **l)
{
  if (!*l) return;
  syz_free(&(*l)->weight);
  syz_free(&(*l)->column_scale);
  syz_free(&(*l)->column_sum);
  syz_free(&(*l)->factor);
  syz_free(l);
}

void syz_linear_int8_forward(const syz_linear_int8 *l, int64_t rows, const void *x, int64_t stride_x,
                             syz_epilogue epilogue, const float *bias, const float *scale, const int64_t *row_of_y,
                             void *y, void *u, int64_t stride_y)
{
  const size_t act = syz_dtype_size(l->compute->act), row_in = (size_t)stride_x * act;
  const bool is_f32 = epilogue == SYZ_EPILOGUE_F32 || epilogue == SYZ_EPILOGUE_RESIDUAL;
  syz_arena scratch = {.base = l->compute->scratch->bytes, .size = l->compute->scratch->size};
  const sweep_views v = views(l, &scratch);
  const syz_int8_scales scales = {
      .row_scale = v.scale, .row_zero = v.zero, .column_scale = l->column_scale, .column_sum = l->column_sum};
  /* Sweeps of about equal size: reading the weights for a few rows costs as much as for many. */
  const int64_t sweep = rows ? syz_ceil_div(rows, syz_ceil_div(rows, l->sweep)) : 1;
  for (int64_t first = 0; first < rows; first += sweep) {
    const int64_t n = rows - first < sweep ? rows - first : sweep;
    const unsigned char *from = (const unsigned char *)x + (size_t)first * row_in;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < n; r++)
      syz_int8_quantise_row(l->compute->act, (uint8_t *)(v.rows + r * l->row_words), v.scale + r, v.zero + r,
                            from + (size_t)r * row_in, l->factor, l->in);
    syz_tile_end end =
        syz_linear_end(l->out, stride_y, epilogue, bias, scale, row_of_y ? row_of_y + first : NULL, y, u);
    if (!row_of_y) end.y = (unsigned char *)y + (size_t)(first * end.ldy) * (is_f32 ? sizeof(float) : act);
    if (u) end.u = (unsigned char *)u + (size_t)(first * end.ldu) * act;
    end.int8 = &scales;
    syz_kernel_product(l->compute, l->kernel, n, l->out, l->in, (syz_left){v.rows, l->row_words * l->kernel->unit},
                       l->weight, &end);
  }
}

void syz_rows_raise(syz_dtype act, float *most, const void *x, int64_t stride, int64_t rows, int64_t width)
{
  enum { PIECE = 256 };
  float v[PIECE];
  for (int64_t r = 0; r < rows; r++)
    for (int64_t first = 0; first < width; first += PIECE) {
      const int64_t n = width - first < PIECE ? width - first : PIECE;
      syz_convert_to_f32(act, v, (const unsigned char *)x + (size_t)(r * stride + first) * syz_dtype_size(act), n);
      for (int64_t i = 0; i < n; i++) most[first + i] = fabsf(v[i]) > most[first + i] ? fabsf(v[i]) : most[first + i];
    }
}
