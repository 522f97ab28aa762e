/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Which engine computes: measured on the processor at hand, with the shapes that the model asks for, once for all ranks
 * of a run.
 *
 * What every rank can run is found first, so that mixed nodes agree. Then rank 0 measures while the others sleep, and
 * all ranks use its choice. A candidate multiplies as a layer does, with packed weights, on one thread. The time is CPU
 * time, the best of ROUNDS rounds; candidates alternate within a round, so that a busy machine disturbs them alike. A
 * candidate with less than half the best rate in short first products is dropped at once. The first of the table that
 * is within a tenth of the fastest wins, so the choice is stable though figures scatter.
 */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>

#include "kernel.h"

enum {
  ROUNDS = 3,
  SHORT_ROWS = 96,
  MOST_ROWS = 1152,
  MOST_WIDTH = 4096, /* wider layers have the same rates */
};
static const double round_s = 0.01;    /* of one round of the best candidate; it fixes the number of rows */
static const double least_flops = 5e7; /* of the largest product of SHORT_ROWS: smaller ones are too short to measure */
static const double near_enough = 1.0 / 1.1;

/* --------------------------------------------------------------- measuring */

typedef struct trial {
  bool is_in;
  syz_compute compute; /* one thread */
  syz_linear *layer;
  double best[2];        /* seconds of this layer: forward, weight gradient */
  double seconds, flops; /* of all layers */
  double rate;
} trial;

typedef struct bench {
  const syz_layer_size *size;
  int n;
  bool trains;
  int64_t rows;
  trial trial[SYZ_CANDIDATES];
  void *x, *y;
  float *weight, *gradient;
} bench;

static void free_arrays(bench *b)
{
  syz_free(&b->x);
  syz_free(&b->y);
  syz_free(&b->weight);
  syz_free(&b->gradient);
}

static syz_status make_arrays(bench *b, syz_dtype type)
{
  syz_status st = SYZ_OK;
  int64_t widest = 0, most = 0;
  for (int i = 0; i < b->n; i++) {
    const int64_t out = b->size[i].out, in = b->size[i].in;
    widest = out > widest ? out : widest;
    widest = in > widest ? in : widest;
    most = out * in > most ? out * in : most;
  }
  const size_t bytes = (size_t)(MOST_ROWS * widest) * syz_dtype_size(type);
  b->x = syz_alloc("engine trial", bytes, 1);
  b->y = syz_alloc("engine trial", bytes, 1);
  SYZ_REQUIRE(b->x && b->y, SYZ_ERR_MEMORY, "%s", syz_error_text());
  SYZ_ALLOC(b->weight, "engine trial", most);
  if (b->trains) SYZ_ALLOC(b->gradient, "engine trial", most);
  syz_fill_ordinary(b->x, bytes);
  syz_fill_ordinary(b->weight, (size_t)most * sizeof(float));
cleanup:
  return st;
}

/** Seconds of one product: the forward one or the weight gradient. */
static double time_product(const bench *b, const trial *t, int64_t rows, bool is_gradient)
{
  const double start = syz_thread_seconds();
  if (is_gradient)
    syz_linear_backward_weight(t->layer, rows, b->y, b->x, b->gradient, NULL);
  else
    syz_linear_forward(t->layer, rows, b->x, SYZ_EPILOGUE_NONE, b->y, NULL);
  return syz_thread_seconds() - start;
}

static syz_status make_layers(bench *b, const syz_layer_size *s, int64_t rows, bool trains)
{
  syz_status st = SYZ_OK;
  for (int c = 0; c < SYZ_CANDIDATES; c++) {
    trial *t = &b->trial[c];
    if (!t->is_in) continue;
    SYZ_TRY(syz_linear_create(&t->compute, s->out, s->in, rows, trains, &t->layer));
    syz_linear_pack(t->layer, b->weight, NULL, NULL);
    t->best[0] = t->best[1] = INFINITY;
  }
cleanup:
  return st;
}

static void free_layers(bench *b)
{
  for (int c = 0; c < SYZ_CANDIDATES; c++) syz_linear_destroy(&b->trial[c].layer);
}

/** Number of rows for which a round at this rate lasts round_s: whole strips of every kernel, no more than the model
 * has. */
static int64_t trial_rows(const bench *b, double rate)
{
  double numbers = 0;
  int64_t most = 1;
  for (int i = 0; i < b->n; i++) {
    numbers += (double)(b->size[i].out * b->size[i].in);
    most = b->size[i].rows > most ? b->size[i].rows : most;
  }
  int64_t rows = (int64_t)fmin(MOST_ROWS, round_s * rate / ((b->trains ? 4 : 2) * numbers)) / SHORT_ROWS * SHORT_ROWS;
  if (rows < SHORT_ROWS) rows = SHORT_ROWS;
  return rows < most ? rows : most;
}

/** Short products of the first layer: slow candidates are dropped. */
static syz_status leave_out_the_slow(bench *b)
{
  syz_status st = SYZ_OK;
  const double flops = 2.0 * (double)(SHORT_ROWS * b->size[0].out * b->size[0].in);
  double most = 0;
  SYZ_TRY(make_layers(b, &b->size[0], SHORT_ROWS, false));
  for (int c = 0; c < SYZ_CANDIDATES; c++) {
    trial *t = &b->trial[c];
    if (!t->is_in) continue;
    for (int k = 0; k < 3; k++) t->best[0] = fmin(t->best[0], time_product(b, t, SHORT_ROWS, false));
    t->rate = flops / t->best[0];
    most = fmax(most, t->rate);
  }
  for (int c = 0; c < SYZ_CANDIDATES; c++) b->trial[c].is_in = b->trial[c].is_in && b->trial[c].rate > most / 2;
  b->rows = trial_rows(b, most);
cleanup:
  free_layers(b);
  return st;
}

static syz_status measure_layer(bench *b, const syz_layer_size *s)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(make_layers(b, s, b->rows, b->trains));
  for (int round = 0; round < ROUNDS; round++)
    for (int c = 0; c < SYZ_CANDIDATES; c++)
      for (int g = 0; b->trial[c].is_in && g < (b->trains ? 2 : 1); g++)
        b->trial[c].best[g] = fmin(b->trial[c].best[g], time_product(b, &b->trial[c], b->rows, g == 1));
  for (int c = 0; c < SYZ_CANDIDATES; c++) {
    trial *t = &b->trial[c];
    if (!t->is_in) continue;
    t->seconds += t->best[0] + (b->trains ? t->best[1] : 0);
    t->flops += (b->trains ? 4.0 : 2.0) * (double)(b->rows * s->out * s->in);
  }
cleanup:
  free_layers(b);
  return st;
}

/** Fill rate [SYZ_CANDIDATES] in FLOP/s of those with is_there; is_measured false: the layers are too small. */
static syz_status measure(syz_compute *c, const bool *is_there, const syz_layer_size *size, int n, bool trains,
                          double *rate, bool *is_measured)
{
  syz_status st = SYZ_OK;
  bench b = {.size = size, .n = n, .trains = trains};
  syz_scratch scratch[2] = {{NULL, 0}, {NULL, 0}};
  double largest = 0;
  *is_measured = false;
  for (int i = 0; i < n; i++) largest = fmax(largest, 2.0 * (double)(SHORT_ROWS * size[i].out * size[i].in));
  if (largest < least_flops) return SYZ_OK;
  syz_compute_set_threads(1);
  SYZ_TRY(make_arrays(&b, c->act));
  for (int i = 0; i < SYZ_CANDIDATES; i++) {
    trial *t = &b.trial[i];
    t->is_in = is_there[i];
    t->compute = *c;
    t->compute.threads = 1;
    t->compute.scratch = &scratch[0];
    t->compute.products = &scratch[1];
    t->compute.engine[c->act] = syz_candidate_table[i].engine;
    t->compute.kernel[c->act] = syz_candidate_table[i].kernel;
  }
  SYZ_TRY(syz_compute_reserve_products(&b.trial[0].compute, (size_t)SYZ_KERNEL_ROOM * sizeof(float)));
  SYZ_TRY(leave_out_the_slow(&b));
  for (int i = 0; i < n; i++) SYZ_TRY(measure_layer(&b, &size[i]));
  for (int i = 0; i < SYZ_CANDIDATES; i++)
    rate[i] = b.trial[i].seconds > 0 ? b.trial[i].flops / b.trial[i].seconds : b.trial[i].rate;
  *is_measured = true;
cleanup:
  free_arrays(&b);
  syz_free(&scratch[0].bytes);
  syz_free(&scratch[1].bytes);
  syz_compute_set_threads(c->threads);
  return st;
}

/* ---------------------------------------------------------------- choosing */

static void tell_rates(syz_compute *c, const double *rate)
{
  size_t n = 0;
  bool is_told[SYZ_CANDIDATES] = {false};
  for (;;) {
    int best = -1;
    for (int i = 0; i < SYZ_CANDIDATES; i++)
      if (!is_told[i] && rate[i] > 0 && (best < 0 || rate[i] > rate[best])) best = i;
    if (best < 0 || n + 64 > sizeof c->measured) break;
    is_told[best] = true;
    n += (size_t)snprintf(c->measured + n, sizeof c->measured - n, "%s%s %.0f",
                          n ? ", " : "measured: ", syz_candidate_name(&syz_candidate_table[best]), rate[best] / 1e9);
  }
  if (n) snprintf(c->measured + n, sizeof c->measured - n, " GFLOP/s");
}

/** Rank 0: the candidate of the run that is continued, else the fastest. */
static syz_status decide(syz_compute *c, const bool *is_there, const syz_layer_size *size, int n, bool trains,
                         const char *earlier, int64_t *choice)
{
  syz_status st = SYZ_OK;
  double rate[SYZ_CANDIDATES] = {0}, most = 0;
  bool is_measured = false;
  int first = -1, there = 0;
  for (int i = 0; i < SYZ_CANDIDATES; i++) {
    if (!is_there[i]) continue;
    there++;
    if (first < 0) first = i;
    char name[sizeof c->name];
    syz_candidate_text(&syz_candidate_table[i], name, sizeof name);
    if (strcmp(name, earlier) == 0) {
      *choice = i;
      return st;
    }
  }
  *choice = first;
  if (there == 1 || n == 0) return st;
  SYZ_TRY(measure(c, is_there, size, n, trains, rate, &is_measured));
  if (!is_measured) return st;
  for (int i = 0; i < SYZ_CANDIDATES; i++) most = fmax(most, rate[i]);
  for (int i = SYZ_CANDIDATES - 1; i >= 0; i--)
    if (is_there[i] && rate[i] >= most * near_enough) *choice = i;
  tell_rates(c, rate);
cleanup:
  return st;
}

/** Candidates of this type that all ranks can run. Collective. */
static int on_all_ranks(syz_comm *world, const syz_compute *c, syz_dtype type, bool *is_there)
{
  int64_t can[SYZ_CANDIDATES];
  int n = 0;
  for (int i = 0; i < SYZ_CANDIDATES; i++)
    can[i] = syz_candidate_table[i].type == type && syz_candidate_can(&syz_candidate_table[i]) &&
             (c->wish == SYZ_ENGINE_AUTO || syz_candidate_table[i].engine == &syz_engine_native);
  syz_allreduce_i64(world, can, SYZ_CANDIDATES, SYZ_MIN);
  for (int i = 0; i < SYZ_CANDIDATES; i++) n += is_there[i] = can[i] != 0;
  return n;
}

/** A bfloat16 model has few float32 products, so they use the first candidate that all ranks can run. Collective. */
static void agree_on_float32(syz_comm *world, syz_compute *c)
{
  bool is_there[SYZ_CANDIDATES];
  if (on_all_ranks(world, c, SYZ_F32, is_there) == 0) return;
  for (int i = SYZ_CANDIDATES - 1; i >= 0; i--)
    if (is_there[i]) syz_compute_use(c, &syz_candidate_table[i]);
}

syz_status syz_compute_choose(syz_comm *world, syz_compute *c, const syz_layer_size *size, int n, bool trains,
                              const char *earlier)
{
  syz_status st = SYZ_OK;
  enum { LAYERS_MOST = 16 };
  syz_layer_size capped[LAYERS_MOST];
  bool is_there[SYZ_CANDIDATES];
  int64_t choice = -1;
  if (c->wish != SYZ_ENGINE_AUTO && c->wish != SYZ_ENGINE_NATIVE) return st;
  SYZ_REQUIRE(n <= LAYERS_MOST, SYZ_ERR_INTERNAL, "compute: %d layers to choose an engine for are too many", n);
  for (int i = 0; i < n; i++) {
    capped[i] = size[i];
    if (capped[i].out > MOST_WIDTH) capped[i].out = MOST_WIDTH;
    if (capped[i].in > MOST_WIDTH) capped[i].in = MOST_WIDTH;
  }
  agree_on_float32(world, c);
  int there = on_all_ranks(world, c, c->asked, is_there);
  if (!there && c->asked == SYZ_BF16) {
    if (c->act == SYZ_BF16) syz_warn("not all ranks have bfloat16 products: computing in float32");
    c->act = SYZ_F32;
    there = on_all_ranks(world, c, SYZ_F32, is_there);
  }
  SYZ_REQUIRE(there > 0, SYZ_ERR_INPUT, "compute: no engine that all ranks can run; use compute.engine: auto");
  if (syz_comm_rank(world) == 0) st = decide(c, is_there, capped, n, trains, earlier, &choice);
  if (syz_comm_size(world) > 1) syz_barrier_idle(world);
  SYZ_TRY_ALL(world, st);
  syz_bcast(world, &choice, sizeof choice, 0);
  syz_bcast(world, c->measured, sizeof c->measured, 0);
  syz_compute_use(c, &syz_candidate_table[choice]);
  if (syz_candidate_table[choice].kernel == &syz_kernel_bf16_wide)
    syz_info(
        "bfloat16 products are slower than float32 here: numbers are stored in bfloat16 and multiplied in float32");
cleanup:
  return st;
}
