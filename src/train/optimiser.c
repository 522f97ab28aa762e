/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The optimiser's share: each rank forms the squares of, and updates, its slices of the buckets (parts.c), for which it
 * has the summed gradients and the moments: 1/ranks of the work and of the 2.8 GB of moments at full size. A node has
 * one block of weights, so within a node nothing is sent. Between nodes each slice is sent to its owner's stand-ins,
 * directly into their blocks, while the next bucket is updated. The buckets of the first layers come first, in the
 * order of the next forward pass; packing nevertheless waits for all buckets, at the barrier at the end.
 *
 * The norm is formed in units of 4096 elements. The sums of all units, each formed by one rank, are gathered and added
 * in the order of the block, so that the norm does not depend on the number of ranks. At full size they are 90,000
 * float64.
 */
#include "optimiser.h"

#include <math.h>
#include <string.h>

#include "digests.h"

/* Sum of squares of each part and clip group over all ranks. */
static void part_sums(const parts *p, const float *gradients, int threads, double sum[PARTS][SYZ_CLIP_GROUPS])
{
  memset(p->square, 0, (size_t)p->n_squares * sizeof *p->square);
  for (int i = 0; i < PARTS; i++) memset(sum[i], 0, sizeof sum[i]);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (int64_t i = 0; i < p->n_stretches; i++) {
    const stretch *t = &p->stretch[i];
    p->square[t->square] = syz_sum_of_squares(gradients + t->first, t->count, 1);
    if (p->digests) digests_note_gradient(p->digests, i, gradients);
  }
  if (syz_comm_size(p->grid->data) > 1)
    syz_allreduce_f64(p->grid->data, p->square, (size_t)p->n_squares,
                      SYZ_SUM); /* exact, because each square is zero on all ranks but one */
  for (int s = 0; s < p->n_segments; s++) {
    const segment *g = &p->segment[s];
    const int64_t end = s + 1 < p->n_segments ? p->segment[s + 1].first_square : p->n_squares;
    int owner = 0;
    while (!p->part[owner].is_here || g->first < p->part[owner].first ||
           g->first >= p->part[owner].first + p->part[owner].count)
      owner++;
    for (int64_t i = g->first_square; i < end; i++) sum[owner][g->rule.clip_group] += p->square[i];
  }
}

double optimiser_norm(const parts *p, const float *gradients, const scalars *s, double poison, int threads,
                      double group[SYZ_CLIP_GROUPS])
{
  struct {
    double part[PARTS][SYZ_CLIP_GROUPS], poison;
  } all;
  double sum = 0;
  part_sums(p, gradients, threads, all.part);
  /* Towers may be apart: each part's sums come from the first rank that holds it. */
  if (syz_comm_rank(p->grid->data) > 0) memset(all.part, 0, sizeof all.part);
  all.poison = poison;
  syz_allreduce_f64(p->grid->world, &all.part[0][0], sizeof all / sizeof(double), SYZ_SUM);
  for (int k = 0; k < SYZ_CLIP_GROUPS; k++) {
    group[k] = k == 0 ? all.poison : 0;
    for (int i = 0; i < PARTS; i++) group[k] += all.part[i][k];
  }
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

/* A segment's own rule. Its steps are counted from 0, so the first `frozen_steps` updates have a rate of zero (and no
 * decay, which is multiplied by the rate). */
static syz_adamw rule_of(const syz_adamw *all, const syz_rule *own, int64_t step)
{
  syz_adamw o = *all;
  o.lr = step - 1 < own->frozen_steps ? 0 : all->lr * own->lr_factor;
  o.weight_decay = all->weight_decay * own->decay_factor;
  return o;
}

/* This rank's slice of bucket i, segment by segment. */
static void update_slice(const parts *p, int i, const syz_adamw *rule, int64_t step,
                         const double scale[SYZ_CLIP_GROUPS], float *weights, const float *gradients, int threads)
{
  const bucket *b = &p->bucket[i];
  const part *q = &p->part[b->part];
  int64_t from = p->digests ? digests_first(p->digests, i) : 0;
  for (int s = 0; s < p->n_segments; s++) {
    const segment *g = &p->segment[s];
    const int64_t first = g->first > b->own_first ? g->first : b->own_first;
    const int64_t end =
        g->first + g->count < b->own_first + b->own_count ? g->first + g->count : b->own_first + b->own_count;
    if (end <= first) continue;
    const int64_t place = b->place + first - b->own_first;
    const syz_adamw o = rule_of(rule, &g->rule, step);
    if (p->digests) {
      int64_t n = 0;
      while (from + n < p->n_stretches && p->stretch[from + n].first >= first && p->stretch[from + n].first < end) n++;
      digests_update(p->digests, from, n, &o, step, scale[g->rule.clip_group], gradients);
      from += n;
      continue;
    }
    syz_adamw_update(&o, step, scale[g->rule.clip_group], weights + first, q->moment1 + place, q->moment2 + place,
                     gradients + first, end - first, threads);
  }
}

/* Exchanges the slices of bucket i with other nodes. */
static void begin_spread(const parts *p, int i, float *weights, syz_request *r)
{
  enum { TAG = 16384 };
  const syz_nodes *n = p->nodes;
  const bucket *b = &p->bucket[i];
  const int me = syz_comm_rank(n->all);
  for (int k = 0; k < n->n_behind; k++) {
    int64_t first, count;
    parts_slice(p, i, n->behind[k], &first, &count);
    if (count > 0) syz_request_receive(r, weights + first, (size_t)count * sizeof *weights, n->behind[k], TAG + i);
  }
  for (int k = 0; k < n->n && b->own_count > 0; k++)
    if (k != n->mine)
      syz_request_send(r, weights + b->own_first, (size_t)b->own_count * sizeof *weights, syz_nodes_stand_in(n, k, me),
                       TAG + i);
}

void optimiser_update(const parts *p, const syz_adamw *rule, int64_t step, const double scale[SYZ_CLIP_GROUPS],
                      float *weights, const float *gradients, scalars *s, int threads)
{
  for (int i = p->n_buckets - 1; i >= 0; i--) {
    if (p->bucket[i].trained == 0) continue;
    update_slice(p, i, rule, step, scale, weights, gradients, threads);
    if (p->nodes->n == 1) continue;
    syz_request_wait(p->travel[i % PARTS_RING]);
    begin_spread(p, i, weights, p->travel[i % PARTS_RING]);
    for (int k = 0; k < PARTS_RING; k++) syz_request_test(p->travel[k]);
  }
  update_scalars(rule, step, scale[0], s);
  for (int k = 0; k < PARTS_RING; k++) syz_request_wait(p->travel[k]);
  syz_barrier(p->nodes->local);
}
