/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Training of an ensemble, as in flow/train.c: a member is trained by one thread of rank m mod size from its first step
 * to its last, and all that is drawn is a function of (seed, member, epoch, identifier of the row), so its bits do not
 * depend on ranks or threads.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"
#include "syzygy/nn.h"

#ifdef _OPENMP
#include <omp.h>
static int own_thread(void) { return omp_get_thread_num(); }
#else
static int own_thread(void) { return 0; }
#endif

enum { EPOCHS, STEPS, BEST_EPOCH, IS_DONE, HAS_DIVERGED, COUNTERS };

typedef struct state {
  float *weight, *moment1, *moment2, *best;
  int64_t *counters;
  double *train_loss, *valid_loss; /* [epochs] */
} state;

/* A row's place in the order of an epoch. */
typedef struct place {
  uint64_t key;
  int64_t row;
} place;

struct syz_perceptron_training {
  syz_comm *comm;
  syz_perceptron *net;
  syz_perceptron_training_options options;
  syz_perceptron_rows train, valid;
  state *state; /* [M] */
};

/* What a thread needs. */
typedef struct worker {
  passage pass;
  float *gradient;
  place *place;
  int64_t *order;
} worker;

/* ------------------------------------------------------------------ order */

static int by_key(const void *a, const void *b)
{
  const place *x = a, *y = b;
  if (x->key != y->key) return x->key < y->key ? -1 : 1;
  return x->row < y->row ? -1 : x->row > y->row;
}

/* Rows by a number drawn for each one: who is in a batch does not depend on the order of the table. */
static void draw_order(const syz_perceptron *p, int member, int64_t epoch, int64_t n, const int64_t *id, place *all,
                       int64_t *order)
{
  const uint64_t seed = syz_perceptron_seed(p, member);
  for (int64_t i = 0; i < n; i++) {
    uint32_t word[4];
    const syz_random r = syz_random_make(seed, SYZ_RANDOM_SHUFFLE, (uint64_t)epoch, (uint64_t)id[i]);
    syz_random_block(&r, 0, word);
    all[i] = (place){(uint64_t)word[0] << 32 | word[1], i};
  }
  qsort(all, (size_t)n, sizeof *all, by_key);
  for (int64_t i = 0; i < n; i++) order[i] = all[i].row;
}

syz_status syz_perceptron_order(const syz_perceptron *p, int member, int64_t epoch, int64_t n, const int64_t *id,
                                int64_t *order)
{
  syz_status st = SYZ_OK;
  place *all;
  SYZ_ALLOC(all, "order of rows", n);
  draw_order(p, member, epoch, n, id, all, order);
  syz_free(&all);
cleanup:
  return st;
}

/* ------------------------------------------------------------------ epoch */

/* False: the loss or the gradient is not finite. */
static bool train_batch(syz_perceptron_training *t, worker *w, int member, const int64_t *index, int64_t n,
                        double *loss, int64_t *count)
{
  const syz_perceptron *p = t->net;
  state *s = &t->state[member];
  const syz_adamw adam = {.lr = t->options.rate, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
  passage_forward(p, s->weight, member, s->counters[EPOCHS], &t->train, index, n, &w->pass);
  *loss = passage_loss(p, &t->train, index, n, true, &w->pass, count);
  if (!*count) return true;
  passage_backward(p, s->weight, n, true, &w->pass, w->gradient);
  const double square = syz_sum_of_squares(w->gradient, p->parameters, 1);
  if (syz_fault("perceptron_loss") || !isfinite(*loss) || !isfinite(square)) return false;
  syz_adamw_update(&adam, ++s->counters[STEPS], 1, s->weight, s->moment1, s->moment2, w->gradient, p->parameters, 1);
  return true;
}

static double validation_loss(const syz_perceptron_training *t, worker *w, int member)
{
  const syz_perceptron_rows *r = &t->valid;
  double sum = 0;
  int64_t known = 0;
  for (int64_t at = 0; at < r->n; at += w->pass.rows) {
    const int64_t n = r->n - at < w->pass.rows ? r->n - at : w->pass.rows;
    int64_t count;
    for (int64_t i = 0; i < n; i++) w->pass.index[i] = at + i;
    passage_forward(t->net, t->state[member].weight, member, -1, r, w->pass.index, n, &w->pass);
    sum += passage_loss(t->net, r, w->pass.index, n, false, &w->pass, &count);
    known += count;
  }
  return known ? sum / (double)known : 0;
}

static void diverge(state *s) { s->counters[HAS_DIVERGED] = s->counters[IS_DONE] = 1; }

static bool is_finite(const float *x, int64_t n)
{
  for (int64_t i = 0; i < n; i++)
    if (!isfinite(x[i])) return false;
  return true;
}

/* What an epoch has reached. Weights that overflowed in its last step are never kept. */
static void end_epoch(syz_perceptron_training *t, worker *w, int member)
{
  state *s = &t->state[member];
  const int64_t epoch = s->counters[EPOCHS], best = s->counters[BEST_EPOCH];
  const bool has_valid = t->valid.n > 0;
  s->valid_loss[epoch] = has_valid ? validation_loss(t, w, member) : 0;
  if (!isfinite(s->valid_loss[epoch]) || !is_finite(s->weight, t->net->parameters)) {
    diverge(s);
    return;
  }
  s->counters[EPOCHS]++;
  if (!has_valid || best < 0 || s->valid_loss[epoch] < s->valid_loss[best]) {
    s->counters[BEST_EPOCH] = epoch;
    memcpy(s->best, s->weight, (size_t)t->net->parameters * sizeof *s->best);
  }
  s->counters[IS_DONE] =
      epoch + 1 >= t->options.epochs || (has_valid && epoch - s->counters[BEST_EPOCH] >= t->options.patience);
}

static void train_epoch(syz_perceptron_training *t, worker *w, int member)
{
  state *s = &t->state[member];
  const int64_t epoch = s->counters[EPOCHS], n = t->train.n, batch = t->options.batch;
  double sum = 0, loss;
  int64_t known = 0, count;
  draw_order(t->net, member, epoch, n, t->train.id, w->place, w->order);
  for (int64_t at = 0; at < n; at += batch) {
    if (!train_batch(t, w, member, w->order + at, n - at < batch ? n - at : batch, &loss, &count)) {
      diverge(s);
      return;
    }
    sum += loss;
    known += count;
    syz_pulse();
  }
  s->train_loss[epoch] = known ? sum / (double)known : 0;
  end_epoch(t, w, member);
}

/* --------------------------------------------------------------- creation */

static syz_status check_rows(const syz_perceptron *p, const syz_perceptron_rows *r)
{
  syz_status st = SYZ_OK;
  const bool has_classes = p->options.loss != SYZ_PERCEPTRON_SQUARES;
  for (int64_t i = 0; i < r->n * p->options.inputs; i++)
    SYZ_REQUIRE(isfinite(r->x[i]), SYZ_ERR_DATA, "network: the features of row %lld hold %g; leave such rows out",
                (long long)(i / p->options.inputs), (double)r->x[i]);
  for (int64_t i = 0; i < r->n * p->columns; i++) {
    const double y = r->y[i];
    if (has_classes)
      SYZ_REQUIRE(y >= 0 && y < (double)p->options.outputs && y == floor(y), SYZ_ERR_DATA,
                  "network: row %lld has the class %g; wanted are 0 to %lld", (long long)i, y,
                  (long long)p->options.outputs - 1);
    else
      SYZ_REQUIRE(!isinf(y), SYZ_ERR_DATA, "network: label %lld of row %lld is %g; make it NaN if it is unknown",
                  (long long)(i % p->columns), (long long)(i / p->columns), y);
  }
cleanup:
  return st;
}

static syz_status make_state(const syz_perceptron *p, int member, int epochs, state *s)
{
  syz_status st = SYZ_OK;
  const size_t bytes = (size_t)p->parameters * sizeof(float);
  SYZ_ALLOC(s->weight, "training of a network", p->parameters);
  SYZ_ALLOC(s->moment1, "training of a network", p->parameters);
  SYZ_ALLOC(s->moment2, "training of a network", p->parameters);
  SYZ_ALLOC(s->best, "training of a network", p->parameters);
  SYZ_ALLOC(s->counters, "training of a network", COUNTERS);
  SYZ_ALLOC(s->train_loss, "training of a network", epochs);
  SYZ_ALLOC(s->valid_loss, "training of a network", epochs);
  memcpy(s->weight, p->block[member], bytes);
  memcpy(s->best, p->block[member], bytes);
  s->counters[BEST_EPOCH] = -1;
cleanup:
  return st;
}

static syz_status fill(syz_perceptron_training *t)
{
  syz_status st = SYZ_OK;
  const syz_perceptron_training_options *o = &t->options;
  SYZ_REQUIRE(
      o->epochs >= 1 && o->batch >= 1 && o->batch <= 1 << 20 && o->rate > 0 && isfinite(o->rate), SYZ_ERR_INPUT,
      "network: %d epochs in batches of %d at a rate of %g; wanted at least 1 epoch, batches of 1 to %d, a rate "
      "above 0",
      o->epochs, o->batch, o->rate, 1 << 20);
  SYZ_REQUIRE(!t->valid.n || o->patience >= 1, SYZ_ERR_INPUT, "network: a patience of %d epochs; at least 1 is needed",
              o->patience);
  SYZ_REQUIRE(t->train.n >= 1, SYZ_ERR_DATA, "network: there is no row to learn from");
  SYZ_TRY(check_rows(t->net, &t->train));
  SYZ_TRY(check_rows(t->net, &t->valid));
  SYZ_ALLOC(t->state, "training of networks", t->net->options.members);
  for (int m = 0; m < t->net->options.members; m++) SYZ_TRY(make_state(t->net, m, o->epochs, &t->state[m]));
cleanup:
  return st;
}

static uint64_t sum_of_rows(const syz_perceptron *p, const syz_perceptron_rows *r, uint64_t sum)
{
  if (!r->n) return sum;
  sum = syz_checksum(r->x, (size_t)(r->n * p->options.inputs) * sizeof *r->x, sum);
  sum = syz_checksum(r->y, (size_t)(r->n * p->columns) * sizeof *r->y, sum);
  return syz_checksum(r->id, (size_t)r->n * sizeof *r->id, sum);
}

/* Rows that differ between ranks would make members that depend on their number. */
static syz_status check_same(const syz_perceptron_training *t)
{
  syz_status st = SYZ_OK;
  const uint64_t sum = sum_of_rows(t->net, &t->valid, sum_of_rows(t->net, &t->train, 1));
  uint64_t ends[2] = {sum, ~sum};
  syz_allreduce_u64(t->comm, ends, 2, SYZ_MAX);
  SYZ_REQUIRE(ends[0] == ~ends[1], SYZ_ERR_INTERNAL, "ranks have different training or validation rows of a network");
cleanup:
  return st;
}

syz_status syz_perceptron_training_create(syz_comm *c, syz_perceptron *p, const syz_perceptron_training_options *o,
                                          const syz_perceptron_rows *train, const syz_perceptron_rows *valid,
                                          syz_perceptron_training **out)
{
  syz_status st = SYZ_OK;
  syz_perceptron_training *t = syz_alloc("training of networks", 1, sizeof *t);
  *out = NULL;
  SYZ_TRY_ALL(c, t ? SYZ_OK : SYZ_ERR_MEMORY);
  t->comm = c;
  t->net = p;
  t->options = *o;
  t->train = *train;
  if (valid) t->valid = *valid;
  SYZ_TRY_ALL(c, fill(t));
  SYZ_TRY(check_same(t));
  *out = t;
  t = NULL;
cleanup:
  syz_perceptron_training_destroy(&t);
  return st;
}

void syz_perceptron_training_destroy(syz_perceptron_training **out)
{
  syz_perceptron_training *t = *out;
  if (!t) return;
  for (int m = 0; t->state && m < t->net->options.members; m++) {
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
  syz_free(out);
}

/* --------------------------------------------------------------- training */

static syz_status worker_create(const syz_perceptron_training *t, worker *w)
{
  syz_status st = SYZ_OK;
  const int64_t batch = t->options.batch < t->train.n ? t->options.batch : t->train.n;
  SYZ_TRY(passage_create(t->net, batch > PERCEPTRON_BLOCK ? batch : PERCEPTRON_BLOCK, &w->pass));
  SYZ_ALLOC(w->gradient, "training of a network", t->net->parameters);
  SYZ_ALLOC(w->place, "order of rows", t->train.n);
  SYZ_ALLOC(w->order, "order of rows", t->train.n);
cleanup:
  return st;
}

static void worker_destroy(worker *w)
{
  passage_destroy(&w->pass);
  syz_free(&w->gradient);
  syz_free(&w->place);
  syz_free(&w->order);
}

static syz_status train_own(syz_perceptron_training *t, int epochs)
{
  syz_status st = SYZ_OK;
  const int rank = syz_comm_rank(t->comm), size = syz_comm_size(t->comm), members = t->net->options.members;
  const int own = members > rank ? (members - rank + size - 1) / size : 0, most = t->net->options.threads;
  const int threads = own < 1 ? 1 : own < most ? own : most;
  worker *w;
  SYZ_ALLOC(w, "training of networks", threads);
  for (int i = 0; i < threads; i++) SYZ_TRY(worker_create(t, &w[i]));
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1)
  for (int k = 0; k < own; k++) {
    const int member = rank + k * size;
    for (int e = 0; e < epochs && !t->state[member].counters[IS_DONE]; e++) train_epoch(t, &w[own_thread()], member);
  }
cleanup:
  for (int i = 0; w && i < threads; i++) worker_destroy(&w[i]);
  syz_free(&w);
  return st;
}

syz_perceptron_array syz_perceptron_state(syz_perceptron_training *t, int member, int i)
{
  SYZ_ASSERT(i >= 0 && i < SYZ_PERCEPTRON_ARRAYS && member >= 0 && member < t->net->options.members);
  state *s = &t->state[member];
  const int64_t n = t->net->parameters, epochs = t->options.epochs;
  const syz_perceptron_array all[SYZ_PERCEPTRON_ARRAYS] = {{"weight", 'f', n, s->weight},
                                                           {"moment1", 'f', n, s->moment1},
                                                           {"moment2", 'f', n, s->moment2},
                                                           {"best", 'f', n, s->best},
                                                           {"counters", 'i', COUNTERS, s->counters},
                                                           {"train_loss", 'd', epochs, s->train_loss},
                                                           {"valid_loss", 'd', epochs, s->valid_loss}};
  return all[i];
}

/* A member's state from the rank that trained it, to all. */
static void share_member(syz_perceptron_training *t, int member)
{
  for (int i = 0; i < SYZ_PERCEPTRON_ARRAYS; i++) {
    const syz_perceptron_array a = syz_perceptron_state(t, member, i);
    syz_bcast(t->comm, a.data, (size_t)a.n * (a.type == 'f' ? 4 : 8), member % syz_comm_size(t->comm));
  }
  memcpy(t->net->block[member], t->state[member].best, (size_t)t->net->parameters * sizeof(float));
}

syz_status syz_perceptron_train(syz_perceptron_training *t, int epochs, bool *is_done)
{
  syz_status st = SYZ_OK;
  const int members = t->net->options.members;
  int lost = -1;
  uint8_t *was_done = syz_alloc("training of networks", (size_t)members, 1);
  *is_done = true;
  SYZ_TRY_ALL(t->comm, was_done ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int m = 0; m < members; m++) was_done[m] = t->state[m].counters[IS_DONE] != 0;
  SYZ_TRY_ALL(t->comm, train_own(t, epochs));
  for (int m = 0; m < members; m++) {
    share_member(t, m);
    const int64_t *counters = t->state[m].counters;
    if (!counters[IS_DONE]) *is_done = false;
    if (!was_done[m] && counters[HAS_DIVERGED] && lost < 0) lost = m;
  }
  SYZ_REQUIRE(lost < 0, SYZ_ERR_NUMERIC,
              "network: the loss of member %d is not finite in epoch %lld, after step %lld; it keeps its last good "
              "weights. Lower the learning rate, or look for labels and features far outside of the others",
              lost, (long long)t->state[lost].counters[EPOCHS] + 1, (long long)t->state[lost].counters[STEPS]);
cleanup:
  syz_free(&was_done);
  return st;
}

syz_perceptron_progress syz_perceptron_progress_of(const syz_perceptron_training *t, int member)
{
  const state *s = &t->state[member];
  return (syz_perceptron_progress){.epochs = s->counters[EPOCHS],
                                   .steps = s->counters[STEPS],
                                   .best_epoch = s->counters[BEST_EPOCH],
                                   .is_done = s->counters[IS_DONE] != 0,
                                   .has_diverged = s->counters[HAS_DIVERGED] != 0,
                                   .train_loss = s->train_loss,
                                   .valid_loss = s->valid_loss};
}
