/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The linear layer on every engine against plain loops in float64: all epilogues, both gradients, odd sizes, and its
 * laws: a row's bits do not depend on the number of rows, nothing on the threads, gradients accumulate, nothing is
 * allocated in a call.
 */

#include "check.h"
#include "linear_native.h"
#include "syzygy/nn.h"
#include "../../src/nn/rowwise.h"

static const char *const engine_name[] = {"auto", "reference", "BLIS", "oneDNN", "native"};

static float *draw(size_t n, double scale, uint64_t sample)
{
  float *x = syz_alloc("draw", n ? n : 1, sizeof *x);
  const syz_random r = syz_random_make(11, SYZ_RANDOM_TEST, 2, sample);
  syz_random_fill_normal(&r, x, n);
  for (size_t i = 0; i < n; i++) x[i] *= (float)scale;
  return x;
}

/** The numbers as the type holds them: rounded in x itself, and the array of that type. */
static void *rounded(syz_dtype type, float *x, size_t n)
{
  void *y = syz_alloc("rounded", n ? n : 1, syz_dtype_size(type));
  syz_convert_to_act(type, y, x, (int64_t)n);
  syz_convert_to_f32(type, x, y, (int64_t)n);
  return y;
}

static double get(syz_dtype type, const void *x, int64_t i)
{
  return type == SYZ_F32 ? (double)((const float *)x)[i] : (double)syz_bf16_to_f32(((const syz_bf16 *)x)[i]);
}

static double gelu(double u) { return 0.5 * u * (1 + erf(u * 0.70710678118654752440)); }

/** Largest |value - expected| over the tolerance; and the same when the largest element is wrong by one per cent, which
 * must exceed 1. */
static void compare(const char *what, const char *engine, syz_dtype type, const void *value, const double *expected,
                    int64_t n, double tolerance)
{
  double worst = 0;
  int64_t largest = 0;
  const double relative = type == SYZ_BF16 ? 0.00395 : 0;
  for (int64_t i = 0; i < n; i++) {
    const double error = fabs(get(type, value, i) - expected[i]) / (tolerance + relative * fabs(expected[i]));
    if (!(error <= worst)) worst = error;
    if (fabs(expected[i]) > fabs(expected[largest])) largest = i;
  }
  const double e = expected[largest],
               faulty = fabs(1.01 * get(type, value, largest) - e) / (tolerance + relative * fabs(e));
  check_count += 2;
  if (!(worst < 1)) CHECK_FAIL_("%s %s: error %.3g of the tolerance", engine, what, worst);
  if (!(faulty > 1)) CHECK_FAIL_("%s %s: one per cent more passes, %.3g of the tolerance", engine, what, faulty);
}

static void test_size(const syz_compute *c, const char *engine, int64_t out, int64_t in, int64_t rows, int64_t max_rows)
{
  const syz_dtype act = syz_compute_act(c);
  const size_t n_w = (size_t)(out * in), n_x = (size_t)(rows * in), n_y = (size_t)(rows * out);
  float *w = draw(n_w, 1, 1), *bias = draw((size_t)out, 1, 2), *scale = draw((size_t)out, 1, 3), *x = draw(n_x, 1, 4);
  float *dy = draw(n_y, 1, 5), *y0 = draw(n_y, 1, 6), *dw0 = draw(n_w, 1, 7), *db0 = draw((size_t)out, 1, 8);
  void *xa = rounded(act, x, n_x), *dya = rounded(act, dy, n_y), *wa = rounded(act, w, n_w);
  void *y = syz_alloc("y", n_y, sizeof(float)), *u = syz_alloc("u", n_y, sizeof(float)),
       *dx = syz_alloc("dx", n_x, sizeof(float));
  double *v = syz_alloc("v", n_y, sizeof *v), *e = syz_alloc("e", n_y + n_x + n_w, sizeof *e);
  const double tolerance = 1e-5 + 4e-7 * (double)in, tolerance_back = 1e-5 + 4e-7 * (double)out,
               tolerance_w = 1e-5 + 5e-7 * (double)rows;
  syz_linear *l = NULL;
  CHECK_OK(syz_linear_create(c, out, in, max_rows, true, &l));
  if (check_failures) return;
  const int64_t allocations = syz_memory_get().allocations;
  for (int variant = 0; variant < 2; variant++) { /* with and without bias and scale */
    const bool is_full = variant == 0;
    syz_linear_pack(l, w, is_full ? bias : NULL, is_full ? scale : NULL);
    for (int64_t r = 0; r < rows; r++)
      for (int64_t o = 0; o < out; o++) {
        double sum = is_full ? (double)bias[o] : 0;
        for (int64_t i = 0; i < in; i++) sum += (double)x[r * in + i] * (double)w[o * in + i];
        v[r * out + o] = sum;
      }
    const int64_t n = rows * out;
    syz_linear_forward(l, rows, xa, SYZ_EPILOGUE_NONE, y, NULL);
    compare("plain", engine, act, y, v, n, tolerance);
    syz_linear_forward(l, rows, xa, SYZ_EPILOGUE_F32, y, NULL);
    compare("float32", engine, SYZ_F32, y, v, n, tolerance);
    syz_linear_forward(l, rows, xa, SYZ_EPILOGUE_GELU, y, u);
    compare("kept product", engine, act, u, v, n, tolerance);
    for (int64_t i = 0; i < n; i++) e[i] = gelu(v[i]);
    compare("gelu", engine, act, y, e, n, 1.2 * tolerance);
    syz_linear_forward(l, rows, xa, SYZ_EPILOGUE_GELU, y, NULL);
    compare("gelu alone", engine, act, y, e, n, 1.2 * tolerance);
    for (int64_t i = 0; i < n; i++) e[i] = (double)y0[i] + (is_full ? (double)scale[i % out] : 1) * v[i];
    memcpy(y, y0, (size_t)n * sizeof(float));
    syz_linear_forward(l, rows, xa, SYZ_EPILOGUE_RESIDUAL, y, u);
    compare("residual", engine, SYZ_F32, y, e, n, 4 * tolerance);
    compare("unscaled branch", engine, act, u, v, n, tolerance);
    memcpy(y, y0, (size_t)n * sizeof(float));
    syz_linear_forward(l, rows, xa, SYZ_EPILOGUE_RESIDUAL, y, NULL);
    compare("residual alone", engine, SYZ_F32, y, e, n, 4 * tolerance);
  }

  for (int64_t r = 0; r < rows; r++)
    for (int64_t i = 0; i < in; i++) {
      double sum = 0;
      for (int64_t o = 0; o < out; o++) sum += (double)dy[r * out + o] * (double)w[o * in + i];
      e[r * in + i] = sum;
    }
  syz_linear_backward_input(l, rows, dya, dx);
  compare("dx", engine, act, dx, e, rows * in, tolerance_back);
  syz_linear_backward_input(l, rows, dya, NULL);

  float *dw = draw(n_w, 1, 7), *db = draw((size_t)out, 1, 8);
  for (int64_t o = 0; o < out; o++)
    for (int64_t i = 0; i < in; i++) {
      double sum = 0;
      for (int64_t r = 0; r < rows; r++) sum += (double)dy[r * out + o] * (double)x[r * in + i];
      e[o * in + i] = (double)dw0[o * in + i] + 2 * sum;
    }
  const int64_t before_calls = syz_memory_get().allocations;
  syz_linear_backward_weight(l, rows, dya, xa, dw, db);
  syz_linear_backward_weight(l, rows, dya, xa, dw, NULL);
  compare("dw", engine, SYZ_F32, dw, e, out * in, 2 * tolerance_w);
  for (int64_t o = 0; o < out; o++) {
    e[o] = (double)db0[o];
    for (int64_t r = 0; r < rows; r++) e[o] += (double)dy[r * out + o];
  }
  compare("db", engine, SYZ_F32, db, e, out, tolerance_w);
  CHECK_EQ(syz_memory_get().allocations, before_calls);
  CHECK_EQ(before_calls - allocations, 2); /* dw and db of this test alone */

  /* Fewer rows: the same bits, in both directions. */
  void *few = syz_alloc("few", (size_t)(rows * (in > out ? in : out)), sizeof(float));
  for (int64_t k = rows; k > 0; k /= 2) {
    syz_linear_forward(l, rows, xa, SYZ_EPILOGUE_F32, y, NULL);
    syz_linear_forward(l, k, xa, SYZ_EPILOGUE_F32, few, NULL);
    CHECK(!memcmp(y, few, (size_t)(k * out) * sizeof(float)));
    syz_linear_backward_input(l, k, dya, few);
    CHECK(!memcmp(dx, few, (size_t)(k * in) * syz_dtype_size(act)));
  }
  syz_linear_forward(l, 0, xa, SYZ_EPILOGUE_F32, y, NULL);
  syz_linear_backward_weight(l, 0, dya, xa, dw, db);
  syz_linear_destroy(&l);
  syz_linear_destroy(&l);
  void *all[] = {w, bias, scale, x, dy, y0, dw0, db0, xa, dya, wa, y, u, dx, v, e, dw, db, few};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) syz_free(&all[i]);
}

/** LayerScale's backward pass against its formula. */
static void test_layerscale(syz_dtype type)
{
  const int64_t rows = 131, width = 77;
  const size_t n = (size_t)(rows * width);
  float *dx = draw(n, 1, 20), *v = draw(n, 1, 21), *scale = draw((size_t)width, 1, 22),
        *dscale = draw((size_t)width, 1, 23);
  void *va = rounded(type, v, n), *dy = syz_alloc("dy", n, sizeof(float));
  double *e = syz_alloc("e", n, sizeof *e), *es = syz_alloc("es", (size_t)width, sizeof *es);
  for (int64_t j = 0; j < width; j++) es[j] = (double)dscale[j];
  for (int64_t i = 0; i < (int64_t)n; i++) {
    e[i] = (double)dx[i] * (double)scale[i % width];
    es[i % width] += (double)dx[i] * (double)v[i];
  }
  syz_layerscale_backward(type, dy, dscale, dx, va, scale, rows, width);
  compare("layerscale dy", "-", type, dy, e, (int64_t)n, 1e-6);
  compare("layerscale dscale", "-", SYZ_F32, dscale, es, width, 1e-4);
  for (size_t i = 0; i < n; i++) e[i] = (double)dx[i];
  syz_layerscale_backward(type, dy, NULL, dx, NULL, NULL, rows, width);
  compare("layerscale, none", "-", type, dy, e, (int64_t)n, 1e-12);
  void *all[] = {dx, v, scale, dscale, va, dy, e, es};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) syz_free(&all[i]);
}

/** Everything of one size on 1 and 2 threads, bit by bit. */
static void test_threads(syz_dtype type, syz_engine engine)
{
  /* Of the own kernels two sweeps of packed rows. oneDNN's bits at such widths differ between one and two threads: see
   * src/nn/README.md. */
  const bool is_own = engine == SYZ_ENGINE_NATIVE;
  const int64_t out = is_own ? 72 : 200, in = is_own ? 1024 : 136, rows = is_own ? 1800 : 157;
  const size_t n_w = (size_t)(out * in), n_x = (size_t)(rows * in), n_y = (size_t)(rows * out),
               total = n_y + n_x + n_w + (size_t)out;
  float *w = draw(n_w, 1, 1), *x = draw(n_x, 1, 2), *dy = draw(n_y, 1, 3), *result[2];
  void *xa = rounded(type, x, n_x), *dya = rounded(type, dy, n_y);
  for (int threads = 1; threads <= 2; threads++) {
    float *r = result[threads - 1] = syz_alloc("result", total, sizeof *r);
    syz_compute *c = NULL;
    syz_linear *l = NULL;
    CHECK_OK(syz_compute_create(type, engine, threads, &c));
    CHECK_OK(syz_linear_create(c, out, in, rows, true, &l));
    if (check_failures) return;
    syz_linear_pack(l, w, NULL, NULL);
    syz_linear_forward(l, rows, xa, SYZ_EPILOGUE_F32, r, NULL);
    syz_linear_backward_input(l, rows, dya, r + n_y);
    syz_linear_backward_weight(l, rows, dya, xa, r + n_y + n_x, r + n_y + n_x + n_w);
    syz_linear_destroy(&l);
    syz_compute_destroy(&c);
  }
  CHECK(!memcmp(result[0], result[1], total * sizeof(float)));
  void *all[] = {w, x, dy, xa, dya, result[0], result[1]};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) syz_free(&all[i]);
}

/** [rows, width] of a type with rows `stride` elements apart, NaN in between: what must be neither read nor written. */
static void *spread(syz_dtype type, const void *x, int64_t rows, int64_t width, int64_t stride)
{
  const size_t size = syz_dtype_size(type);
  unsigned char *y = syz_alloc("spread", (size_t)(rows * stride), size);
  memset(y, 0xff, (size_t)(rows * stride) * size);
  for (int64_t r = 0; r < rows && x; r++)
    memcpy(y + (size_t)(r * stride) * size, (const unsigned char *)x + (size_t)(r * width) * size,
           (size_t)width * size);
  return y;
}

static void check_spread(const char *what, syz_dtype type, const void *y, const void *expected, int64_t rows,
                         int64_t width, int64_t stride)
{
  const size_t size = syz_dtype_size(type);
  void *whole = spread(type, expected, rows, width, stride);
  check_count++;
  if (memcmp(y, whole, (size_t)(rows * stride) * size)) CHECK_FAIL_("rows apart, %s: other bits", what);
  syz_free(&whole);
}

/** Rows that lie apart give the bits of rows that do not, and nothing between them is touched: own kernels. */
static void test_rows_apart(syz_dtype type)
{
  enum {
    OUT = 96,
    IN = 1024,
    ROWS = 75,
    SX = IN + 32,
    SY = OUT + 64
  }; /* rows 2 KiB apart are packed for tiles, others read as they lie */
  syz_compute *c = NULL;
  if (syz_compute_create(type, SYZ_ENGINE_NATIVE, 2, &c) != SYZ_OK ||
      syz_compute_act(c) != type) { /* this processor lacks it */
    syz_compute_destroy(&c);
    return;
  }
  float *w = draw(OUT * IN, 1, 1), *bias = draw(OUT, 1, 2), *x = draw(ROWS * IN, 1, 3), *v = draw(ROWS * OUT, 1, 4),
        *stream[2], *stream8[2], *dw[2];
  void *xa = rounded(type, x, ROWS * IN), *va = rounded(type, v, ROWS * OUT), *y[2], *u[2], *y8[2], *u8[2], *dx[2],
       *du[2];
  for (int i = 0; i < 2; i++) { /* as usual; apart */
    const int64_t sx = i ? SX : IN, sy = i ? SY : OUT;
    syz_linear *l = NULL;
    void *from = spread(type, xa, ROWS, IN, sx), *dy = spread(type, va, ROWS, OUT, sy);
    y[i] = spread(type, NULL, ROWS, OUT, sy), u[i] = spread(type, NULL, ROWS, OUT, sy);
    y8[i] = spread(type, NULL, ROWS, OUT, sy), u8[i] = spread(type, NULL, ROWS, OUT, sy),
    stream8[i] = draw(ROWS * OUT, 1, 5);
    dx[i] = spread(type, NULL, ROWS, IN, sx), du[i] = spread(type, NULL, ROWS, IN, sx);
    stream[i] = draw(ROWS * OUT, 1, 5), dw[i] = draw(OUT * IN + OUT, 1, 6);
    CHECK_OK(syz_linear_create(c, OUT, IN, ROWS, true, &l));
    syz_linear_set_rows(l, sx, sy);
    syz_linear_pack(l, w, bias, NULL);
    syz_linear_forward(l, ROWS, from, SYZ_EPILOGUE_GELU, y[i], u[i]);
    syz_linear_forward(l, ROWS, from, SYZ_EPILOGUE_RESIDUAL, stream[i], NULL);
    syz_linear_backward_input(l, ROWS, dy, dx[i]);
    syz_linear_backward_gelu_input(l, ROWS, dy, from, du[i]);
    syz_linear_backward_weight(l, ROWS, dy, from, dw[i], dw[i] + OUT * IN);
    if (syz_compute_has_int8(c) && type == SYZ_BF16) {
      CHECK_OK(syz_linear_quantise(l, w, NULL));
      syz_linear_use_int8(l, true);
      syz_linear_forward(l, ROWS, from, SYZ_EPILOGUE_RESIDUAL, stream8[i], NULL);
      syz_linear_forward(l, ROWS, from, SYZ_EPILOGUE_GELU, y8[i], u8[i]);
    }
    syz_linear_destroy(&l);
    syz_free(&from), syz_free(&dy);
  }
  check_spread("y", type, y[1], y[0], ROWS, OUT, SY);
  check_spread("u", type, u[1], u[0], ROWS, OUT, SY);
  check_spread("y of int8", type, y8[1], y8[0], ROWS, OUT, SY);
  check_spread("u of int8", type, u8[1], u8[0], ROWS, OUT, SY);
  check_spread("dx", type, dx[1], dx[0], ROWS, IN, SX);
  check_spread("du", type, du[1], du[0], ROWS, IN, SX);
  CHECK(!memcmp(stream[0], stream[1], ROWS * OUT * sizeof(float)));
  CHECK(!memcmp(stream8[0], stream8[1], ROWS * OUT * sizeof(float)));
  CHECK(!memcmp(dw[0], dw[1], (OUT * IN + OUT) * sizeof(float)));
  for (int i = 0; i < 2; i++) {
    void *each[] = {y[i], u[i], y8[i], u8[i], stream8[i], dx[i], du[i], stream[i], dw[i]};
    for (size_t k = 0; k < sizeof each / sizeof each[0]; k++) syz_free(&each[k]);
  }
  void *all[] = {w, bias, x, v, xa, va};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) syz_free(&all[i]);
  syz_compute_destroy(&c);
}

/** A NaN in one row or one weight stays one, and stays there: rounding must not make a number of it. */
static void test_nan(const syz_compute *c, const char *engine)
{
  enum { OUT = 70, IN = 66, ROWS = 8 };
  const syz_dtype act = syz_compute_act(c);
  float *w = draw(OUT * IN, 1, 1), *x = draw(ROWS * IN, 1, 2), y[ROWS * OUT];
  syz_linear *l = NULL;
  x[3 * IN + 65] = NAN;
  w[5 * IN + 7] = NAN;
  void *xa = rounded(act, x, ROWS * IN), *ya = syz_alloc("y", ROWS * OUT, sizeof(float));
  CHECK_OK(syz_linear_create(c, OUT, IN, ROWS, false, &l));
  syz_linear_pack(l, w, NULL, NULL);
  syz_linear_forward(l, ROWS, xa, SYZ_EPILOGUE_NONE, ya, NULL);
  syz_convert_to_f32(act, y, ya, ROWS * OUT);
  int wrong = 0;
  for (int i = 0; i < ROWS * OUT; i++) wrong += isnan(y[i]) != (i / OUT == 3 || i % OUT == 5);
  check_count++;
  if (wrong) CHECK_FAIL_("%s: %d of %d results are NaN or not where they should not", engine, wrong, ROWS * OUT);
  syz_linear_destroy(&l);
  void *all[] = {w, x, xa, ya};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) syz_free(&all[i]);
}

/** Own kernels that a better one hides on this processor: bfloat16 with fewer instructions. */
static void test_lesser_kernels(const int64_t (*size)[3], size_t sizes)
{
  const syz_isa has = syz_processor_isa();
  for (syz_isa isa = SYZ_ISA_AVX512; isa < has && has <= SYZ_ISA_AMX; isa++) { /* Arm has one kernel a type */
    syz_compute *c = NULL;
    syz_processor_limit(isa);
    CHECK_OK(syz_compute_create(SYZ_BF16, SYZ_ENGINE_NATIVE, 1, &c));
    fprintf(stderr, "%s\n", syz_compute_describe(c));
    for (size_t i = 0; i < sizes; i++)
      test_size(c, syz_isa_name(isa), size[i][0], size[i][1], size[i][2], size[i][2] + 3);
    test_size(c, syz_isa_name(isa), 70, 40, 2563, 2563);
    test_size(c, syz_isa_name(isa), 40, 2563, 7, 7); /* longer sums than a piece */
    test_nan(c, syz_isa_name(isa));
    syz_compute_destroy(&c);
    test_threads(SYZ_BF16, SYZ_ENGINE_NATIVE);
  }
  syz_processor_limit(SYZ_ISA_AMX);
}

int main(void)
{
  static const int64_t size[][3] = {{64, 64, 24}, {96, 130, 37}, {22, 768, 5},  {768, 22, 9},
                                    {33, 31, 70}, {1, 1, 1},     {200, 7, 131}, {65, 256, 13}};
  for (syz_dtype type = SYZ_F32; type <= SYZ_BF16; type++)
    for (syz_engine e = SYZ_ENGINE_AUTO; e <= SYZ_ENGINE_NATIVE; e++) {
      syz_compute *c = NULL;
      if (syz_compute_create(type, e, 1, &c) != SYZ_OK || syz_compute_act(c) != type) {
        CHECK(e != SYZ_ENGINE_REFERENCE && (e != SYZ_ENGINE_AUTO || type == SYZ_BF16));
        fprintf(stderr, "%s %s: not here\n", engine_name[e], type == SYZ_BF16 ? "bf16" : "f32");
        syz_compute_destroy(&c);
        continue;
      }
      for (size_t i = 0; i < sizeof size / sizeof size[0]; i++)
        test_size(c, engine_name[e], size[i][0], size[i][1], size[i][2], size[i][2] + 3);
      test_nan(c, engine_name[e]);
      /* More rows than the own kernels sum (640 units), sweep (1152) and chunk (96) at a time. */
      if (e == SYZ_ENGINE_AUTO) test_size(c, engine_name[e], 70, 40, 2563, 2563);
      syz_compute_destroy(&c);
      test_threads(type, e);
    }
  test_lesser_kernels(size, sizeof size / sizeof size[0]);
  test_rows_apart(SYZ_F32);
  test_rows_apart(SYZ_BF16);
  test_layerscale(SYZ_F32);
  test_layerscale(SYZ_BF16);
  CHECK_EQ(syz_memory_get().live_blocks, 0);
  return CHECK_RESULT();
}
