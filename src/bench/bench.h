/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room bench: what its parts share. See bench.c. */
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
  double limit;         /**< FLOP/s of this rank's threads, largest seen so far */
  const char *limit_by; /**< which engine gave it */
} syz_bench;

/** The limit of matrix products, measured again. */
void syz_bench_measure_limit(syz_bench *b);
/** A row of bench.json; NULL without memory, which cJSON's functions take. */
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
/** Once without counting, then `repeats` times. Not collective. */
syz_bench_seconds syz_bench_time(int repeats, const syz_bench_work *w);
/** Work with a known number of useful operations, against the limit: alone, then on all ranks at once; prints and adds
 * a row. Collective. */
cJSON *syz_bench_measure_flops(syz_bench *b, const char *part, const char *what, double flops, const syz_bench_work *w);

/** Where the time of one piece of work goes, printed and added as rows, after one run without counting. Collective;
 * rank 0's times. */
void syz_bench_profile(syz_bench *b, const char *part, const syz_bench_work *w);

/* The parts, a file each. Collective; agreed. */
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
