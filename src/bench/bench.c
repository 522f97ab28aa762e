/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * How fast every part is, as a fraction of what this machine can do, measured in the same run.
 *
 * The yardstick of products is the best matrix-product rate of a core (syz_gemm_limit), measured before and after each
 * part and taken as the larger, because shared machines drift. Only useful operations count: products and attention of
 * the model's formula, nothing for padding, recomputation or element-wise work. Each figure is the best of several
 * repetitions; the median stands beside it. With several ranks, rank 0 works alone first (the others sleep), then all
 * together: the ratio is the parallel speed-up.
 */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "syzygy/files.h"

static int compare(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

void syz_bench_best(double *t, int n, double *best, double *median)
{
  qsort(t, (size_t)n, sizeof *t, compare);
  *best = t[0];
  *median = t[n / 2];
}

syz_bench_seconds syz_bench_time(int repeats, const syz_bench_work *w)
{
  double t[SYZ_BENCH_REPEATS];
  w->run(w->context);
  for (int i = 0; i < repeats; i++) {
    double start = syz_clock_s();
    w->run(w->context);
    t[i] = syz_clock_s() - start;
  }
  syz_bench_seconds out;
  syz_bench_best(t, repeats, &out.best, &out.median);
  return out;
}

void syz_bench_measure_limit(syz_bench *b)
{
  const char *by;
  const double rate = syz_gemm_limit(b->compute, b->options->limit_s, &by) * syz_compute_threads(b->compute);
  if (rate <= b->limit) return;
  b->limit = rate;
  b->limit_by = by;
}

cJSON *syz_bench_add_row(syz_bench *b, const char *part, const char *what)
{
  cJSON *row = cJSON_CreateObject();
  if (!row || !cJSON_AddItemToArray(b->json, row)) {
    cJSON_Delete(row);
    return NULL;
  }
  cJSON_AddStringToObject(row, "part", part);
  cJSON_AddStringToObject(row, "what", what);
  return row;
}

syz_bench_rate syz_bench_over_ranks(syz_comm *c, double mine)
{
  double least = mine, sum = mine;
  syz_allreduce_f64(c, &least, 1, SYZ_MIN);
  syz_allreduce_f64(c, &sum, 1, SYZ_SUM);
  return (syz_bench_rate){least, sum / syz_comm_size(c), sum};
}

cJSON *syz_bench_measure_flops(syz_bench *b, const char *part, const char *what, double flops, const syz_bench_work *w)
{
  syz_comm *c = b->run->world;
  int size = syz_comm_size(c);
  double alone = 0;
  if (size > 1) {
    if (syz_comm_rank(c) == 0) {
      syz_bench_measure_limit(b);
      alone = flops / syz_bench_time(b->repeats, w).best;
    }
    syz_barrier_idle(c);
  }
  syz_bench_measure_limit(b);
  syz_barrier(c);
  syz_bench_seconds t = syz_bench_time(b->repeats, w);
  syz_bench_measure_limit(b);
  syz_bench_rate best = syz_bench_over_ranks(c, flops / t.best), median = syz_bench_over_ranks(c, flops / t.median),
                 share = syz_bench_over_ranks(c, flops / t.best / b->limit);
  double speedup = alone > 0 ? best.sum / alone : 0;
  syz_bcast(c, &speedup, sizeof speedup, 0);
  if (size > 1)
    syz_info("%-12s %-26s %9.1f %9.1f %11.1f%% %9.2f x of 1 rank", part, what, best.mean / 1e9, median.mean / 1e9,
             100 * share.mean, speedup);
  else
    syz_info("%-12s %-26s %9.1f %9.1f %11.1f%%", part, what, best.mean / 1e9, median.mean / 1e9, 100 * share.mean);
  if (syz_comm_rank(c) != 0) return NULL;
  cJSON *row = syz_bench_add_row(b, part, what);
  cJSON_AddNumberToObject(row, "gflops_per_rank", best.mean / 1e9);
  cJSON_AddNumberToObject(row, "gflops_per_rank_median", median.mean / 1e9);
  cJSON_AddNumberToObject(row, "fraction_of_limit", share.mean);
  cJSON_AddNumberToObject(row, "fraction_of_limit_least", share.least);
  cJSON_AddNumberToObject(row, "objects_a_rank", (double)b->batch);
  cJSON_AddNumberToObject(row, "flops_per_object", flops / (double)b->batch);
  cJSON_AddNumberToObject(row, "objects_per_s", best.sum / flops * (double)b->batch);
  if (size > 1) cJSON_AddNumberToObject(row, "speedup_over_one_rank", speedup);
  return row;
}

/* ----------------------------------------------------------------- products */

static syz_status bench_products(syz_bench *b)
{
  syz_status st = SYZ_OK;
  syz_compute *plain = NULL;
  syz_comm *c = b->run->world;
  const char *name[] = {"float32", "bfloat16"};
  double limit_s = b->options->limit_s;
  SYZ_TRY_ALL(c, syz_compute_create(SYZ_F32, SYZ_ENGINE_AUTO, syz_compute_threads(b->compute), &plain));
  for (int kind = 0; kind < 2; kind++) {
    const syz_compute *compute = kind == 0 ? plain : b->compute;
    if (kind == 1 && syz_compute_act(b->compute) != SYZ_BF16) break;
    syz_barrier(c);
    const char *by;
    syz_bench_rate r = syz_bench_over_ranks(c, syz_gemm_limit(compute, limit_s, &by) * syz_compute_threads(compute));
    syz_info("%-12s %-26s %9.1f            by %s; the model's: %s", "product", name[kind], r.mean / 1e9, by,
             syz_compute_describe(compute));
    if (syz_compute_act(compute) == syz_compute_act(b->compute) && r.mean > b->limit)
      b->limit = r.mean, b->limit_by = by;
    if (syz_comm_rank(c) != 0) continue;
    cJSON *row = syz_bench_add_row(b, "product", name[kind]);
    cJSON_AddNumberToObject(row, "gflops_per_rank", r.mean / 1e9);
    cJSON_AddNumberToObject(row, "gflops_per_rank_least", r.least / 1e9);
    cJSON_AddStringToObject(row, "engine", syz_compute_describe(compute));
    cJSON_AddStringToObject(row, "limit_by", by);
  }
  syz_barrier(c);
  const syz_bench_rate tiles = syz_bench_over_ranks(c, syz_tile_limit(limit_s / 10));
  if (tiles.least > 0) {
    syz_info("%-12s %-26s %9.1f            of a thread, without loads", "product", "tiles alone", tiles.mean / 1e9);
    if (syz_comm_rank(c) == 0)
      cJSON_AddNumberToObject(syz_bench_add_row(b, "product", "tiles alone"), "gflops_per_rank", tiles.mean / 1e9);
  }
cleanup:
  syz_compute_destroy(&plain);
  return st;
}

/* ---------------------------------------------------------------- all parts */

static const struct {
  const char *name;
  syz_status (*run)(syz_bench *b);
} parts[] = {{"product", bench_products},        {"towers", syz_bench_towers}, {"optimiser", syz_bench_optimiser},
             {"allreduce", syz_bench_allreduce}, {"io", syz_bench_io},         {"pretrain", syz_bench_pretrain},
             {"infonce", syz_bench_infonce},     {"match", syz_bench_match}};

static bool is_wanted(const syz_bench_options *o, const char *name)
{
  for (int i = 0; i < o->parts.n; i++)
    if (strcmp(o->parts.item[i], name) == 0) return true;
  return false;
}

syz_status syz_bench_check(const syz_bench_options *o)
{
  syz_status st = SYZ_OK;
  for (int i = 0; i < o->parts.n; i++) {
    bool is_known = false;
    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++)
      is_known = is_known || strcmp(parts[k].name, o->parts.item[i]) == 0;
    SYZ_REQUIRE(is_known, SYZ_ERR_INPUT,
                "bench.parts: \"%s\" is not one of product, towers, optimiser, allreduce, io, pretrain, infonce, match",
                o->parts.item[i]);
  }
cleanup:
  return st;
}

static syz_status write_json(const syz_bench *b, cJSON *root)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX], *text = NULL;
  cJSON_AddNumberToObject(root, "ranks", syz_comm_size(b->run->world));
  cJSON_AddNumberToObject(root, "threads", syz_compute_threads(b->compute));
  cJSON_AddStringToObject(root, "engine", syz_compute_describe(b->compute));
  cJSON_AddStringToObject(root, "created_by", b->run->created_by);
  cJSON_AddStringToObject(root, "measured", syz_compute_measured(b->compute));
  cJSON_AddNumberToObject(root, "limit_gflops", b->limit / 1e9);
  cJSON_AddStringToObject(root, "limit_by", b->limit_by);
  snprintf(path, sizeof path, "%s/bench.json", b->run->folder);
  text = cJSON_Print(root);
  SYZ_REQUIRE(text, SYZ_ERR_MEMORY, "%s: no memory", path);
  SYZ_TRY(syz_file_write(path, text, strlen(text)));
  syz_info("written: %s", path);
cleanup:
  cJSON_free(text);
  return st;
}

syz_status syz_bench_run(const syz_run *run, const syz_bench_options *options, const syz_compute *compute)
{
  syz_status st = SYZ_OK;
  syz_bench b = {.run = run,
                 .options = options,
                 .compute = compute,
                 .limit_by = "",
                 .batch = options->batch,
                 .repeats = options->repeats};
  cJSON *root = cJSON_CreateObject();
  b.json = root ? cJSON_AddArrayToObject(root, "rows") : NULL;
  SYZ_TRY_ALL(run->world,
              b.json ? SYZ_OK : syz_error_set(SYZ_ERR_MEMORY, __FILE__, __LINE__, "no memory for the results"));
  syz_info("a batch of %lld objects a rank; rates are of one rank", (long long)b.batch);
  syz_info("%-12s %-26s %9s %9s %12s", "part", "work", "GFLOP/s", "median", "of the limit");
  for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
    if (!is_wanted(options, parts[k].name)) continue;
    syz_timing_begin(run->timing, parts[k].name);
    st = parts[k].run(&b);
    syz_timing_end(run->timing);
    if (st != SYZ_OK) goto cleanup;
  }
  SYZ_TRY_ALL(run->world, syz_comm_rank(run->world) == 0 ? write_json(&b, root) : SYZ_OK);
cleanup:
  cJSON_Delete(root);
  return st;
}
