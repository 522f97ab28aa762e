/* SPDX-License-Identifier: BSD-3-Clause */
/** One member's epochs: batches, gradient, Adam, validation, the copy of the weights to keep, when to stop. */
#include <math.h>
#include <string.h>

#include "train.h"

/* The rows of an epoch in their order: Fisher & Yates. */
static void shuffle(const syz_flow *f, int member, int64_t epoch, int64_t n, int64_t *order)
{
  const syz_random r = syz_random_make(f->seed, SYZ_RANDOM_FLOW_ORDER, (uint64_t)epoch, (uint64_t)member);
  for (int64_t i = 0; i < n; i++) order[i] = i;
  for (int64_t i = n - 1; i > 0; i--) {
    const int64_t j = (int64_t)syz_random_below(&r, (uint32_t)i, (uint64_t)i + 1), keep = order[i];
    order[i] = order[j];
    order[j] = keep;
  }
}

/* Sum of log q over rows index [n]; with `gradient`, that of -mean log q over `batch` rows is added to it. */
static double pass(const syz_flow_training *t, const flow_worker *w, int member, const flow_rows *r, int64_t n,
                   const int64_t *index, int64_t batch, bool has_gradient)
{
  const syz_flow *f = t->flow;
  const flow_layout *y = &f->layout[member];
  const void *weight = t->state[member].weight;
  double sum = 0;
  for (int64_t first = 0; first < n; first += FLOW_BLOCK) {
    const int labels = f->labels, count = (int)(n - first < FLOW_BLOCK ? n - first : FLOW_BLOCK);
    double s[FLOW_BLOCK * SYZ_FLOW_LABELS], z[FLOW_BLOCK * SYZ_FLOW_LABELS], slope[FLOW_BLOCK * SYZ_FLOW_LABELS];
    double each[FLOW_BLOCK];
    for (int i = 0; i < count; i++)
      memcpy(s + i * labels, r->s + index[first + i] * labels, (size_t)labels * sizeof *s);
    f->engine->load_context(w->work, y, count, r->context, index + first, f->mean, f->factor);
    f->engine->forward(w->work, y, weight, count, s, z, slope);
    for (int i = 0; i < count; i++) sum += flow_log_normal(labels, z + i * labels, slope + i * labels);
    if (!has_gradient) continue;
    for (int i = 0; i < count; i++) each[i] = -1.0 / (double)batch;
    f->engine->backward(w->work, y, weight, count, each, w->gradient, NULL, NULL);
  }
  return sum;
}

static double learning_rate(const syz_flow_training *t, int64_t epoch, int64_t at, int64_t steps)
{
  const syz_flow_training_options *o = &t->options;
  const double done = (double)epoch + (o->lr_by_epoch ? 0 : (double)at / (double)steps);
  return o->lr_min + 0.5 * (o->lr - o->lr_min) * (1 + cos(3.14159265358979323846 * done / (double)o->epochs));
}

/* False: a loss or a gradient is not finite. */
static bool train_batch(syz_flow_training *t, const flow_worker *w, int member, int64_t at, int64_t n, double lr,
                        double *log_q)
{
  const syz_flow_training_options *o = &t->options;
  const flow_engine *engine = t->flow->engine;
  flow_state *s = &t->state[member];
  const int64_t size = t->flow->layout[member].size;
  memset(w->gradient, 0, (size_t)size * engine->real);
  *log_q = pass(t, w, member, &t->train, n, w->order + at, n, true);
  const double norm = sqrt(engine->sum_of_squares(w->gradient, size));
  if (syz_fault("flow_loss") || !isfinite(*log_q) || !isfinite(norm)) return false;
  const double scale = o->clip_norm > 0 && norm > o->clip_norm ? o->clip_norm / norm : 1;
  engine->adam(&(flow_adam){lr, o->beta1, o->beta2, o->eps, scale, ++s->counters[STEPS]}, s->weight, s->moment1,
               s->moment2, w->gradient, size);
  return true;
}

static bool asks_to_stop(const syz_flow_training *t, const flow_state *s)
{
  const syz_flow_training_options *o = &t->options;
  const int64_t epoch = s->counters[EPOCHS] - 1; /* the one just done, from 0 */
  if (epoch + 1 >= o->epochs) return true;
  if (o->stop == SYZ_FLOW_PATIENCE) return epoch - s->counters[BEST_EPOCH] >= o->patience;
  if (o->stop != SYZ_FLOW_PUBLISHED_STOP || epoch <= 10) return false;
  double sum = 0;
  for (int k = 1; k <= 5; k++) sum += s->valid_loss[epoch - k];
  return s->valid_loss[epoch] > sum / 5;
}

static void diverge(flow_state *s) { s->counters[HAS_DIVERGED] = s->counters[IS_DONE] = 1; }

void flow_train_epoch(syz_flow_training *t, const flow_worker *w, int member)
{
  flow_state *s = &t->state[member];
  const syz_flow *f = t->flow;
  const int64_t epoch = s->counters[EPOCHS], n = t->train.n, batch = t->options.batch;
  const int64_t steps = (n + batch - 1) / batch;
  double sum = 0, log_q = 0;
  shuffle(f, member, epoch, n, w->order);
  for (int64_t k = 0; k < steps; k++) {
    const int64_t at = k * batch, count = n - at < batch ? n - at : batch;
    if (!train_batch(t, w, member, at, count, learning_rate(t, epoch, k, steps), &log_q)) {
      diverge(s);
      return;
    }
    sum += log_q;
    syz_pulse();
  }
  for (int64_t i = 0; i < t->valid.n; i++) w->order[i] = i;
  s->train_loss[epoch] = -sum / (double)n;
  s->valid_loss[epoch] = -pass(t, w, member, &t->valid, t->valid.n, w->order, t->valid.n, false) / (double)t->valid.n;
  if (!isfinite(s->valid_loss[epoch])) {
    diverge(s);
    return;
  }
  s->counters[EPOCHS]++;
  const int64_t best = s->counters[BEST_EPOCH];
  const bool is_best = best < 0 || s->valid_loss[epoch] < s->valid_loss[best];
  if (is_best) s->counters[BEST_EPOCH] = epoch;
  if (is_best || t->options.keeps_last) memcpy(s->best, s->weight, (size_t)f->layout[member].size * f->engine->real);
  s->counters[IS_DONE] = asks_to_stop(t, s);
}
