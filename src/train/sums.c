/* SPDX-License-Identifier: BSD-3-Clause */
/** The sums of gradients without a run, for measurements. */
#include "gradients.h"

struct syz_sums {
  parts parts;
  syz_gradients *gradients;
  syz_timing timing;
};

syz_status syz_sums_create(const syz_grid *grid, const syz_model *model, syz_reduction reduction, int threads,
                           syz_sums **out)
{
  syz_status st = SYZ_OK;
  syz_sums *s = syz_alloc("sums of gradients", 1, sizeof *s);
  *out = NULL;
  SYZ_TRY_ALL(grid->world, s ? SYZ_OK : SYZ_ERR_MEMORY);
  SYZ_TRY(parts_create(grid, model, true, NULL, 0, &s->parts));
  SYZ_TRY_ALL(grid->world, gradients_create(&s->parts, syz_model_size(model), reduction, threads, &s->gradients));
  gradients_watch(s->gradients, &s->timing);
  *out = s;
  s = NULL;
cleanup:
  syz_sums_destroy(&s);
  return st;
}

void syz_sums_destroy(syz_sums **s)
{
  if (!*s) return;
  gradients_destroy(&(*s)->gradients);
  parts_destroy(&(*s)->parts);
  syz_free(s);
}

syz_gradients *syz_sums_gradients(syz_sums *s) { return s->gradients; }

void syz_sums_begin(syz_sums *s)
{
  s->timing = (syz_timing){0};
  gradients_begin(s->gradients);
}

double syz_sums_finish(syz_sums *s, double *beside_s)
{
  const double start = syz_clock_s();
  gradients_finish(s->gradients);
  *beside_s = s->timing.n ? s->timing.seconds[0] : 0;
  return syz_clock_s() - start;
}
