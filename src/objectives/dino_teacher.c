/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The teacher's moving average, and the signs of collapse.
 *
 * Three kinds of collapse are detected: all images have the same class token (embedding_spread), all have the same
 * target (mean_target_entropy near 0: one prototype wins), or every target is uniform (target_entropy near log K:
 * nothing to learn from). A network with initial weights shows the first and often the last, because with LayerScale
 * 1e-5 its class token hardly depends on the image yet. So a sign is reported only after a step without any, or after a
 * tenth of the run and at least 100 steps.
 */
#include "dino.h"

#include <inttypes.h>
#include <math.h>

enum { FIRST_STEPS = 100 };

/* In this form, unlike m t + (1 - m) s, equal values stay equal to the last bit (the prototypes' fixed gain). */
void dino_follow(float *teacher, const float *student, double momentum, int64_t n, int threads)
{
  const float step = (float)(1 - momentum);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (int64_t i = 0; i < n; i++) teacher[i] += step * (student[i] - teacher[i]);
}

static void tell(bool is, bool *was, int64_t step, const char *what, double value, double limit)
{
  if (is && !*was) syz_warn("step %" PRId64 ": collapse: %s (%.3g, limit %.3g)", step, what, value, limit);
  *was = is;
}

void dino_watch_step(dino_watch *w, const syz_dino_options *o, int64_t prototypes, int64_t step,
                     const double term[SYZ_TERMS_MAX])
{
  const double all = log((double)prototypes), flat = 0.01, single = 0.01 * all, uniform = 0.999 * all;
  const bool is_flat = term[TERM_SPREAD] < flat,
             is_single = term[TERM_MEAN_ENTROPY]<single, is_uniform = term[TERM_ENTROPY]> uniform;
  if (!is_flat && !is_single && !is_uniform) w->was_alive = true;
  if (!w->was_alive && (step < o->steps / 10 || step < FIRST_STEPS)) return;
  tell(is_flat, &w->is_flat, step, "the class tokens of all images are nearly the same; embedding_spread",
       term[TERM_SPREAD], flat);
  tell(is_single, &w->is_single, step, "nearly all targets are the same prototype; mean_target_entropy",
       term[TERM_MEAN_ENTROPY], single);
  tell(is_uniform, &w->is_uniform, step, "the targets are nearly uniform; target_entropy", term[TERM_ENTROPY], uniform);
}
