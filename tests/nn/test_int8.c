/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The forward product in 8-bit integers: every sum against a plain loop over the same integers (an error of one in any
 * sum shows), the distance to the product in float64 against the bound that follows from the steps, all epilogues
 * against the float32 one, and the laws: a row's bits do not depend on the others or on threads, what is not finite
 * stays so, smoothing takes the harm out of outlying inputs, nothing is allocated in a call.
 */
#include <stdlib.h>

#include "check.h"
#include "syzygy/nn.h"

static float *draw(size_t n, double scale, uint64_t sample)
{
  float *x = syz_alloc("draw", n ? n : 1, sizeof *x);
  const syz_random r = syz_random_make(17, SYZ_RANDOM_TEST, 3, sample);
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

/** Row of integers and what they stand for: x = scale (q - zero). */
typedef struct quantised {
  double scale;
  long zero;
  long *q;
} quantised;

static quantised quantise_row(const float *x, int64_t n)
{
  float low = 0, high = 0;
  quantised a = {.q = malloc((size_t)n * sizeof *a.q)};
  for (int64_t i = 0; i < n; i++) low = fminf(low, x[i]), high = fmaxf(high, x[i]);
  const float range = high - low, inverse = range > 0 ? 255 / range : 0;
  a.scale = (double)(range / 255);
  a.zero = -lrintf(low * inverse);
  for (int64_t i = 0; i < n; i++) {
    const long q = lrintf(x[i] * inverse) + a.zero;
    a.q[i] = q > 255 ? 255 : q;
  }
  return a;
}

static quantised quantise_weights(const float *w, int64_t n)
{
  float most = 0;
  quantised a = {.q = malloc((size_t)n * sizeof *a.q)};
  for (int64_t i = 0; i < n; i++) most = fmaxf(most, fabsf(w[i]));
  a.scale = (double)(most / 127);
  for (int64_t i = 0; i < n; i++) a.q[i] = most > 0 ? lrintf(w[i] * (127 / most)) : 0;
  return a;
}

/** Largest error of the float32 epilogue in units of one integer step, which the rounding of float32 alone keeps far
 * below 1. */
static void test_sums(const syz_compute *c, int64_t out, int64_t in, int64_t rows)
{
  const syz_dtype act = syz_compute_act(c);
  float *w = draw((size_t)(out * in), 0.3, 1), *x = draw((size_t)(rows * in), 1, 2),
        *y = draw((size_t)(rows * out), 1, 3);
  double worst = 0, worst_bound = 0;
  if (rows > 2) memset(x + 2 * in, 0, (size_t)in * sizeof *x); /* a row of zeros */
  if (rows > 1)
    for (int64_t i = 0; i < in; i++) x[in + i] = fabsf(x[in + i]) + 3; /* all on one side of 0 */
  if (out > 1) memset(w + in, 0, (size_t)in * sizeof *w);              /* an output without weights */
  void *xa = rounded(act, x, (size_t)(rows * in));
  syz_linear *l = NULL;
  CHECK_OK(syz_linear_create(c, out, in, rows, false, &l));
  syz_linear_pack(l, w, NULL, NULL);
  CHECK_OK(syz_linear_quantise(l, w, NULL));
  syz_linear_use_int8(l, true);
  syz_linear_forward(l, rows, xa, SYZ_EPILOGUE_F32, y, NULL);
  quantised *wq = malloc((size_t)out * sizeof *wq);
  for (int64_t o = 0; o < out; o++) wq[o] = quantise_weights(w + o * in, in);
  for (int64_t r = 0; r<rows; r += rows> 40 ? 37 : 1) {
    const quantised xq = quantise_row(x + r * in, in);
    for (int64_t o = 0; o < out; o++) {
      long sum = 0;
      double exact = 0, bound = 0;
      for (int64_t i = 0; i < in; i++) {
        const double xi = (double)x[r * in + i], wi = (double)w[o * in + i];
        sum += (xq.q[i] - xq.zero) * wq[o].q[i];
        exact += xi * wi;
        bound += (0.5 * fabs(wi) * xq.scale + 0.5 * fabs(xi) * wq[o].scale + 0.25 * xq.scale * wq[o].scale);
      }
      const double step = xq.scale * wq[o].scale, value = (double)y[r * out + o];
      if (step == 0)
        CHECK_EQ(value, 0);
      else
        worst = fmax(worst, fabs(value - step * (double)sum) / (step * (0.01 + 4e-7 * fabs((double)sum))));
      /* Rounding x 255 / range where it ends exactly between two steps may go either way: a little more than half a
       * step. */
      if (bound > 0) worst_bound = fmax(worst_bound, fabs(value - exact) / (1.01 * bound));
    }
    free(xq.q);
  }
  if (!(worst < 1)) fprintf(stderr, "%lld x %lld, %lld rows\n", (long long)out, (long long)in, (long long)rows);
  CHECK_LT(worst, 1);
  CHECK_LT(worst_bound, 1);
  for (int64_t o = 0; o < out; o++) free(wq[o].q);
  free(wq);
  syz_linear_destroy(&l);
  syz_free(&w), syz_free(&x), syz_free(&y), syz_free(&xa);
}

/** Bias, GELU, residual and kept products, with smoothing, from the plain product of the same layer. */
static void test_epilogues(const syz_compute *c, int64_t out, int64_t in, int64_t rows)
{
  const syz_dtype act = syz_compute_act(c);
  const size_t n = (size_t)(rows * out);
  const double relative = act == SYZ_BF16 ? 0.00395 : 1e-6;
  float *w = draw((size_t)(out * in), 0.1, 4), *x = draw((size_t)(rows * in), 1, 5), *bias = draw((size_t)out, 1, 6),
        *scale = draw((size_t)out, 1, 7);
  float *y0 = draw(n, 1, 8), *most = draw((size_t)in, 1, 9), *v = draw(n, 1, 10);
  void *xa = rounded(act, x, (size_t)(rows * in)), *y = syz_alloc("y", n, sizeof(float)),
       *u = syz_alloc("u", n, sizeof(float));
  syz_linear *l = NULL;
  CHECK_OK(syz_linear_create(c, out, in, rows, false, &l));
  syz_linear_pack(l, w, NULL, NULL);
  memset(most, 0, (size_t)in * sizeof *most);
  syz_linear_observe(l, most);
  syz_linear_forward(l, rows, xa, SYZ_EPILOGUE_F32, v, NULL);
  syz_linear_observe(l, NULL);
  for (int64_t i = 0; i < in; i++) {
    float expected = 0;
    for (int64_t r = 0; r < rows; r++) expected = fmaxf(expected, fabsf(x[r * in + i]));
    CHECK_EQ(most[i], expected);
  }
  CHECK_OK(syz_linear_quantise(l, w, most));
  syz_linear_use_int8(l, true);
  const int64_t allocations = syz_memory_get().allocations;
  syz_linear_forward(l, rows, xa, SYZ_EPILOGUE_F32, v, NULL);
  CHECK_EQ(syz_memory_get().allocations, allocations);
  syz_linear_pack(l, w, bias, scale);
  double worst[5] = {0};
#define WORST(k, value, wanted) worst[k] = fmax(worst[k], fabs((value) - (wanted)) / (2e-6 + relative * fabs(wanted)))
  for (int variant = 0; variant < 2; variant++) {
    void *kept = variant ? u : NULL;
    syz_linear_forward(l, rows, xa, SYZ_EPILOGUE_NONE, y, NULL);
    for (size_t i = 0; i < n; i++) WORST(0, get(act, y, (int64_t)i), (double)v[i] + (double)bias[i % (size_t)out]);
    syz_linear_forward(l, rows, xa, SYZ_EPILOGUE_GELU, y, kept);
    for (size_t i = 0; i < n; i++) {
      const double p = (double)v[i] + (double)bias[i % (size_t)out];
      WORST(1, get(act, y, (int64_t)i), gelu(p));
      if (kept) WORST(2, get(act, u, (int64_t)i), p);
    }
    memcpy(y, y0, n * sizeof(float));
    syz_linear_forward(l, rows, xa, SYZ_EPILOGUE_RESIDUAL, y, kept);
    for (size_t i = 0; i < n; i++) {
      const double p = (double)v[i] + (double)bias[i % (size_t)out],
                   wanted = (double)y0[i] + (double)scale[i % (size_t)out] * p;
      worst[3] = fmax(worst[3], fabs((double)((float *)y)[i] - wanted) / (4e-6 * (1 + fabs(wanted))));
      if (kept) WORST(4, get(act, u, (int64_t)i), p);
    }
  }
  for (int k = 0; k < 5; k++) {
    if (!(worst[k] < 1)) fprintf(stderr, "epilogue %d of %lld x %lld\n", k, (long long)out, (long long)in);
    CHECK_LT(worst[k], 1);
  }
  syz_linear_destroy(&l);
  syz_free(&w), syz_free(&x), syz_free(&bias), syz_free(&scale), syz_free(&y0), syz_free(&most), syz_free(&v),
      syz_free(&xa), syz_free(&y), syz_free(&u);
}

/** A row alone, among others, in another sweep, after the other form was dropped, under more threads: the same bits. */
static void test_rows(const syz_compute *c)
{
  enum { OUT = 70, IN = 96, ROWS = 1300 };
  const syz_dtype act = syz_compute_act(c);
  float *w = draw(OUT * IN, 0.2, 11), *x = draw(ROWS * IN, 1, 12), *y = draw(ROWS * OUT, 1, 13), one[OUT];
  void *xa = rounded(act, x, ROWS * IN);
  syz_linear *l = NULL;
  syz_compute *more = NULL;
  CHECK_OK(syz_linear_create(c, OUT, IN, ROWS, false, &l));
  syz_linear_pack(l, w, NULL, NULL);
  CHECK_OK(syz_linear_quantise(l, w, NULL));
  const int64_t bytes = (int64_t)syz_memory_get().live_bytes;
  syz_linear_use_int8(l, true);
  syz_linear_forward(l, ROWS, xa, SYZ_EPILOGUE_F32, y, NULL);
  syz_linear_settle(l);
  CHECK_LT((double)(int64_t)syz_memory_get().live_bytes, (double)(bytes - OUT * IN));
  for (int64_t r = 0; r < ROWS; r += 101) {
    syz_linear_forward(l, 1, (char *)xa + (size_t)(r * IN) * syz_dtype_size(act), SYZ_EPILOGUE_F32, one, NULL);
    CHECK(memcmp(one, y + r * OUT, sizeof one) == 0);
  }
  syz_linear_destroy(&l);
  float *z = draw(ROWS * OUT, 1, 14);
  CHECK_OK(syz_compute_create(act, SYZ_ENGINE_AUTO, 3, &more));
  CHECK_OK(syz_linear_create(more, OUT, IN, ROWS, false, &l));
  CHECK_OK(syz_linear_quantise(l, w, NULL));
  syz_linear_use_int8(l, true);
  syz_linear_forward(l, ROWS, xa, SYZ_EPILOGUE_F32, z, NULL);
  CHECK(memcmp(y, z, ROWS * OUT * sizeof *y) == 0);
  /* Only the row with the NaN or infinity is lost. */
  for (int k = 0; k < 2; k++) {
    float odd = k ? INFINITY : NAN;
    syz_convert_to_act(act, (char *)xa + 5 * IN * syz_dtype_size(act), &odd, 1);
    syz_linear_forward(l, 12, xa, SYZ_EPILOGUE_F32, z, NULL);
    for (int64_t o = 0; o < OUT; o++)
      CHECK(!isfinite(z[5 * OUT + o]) && z[4 * OUT + o] == y[4 * OUT + o] && z[6 * OUT + o] == y[6 * OUT + o]);
  }
  syz_linear_destroy(&l);
  syz_compute_destroy(&more);
  CHECK_OK(syz_compute_create(act, SYZ_ENGINE_AUTO, 1, &more)); /* back to one thread */
  syz_compute_destroy(&more);
  syz_free(&w), syz_free(&x), syz_free(&y), syz_free(&z), syz_free(&xa);
}

/** Relative error of the product with inputs of which a few are a hundred times larger, and their weights that much
 * smaller. */
static double outlier_error(const syz_compute *c, bool is_smoothed)
{
  enum { OUT = 64, IN = 128, ROWS = 40 };
  const syz_dtype act = syz_compute_act(c);
  float *w = draw(OUT * IN, 0.1, 15), *x = draw(ROWS * IN, 1, 16), *y = draw(ROWS * OUT, 1, 17), most[IN] = {0};
  for (int64_t i = 5; i < IN; i += 50) {
    for (int64_t r = 0; r < ROWS; r++) x[r * IN + i] *= 100;
    for (int64_t o = 0; o < OUT; o++) w[o * IN + i] /= 100;
  }
  void *xa = rounded(act, x, ROWS * IN);
  syz_linear *l = NULL;
  CHECK_OK(syz_linear_create(c, OUT, IN, ROWS, false, &l));
  syz_linear_pack(l, w, NULL, NULL);
  syz_linear_observe(l, most);
  syz_linear_forward(l, ROWS, xa, SYZ_EPILOGUE_F32, y, NULL);
  CHECK_OK(syz_linear_quantise(l, w, is_smoothed ? most : NULL));
  syz_linear_use_int8(l, true);
  syz_linear_forward(l, ROWS, xa, SYZ_EPILOGUE_F32, y, NULL);
  double error = 0, size = 0;
  for (int64_t r = 0; r < ROWS; r++)
    for (int64_t o = 0; o < OUT; o++) {
      double sum = 0;
      for (int64_t i = 0; i < IN; i++) sum += (double)x[r * IN + i] * (double)w[o * IN + i];
      error += pow((double)y[r * OUT + o] - sum, 2);
      size += sum * sum;
    }
  syz_linear_destroy(&l);
  syz_free(&w), syz_free(&x), syz_free(&y), syz_free(&xa);
  return sqrt(error / size);
}

int main(void)
{
  for (syz_dtype act = SYZ_F32; act <= SYZ_BF16; act++) {
    syz_compute *c = NULL;
    CHECK_OK(syz_compute_create(act, SYZ_ENGINE_AUTO, 1, &c));
    if (syz_compute_act(c) != act) continue; /* no bfloat16 here: it said so */
    if (!syz_compute_has_int8(c)) {
      syz_linear *l = NULL;
      const float w[4] = {1, 2, 3, 4};
      CHECK_OK(syz_linear_create(c, 2, 2, 1, false, &l));
      CHECK_ERROR(syz_linear_quantise(l, w, NULL), SYZ_ERR_INPUT, "AVX512_VNNI");
      syz_linear_destroy(&l);
    } else {
      const int64_t size[][3] = {{1, 1, 1},        {2, 3, 3},   {64, 64, 6},   {65, 63, 7},  {63, 65, 13},
                                 {200, 130, 1201}, {17, 22, 5}, {130, 768, 9}, {3, 9001, 8}, {1, 16, 30}};
      for (size_t i = 0; i < sizeof size / sizeof size[0]; i++) test_sums(c, size[i][0], size[i][1], size[i][2]);
      test_epilogues(c, 64, 64, 12);
      test_epilogues(c, 70, 33, 1200);
      test_rows(c);
      CHECK_GT(outlier_error(c, false), 0.05); /* the harm */
      CHECK_LT(outlier_error(c, true), 0.012);
      syz_linear *l = NULL;
      float *w = draw(66001, 1, 20);
      CHECK_OK(syz_linear_create(c, 1, 66001, 1, false, &l));
      CHECK_ERROR(syz_linear_quantise(l, w, NULL), SYZ_ERR_INPUT, "66000");
      syz_linear_destroy(&l);
      syz_free(&w);
    }
    syz_compute_destroy(&c);
  }
  return CHECK_RESULT();
}
