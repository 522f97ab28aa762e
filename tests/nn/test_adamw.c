/* SPDX-License-Identifier: BSD-3-Clause */
/** AdamW, sum of squares and schedule: against their formulas in float64, over awkward lengths, any partition and
 * thread count. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "syzygy/nn.h"

enum { N = 70001 }; /* several blocks and an odd end */

static float *draw(uint64_t stream, double scale)
{
  float *x = syz_alloc("test", N, sizeof *x);
  syz_random r = syz_random_make(1, SYZ_RANDOM_TEST, 0, stream);
  SYZ_ASSERT(x);
  for (uint32_t i = 0; i < N; i++) x[i] = (float)(scale * syz_random_normal(&r, i));
  return x;
}

/** 20 steps against the same recursion in float64. `fault` multiplies the reference's bias correction. */
static double adamw_error(double fault)
{
  const syz_adamw o = {.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.05};
  const double scale = 0.37;
  float *w = draw(1, 0.1), *m = syz_alloc("test", N, sizeof *m), *v = syz_alloc("test", N, sizeof *v);
  double *ref = malloc(3 * N * sizeof *ref), *rm = ref + N, *rv = rm + N, worst = 0.0;
  float *start = draw(1, 0.1);
  SYZ_ASSERT(m && v && ref);
  for (int i = 0; i < N; i++) ref[i] = (double)w[i], rm[i] = rv[i] = 0.0;
  for (int64_t step = 1; step <= 20; step++) {
    float *g = draw((uint64_t)(10 + step), 1e-3);
    double c1 = (1.0 - pow(o.beta1, (double)step)) * fault, c2 = 1.0 - pow(o.beta2, (double)step);
    syz_adamw_update(&o, step, scale, w, m, v, g, N, 1);
    for (int i = 0; i < N; i++) {
      double gi = (double)g[i] * scale;
      rm[i] = o.beta1 * rm[i] + (1.0 - o.beta1) * gi;
      rv[i] = o.beta2 * rv[i] + (1.0 - o.beta2) * gi * gi;
      ref[i] = ref[i] * (1.0 - o.lr * o.weight_decay) - o.lr * (rm[i] / c1) / (sqrt(rv[i] / c2) + o.eps);
    }
    syz_free(&g);
  }
  /* Relative to how far the weights have moved: 20 steps of about lr. */
  for (int i = 0; i < N; i++) worst = fmax(worst, fabs((double)w[i] - ref[i]) / (20.0 * o.lr));
  syz_free(&w);
  syz_free(&m);
  syz_free(&v);
  syz_free(&start);
  free(ref);
  return worst;
}

static void test_adamw(void)
{
  /* Weights of up to 0.4 are rounded 20 times to 1.5e-8: 1e-5 of the distance moved at most; measured 3e-6. */
  CHECK_LT(adamw_error(1.0), 2e-5);
  CHECK_GT(adamw_error(1.01), 2e-5);
}

/** One call, two threads, three threads, and pieces of any length give the same bits. */
static void test_adamw_partition(void)
{
  const syz_adamw o = {.lr = 3e-4, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1};
  const int64_t pieces[] = {N, 16384, 4096, 1001, 17, 7, 1};
  float *g = draw(3, 1.0), *w0 = NULL, *m0 = NULL, *v0 = NULL;
  for (int p = 0; p < 7; p++)
    for (int threads = 1; threads <= 3; threads++) {
      float *w = draw(4, 1.0), *m = draw(5, 0.1), *v = draw(6, 0.1);
      for (int i = 0; i < N; i++) v[i] *= v[i];
      for (int64_t i = 0; i < N; i += pieces[p])
        syz_adamw_update(&o, 7, 1.5, w + i, m + i, v + i, g + i, N - i < pieces[p] ? N - i : pieces[p], threads);
      if (!w0) {
        w0 = w, m0 = m, v0 = v;
        continue;
      }
      CHECK(!memcmp(w, w0, N * sizeof *w) && !memcmp(m, m0, N * sizeof *m) && !memcmp(v, v0, N * sizeof *v));
      syz_free(&w);
      syz_free(&m);
      syz_free(&v);
      if (pieces[p] < 1000) break; /* a piece within a block never starts a thread */
    }
  /* An empty range is nothing; a weight without gradient and moments only decays. */
  syz_adamw_update(&o, 1, 1.0, w0, m0, v0, g, 0, 2);
  float w = 2.0f, m = 0.0f, v = 0.0f, zero = 0.0f;
  syz_adamw_update(&o, 1, 1.0, &w, &m, &v, &zero, 1, 1);
  CHECK_NEAR((double)w, 2.0 * (1.0 - 3e-5), 2e-7);
  float nan = NAN;
  syz_adamw_update(&o, 2, 1.0, &w, &m, &v, &nan, 1, 1);
  CHECK(isnan(w));
  syz_free(&w0);
  syz_free(&m0);
  syz_free(&v0);
  syz_free(&g);
}

static void test_sum_of_squares(void)
{
  float *x = draw(8, 1.0);
  const int64_t sizes[] = {0, 1, 15, 16, 17, 4095, 4096, 4097, N};
  for (int k = 0; k < 9; k++) {
    long double sum = 0.0L;
    for (int64_t i = 0; i < sizes[k]; i++) sum += (long double)x[i] * (long double)x[i];
    double one = syz_sum_of_squares(x, sizes[k], 1);
    CHECK_NEAR(one, (double)sum, 1e-13 * (double)sum);
    for (int threads = 2; threads <= 4; threads++) CHECK(syz_sum_of_squares(x, sizes[k], threads) == one);
  }
  /* More blocks than wait on the stack at once: 1024 blocks of 4096. */
  int64_t n = 5 * 1024 * 1024 + 3;
  float *ones = syz_alloc("test", (size_t)n, sizeof *ones);
  SYZ_ASSERT(ones);
  for (int64_t i = 0; i < n; i++) ones[i] = 3.0f;
  CHECK_EQ(syz_sum_of_squares(ones, n, 2), 9.0 * (double)n);
  ones[n - 1] = 3e38f; /* its square is far beyond float32 */
  CHECK_NEAR(syz_sum_of_squares(ones, n, 1) / 9e76, 1.0, 1e-6);
  ones[n / 2] = NAN;
  CHECK(isnan(syz_sum_of_squares(ones, n, 2)));
  syz_free(&ones);
  syz_free(&x);
}

/** CosineScheduler of DINOv2 without warm-up: final + 0.5 (base - final) (1 + cos(pi i / n)) for i < n, then final. */
static double dinov2_cosine(int64_t i, double base, double final, int64_t n)
{
  return i < n ? final + 0.5 * (base - final) * (1 + cos(acos(-1.0) * (double)i / (double)n)) : final;
}

static void test_other_schedules(void)
{
  for (int64_t i = 0; i <= 130; i++)
    CHECK_NEAR(syz_schedule_cosine(i, 0.04, 0.4, 125), dinov2_cosine(i, 0.04, 0.4, 125), 1e-15);
  CHECK_EQ(syz_schedule_cosine(0, 0.992, 1.0, 1000), 0.992);
  CHECK_EQ(syz_schedule_cosine(1000, 0.992, 1.0, 1000), 1.0);
  CHECK_NEAR(syz_schedule_cosine(250, 0, 1, 1000), 0.5 - 0.25 * sqrt(2.0),
             1e-15); /* cos(pi / 4); a fault of 1 % is 1e-3 */
  CHECK_EQ(syz_schedule_cosine(0, 3, 7, 0), 7.0);
  for (int64_t i = 0; i < 9; i++) CHECK_EQ(syz_schedule_cosine(i, 0.05, 0.05, 8), 0.05);
  CHECK_EQ(syz_schedule_ramp(0, 0.04, 0.07, 30), 0.04);
  CHECK_NEAR(syz_schedule_ramp(10, 0.04, 0.07, 30), 0.05, 1e-17);
  CHECK_NEAR(syz_schedule_ramp(29, 0.04, 0.07, 30), 0.069, 2e-17);
  CHECK_EQ(syz_schedule_ramp(30, 0.04, 0.07, 30), 0.07);
  CHECK_EQ(syz_schedule_ramp(31, 0.04, 0.07, 30), 0.07);
  CHECK_EQ(syz_schedule_ramp(0, 0.04, 0.07, 0), 0.07);
}

/** With sums: the same bits, and the sums are those of the arrays before and after, at every length of the end. */
static void test_adamw_summed(void)
{
  enum { MOST = 77 };
  const syz_adamw o = {.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.05};
  float *start[4] = {draw(1, 0.1), draw(2, 1e-3), draw(3, 1e-3), draw(4, 1e-3)}, x[3][MOST], y[3][MOST];
  for (int i = 0; i < N; i++) start[2][i] = fabsf(start[2][i]);
  for (int64_t n = 0; n <= MOST; n++) {
    uint64_t before[4], after[3];
    for (int k = 0; k < 3; k++) {
      memcpy(x[k], start[k], sizeof x[k]);
      memcpy(y[k], start[k], sizeof y[k]);
    }
    syz_adamw_update(&o, 3, 0.7, x[0], x[1], x[2], start[3], n, 1);
    syz_adamw_update_summed(&o, 3, 0.7, y[0], y[1], y[2], start[3], n, before, after);
    CHECK(memcmp(x, y, sizeof x) == 0);
    CHECK(before[3] == syz_sum_of_bits(start[3], n));
    for (int k = 0; k < 3; k++)
      CHECK(before[k] == syz_sum_of_bits(start[k], n) && after[k] == syz_sum_of_bits(x[k], n));
  }
  for (int k = 0; k < 4; k++) syz_free(&start[k]);
}

static void test_schedule(void)
{
  const double lr = 1e-3, lr_min = 1e-5;
  CHECK_EQ(syz_schedule_lr(0, lr, lr_min, 10, 100), 0.0);
  CHECK_NEAR(syz_schedule_lr(5, lr, lr_min, 10, 100), 0.5 * lr, 1e-18);
  CHECK_EQ(syz_schedule_lr(10, lr, lr_min, 10, 100), lr);
  CHECK_NEAR(syz_schedule_lr(55, lr, lr_min, 10, 100), 0.5 * (lr + lr_min), 1e-18);           /* half way down */
  CHECK_NEAR(syz_schedule_lr(40, lr, lr_min, 10, 100), lr_min + 0.75 * (lr - lr_min), 1e-18); /* cos(pi / 3) = 1/2 */
  CHECK_EQ(syz_schedule_lr(100, lr, lr_min, 10, 100), lr_min);
  CHECK_EQ(syz_schedule_lr(1000, lr, lr_min, 10, 100), lr_min);
  CHECK_EQ(syz_schedule_lr(0, lr, lr_min, 0, 100), lr);
  CHECK_EQ(syz_schedule_lr(0, lr, lr_min, 0, 0), lr);
  CHECK_EQ(syz_schedule_lr(1, lr, lr_min, 0, 0), lr_min);
  CHECK_NEAR(syz_schedule_lr(3, lr, lr_min, 10, 5), 0.3 * lr, 1e-18); /* a run that ends within its warm-up */
  CHECK_EQ(syz_schedule_lr(10, lr, lr_min, 10, 5), lr);
  for (int64_t s = 10; s < 100; s++)
    CHECK(syz_schedule_lr(s + 1, lr, lr_min, 10, 100) < syz_schedule_lr(s, lr, lr_min, 10, 100));
  for (int64_t s = 0; s <= 100; s++) CHECK_EQ(syz_schedule_lr(s, lr, lr, 0, 100), lr);
}

int main(void)
{
  test_adamw();
  test_adamw_partition();
  test_adamw_summed();
  test_sum_of_squares();
  test_schedule();
  test_other_schedules();
  CHECK_EQ(syz_memory_get().live_blocks, 0);
  return CHECK_RESULT();
}
