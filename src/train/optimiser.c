/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The optimiser's share. After the sums every rank has the whole gradient of its tower; it forms the squares of, and updates, only its
 * own share of each part (parts.c), then the shares of the weights are gathered. So each rank keeps 1/ranks of the moments (at full size
 * 2.8 GB in all), and all have the same weights to the last bit by construction.
 *
 * The norm adds the shares' float64 sums over ranks: with another rank count it may differ in the last bits of a float64.
 */
#include "optimiser.h"

#include <math.h>
#include <string.h>

double optimiser_norm(const parts *p, const float *gradients, const scalars *s, double poison, int threads, double group[SYZ_CLIP_GROUPS])
{
  double sum = 0;
  memset(group, 0, SYZ_CLIP_GROUPS * sizeof *group);
  group[0] = poison;
  for (int i = 0; i < p->n_segments; i++) {
    const part *owner;
    int64_t first, count;
    parts_own(p, i, &first, &count, &owner);
    if (count > 0) group[p->segment[i].rule.clip_group] += syz_sum_of_squares(gradients + first, count, threads);
  }
  syz_allreduce_f64(p->grid->world, group, SYZ_CLIP_GROUPS, SYZ_SUM);
  for (int i = 0; i < s->n; i++) group[0] += s->gradient[i] * s->gradient[i];
  for (int k = 0; k < SYZ_CLIP_GROUPS; k++) {
    sum += group[k];
    group[k] = sqrt(group[k]);
  }
  return sqrt(sum);
}

double optimiser_clip(double norm, double limit)
{
  if (limit <= 0) return 1;
  const double scale = limit / (norm + 1e-6);
  return scale < 1 ? scale : 1;
}

/* The same rule in float64 for the few scalars. */
static void update_scalars(const syz_adamw *o, int64_t step, double scale, scalars *s)
{
  const double correction1 = 1 - pow(o->beta1, (double)step), correction2 = 1 - pow(o->beta2, (double)step);
  for (int i = 0; i < s->n; i++) {
    const double g = s->gradient[i] * scale;
    s->moment1[i] = o->beta1 * s->moment1[i] + (1 - o->beta1) * g;
    s->moment2[i] = o->beta2 * s->moment2[i] + (1 - o->beta2) * g * g;
    s->value[i] -= o->lr * o->weight_decay * s->value[i];
    s->value[i] -= o->lr * (s->moment1[i] / correction1) / (sqrt(s->moment2[i] / correction2) + o->eps);
  }
}

/* A segment's own rule. Its steps are counted from 0, so the first `frozen_steps` updates have no rate (nor decay, which is times the rate). */
static syz_adamw rule_of(const syz_adamw *all, const syz_rule *own, int64_t step)
{
  syz_adamw o = *all;
  o.lr = step - 1 < own->frozen_steps ? 0 : all->lr * own->lr_factor;
  o.weight_decay = all->weight_decay * own->decay_factor;
  return o;
}

void optimiser_update(const parts *p, const syz_adamw *rule, int64_t step, const double scale[SYZ_CLIP_GROUPS], float *weights, float *gradients,
                      scalars *s, int threads)
{
  for (int i = 0; i < p->n_segments; i++) {
    const part *owner;
    int64_t first, count;
    parts_own(p, i, &first, &count, &owner);
    if (count <= 0) continue;
    const int64_t place = first - owner->first - owner->own_first;
    const syz_rule *own = &p->segment[i].rule;
    const syz_adamw o = rule_of(rule, own, step);
    syz_adamw_update(&o, step, scale[own->clip_group], weights + first, owner->moment1 + place, owner->moment2 + place, gradients + first, count,
                     threads);
  }
  update_scalars(rule, step, scale[0], s);
  if (syz_comm_size(p->grid->data) == 1) return;
  for (int i = 0; i < PARTS; i++) {
    const part *q = &p->part[i];
    if (!q->is_here || !q->is_trained) continue;
    /* The gather's source must not overlap its destination: the gradients are done with, their block holds the copy. */
    float *mine = gradients + q->first + q->own_first;
    memcpy(mine, weights + q->first + q->own_first, (size_t)q->own_count * sizeof *mine);
    syz_allgatherv(p->grid->data, mine, weights + q->first, q->bytes);
  }
}
