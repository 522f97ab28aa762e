/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Training of an ensemble by maximum likelihood: Adam on -mean log q of batches, the learning rate down half a cosine,
 * the validation loss after every epoch, a true copy of the weights that the flow will have.
 *
 * A member is trained by one thread of rank m mod size from its first step to its last, and all that is drawn is a
 * function of (seed, member, epoch), so its bits do not depend on ranks or threads. Its whole state is the arrays of
 * syz_flow_state; they are the same on all ranks after each call, so that any number of ranks can go on from them.
 */
#include <math.h>
#include <string.h>

#include "internal.h"

enum { EPOCHS, STEPS, BEST_EPOCH, IS_DONE, HAS_DIVERGED, COUNTERS };

typedef struct state {
  void *weight, *moment1, *moment2, *best;
  int64_t *counters;
  double *train_loss, *valid_loss; /* [epochs] */
} state;

typedef struct rows {
  int64_t n;
  const float *context;
  double *s; /* [n, D] */
} rows;

struct syz_flow_training {
  syz_comm *comm;
  syz_flow *flow;
  syz_flow_training_options options;
  rows train, valid;
  state *state; /* [M] */
};

/* What a thread needs. */
typedef struct worker {
  void *work, *gradient;
  int64_t *order;
} worker;

syz_flow_training_options syz_flow_training_default(void)
{
  return (syz_flow_training_options){.epochs = 25,
                                     .batch = 128,
                                     .lr = 1e-3,
                                     .lr_min = 1e-6,
                                     .beta1 = 0.9,
                                     .beta2 = 0.999,
                                     .eps = 1e-8,
                                     .clip_norm = 10,
                                     .stop = SYZ_FLOW_ALL_EPOCHS,
                                     .patience = 10};
}

syz_flow_training_options syz_flow_training_astroclip(void)
{
  syz_flow_training_options o = syz_flow_training_default();
  o.lr = 5e-4;
  o.lr_by_epoch = true;
  o.clip_norm = 0;
  o.stop = SYZ_FLOW_PUBLISHED_STOP;
  o.keeps_last = true; /* Quirk: its "best" is a reference to the live network */
  return o;
}

/* -------------------------------------------------------------- one member */

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
static double pass(const syz_flow_training *t, const worker *w, int member, const rows *r, int64_t n,
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
static bool train_batch(syz_flow_training *t, const worker *w, int member, int64_t at, int64_t n, double lr,
                        double *log_q)
{
  const syz_flow_training_options *o = &t->options;
  const flow_engine *engine = t->flow->engine;
  state *s = &t->state[member];
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

static bool asks_to_stop(const syz_flow_training *t, const state *s)
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

static void diverge(state *s) { s->counters[HAS_DIVERGED] = s->counters[IS_DONE] = 1; }

static void train_epoch(syz_flow_training *t, const worker *w, int member)
{
  state *s = &t->state[member];
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

/* ------------------------------------------------------------------ create */

static syz_status check_options(const syz_flow_training_options *o, const syz_flow_rows *train,
                                const syz_flow_rows *valid)
{
  syz_status st = SYZ_OK;
  SYZ_REQUIRE(o->epochs >= 1 && o->batch >= 1, SYZ_ERR_INPUT, "flow: %d epochs in batches of %d; both are at least 1",
              o->epochs, o->batch);
  SYZ_REQUIRE(o->lr > 0 && o->lr_min >= 0 && o->lr_min <= o->lr, SYZ_ERR_INPUT,
              "flow: the learning rate goes from %g to %g; it must be above 0 and not rise", o->lr, o->lr_min);
  SYZ_REQUIRE(o->beta1 >= 0 && o->beta1 < 1 && o->beta2 >= 0 && o->beta2 < 1 && o->eps > 0, SYZ_ERR_INPUT,
              "flow: Adam takes averages of 0 to below 1 and eps above 0, not %g, %g and %g", o->beta1, o->beta2,
              o->eps);
  SYZ_REQUIRE(o->stop != SYZ_FLOW_PATIENCE || o->patience >= 1, SYZ_ERR_INPUT,
              "flow: a patience of %d epochs; at least 1 is needed", o->patience);
  SYZ_REQUIRE(train->n >= 1 && valid->n >= 1, SYZ_ERR_DATA,
              "a flow has %lld training and %lld validation rows; it needs both", (long long)train->n,
              (long long)valid->n);
cleanup:
  return st;
}

static syz_status take_rows(const syz_flow *f, const syz_flow_rows *from, rows *to)
{
  syz_status st = SYZ_OK;
  to->n = from->n;
  to->context = from->context;
  SYZ_ALLOC(to->s, "labels", from->n * f->labels);
  SYZ_TRY(syz_flow_labels_apply(f->label, f->labels, from->n, from->y, to->s, NULL, NULL, NULL));
  for (int64_t i = 0; i < from->n * f->context; i++)
    SYZ_REQUIRE(isfinite(from->context[i]), SYZ_ERR_DATA, "the context of row %lld is %g; leave such rows out",
                (long long)(i / f->context), (double)from->context[i]);
cleanup:
  return st;
}

static syz_status make_state(const syz_flow *f, int member, int epochs, state *s)
{
  syz_status st = SYZ_OK;
  const size_t n = (size_t)f->layout[member].size, real = f->engine->real;
  void **block[] = {&s->weight, &s->moment1, &s->moment2, &s->best};
  for (size_t i = 0; i < sizeof block / sizeof *block; i++) {
    *block[i] = syz_alloc("flow training", n, real);
    SYZ_REQUIRE(*block[i], SYZ_ERR_MEMORY, "no memory for the training of a flow");
  }
  SYZ_ALLOC(s->counters, "flow training", COUNTERS);
  SYZ_ALLOC(s->train_loss, "flow training", epochs);
  SYZ_ALLOC(s->valid_loss, "flow training", epochs);
  memcpy(s->weight, f->parameters[member], n * real);
  memcpy(s->best, f->parameters[member], n * real);
  s->counters[BEST_EPOCH] = -1;
cleanup:
  return st;
}

static syz_status fill(syz_flow_training *t, const syz_flow_rows *train, const syz_flow_rows *valid)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(check_options(&t->options, train, valid));
  SYZ_TRY(take_rows(t->flow, train, &t->train));
  SYZ_TRY(take_rows(t->flow, valid, &t->valid));
  SYZ_ALLOC(t->state, "flow training", t->flow->members);
  for (int m = 0; m < t->flow->members; m++) SYZ_TRY(make_state(t->flow, m, t->options.epochs, &t->state[m]));
cleanup:
  return st;
}

/* Rows that differ between ranks would make members that depend on their number. */
static syz_status check_same(const syz_flow_training *t)
{
  syz_status st = SYZ_OK;
  const size_t labels = (size_t)t->flow->labels * sizeof(double), context = (size_t)t->flow->context * sizeof(float);
  uint64_t sum = syz_checksum(t->train.s, (size_t)t->train.n * labels, 1);
  sum = syz_checksum(t->train.context, (size_t)t->train.n * context, sum);
  sum = syz_checksum(t->valid.s, (size_t)t->valid.n * labels, sum);
  sum = syz_checksum(t->valid.context, (size_t)t->valid.n * context, sum);
  uint64_t ends[2] = {sum, ~sum};
  syz_allreduce_u64(t->comm, ends, 2, SYZ_MAX);
  SYZ_REQUIRE(ends[0] == ~ends[1], SYZ_ERR_INTERNAL, "ranks have different training or validation rows of a flow");
cleanup:
  return st;
}

syz_status syz_flow_training_create(syz_comm *c, syz_flow *f, const syz_flow_training_options *options,
                                    const syz_flow_rows *train, const syz_flow_rows *valid, syz_flow_training **out)
{
  syz_status st = SYZ_OK;
  syz_flow_training *t = syz_alloc("flow training", 1, sizeof *t);
  *out = NULL;
  SYZ_TRY_ALL(c, t ? SYZ_OK : SYZ_ERR_MEMORY);
  t->comm = c;
  t->flow = f;
  t->options = *options;
  SYZ_TRY_ALL(c, fill(t, train, valid));
  SYZ_TRY(check_same(t));
  *out = t;
  t = NULL;
cleanup:
  syz_flow_training_destroy(&t);
  return st;
}

void syz_flow_training_destroy(syz_flow_training **out)
{
  syz_flow_training *t = *out;
  if (!t) return;
  for (int m = 0; t->state && m < t->flow->members; m++) {
    state *s = &t->state[m];
    syz_free(&s->weight);
    syz_free(&s->moment1);
    syz_free(&s->moment2);
    syz_free(&s->best);
    syz_free(&s->counters);
    syz_free(&s->train_loss);
    syz_free(&s->valid_loss);
  }
  syz_free(&t->state);
  syz_free(&t->train.s);
  syz_free(&t->valid.s);
  syz_free(out);
}

/* ------------------------------------------------------------------- train */

static syz_status workers_create(const syz_flow_training *t, const flow_pool *pool, worker *w)
{
  syz_status st = SYZ_OK;
  const int64_t most = t->train.n > t->valid.n ? t->train.n : t->valid.n;
  for (int i = 0; i < pool->n; i++) {
    w[i].work = pool->work[i];
    SYZ_ALLOC(w[i].order, "flow training", most);
    w[i].gradient = syz_alloc("flow training", (size_t)t->flow->largest.size, t->flow->engine->real);
    SYZ_REQUIRE(w[i].gradient, SYZ_ERR_MEMORY, "no memory for the training of a flow");
  }
cleanup:
  return st;
}

static syz_status train_own(syz_flow_training *t, int epochs)
{
  syz_status st = SYZ_OK;
  const int rank = syz_comm_rank(t->comm), size = syz_comm_size(t->comm), members = t->flow->members;
  const int own = members > rank ? (members - rank + size - 1) / size : 0;
  const int threads = own < t->flow->threads ? (own ? own : 1) : t->flow->threads;
  flow_pool pool = {0};
  worker *w = NULL;
  SYZ_TRY(flow_pool_create(t->flow, true, threads, &pool));
  SYZ_ALLOC(w, "flow training", threads);
  SYZ_TRY(workers_create(t, &pool, w));
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1)
  for (int k = 0; k < own; k++) {
    const int member = rank + k * size;
    for (int e = 0; e < epochs && !t->state[member].counters[IS_DONE]; e++) train_epoch(t, &w[flow_thread()], member);
  }
cleanup:
  for (int i = 0; w && i < threads; i++) {
    syz_free(&w[i].order);
    syz_free(&w[i].gradient);
  }
  syz_free(&w);
  flow_pool_destroy(&pool);
  return st;
}

syz_flow_array syz_flow_state(syz_flow_training *t, int member, int i)
{
  state *s = &t->state[member];
  const char real = t->flow->precision == SYZ_FLOW_F64 ? 'd' : 'f';
  const int64_t n = t->flow->layout[member].size, epochs = t->options.epochs;
  const syz_flow_array all[SYZ_FLOW_ARRAYS] = {{"weight", real, n, s->weight},
                                               {"moment1", real, n, s->moment1},
                                               {"moment2", real, n, s->moment2},
                                               {"best", real, n, s->best},
                                               {"counters", 'i', COUNTERS, s->counters},
                                               {"train_loss", 'd', epochs, s->train_loss},
                                               {"valid_loss", 'd', epochs, s->valid_loss}};
  SYZ_ASSERT(i >= 0 && i < SYZ_FLOW_ARRAYS && member >= 0 && member < t->flow->members);
  return all[i];
}

static size_t bytes_of(const syz_flow_array *a) { return (size_t)a->n * (a->type == 'f' ? 4 : 8); }

uint64_t syz_flow_state_checksum(syz_flow_training *t)
{
  uint64_t sum = 0;
  for (int m = 0; m < t->flow->members; m++)
    for (int i = 0; i < SYZ_FLOW_ARRAYS; i++) {
      const syz_flow_array a = syz_flow_state(t, m, i);
      sum = syz_checksum(a.data, bytes_of(&a), sum);
    }
  return sum;
}

syz_status syz_flow_train(syz_flow_training *t, int epochs, bool *is_done)
{
  syz_status st = SYZ_OK;
  const int size = syz_comm_size(t->comm);
  uint8_t *was_done = NULL;
  int lost = -1;
  *is_done = true;
  was_done = syz_alloc("flow training", (size_t)t->flow->members, 1);
  SYZ_TRY_ALL(t->comm, was_done ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int m = 0; m < t->flow->members; m++) was_done[m] = t->state[m].counters[IS_DONE] != 0;
  SYZ_TRY_ALL(t->comm, train_own(t, epochs));
  for (int m = 0; m < t->flow->members; m++) {
    const state *s = &t->state[m];
    for (int i = 0; i < SYZ_FLOW_ARRAYS; i++) {
      const syz_flow_array a = syz_flow_state(t, m, i);
      syz_bcast(t->comm, a.data, bytes_of(&a), m % size);
    }
    memcpy(t->flow->parameters[m], s->best, (size_t)t->flow->layout[m].size * t->flow->engine->real);
    if (!s->counters[IS_DONE]) *is_done = false;
    if (!was_done[m] && s->counters[HAS_DIVERGED] && lost < 0) lost = m;
  }
  SYZ_REQUIRE(lost < 0, SYZ_ERR_NUMERIC,
              "flow: the loss of member %d is not finite in epoch %lld, step %lld; it keeps its last good weights. "
              "Lower the learning rate, or look for labels far outside of the others",
              lost, (long long)t->state[lost].counters[EPOCHS] + 1, (long long)t->state[lost].counters[STEPS] + 1);
cleanup:
  syz_free(&was_done);
  return st;
}

syz_flow_progress syz_flow_progress_of(const syz_flow_training *t, int member)
{
  const state *s = &t->state[member];
  const int64_t best = s->counters[BEST_EPOCH];
  return (syz_flow_progress){.epochs = s->counters[EPOCHS],
                             .steps = s->counters[STEPS],
                             .best_epoch = best,
                             .is_done = s->counters[IS_DONE] != 0,
                             .has_diverged = s->counters[HAS_DIVERGED] != 0,
                             .best_loss = best >= 0 ? s->valid_loss[best] : NAN,
                             .train_loss = s->train_loss,
                             .valid_loss = s->valid_loss};
}
