/* SPDX-License-Identifier: BSD-3-Clause */
/** Processor seconds of the bootstraps, and of the figures from draws: speed_figures [objects [draws]]. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "check.h"
#include "syzygy/figures.h"
#include "syzygy/numbers.h"

static double seconds(void) { return (double)clock() / CLOCKS_PER_SEC; }

static void tell(const char *what, double *start)
{
  printf("%-28s %.3f s\n", what, seconds() - *start);
  *start = seconds();
}

int main(int argc, char **argv)
{
  const int64_t n = argc > 1 ? atoll(argv[1]) : 20000, draws = argc > 2 ? atoll(argv[2]) : 1000, m = 1000, few = n / 10;
  const syz_bootstrap b = {1, 0, draws};
  const syz_random random = syz_random_make(1, SYZ_RANDOM_TEST, 0, 0);
  double *y = malloc((size_t)n * 8), *p = malloc((size_t)n * 8), *drawn = malloc((size_t)draws * 8 * 8), value[8];
  double *posterior = malloc((size_t)(few * m) * 8), *figure = malloc((size_t)n * 8);
  uint8_t *is_positive = malloc((size_t)n);
  CHECK(y && p && drawn && posterior && figure && is_positive);
  for (int64_t i = 0; i < n; i++) {
    y[i] = syz_random_uniform(&random, (uint32_t)i);
    p[i] = y[i] + 0.1 * syz_random_normal(&random, (uint32_t)(n + i));
    is_positive[i] = y[i] > 0.8;
  }
  for (int64_t i = 0; i < few * m; i++) posterior[i] = p[i / m] + 0.1 * syz_random_normal(&random, (uint32_t)i);
  printf("%lld objects, %lld draws; posteriors of %lld objects, %lld draws\n", (long long)n, (long long)draws,
         (long long)few, (long long)m);
  double start = seconds();
  CHECK_OK(syz_bootstrap_r_squared(&b, n, y, p, value, drawn));
  tell("bootstrap of R^2", &start);
  CHECK_OK(syz_bootstrap_photoz(&b, n, y, p, value, drawn));
  tell("bootstrap of redshift figures", &start);
  CHECK_OK(syz_bootstrap_ranking(&b, n, p, is_positive, 0.22, value, drawn));
  tell("bootstrap of ranking figures", &start);
  CHECK_OK(syz_crps_of_draws(few, y, (syz_draws){posterior, m, 1}, figure, NULL));
  tell("CRPS", &start);
  CHECK_OK(syz_tarp_references(few, 1, y, p, 50, 1, NULL, figure));
  tell("references of TARP", &start);
  free(y), free(p), free(drawn), free(posterior), free(figure), free(is_positive);
  return CHECK_RESULT();
}
