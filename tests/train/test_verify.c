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

enum { VALUES = 200000 };

/* Normal noise of standard deviation s about a falling loss; how many of them look odd at this bound. */
static int64_t count_odd(double bound, double s, series *past)
{
  int64_t odd = 0;
  for (int64_t i = 0; i < VALUES; i++) {
    const syz_random r = syz_random_make(5, SYZ_RANDOM_BENCH, 1, (uint64_t)i);
    float noise;
    syz_random_fill_normal(&r, &noise, 1);
    const double x = 5 + 3 * exp(-(double)i / 5000) + s * (double)noise;
    odd += series_is_jump(past, bound, x);
    series_learn(past, bound, x);
  }
  return odd;
}

static void noise(void)
{
  series past = {0};
  const int64_t odd = count_odd(6, 0.02, &past);
  CHECK_LT(
      (double)odd / VALUES,
      2e-4); /* 6 mean deviations of this noise are 4.8 standard deviations, less what the deviation itself varies */
  CHECK_NEAR(past.deviation, 0.8 * 0.02 * 1.15, 0.1 * 0.02);
  const double usual = past.level + past.trend, limit = 6 * past.deviation;
  CHECK(series_is_jump(&past, 6, usual + 1.01 * limit) && series_is_jump(&past, 6, usual - 1.01 * limit));
  CHECK(!series_is_jump(&past, 6, usual + 0.99 * limit) && !series_is_jump(&past, 6, usual - 0.99 * limit));
  series_learn(&past, 6, 1e6); /* does not make the next one look normal */
  CHECK_LT(past.deviation, 1.3 * limit / 6);
  past = (series){0};
  CHECK_GT((double)count_odd(2, 0.02, &past) / VALUES, 0.05); /* the count above can see what it counts */
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
  noise();
  smooth();
  not_finite();
  compare(world);
  int64_t failed = CHECK_RESULT();
  syz_allreduce_i64(world, &failed, 1, SYZ_MAX);
  syz_comm_finish(&world);
  return failed != 0;
}
