/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Detects computing errors that leave no trace in memory. Only a repeated computation shows them, which costs a step,
 * so it is done only when a step is unexpected: its loss, or the logarithm of its gradient norm, differs from the
 * expected value by more than `bound` times the mean absolute error of that expectation. The expected value is level +
 * trend of Holt's double exponential smoothing (Holt 1957, ONR Memorandum 52), which follows a falling loss without a
 * lag. Noise with a normal distribution of standard deviation s has a mean absolute deviation of 0.8 s: a bound of 6 is
 * 4.8 s. The comparison of bits decides, not the bound: an unusual batch gives the same bits again, and the run
 * continues with them.
 *
 * The expectation is not in checkpoints, because it decides only which steps are repeated, never their result.
 */
#include "verify.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Weights of the newest value in level, trend and deviation; and the number of values before any is judged. */
static const double level_share = 0.3, trend_share = 0.15, deviation_share = 0.05;
enum { FIRST_VALUES = 12 };
/* A difference below the printed digits is never unexpected. */
static const double least_deviation = 1e-6;

static double expected(const series *s) { return s->level + s->trend; }

bool series_is_jump(const series *s, double bound, double x)
{
  if (s->n < FIRST_VALUES) return false;
  return fabs(x - expected(s)) > bound * fmax(s->deviation, least_deviation * fabs(s->level));
}

void series_learn(series *s, double bound, double x)
{
  if (s->n == 0) s->level = x;
  const double error = x - expected(s), size = fabs(error);
  const double share = fmax(deviation_share, 1 / (double)(s->n > 0 ? s->n : 1));
  /* Limited, so that one outlier does not make the next ones seem normal. */
  const double most =
      s->n >= FIRST_VALUES && bound > 0 ? bound * fmax(s->deviation, least_deviation * fabs(s->level)) : size;
  s->level = expected(s) + level_share * error;
  s->trend += level_share * trend_share * error;
  if (s->n > 0) s->deviation += share * (fmin(size, most) - s->deviation);
  s->n++;
}

bool verify_is_jump(const verify_past *p, const series *s, double x)
{
  return !isfinite(x) || p->bound == 0 || series_is_jump(s, p->bound, x);
}

double verify_log(double norm) { return norm > 0 ? log(norm) : norm == 0 ? -690 : norm; }

void verify_learn(verify_past *p, double loss, double norm)
{
  series_learn(&p->loss, p->bound, loss);
  series_learn(&p->norm, p->bound, verify_log(norm));
}

/* ----------------------------------------------------------------- compare */

/* Where two computations differ on a rank; the larger, the nearer to the cause. */
enum { ALIKE, RESULT, OWN, PASSES, FORWARD };

static int difference(const signature *a, const signature *b)
{
  if (a->result.digest != b->result.digest) return FORWARD;
  if (a->whole - a->own != b->whole - b->own) return PASSES; /* the gradients that other ranks sum */
  if (a->own != b->own) return OWN;
  const bool is_same = memcmp(&a->result.loss, &b->result.loss, sizeof a->result.loss) == 0 &&
                       memcmp(a->result.term, b->result.term, sizeof a->result.term) == 0 &&
                       memcmp(&a->norm, &b->norm, sizeof a->norm) == 0 &&
                       memcmp(a->group, b->group, sizeof a->group) == 0 &&
                       memcmp(a->scalar, b->scalar, sizeof a->scalar) == 0;
  return is_same ? ALIKE : RESULT;
}

typedef struct opinion {
  int difference;
  char host[60];
} opinion;

bool verify_is_same(syz_comm *world, const signature *a, const signature *b, char text[VERIFY_TEXT])
{
  enum { TOLD = 4 };
  static const char *const what[] = {"", "the result", "sums of gradients", "gradients", "the forward pass"};
  const int size = syz_comm_size(world);
  opinion mine = {.difference = difference(a, b)};
  int64_t worst = mine.difference, told = 0;
  text[0] = '\0';
  syz_allreduce_i64(world, &worst, 1, SYZ_MAX);
  if (worst == ALIKE) return true;
  gethostname(mine.host, sizeof mine.host - 1);
  size_t at = (size_t)snprintf(text, VERIFY_TEXT, "%s differed on", what[worst]);
  opinion *all = syz_alloc("opinions", (size_t)size, sizeof *all);
  if (syz_agree(world, all ? SYZ_OK : SYZ_ERR_MEMORY) == SYZ_OK) {
    syz_allgather(world, &mine, all, sizeof mine);
    for (int r = 0; r < size && at < VERIFY_TEXT; r++)
      if (all[r].difference == worst && told++ < TOLD)
        at += (size_t)snprintf(text + at, VERIFY_TEXT - at, "%s rank %d on %s", told > 1 ? "," : "", r, all[r].host);
    if (told > TOLD && at < VERIFY_TEXT)
      snprintf(text + at, VERIFY_TEXT - at, " and %lld more", (long long)(told - TOLD));
  }
  syz_free(&all);
  return false;
}
