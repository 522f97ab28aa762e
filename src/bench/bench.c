/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The speed of every part as a fraction of this machine's limit, both measured in the same run.
 *
 * The limit is the best matrix-product rate per core (syz_gemm_limit), measured before and after each part, because the
 * speed of shared machines drifts; the larger value counts. Only useful operations count: products and attention in the
 * model's formula, not padding, recomputation or element-wise work. Each figure is the best of several repetitions,
 * with the median beside it. With several ranks, rank 0 first works alone (the others sleep), then all together: the
 * ratio is the parallel speed-up.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "syzygy/json.h"

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
    syz_info("%-12s %-26s %9.1f            per thread, without loads", "product", "tiles alone", tiles.mean / 1e9);
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
  cJSON_AddNumberToObject(root, "ranks", syz_comm_size(b->run->world));
  cJSON_AddNumberToObject(root, "threads", syz_compute_threads(b->compute));
  cJSON_AddStringToObject(root, "engine", syz_compute_describe(b->compute));
  cJSON_AddStringToObject(root, "created_by", b->run->created_by);
  cJSON_AddStringToObject(root, "measured", syz_compute_measured(b->compute));
  cJSON_AddNumberToObject(root, "limit_gflops", b->limit / 1e9);
  cJSON_AddStringToObject(root, "limit_by", b->limit_by);
  SYZ_TRY(syz_json_write(b->run->folder, "bench.json", root));
  syz_info("written: %s/bench.json", b->run->folder);
cleanup:
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
  syz_info("a batch of %lld objects per rank; rates are per rank", (long long)b.batch);
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
