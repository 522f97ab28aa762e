/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * `bench`: how fast every part is, as a fraction of what this machine can do, measured in the same run.
 *
 * The yardstick of products is the best matrix-product rate of a core (syz_gemm_limit), measured before and after each part and taken
 * as the larger, because shared machines drift. Only useful operations count: products and attention of the model's formula, nothing
 * for padding, recomputation or element-wise work. Each figure is the best of several repetitions; the median stands beside it.
 * With several ranks, rank 0 works alone first (the others sleep), then all together: the ratio is the parallel speed-up.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "compute.h"
#include "syzygy/data.h"

const syz_key syz_bench_keys[] = {
    {"bench.parts", SYZ_KEY_LIST, "product,towers,optimiser,allreduce,io", "", 0, 0, NULL, SYZ_USED_BY(bench),
     "What to measure: product, towers, optimiser, allreduce, io, and pretrain: whole steps of pretrain-image."},
    {"bench.batch", SYZ_KEY_INT, "8", "objects a rank", 1, 4096, NULL, SYZ_USED_BY(bench), "Objects in a tower's batch."},
    {"bench.repeats", SYZ_KEY_INT, "5", "", 1, 1000, NULL, SYZ_USED_BY(bench), "Repetitions of each part behind one that does not count."},
    {"bench.limit_s", SYZ_KEY_REAL, "2", "s", 0.1, 600, NULL, SYZ_USED_BY(bench), "Time for each measurement of the matrix-product limit."},
    {"bench.io_bytes", SYZ_KEY_INT, "268435456", "bytes a rank", 1048576, 1e12, NULL, SYZ_USED_BY(bench), "Size of the files of the i/o part."},
    {NULL, SYZ_KEY_INT, "", "", 0, 0, NULL, 0, NULL}};

/* One timed piece of work on this rank. */
typedef struct work {
  void (*run)(void *context);
  void *context;
} work;

typedef struct seconds {
  double best, median;
} seconds;

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

static seconds time_work(int repeats, const work *w)
{
  double t[SYZ_BENCH_REPEATS];
  w->run(w->context);
  for (int i = 0; i < repeats; i++) {
    double start = syz_clock_s();
    w->run(w->context);
    t[i] = syz_clock_s() - start;
  }
  seconds out;
  syz_bench_best(t, repeats, &out.best, &out.median);
  return out;
}

void syz_bench_measure_limit(syz_bench *b)
{
  double rate = syz_gemm_limit(b->compute, syz_input_real(b->app->input, "bench.limit_s")) * syz_compute_threads(b->compute);
  b->limit = fmax(b->limit, rate);
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

/* Work with a known number of useful operations, against the limit: alone, then on all ranks at once. Collective. */
static void measure_flops(syz_bench *b, const char *part, const char *what, double flops, const work *w)
{
  syz_comm *c = b->app->world;
  int size = syz_comm_size(c);
  double alone = 0;
  if (size > 1) {
    if (syz_comm_rank(c) == 0) {
      syz_bench_measure_limit(b);
      alone = flops / time_work(b->repeats, w).best;
    }
    syz_barrier_idle(c);
  }
  syz_bench_measure_limit(b);
  syz_barrier(c);
  seconds t = time_work(b->repeats, w);
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
    syz_bench_rate r = syz_bench_over_ranks(c, syz_gemm_limit(compute, limit_s) * syz_compute_threads(compute));
    syz_info("%-12s %-26s %9.1f            %s", "product", name[kind], r.mean / 1e9, syz_compute_describe(compute));
    if (syz_comm_rank(c) != 0) continue;
    cJSON *row = syz_bench_add_row(b, "product", name[kind]);
    cJSON_AddNumberToObject(row, "gflops_per_rank", r.mean / 1e9);
    cJSON_AddNumberToObject(row, "gflops_per_rank_least", r.least / 1e9);
    cJSON_AddStringToObject(row, "engine", syz_compute_describe(compute));
  }
cleanup:
  syz_compute_destroy(&plain);
  return st;
}

/* ------------------------------------------------------------------- towers */

typedef struct tower_work {
  syz_model *model;
  syz_modality tower;
  int64_t batch;
  float *input, *embedding, *dembedding, *gradients;
} tower_work;

static void run_forward(void *context)
{
  tower_work *w = context;
  syz_tower_forward(w->model, w->tower, w->batch, w->input, NULL, w->embedding);
}

static void run_forward_backward(void *context)
{
  tower_work *w = context;
  run_forward(context);
  syz_tower_backward(w->model, w->tower, w->batch, w->dembedding, NULL, w->gradients, NULL, NULL);
}

static void destroy_tower_work(tower_work *w)
{
  syz_free(&w->input);
  syz_free(&w->embedding);
  syz_free(&w->dembedding);
  syz_free(&w->gradients);
  syz_model_destroy(&w->model);
}

static syz_status make_tower_work(syz_bench *b, const syz_model_config *config, syz_modality tower, tower_work *w)
{
  syz_status st = SYZ_OK;
  int64_t size = config->image.size, pixels = tower == SYZ_IMAGE ? SYZ_BANDS * size * size : SYZ_SPECTRUM_PIXELS, width = config->embedding.dim;
  uint64_t seed = (uint64_t)syz_input_int(b->app->input, "seed");
  *w = (tower_work){.tower = tower, .batch = b->batch};
  SYZ_TRY(syz_model_create(config, tower == SYZ_IMAGE, tower == SYZ_SPECTRUM, b->compute, &w->model));
  syz_model_initialise(w->model, seed);
  SYZ_ALLOC(w->input, "bench input", b->batch * pixels);
  SYZ_ALLOC(w->embedding, "bench embedding", b->batch * width);
  SYZ_ALLOC(w->dembedding, "bench embedding gradient", b->batch * width);
  SYZ_ALLOC(w->gradients, "bench gradients", syz_model_size(w->model));
  syz_random r = syz_random_make(seed, SYZ_RANDOM_BENCH, (uint64_t)tower, 0);
  syz_random_fill_normal(&r, w->input, (size_t)(b->batch * pixels));
  if (tower == SYZ_IMAGE)
    for (int64_t i = 0; i < b->batch * pixels; i++) w->input[i] = fminf(fmaxf(0.5f + 0.2f * w->input[i], 0), 1);
  r.step = 7;
  syz_random_fill_normal(&r, w->dembedding, (size_t)(b->batch * width));
cleanup:
  return st;
}

static syz_status bench_tower(syz_bench *b, const syz_model_config *config, syz_modality tower)
{
  syz_status st = SYZ_OK;
  tower_work w = {0};
  syz_comm *c = b->app->world;
  const char *name = tower == SYZ_IMAGE ? "image tower" : "spectrum";
  double flops = (double)b->batch * syz_model_flops(config, tower);
  SYZ_TRY_ALL(c, make_tower_work(b, config, tower, &w));
  SYZ_TRY_ALL(c, syz_tower_plan(w.model, tower, b->batch, SYZ_MODE_EMBED));
  measure_flops(b, name, "forward", flops, &(work){run_forward, &w});
  SYZ_TRY_ALL(c, syz_tower_plan(w.model, tower, b->batch, SYZ_MODE_TRAIN));
  measure_flops(b, name, "forward + backward", 3 * flops, &(work){run_forward_backward, &w});
cleanup:
  destroy_tower_work(&w);
  return st;
}

static syz_status bench_towers(syz_bench *b)
{
  syz_status st = SYZ_OK;
  syz_model_config config;
  syz_model_parts parts = {.has = {[SYZ_PART_IMAGE_BACKBONE] = true, [SYZ_PART_SPECTRUM_BACKBONE] = true}};
  const char *file = syz_input_text(b->app->input, "model.file");
  if (*file)
    SYZ_TRY(syz_model_file_parts(b->app->world, file, &config, &parts));
  else
    SYZ_TRY(syz_model_config_read(b->app->input, &config));
  for (syz_modality m = SYZ_IMAGE; m < SYZ_MODALITIES; m++)
    if (parts.has[syz_part_of(m, false)]) SYZ_TRY(bench_tower(b, &config, m));
cleanup:
  return st;
}

/* ---------------------------------------------------------------- optimiser */

enum { OPTIMISER_N = 64 << 20 };

typedef struct optimiser_work {
  float *w, *m, *v, *g;
  int threads;
} optimiser_work;

static void run_adamw(void *context)
{
  optimiser_work *o = context;
  const syz_adamw options = {.lr = 1e-4, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.05};
  syz_adamw_update(&options, 10, 1.0, o->w, o->m, o->v, o->g, OPTIMISER_N, o->threads);
}

/* Two arrays updated in place from two others: as many streams as AdamW has (reads 4, writes 2 of its 3) and no arithmetic to speak of, so its
 * rate is the bandwidth that AdamW is held against. In place, because a store to an array that was not read first reads it all the same. */
static void run_update(void *context)
{
  optimiser_work *o = context;
  float *restrict w = o->w, *restrict m = o->m;
  const float *restrict v = o->v, *restrict g = o->g;
  for (int64_t i = 0; i < OPTIMISER_N; i++) {
    w[i] += 0.5f * v[i];
    m[i] += 0.5f * g[i];
  }
}

static syz_status bench_optimiser(syz_bench *b)
{
  syz_status st = SYZ_OK;
  syz_comm *c = b->app->world;
  optimiser_work o = {.threads = syz_compute_threads(b->compute)};
  float *block = syz_alloc("bench optimiser", 4 * (size_t)OPTIMISER_N, sizeof *block);
  SYZ_TRY_ALL(c, block ? SYZ_OK : SYZ_ERR_MEMORY);
  o.w = block;
  o.m = block + OPTIMISER_N;
  o.v = block + 2 * (size_t)OPTIMISER_N;
  o.g = block + 3 * (size_t)OPTIMISER_N;
  for (int64_t i = 0; i < 4 * (int64_t)OPTIMISER_N; i++) block[i] = 1e-3f * (float)(i % 1000);
  syz_barrier(c);
  double update = 6.0 * sizeof(float) * OPTIMISER_N / time_work(b->repeats, &(work){run_update, &o}).best;
  syz_barrier(c);
  double adamw = 7.0 * sizeof(float) * OPTIMISER_N / time_work(b->repeats, &(work){run_adamw, &o}).best;
  syz_bench_rate bandwidth = syz_bench_over_ranks(c, update), reached = syz_bench_over_ranks(c, adamw);
  syz_info("%-12s %-26s %9.1f GB/s, %.0f%% of plain updates in place (%.1f GB/s)", "optimiser", "AdamW", reached.mean / 1e9,
           100 * reached.mean / bandwidth.mean, bandwidth.mean / 1e9);
  if (syz_comm_rank(c) == 0) {
    cJSON *row = syz_bench_add_row(b, "optimiser", "AdamW");
    cJSON_AddNumberToObject(row, "gbytes_per_s", reached.mean / 1e9);
    cJSON_AddNumberToObject(row, "update_gbytes_per_s", bandwidth.mean / 1e9);
    cJSON_AddNumberToObject(row, "fraction_of_update", reached.mean / bandwidth.mean);
  }
cleanup:
  syz_free(&block);
  return st;
}

/* --------------------------------------------------------------- all-reduce */

typedef struct allreduce_work {
  syz_comm *c;
  float *x;
  size_t n;
} allreduce_work;

static void run_allreduce(void *context)
{
  allreduce_work *w = context;
  syz_allreduce_f32(w->c, w->x, w->n, SYZ_SUM);
}

static syz_status bench_allreduce(syz_bench *b)
{
  enum { LARGEST = 16 << 20 };
  syz_status st = SYZ_OK;
  syz_comm *c = b->app->world;
  float *x = syz_alloc("bench all-reduce", LARGEST, sizeof *x);
  SYZ_TRY_ALL(c, x ? SYZ_OK : SYZ_ERR_MEMORY);
  if (syz_comm_size(c) == 1) syz_info("%-12s one rank: nothing to reduce", "all-reduce");
  for (size_t n = 1024; n <= LARGEST && syz_comm_size(c) > 1; n *= 32) {
    char what[64];
    allreduce_work w = {c, x, n};
    memset(x, 0, n * sizeof *x);
    syz_barrier(c);
    double t = time_work(b->repeats, &(work){run_allreduce, &w}).best;
    syz_allreduce_f64(c, &t, 1, SYZ_MAX);
    snprintf(what, sizeof what, "%.0f KiB", (double)n * sizeof *x / 1024);
    syz_info("%-12s %-26s %9.3f GB/s, %.3f ms", "all-reduce", what, (double)n * sizeof *x / t / 1e9, 1e3 * t);
    if (syz_comm_rank(c) != 0) continue;
    cJSON *row = syz_bench_add_row(b, "allreduce", what);
    cJSON_AddNumberToObject(row, "bytes", (double)n * sizeof *x);
    cJSON_AddNumberToObject(row, "seconds", t);
  }
cleanup:
  syz_free(&x);
  return st;
}

/* ----------------------------------------------------------------------- io */

/* The raw rate of the device under the run folder: one file a rank, written in blocks and flushed. */
static syz_status raw_write(const char *path, const float *x, size_t bytes, double *t)
{
  syz_status st = SYZ_OK;
  double start = syz_clock_s();
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  SYZ_REQUIRE(fd >= 0, SYZ_ERR_WRITE, "%s: %s", path, strerror(errno));
  for (size_t at = 0; at < bytes;) {
    ssize_t n = write(fd, (const char *)x + at, bytes - at < (8u << 20) ? bytes - at : (8u << 20));
    SYZ_REQUIRE(n > 0, SYZ_ERR_WRITE, "%s: cannot write: %s", path, strerror(errno));
    at += (size_t)n;
  }
  SYZ_REQUIRE(fsync(fd) == 0, SYZ_ERR_WRITE, "%s: cannot flush: %s", path, strerror(errno));
  *t = syz_clock_s() - start;
cleanup:
  if (fd >= 0) close(fd);
  unlink(path);
  return st;
}

static syz_status bench_io(syz_bench *b)
{
  enum { WIDTH = 1024 };
  syz_status st = SYZ_OK;
  syz_app *app = b->app;
  syz_comm *c = app->world;
  syz_h5 *file = NULL;
  char path[PATH_MAX];
  const char *folder = syz_input_text(app->input, "output.dir");
  int64_t rows = syz_input_int(app->input, "bench.io_bytes") / (int64_t)(WIDTH * sizeof(float)), shape[1] = {WIDTH};
  double bytes = (double)rows * WIDTH * sizeof(float) * syz_comm_size(c), raw = 0, written = 0, read = 0;
  int64_t first = rows * syz_comm_rank(c);
  bool has_file = false;
  float *x = syz_alloc("bench io", (size_t)rows * WIDTH, sizeof *x);
  SYZ_TRY_ALL(c, x ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int64_t i = 0; i < rows * WIDTH; i++) x[i] = (float)(i % 8191);
  snprintf(path, sizeof path, "%s/bench-raw-%d.tmp", folder, syz_comm_rank(c));
  SYZ_TRY_ALL(c, raw_write(path, x, (size_t)rows * WIDTH * sizeof *x, &raw));
  snprintf(path, sizeof path, "%s/bench-io.h5", folder);
  syz_barrier(c);
  double start = syz_clock_s();
  SYZ_TRY(syz_h5_create(c, path, "bench", syz_app_created_by(), syz_app_input_yaml(app), &file));
  SYZ_TRY(syz_h5_write(file, "x", SYZ_H5_F32, rows * syz_comm_size(c), 1, shape, first, rows, x, "", "numbers of the i/o benchmark"));
  SYZ_TRY(syz_h5_publish(&file));
  has_file = true;
  written = syz_clock_s() - start;
  start = syz_clock_s();
  SYZ_TRY(syz_h5_open(c, path, &file));
  SYZ_TRY_ALL(c, syz_h5_read(file, "x", SYZ_H5_F32, first, rows, x));
  syz_h5_close(&file);
  syz_barrier(c);
  read = syz_clock_s() - start;
  syz_allreduce_f64(c, &raw, 1, SYZ_MAX);
  syz_allreduce_f64(c, &written, 1, SYZ_MAX);
  syz_info("%-12s %-26s %9.3f GB/s, %.0f%% of one plain file a rank (%.3f GB/s)", "io", "collective write", bytes / written / 1e9,
           100 * raw / written, bytes / raw / 1e9);
  syz_info("%-12s %-26s %9.3f GB/s (from the page cache)", "io", "read", bytes / read / 1e9);
  if (syz_comm_rank(c) == 0) {
    cJSON *row = syz_bench_add_row(b, "io", "collective write");
    cJSON_AddNumberToObject(row, "gbytes_per_s", bytes / written / 1e9);
    cJSON_AddNumberToObject(row, "raw_gbytes_per_s", bytes / raw / 1e9);
    row = syz_bench_add_row(b, "io", "read");
    cJSON_AddNumberToObject(row, "gbytes_per_s", bytes / read / 1e9);
  }
cleanup:
  syz_h5_discard(&file);
  if (has_file && syz_comm_rank(c) == 0) unlink(path);
  syz_free(&x);
  return st;
}

/* ------------------------------------------------------------------ command */

static const struct {
  const char *name;
  syz_status (*run)(syz_bench *b);
} parts[] = {{"product", bench_products},    {"towers", bench_towers}, {"optimiser", bench_optimiser},
             {"allreduce", bench_allreduce}, {"io", bench_io},         {"pretrain", syz_bench_pretrain}};

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
    SYZ_REQUIRE(is_known, SYZ_ERR_INPUT, "bench.parts: \"%s\" is not one of product, towers, optimiser, allreduce, io, pretrain", wish);
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
  cJSON_AddNumberToObject(root, "limit_gflops", b->limit / 1e9);
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
  syz_bench b = {.app = app, .batch = syz_input_int(app->input, "bench.batch"), .repeats = (int)syz_input_int(app->input, "bench.repeats")};
  cJSON *root = NULL;
  SYZ_TRY(check_parts(app->input));
  if (app->is_dry_run) goto cleanup;
  SYZ_TRY_ALL(app->world, syz_app_make_compute(app->input, &b.compute));
  SYZ_TRY(syz_app_open_run_folder(app));
  root = cJSON_CreateObject();
  b.json = root ? cJSON_AddArrayToObject(root, "rows") : NULL;
  SYZ_TRY_ALL(app->world, b.json ? SYZ_OK : syz_error_set(SYZ_ERR_MEMORY, __FILE__, __LINE__, "no memory for the results"));
  syz_info("%s; a batch of %lld objects a rank; rates are of one rank", syz_compute_describe(b.compute), (long long)b.batch);
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
