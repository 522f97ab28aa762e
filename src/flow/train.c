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

#include "train.h"

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

static syz_status take_rows(const syz_flow *f, const syz_flow_rows *from, flow_rows *to)
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

static syz_status make_state(const syz_flow *f, int member, int epochs, flow_state *s)
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
    flow_state *s = &t->state[m];
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

static syz_status workers_create(const syz_flow_training *t, const flow_pool *pool, flow_worker *w)
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
  flow_worker *w = NULL;
  SYZ_TRY(flow_pool_create(t->flow, true, threads, &pool));
  SYZ_ALLOC(w, "flow training", threads);
  SYZ_TRY(workers_create(t, &pool, w));
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1)
  for (int k = 0; k < own; k++) {
    const int member = rank + k * size;
    for (int e = 0; e < epochs && !t->state[member].counters[IS_DONE]; e++)
      flow_train_epoch(t, &w[flow_thread()], member);
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
  flow_state *s = &t->state[member];
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

/* What was read into the arrays can be gone on from. */
static syz_status check_state(const syz_flow_training *t)
{
  syz_status st = SYZ_OK;
  for (int m = 0; m < t->flow->members; m++) {
    const int64_t *c = t->state[m].counters, epochs = t->options.epochs;
    SYZ_REQUIRE(c[EPOCHS] >= 0 && c[EPOCHS] <= epochs && c[BEST_EPOCH] >= -1 && c[BEST_EPOCH] < epochs &&
                    c[STEPS] >= 0 && (c[IS_DONE] || c[EPOCHS] < epochs),
                SYZ_ERR_CHECKPOINT,
                "flow: the saved state of member %d says %lld of %lld epochs and %lld as the best one; it is not from "
                "this training",
                m, (long long)c[EPOCHS], (long long)epochs, (long long)c[BEST_EPOCH]);
  }
cleanup:
  return st;
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
  SYZ_TRY_ALL(t->comm, check_state(t));
  SYZ_TRY_ALL(t->comm, train_own(t, epochs));
  for (int m = 0; m < t->flow->members; m++) {
    const flow_state *s = &t->state[m];
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
  const flow_state *s = &t->state[member];
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
