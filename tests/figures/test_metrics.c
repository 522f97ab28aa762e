/* SPDX-License-Identifier: BSD-3-Clause */
/** Retrieval figures and R2 against values worked out by hand. */
#include "check.h"
#include "syzygy/figures.h"

static void known_ranks(void)
{
  /* Ranks 1, 1, 3, 7, 40, 200 and one query without partner. */
  const syz_pair pair[] = {{5, 0, 0, 1}, {6, 0, 0, 1},  {7, 2, 0, 1},   {-1, 0, 0, NAN},
                           {8, 6, 0, 1}, {9, 39, 0, 1}, {10, 199, 0, 1}};
  syz_pair_figures r;
  CHECK_OK(syz_pair_score(pair, 7, 1000, &r));
  CHECK_EQ(r.pairs, 6);
  CHECK_EQ(r.candidates, 1000);
  CHECK_NEAR(r.recall[0], 2.0 / 6, 1e-15);
  CHECK_NEAR(r.recall[1], 3.0 / 6, 1e-15);
  CHECK_NEAR(r.recall[2], 4.0 / 6, 1e-15);
  CHECK_NEAR(r.recall[3], 5.0 / 6, 1e-15);
  CHECK_NEAR(r.median_rank, 5, 1e-15);
  CHECK_NEAR(r.mean_reciprocal_rank, (1 + 1 + 1 / 3.0 + 1 / 7.0 + 1 / 40.0 + 1 / 200.0) / 6, 1e-15);
  CHECK_NEAR(r.chance[2], 0.01, 1e-15);
  CHECK_NEAR(r.chance_median_rank, 500.5, 1e-12);
}

static void ties(void)
{
  /* Two larger, four as near: the partner is at 3, 4, 5, 6 or 7 with equal chance. */
  const syz_pair pair[] = {{0, 2, 4, 1}};
  syz_pair_figures r;
  CHECK_OK(syz_pair_score(pair, 1, 20, &r));
  CHECK_NEAR(r.recall[0], 0, 0);
  CHECK_NEAR(r.recall[1], 0.6, 1e-15);
  CHECK_NEAR(r.recall[2], 1, 1e-15);
  CHECK_NEAR(r.median_rank, 5, 1e-15);
  CHECK_NEAR(r.chance[3], 1, 0);
}

static void nothing(void)
{
  const syz_pair pair[] = {{-1, 0, 0, NAN}};
  syz_pair_figures r;
  CHECK_OK(syz_pair_score(pair, 1, 20, &r));
  CHECK_EQ(r.pairs, 0);
  CHECK(isnan(r.recall[0]) && isnan(r.median_rank));
  CHECK_OK(syz_pair_score(NULL, 0, 0, &r));
  CHECK_EQ(r.pairs, 0);
}

static void r_squared(void)
{
  const float y[] = {1, 2, 3, 4}, perfect[] = {1, 2, 3, 4}, mean[] = {2.5f, 2.5f, 2.5f, 2.5f}, off[] = {1, 2, 3, 5},
              flat[] = {3, 3, 3, 3};
  CHECK_NEAR(syz_r_squared(y, perfect, 4), 1, 0);
  CHECK_NEAR(syz_r_squared(y, mean, 4), 0, 1e-15);
  CHECK_NEAR(syz_r_squared(y, off, 4), 1 - 1.0 / 5, 1e-15);
  CHECK(isnan(syz_r_squared(flat, y, 4)));
  CHECK(isnan(syz_r_squared(y, y, 1)) && isnan(syz_r_squared(y, y, 0)));
}

/* Values of scikit-learn 1.2.1 for the same table; class 2 occurs nowhere. */
static void classes(void)
{
  const int64_t count[16] = {50, 3, 0, 2, 4, 30, 0, 1, 0, 0, 0, 0, 5, 0, 0, 5}, none[4] = {0};
  syz_class_figures f;
  syz_class_score(count, 4, &f);
  CHECK_EQ(f.n, 100);
  CHECK_NEAR(f.accuracy, 0.85, 1e-15);
  CHECK_NEAR(f.balanced_accuracy, 0.7554112554112553, 1e-14);
  CHECK_NEAR(f.macro_f1, 0.7717004930627221, 1e-14);
  CHECK_NEAR(f.weighted_f1, 0.8468352253181974, 1e-14);
  CHECK_NEAR(f.mean_iou, 0.651779689608637, 1e-14);
  CHECK_NEAR(f.majority, 0.55, 1e-15);
  CHECK_NEAR(f.iou[0], 50.0 / 64, 1e-15);
  CHECK_NEAR(f.iou[3], 5.0 / 13, 1e-15);
  CHECK_NEAR(f.recall[1], 30.0 / 35, 1e-15);
  CHECK(isnan(f.iou[2]) && isnan(f.recall[2]) && isnan(f.f1[2]));
  syz_class_score(none, 2, &f);
  CHECK(f.n == 0 && isnan(f.accuracy) && isnan(f.mean_iou) && isnan(f.balanced_accuracy));
}

int main(void)
{
  known_ranks();
  ties();
  nothing();
  r_squared();
  classes();
  CHECK_EQ(syz_memory_get().live_blocks, 0);
  return CHECK_RESULT();
}
