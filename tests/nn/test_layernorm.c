/* SPDX-License-Identifier: BSD-3-Clause */
/** Layer norm and GELU: known answers, the float64 formulas, central differences with a planted fault, every bfloat16
 * number. */

#include "check.h"
#include "syzygy/nn.h"

static float *draw(size_t n, double scale, double shift, uint64_t sample)
{
  float *x = syz_alloc("draw", n, sizeof *x);
  const syz_random r = syz_random_make(13, SYZ_RANDOM_TEST, 3, sample);
  syz_random_fill_normal(&r, x, n);
  for (size_t i = 0; i < n; i++) x[i] = (float)(scale * (double)x[i] + shift);
  return x;
}

static double dot(const float *a, const float *b, size_t n)
{
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += (double)a[i] * (double)b[i];
  return sum;
}

static void test_norm_forward(int64_t rows, int64_t width, double shift)
{
  const size_t n = (size_t)(rows * width);
  float *x = draw(n, 1.5, shift, 1), *gain = draw((size_t)width, 0.3, 1, 2), *bias = draw((size_t)width, 0.5, 0, 3);
  float *y = syz_alloc("y", n, 4), *mean = syz_alloc("m", (size_t)rows, 4), *rstd = syz_alloc("r", (size_t)rows, 4);
  syz_bf16 *narrow = syz_alloc("narrow", n, sizeof *narrow);
  syz_layernorm_forward(SYZ_F32, y, mean, rstd, x, gain, bias, 1e-5f, rows, width);
  syz_layernorm_forward(SYZ_BF16, narrow, NULL, NULL, x, gain, bias, 1e-5f, rows, width);
  double worst = 0;
  for (int64_t r = 0; r < rows; r++) {
    double mu = 0, var = 0;
    for (int64_t i = 0; i < width; i++) mu += (double)x[r * width + i] / (double)width;
    for (int64_t i = 0; i < width; i++) var += pow((double)x[r * width + i] - mu, 2) / (double)width;
    const double rs = 1 / sqrt(var + 1e-5);
    CHECK_NEAR(mean[r], mu, 1e-6 * (1 + fabs(mu)));
    CHECK_NEAR(rstd[r] / rs, 1, width == 1 ? 1e-6 : 2e-6 * (1 + shift * shift / 100));
    for (int64_t i = 0; i < width; i++) {
      const double e = ((double)x[r * width + i] - mu) * rs * (double)gain[i] + (double)bias[i];
      worst = fmax(worst, fabs((double)y[r * width + i] - e));
      check_count++;
      if (!(fabs((double)syz_bf16_to_f32(narrow[r * width + i]) - e) <= 0.004 * fabs(e) + 1e-4))
        CHECK_FAIL_("bf16 norm differs");
    }
  }
  /* A float32 mean of size `shift` carries 6e-8 of it into every output. */
  CHECK_LT(worst, 5e-6 + 4e-7 * fabs(shift));
  /* The last row alone has the same bits. */
  float *one = syz_alloc("one", (size_t)width, 4);
  syz_layernorm_forward(SYZ_F32, one, NULL, NULL, x + (rows - 1) * width, gain, bias, 1e-5f, 1, width);
  CHECK(!memcmp(one, y + (rows - 1) * width, (size_t)width * 4));
  void *all[] = {x, gain, bias, y, mean, rstd, narrow, one};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) syz_free(&all[i]);
}

/**
 * <v, J u> by central differences against <J'v, u>, for x, gain and bias together. At step 1e-2 the differences' own
 * error (third order and float32 rounding) was measured up to 6e-5 of |Ju|; one per cent on one of the three gradients
 * shows as 3e-3 or more.
 */
static void test_norm_gradient(int64_t rows, int64_t width, syz_dtype type_dy)
{
  const size_t n = (size_t)(rows * width), w = (size_t)width;
  const float step = 1e-2f, eps = 1e-5f;
  float *y[2], *mean = syz_alloc("m", (size_t)rows, 4), *rstd = syz_alloc("r", (size_t)rows, 4), *moved[3];
  for (int i = 0; i < 2; i++) y[i] = syz_alloc("y", n, 4);
  const size_t size[3] = {n, w, w};
  for (int k = 0; k < 3; k++) moved[k] = syz_alloc("moved", size[k], 4);
  double worst = 0, least_faulty[3] = {1e9, 1e9, 1e9};
  for (uint64_t trial = 0; trial < 6; trial++) {
    float *x[3] = {draw(n, 1.5, 0.5, 10 * trial), draw(w, 0.3, 1, 10 * trial + 1), draw(w, 0.5, 0, 10 * trial + 2)};
    float *u[3] = {draw(n, 1, 0, 10 * trial + 3), draw(w, 1, 0, 10 * trial + 4), draw(w, 1, 0, 10 * trial + 5)};
    float *v = draw(n, 1, 0, 10 * trial + 6), *d[3] = {syz_alloc("dx", n, 4), draw(w, 1, 0, 7), draw(w, 1, 0, 8)};
    const float *start[3] = {d[0], draw(w, 1, 0, 7), draw(w, 1, 0, 8)};
    void *dy = syz_alloc("dy", n, 4);
    syz_convert_to_act(type_dy, dy, v, (int64_t)n);
    syz_convert_to_f32(type_dy, v, dy, (int64_t)n);
    for (int side = 0; side < 2; side++) {
      for (int k = 0; k < 3; k++)
        for (size_t i = 0; i < size[k]; i++) moved[k][i] = x[k][i] + (side ? step : -step) * u[k][i];
      syz_layernorm_forward(SYZ_F32, y[side], mean, rstd, moved[0], moved[1], moved[2], eps, rows, width);
    }
    const double slope = (dot(v, y[1], n) - dot(v, y[0], n)) / (2 * (double)step);
    syz_layernorm_forward(SYZ_F32, y[0], mean, rstd, x[0], x[1], x[2], eps, rows, width);
    syz_layernorm_backward(d[0], false, d[1], d[2], type_dy, dy, x[0], mean, rstd, x[1], rows, width);
    double term[3] = {dot(d[0], u[0], n), 0, 0}, scale = sqrt((double)n);
    for (int k = 1; k < 3; k++)
      term[k] = dot(d[k], u[k], w) - dot(start[k], u[k], w); /* they were added to what was there */
    worst = fmax(worst, fabs(term[0] + term[1] + term[2] - slope) / scale);
    for (int k = 0; k < 3; k++) {
      const double faulty = fabs(term[0] + term[1] + term[2] + 0.01 * term[k] - slope) / scale;
      if (fabs(term[k]) > 0.3 * scale) least_faulty[k] = fmin(least_faulty[k], faulty);
    }
    /* Added to dx instead of written. */
    float *sum = draw(n, 1, 0, 77), *before = draw(n, 1, 0, 77),
          *none[2] = {syz_alloc("n", w, 4), syz_alloc("n", w, 4)};
    syz_layernorm_backward(sum, true, none[0], none[1], type_dy, dy, x[0], mean, rstd, x[1], rows, width);
    double difference = 0;
    for (size_t i = 0; i < n; i++)
      difference = fmax(difference, fabs((double)sum[i] - (double)before[i] - (double)d[0][i]));
    CHECK_LT(difference, 2e-6);
    void *all[] = {x[0],
                   x[1],
                   x[2],
                   u[0],
                   u[1],
                   u[2],
                   v,
                   d[0],
                   d[1],
                   d[2],
                   (void *)(uintptr_t)start[1],
                   (void *)(uintptr_t)start[2],
                   dy,
                   sum,
                   before,
                   none[0],
                   none[1]};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) syz_free(&all[i]);
  }
  fprintf(stderr, "norm %d x %d: worst %.2e, with one per cent on dx, dgain, dbias at least %.2e %.2e %.2e\n",
          (int)rows, (int)width, worst, least_faulty[0], least_faulty[1], least_faulty[2]);
  const double tolerance = 3e-4;
  CHECK_LT(worst, tolerance);
  for (int k = 0; k < 3; k++) CHECK_GT(least_faulty[k], tolerance);
  void *all[] = {y[0], y[1], mean, rstd, moved[0], moved[1], moved[2]};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) syz_free(&all[i]);
}

static double gelu(double u) { return 0.5 * u * erfc(-u * 0.70710678118654752440); }
static double gelu_slope(double u)
{
  return 0.5 * erfc(-u * 0.70710678118654752440) + u * exp(-0.5 * u * u) * 0.39894228040143267794;
}

static void test_gelu(void)
{
  enum { N = 400001 };
  float *u = syz_alloc("u", N, 4), *y = syz_alloc("y", N, 4), *ones = syz_alloc("ones", N, 4),
        *d = syz_alloc("d", N, 4);
  for (int i = 0; i < N; i++) {
    u[i] = (float)(i - N / 2) * 1e-4f;
    ones[i] = 1;
  }
  syz_gelu_forward(SYZ_F32, y, u, N);
  syz_gelu_backward(SYZ_F32, d, ones, u, N);
  double worst = 0, worst_slope = 0;
  for (int i = 0; i < N; i++) {
    /* Beyond |u| = 8 a float32 is no closer than 1e-6 itself. */
    worst = fmax(worst, fabs((double)y[i] - gelu((double)u[i])) / fmax(1, fabs((double)u[i]) / 8));
    worst_slope = fmax(worst_slope, fabs((double)d[i] - gelu_slope((double)u[i])));
  }
  fprintf(stderr, "gelu: worst error %.2e, of its slope %.2e\n", worst, worst_slope);
  CHECK_LT(worst, 1e-6);
  CHECK_LT(worst_slope, 1e-6);
  const float edge[6] = {0, -1e30f, 1e30f, -INFINITY, INFINITY, NAN};
  syz_gelu_forward(SYZ_F32, y, edge, 6);
  CHECK_EQ(y[0], 0);
  CHECK_EQ(y[1], 0);
  CHECK_EQ(y[2], 1e30f);
  CHECK(y[4] == INFINITY);
  CHECK(isnan(y[5])); /* -infinity times 0 is a NaN too, as in PyTorch */
  syz_gelu_backward(SYZ_F32, d, ones, edge, 6);
  CHECK_EQ(d[1], 0);
  CHECK_EQ(d[2], 1);
  CHECK(isnan(d[5]));
  void *all[] = {u, y, ones, d};
  for (int i = 0; i < 4; i++) syz_free(&all[i]);

  /* All bfloat16 numbers: the conversions, and GELU to its rounding. */
  enum { ALL = 65536 };
  syz_bf16 *x = syz_alloc("x", ALL, 2), *z = syz_alloc("z", ALL, 2), *one = syz_alloc("one", ALL, 2);
  float *wide = syz_alloc("wide", ALL, 4);
  for (int i = 0; i < ALL; i++) {
    x[i].bits = (uint16_t)i;
    one[i] = syz_bf16_from_f32(1);
  }
  syz_convert_to_f32(SYZ_BF16, wide, x, ALL);
  syz_convert_to_act(SYZ_BF16, z, wide, ALL);
  int wrong = 0;
  for (int i = 0; i < ALL; i++) wrong += isnan(wide[i]) ? !isnan(syz_bf16_to_f32(z[i])) : z[i].bits != x[i].bits;
  CHECK_EQ(wrong, 0);
  syz_gelu_forward(SYZ_BF16, z, x, ALL);
  wrong = 0;
  for (int i = 0; i < ALL; i++) {
    if (!isfinite(wide[i])) continue;
    const double e = gelu((double)wide[i]);
    wrong += !(fabs((double)syz_bf16_to_f32(z[i]) - e) <= 0.00392 * fabs(e) + 7e-7);
  }
  CHECK_EQ(wrong, 0);
  syz_gelu_backward(SYZ_BF16, z, one, x, ALL);
  wrong = 0;
  for (int i = 0; i < ALL; i++) {
    if (!isfinite(wide[i])) continue;
    const double e = gelu_slope((double)wide[i]);
    wrong += !(fabs((double)syz_bf16_to_f32(z[i]) - e) <= 0.00392 * fabs(e) + 7e-7);
  }
  CHECK_EQ(wrong, 0);
  void *rest[] = {x, z, one, wide};
  for (int i = 0; i < 4; i++) syz_free(&rest[i]);
}

/** Same bits on 1 and 2 threads. */
static void test_threads(void)
{
  const int64_t rows = 333, width = 300;
  const size_t n = (size_t)(rows * width), w = (size_t)width;
  float *x = draw(n, 1, 0, 1), *dy = draw(n, 1, 0, 2), *gain = draw(w, 1, 0, 3), *result[2];
  float *mean = syz_alloc("m", (size_t)rows, 4), *rstd = syz_alloc("r", (size_t)rows, 4);
  for (int threads = 1; threads <= 2; threads++) {
    syz_compute *c = NULL;
    CHECK_OK(syz_compute_create(SYZ_F32, SYZ_ENGINE_AUTO, threads, &c));
    float *r = result[threads - 1] = syz_alloc("result", 2 * n + 2 * w, 4);
    syz_layernorm_forward(SYZ_F32, r, mean, rstd, x, gain, gain, 1e-6f, rows, width);
    syz_layernorm_backward(r + n, false, r + 2 * n, r + 2 * n + w, SYZ_F32, dy, x, mean, rstd, gain, rows, width);
    syz_compute_destroy(&c);
  }
  CHECK(!memcmp(result[0], result[1], (2 * n + 2 * w) * 4));
  void *all[] = {x, dy, gain, mean, rstd, result[0], result[1]};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) syz_free(&all[i]);
}

int main(void)
{
  test_norm_forward(5, 1024, 0.5);
  test_norm_forward(130, 768, 0);
  test_norm_forward(3, 77, 100);
  test_norm_forward(2, 1, 0);
  test_norm_forward(2, 63, 1);
  test_norm_gradient(8, 64, SYZ_F32);
  test_norm_gradient(131, 77, SYZ_F32);
  test_norm_gradient(70, 130, SYZ_BF16);
  test_gelu();
  test_threads();
  CHECK_EQ(syz_memory_get().live_blocks, 0);
  return CHECK_RESULT();
}
