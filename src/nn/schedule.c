/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * What changes from step to step. All are pure functions of their arguments in float64: equal on all ranks and after a
 * restart.
 *
 * The learning rate: linear warm-up, then half a cosine.
 *
 * Step s counts from 0 and is the number of updates already made.
 *   s <  warmup:  lr * s / warmup    (0 at step 0: with warm-up, the first update changes nothing)
 *   s >= warmup:  lr_min + (lr - lr_min) / 2 * (1 + cos(pi * min(1, (s - warmup) / max(1, steps - warmup))))
 *
 * So the rate is lr at step `warmup`, and lr_min at step `steps` (one past the last update) and later. Source:
 * Loshchilov & Hutter 2017, arXiv:1608.03983, without restarts; warm-up as in Goyal et al. 2017, arXiv:1706.02677.
 *
 * Weight decay and the momentum of a moving average: the same half cosine without warm-up, end + (start - end) / 2 *
 * (1 + cos(pi s / steps)), as CosineScheduler of DINOv2 (dinov2/utils/utils.py) tabulates it; exactly `end` at step
 * `steps` and later. The teacher's temperature: a straight line, start + (end - start) s / ramp_steps. This is
 * np.linspace without its last point; DINO's main_dino.py includes that point and so ends the ramp one step earlier.
 */
#include <math.h>

#include "syzygy/nn.h"

static const double pi = 3.14159265358979323846;

double syz_schedule_lr(int64_t step, double lr, double lr_min, int64_t warmup_steps, int64_t steps)
{
  if (step < warmup_steps) return lr * (double)(step > 0 ? step : 0) / (double)warmup_steps;
  int64_t length = steps > warmup_steps ? steps - warmup_steps : 1;
  double t = (double)(step - warmup_steps) / (double)length;
  if (t >= 1.0) return lr_min;
  return lr_min + 0.5 * (lr - lr_min) * (1.0 + cos(pi * t));
}

double syz_schedule_cosine(int64_t step, double start, double end, int64_t steps)
{
  if (step >= steps) return end;
  const double t = step > 0 ? (double)step / (double)steps : 0.0;
  return end + 0.5 * (start - end) * (1.0 + cos(pi * t));
}

double syz_schedule_ramp(int64_t step, double start, double end, int64_t ramp_steps)
{
  if (step >= ramp_steps) return end;
  return start + (end - start) * ((double)(step > 0 ? step : 0) / (double)ramp_steps);
}
