/* SPDX-License-Identifier: BSD-3-Clause */
/** Sums of the distillation loss over leaves and ranks, used by the student's and the teacher's part. */
#include "distillation.h"

void distillation_sum(syz_distillation *d, double *of_leaf, size_t n)
{
  if (d->config.leaves <= 0) {
    syz_allreduce_f64(d->world, of_leaf, n, SYZ_SUM);
    return;
  }
  syz_leaves_merge_f64(of_leaf, d->config.leaves, n);
  syz_leaves_sum_f64(d->world, d->travel, of_leaf, n, d->received);
}
