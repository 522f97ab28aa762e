/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * `bench`: how fast every part is, as a fraction of what this machine can do, measured in the same run.
 *
 * The yardstick of products is the best matrix-product rate of a core (syz_gemm_limit), measured before and after each part and taken
 * as the larger, because shared machines drift. Only useful operations count: products and attention of the model's formula, nothing
 * for padding, recomputation or element-wise work. Each figure is the best of several repetitions; the median stands beside it.
 * With several ranks, rank 0 works alone first (the others sleep), then all together: the ratio is the parallel speed-up.
 */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "compute.h"

const syz_key syz_bench_keys[] = {
    {"bench.parts", SYZ_KEY_LIST, "product,towers,optimiser,allreduce,io", "", 0, 0, NULL, SYZ_USED_BY(bench),
     "What to measure: product, towers, optimiser, allreduce, io, pretrain: whole steps of pretrain-image, infonce: the contrastive loss, and match: "
     "spectra to catalogues as in ingest."},
    {"bench.batch", SYZ_KEY_INT, "8", "objects a rank", 1, 4096, NULL, SYZ_USED_BY(bench), "Objects in a tower's batch."},
    {"bench.repeats", SYZ_KEY_INT, "5", "", 1, 1000, NULL, SYZ_USED_BY(bench), "Repetitions of each part behind one that does not count."},
    {"bench.profile", SYZ_KEY_BOOL, "false", "", 0, 0, NULL, SYZ_USED_BY(bench),
     "Also where each tower's time goes, by layer, with operations and bytes; `--profile` on the command line."},
    {"bench.pairs", SYZ_KEY_INT, "16384", "pairs", 1, 1e9, NULL, SYZ_USED_BY(bench), "Global batch of the infonce part, of embeddings of 1024 numbers."},
    {"bench.blocks", SYZ_KEY_INT, "0", "", 0, 1e9, NULL, SYZ_USED_BY(bench),
     "infonce: the first round of pieces alone, held against so many blocks of 1152 rows of each rank; 0: everything."},
    {"bench.streams", SYZ_KEY_BOOL, "false", "", 0, 0, NULL, SYZ_USED_BY(bench),
     "infonce: hand embeddings over and take gradients back in chunks, instead of holding them in arrays."},
    {"bench.catalogue_rows", SYZ_KEY_INT, "10000000", "rows", 1, 1e12, NULL, SYZ_USED_BY(bench),
     "match: rows of the catalogues, which are made in output.dir (26 bytes a row) and removed."},
    {"bench.spectra", SYZ_KEY_INT, "100000", "spectra", 1, 1e10, NULL, SYZ_USED_BY(bench), "match: spectra that look for a row."},
    {"bench.limit_s", SYZ_KEY_REAL, "2", "s", 0.1, 600, NULL, SYZ_USED_BY(bench), "Time for each measurement of the matrix-product limit."},
    {"bench.io_bytes", SYZ_KEY_INT, "268435456", "bytes a rank", 1048576, 1e12, NULL, SYZ_USED_BY(bench), "Size of the files of the i/o part."},
    {NULL, SYZ_KEY_INT, "", "", 0, 0, NULL, 0, NULL}};

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
  const double rate = syz_gemm_limit(b->compute, syz_input_real(b->app->input, "bench.limit_s"), &by) * syz_compute_threads(b->compute);
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

void syz_bench_measure_flops(syz_bench *b, const char *part, const char *what, double flops, const syz_bench_work *w)
{
  syz_comm *c = b->app->world;
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
    syz_info("%-12s %-26s %9.1f %9.1f %11.1f%% %9.2f x of 1 rank", part, what, best.mean / 1e9, median.mean / 1e9, 100 * share.mean, speedup);
  else
    syz_info("%-12s %-26s %9.1f %9.1f %11.1f%%", part, what, best.mean / 1e9, median.mean / 1e9, 100 * share.mean);
  if (syz_comm_rank(c) != 0) return;
  cJSON *row = syz_bench_add_row(b, part, what);
  cJSON_AddNumberToObject(row, "gflops_per_rank", best.mean / 1e9);
  cJSON_AddNumberToObject(row, "gflops_per_rank_median", median.mean / 1e9);
  cJSON_AddNumberToObject(row, "fraction_of_limit", share.mean);
  cJSON_AddNumberToObject(row, "fraction_of_limit_least", share.least);
  cJSON_AddNumberToObject(row, "objects_per_s", best.sum / flops * (double)b->batch);
  if (size > 1) cJSON_AddNumberToObject(row, "speedup_over_one_rank", speedup);
}

/* ----------------------------------------------------------------- products */

static syz_status bench_products(syz_bench *b)
{
  syz_status st = SYZ_OK;
  syz_compute *plain = NULL;
  syz_comm *c = b->app->world;
  const char *name[] = {"float32", "bfloat16"};
  double limit_s = syz_input_real(b->app->input, "bench.limit_s");
  SYZ_TRY_ALL(c, syz_compute_create(SYZ_F32, SYZ_ENGINE_AUTO, syz_compute_threads(b->compute), &plain));
  for (int kind = 0; kind < 2; kind++) {
    const syz_compute *compute = kind == 0 ? plain : b->compute;
    if (kind == 1 && syz_compute_act(b->compute) != SYZ_BF16) break;
    syz_barrier(c);
    const char *by;
    syz_bench_rate r = syz_bench_over_ranks(c, syz_gemm_limit(compute, limit_s, &by) * syz_compute_threads(compute));
    syz_info("%-12s %-26s %9.1f            by %s; the model's: %s", "product", name[kind], r.mean / 1e9, by, syz_compute_describe(compute));
    if (syz_compute_act(compute) == syz_compute_act(b->compute) && r.mean > b->limit) b->limit = r.mean, b->limit_by = by;
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
    if (syz_comm_rank(c) == 0) cJSON_AddNumberToObject(syz_bench_add_row(b, "product", "tiles alone"), "gflops_per_rank", tiles.mean / 1e9);
  }
cleanup:
  syz_compute_destroy(&plain);
  return st;
}

/* ------------------------------------------------------------------ command */

static const struct {
  const char *name;
  syz_status (*run)(syz_bench *b);
} parts[] = {{"product", bench_products},    {"towers", syz_bench_towers}, {"optimiser", syz_bench_optimiser},
             {"allreduce", syz_bench_allreduce}, {"io", syz_bench_io},         {"pretrain", syz_bench_pretrain},
             {"infonce", syz_bench_infonce},  {"match", syz_bench_match}};

static bool is_wanted(const syz_input *in, const char *name)
{
  for (int i = 0; i < syz_input_list_size(in, "bench.parts"); i++)
    if (strcmp(syz_input_list_item(in, "bench.parts", i), name) == 0) return true;
  return false;
}

static syz_status check_parts(const syz_input *in)
{
  syz_status st = SYZ_OK;
  for (int i = 0; i < syz_input_list_size(in, "bench.parts"); i++) {
    const char *wish = syz_input_list_item(in, "bench.parts", i);
    bool is_known = false;
    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) is_known = is_known || strcmp(parts[k].name, wish) == 0;
    SYZ_REQUIRE(is_known, SYZ_ERR_INPUT,
                "bench.parts: \"%s\" is not one of product, towers, optimiser, allreduce, io, pretrain, infonce, match", wish);
  }
cleanup:
  return st;
}

static syz_status write_json(const syz_bench *b, cJSON *root)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX], *text = NULL;
  cJSON_AddNumberToObject(root, "ranks", syz_comm_size(b->app->world));
  cJSON_AddNumberToObject(root, "threads", syz_compute_threads(b->compute));
  cJSON_AddStringToObject(root, "engine", syz_compute_describe(b->compute));
  cJSON_AddStringToObject(root, "created_by", syz_app_created_by());
  cJSON_AddStringToObject(root, "measured", syz_compute_measured(b->compute));
  cJSON_AddNumberToObject(root, "limit_gflops", b->limit / 1e9);
  cJSON_AddStringToObject(root, "limit_by", b->limit_by);
  snprintf(path, sizeof path, "%s/bench.json", syz_input_text(b->app->input, "output.dir"));
  text = cJSON_Print(root);
  SYZ_REQUIRE(text, SYZ_ERR_MEMORY, "%s: no memory", path);
  SYZ_TRY(syz_file_write(path, text, strlen(text)));
  syz_info("written: %s", path);
cleanup:
  cJSON_free(text);
  return st;
}

syz_status syz_command_bench(syz_app *app)
{
  syz_status st = SYZ_OK;
  syz_model_config config;
  syz_bench b = {.app = app, .limit_by = "", .batch = syz_input_int(app->input, "bench.batch"), .repeats = (int)syz_input_int(app->input, "bench.repeats")};
  cJSON *root = NULL;
  SYZ_TRY(check_parts(app->input));
  if (app->is_dry_run) goto cleanup;
  SYZ_TRY_ALL(app->world, syz_model_config_read(app->input, &config));
  SYZ_TRY(syz_app_start_compute(app, &config, false, &b.compute));
  SYZ_TRY(syz_app_open_run_folder(app));
  root = cJSON_CreateObject();
  b.json = root ? cJSON_AddArrayToObject(root, "rows") : NULL;
  SYZ_TRY_ALL(app->world, b.json ? SYZ_OK : syz_error_set(SYZ_ERR_MEMORY, __FILE__, __LINE__, "no memory for the results"));
  syz_app_tell_compute(b.compute);
  syz_info("a batch of %lld objects a rank; rates are of one rank", (long long)b.batch);
  syz_info("%-12s %-26s %9s %9s %12s", "part", "work", "GFLOP/s", "median", "of the limit");
  for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
    if (!is_wanted(app->input, parts[k].name)) continue;
    syz_timing_begin(&app->timing, parts[k].name);
    st = parts[k].run(&b);
    syz_timing_end(&app->timing);
    if (st != SYZ_OK) goto cleanup;
  }
  SYZ_TRY_ALL(app->world, syz_comm_rank(app->world) == 0 ? write_json(&b, root) : SYZ_OK);
cleanup:
  cJSON_Delete(root);
  syz_compute_destroy(&b.compute);
  return st;
}
