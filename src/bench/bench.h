/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room bench: types and functions that its parts share. See bench.c. */
#pragma once

#include <cjson/cJSON.h>

#include "syzygy/bench.h"

enum { SYZ_BENCH_REPEATS = 1000 };

typedef struct syz_bench {
  const syz_run *run;
  const syz_bench_options *options;
  const syz_compute *compute;
  cJSON *json; /**< rows are added on rank 0 only */
  int64_t batch;
  int repeats;
  double limit;         /**< FLOP/s of this rank's threads, the largest measured so far */
  const char *limit_by; /**< engine that reached it */
} syz_bench;

/** Measure the limit of matrix products again. */
void syz_bench_measure_limit(syz_bench *b);
/** Add a row to bench.json; NULL without memory, which cJSON's functions accept. */
cJSON *syz_bench_add_row(syz_bench *b, const char *part, const char *what);

/** Smallest, mean over ranks and sum of a rate. */
typedef struct syz_bench_rate {
  double least, mean, sum;
} syz_bench_rate;
/** Collective. */
syz_bench_rate syz_bench_over_ranks(syz_comm *c, double mine);
/** Best and median of n times; sorts them. */
void syz_bench_best(double *t, int n, double *best, double *median);

/** One timed piece of work on this rank. */
typedef struct syz_bench_work {
  void (*run)(void *context);
  void *context;
} syz_bench_work;
typedef struct syz_bench_seconds {
  double best, median;
} syz_bench_seconds;
/** Run it once unmeasured, then `repeats` times. Not collective. */
syz_bench_seconds syz_bench_time(int repeats, const syz_bench_work *w);
/** Measure work with a known number of useful operations against the limit: on rank 0 alone, then on all ranks
 * together; prints and adds a row. Collective. */
cJSON *syz_bench_measure_flops(syz_bench *b, const char *part, const char *what, double flops, const syz_bench_work *w);

/** Print the time of one piece of work by layer and add it as rows, after one unmeasured run. Collective; rank 0's
 * times. */
void syz_bench_profile(syz_bench *b, const char *part, const syz_bench_work *w);

/* The parts, one file each. Collective; agreed. */
syz_status syz_bench_towers(syz_bench *b);
syz_status syz_bench_optimiser(syz_bench *b);
syz_status syz_bench_allreduce(syz_bench *b);
syz_status syz_bench_io(syz_bench *b);
/** The contrastive loss of a large batch: rate, and memory of all ranks. */
syz_status syz_bench_infonce(syz_bench *b);
/** Spectra matched to catalogues: rate and memory. */
syz_status syz_bench_match(syz_bench *b);
/** Whole steps of pretrain-image. */
syz_status syz_bench_pretrain(syz_bench *b);
