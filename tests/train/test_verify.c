/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Which losses look odd: noise hardly ever does, a loss that falls smoothly never, what is not finite always; a jump of
 * the size of the bound does, of either sign, also after another one. Two computations of a step are the same when all
 * their bits are, on all ranks, and otherwise the rank is named.
 */

#include "check.h"
#include "syzygy/comm.h"
#include "syzygy/numbers.h"
#include "verify.h"

enum { VALUES = 200000, FALLEN = 50000 };

/* Normal noise of standard deviation s about a falling loss; how many of them look odd at this bound, and the mean of
 * what was taken for the deviation once the loss has fallen. */
static int64_t count_odd(double bound, double s, series *past, double *deviation)
{
  int64_t odd = 0;
  *deviation = 0;
  for (int64_t i = 0; i < VALUES; i++) {
    const syz_random r = syz_random_make(5, SYZ_RANDOM_BENCH, 1, (uint64_t)i);
    float noise;
    syz_random_fill_normal(&r, &noise, 1);
    const double x = 5 + 3 * exp(-(double)i / 5000) + s * (double)noise;
    odd += series_is_jump(past, bound, x);
    series_learn(past, bound, x);
    if (i >= FALLEN) *deviation += past->deviation / (VALUES - FALLEN);
  }
  return odd;
}

/* The errors of Holt's method are a filter of the values: (1 - B)^2 / (1 - (2 - a - ab) B + (1 - a) B^2) of them, B one
 * step back, for the shares a of the newest value in the level and b of the level's in the trend (Roberts 1982,
 * Management Science 28, 808). This is what it makes of a one followed by zeros. */
static void holt_errors(int n, double *error)
{
  const double a = 0.3, b = 0.15, numerator[3] = {1, -2, 1};
  for (int t = 0; t < n; t++)
    error[t] = (t < 3 ? numerator[t] : 0) + (t > 0 ? (2 - a - a * b) * error[t - 1] : 0) -
               (t > 1 ? (1 - a) * error[t - 2] : 0);
}

enum { ANSWER = 400 };

/* One value of 1 among zeros: what is expected next, and the deviation, which is the mean of the errors while they are
 * few and lets a twentieth of each in later. */
static void impulse(void)
{
  double error[ANSWER], mean = 0;
  series s = {0};
  holt_errors(ANSWER, error);
  series_learn(&s, 0, 0);
  for (int t = 0; t < ANSWER; t++) {
    const double x = t == 0;
    CHECK_NEAR(x - s.level - s.trend, error[t], 1e-12);
    series_learn(&s, 0, x);
    mean += (fabs(error[t]) - mean) * (t < 20 ? 1 / (t + 1.0) : 0.05);
    CHECK_NEAR(s.deviation, mean, 1e-12);
  }
}

static void noise(void)
{
  series past = {0};
  double error[ANSWER], power = 0, deviation;
  const int64_t odd = count_odd(6, 0.02, &past, &deviation);
  CHECK_LT(
      (double)odd / VALUES,
      2e-4); /* 6 mean deviations of this noise are 4.8 standard deviations, less what the deviation itself varies */
  /* The deviation at one time scatters by 12 % (0.76 of an error's size, a twentieth of each), its mean over 150,000 by
   * 0.2 %: a fault of 1 % is seen in the mean. The errors' variance is the noise's times the power of the filter. */
  holt_errors(ANSWER, error);
  for (int t = 0; t < ANSWER; t++) power += error[t] * error[t];
  const double expected = sqrt(2 / acos(-1.0)) * 0.02 * sqrt(power);
  CHECK_NEAR(deviation, expected, 0.005 * expected);
  const double usual = past.level + past.trend, limit = 6 * past.deviation;
  CHECK(series_is_jump(&past, 6, usual + 1.01 * limit) && series_is_jump(&past, 6, usual - 1.01 * limit));
  CHECK(!series_is_jump(&past, 6, usual + 0.99 * limit) && !series_is_jump(&past, 6, usual - 0.99 * limit));
  series_learn(&past, 6, 1e6); /* does not make the next one look normal */
  CHECK_LT(past.deviation, 1.3 * limit / 6);
  past = (series){0};
  CHECK_GT((double)count_odd(2, 0.02, &past, &deviation) / VALUES, 0.05); /* the count above can see what it counts */
}

static void smooth(void)
{
  series past = {0};
  int64_t odd = 0;
  double x = 0;
  for (int i = 0; i < 400; i++) {
    x = 2 + exp(-i / 200.0);
    odd += series_is_jump(&past, 6, x);
    series_learn(&past, 6, x);
  }
  CHECK_EQ(odd, 0);
  CHECK(series_is_jump(&past, 6, x + 1e-3) && series_is_jump(&past, 6, x - 2e-3));
}

static void not_finite(void)
{
  verify_past past = {.bound = 6};
  CHECK(verify_is_jump(&past, &past.loss, NAN) && verify_is_jump(&past, &past.loss, INFINITY) &&
        verify_is_jump(&past, &past.norm, verify_log(NAN)));
  CHECK(!isfinite(verify_log(INFINITY)) && isfinite(verify_log(0)));
  CHECK(!verify_is_jump(&past, &past.loss, 1e30)); /* nothing is known yet */
  for (int i = 0; i < 40; i++) verify_learn(&past, 3 + 0.01 * (i % 3), 1);
  CHECK(verify_is_jump(&past, &past.loss, 1e30) && !verify_is_jump(&past, &past.loss, 3.01) &&
        verify_is_jump(&past, &past.norm, verify_log(20)));
  past.bound = 0;
  CHECK(verify_is_jump(&past, &past.loss, 3.01));
}

/* On the last rank something differs. */
static void compare(syz_comm *world)
{
  char text[VERIFY_TEXT], rank[32];
  const int last = syz_comm_size(world) - 1;
  const bool is_last = syz_comm_rank(world) == last;
  const signature a = {.result = {.loss = 3, .digest = 5}, .norm = 1, .own = 7, .whole = 20};
  signature b = a;
  snprintf(rank, sizeof rank, "rank %d on ", last);
  b.result.wait_s = 9; /* no part of the result */
  CHECK(verify_is_same(world, &a, &b, text) && !text[0]);
  if (is_last) b.norm = nextafter(1, 2);
  CHECK(!verify_is_same(world, &a, &b, text) && strstr(text, rank) && strstr(text, "the result"));
  b.own = 8; /* on all ranks, which follows from the gradients of one */
  b.whole = 21;
  if (is_last) b.whole = 22;
  CHECK(!verify_is_same(world, &a, &b, text) && strstr(text, rank) && strncmp(text, "gradients", 9) == 0 &&
        !strstr(text, ","));
  if (is_last) b.result.digest = 6;
  CHECK(!verify_is_same(world, &a, &b, text) && strstr(text, rank) && strstr(text, "the forward pass") &&
        !strstr(text, ","));
}

int main(int argc, char **argv)
{
  syz_comm *world = NULL;
  if (syz_comm_start(&argc, &argv, &world) != SYZ_OK) return 1;
  impulse();
  noise();
  smooth();
  not_finite();
  compare(world);
  int64_t failed = CHECK_RESULT();
  syz_allreduce_i64(world, &failed, 1, SYZ_MAX);
  syz_comm_finish(&world);
  return failed != 0;
}
