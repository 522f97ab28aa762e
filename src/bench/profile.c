/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * `bench --profile`: a tower's time by kind of layer, with operations and bytes, and the time that no layer accounts
 * for.
 *
 * The clock is read twice per layer call, which costs about 50 ns where a call takes milliseconds. Bytes count each
 * operand once, so a rate above the memory bandwidth means that operands were in cache.
 */
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"

static const char *const kind_name[SYZ_PROFILE_KINDS] = {"product", "attention", "normalisation", "element-wise",
                                                         "pooling", "packing",   "optimiser"};

static int by_kind_then_seconds(const void *a, const void *b)
{
  const syz_profile_row *x = a, *y = b;
  if (x->kind != y->kind) return (int)x->kind - (int)y->kind;
  return (x->seconds < y->seconds) - (x->seconds > y->seconds);
}

/* One line; the last two columns only where their divisor is not zero. */
static void tell_row(const syz_bench *b, const char *name, const syz_profile_row *r, double total)
{
  char rate[32] = "", share[32] = "";
  if (r->flops > 0 && (r->kind == SYZ_PROFILE_PRODUCT || r->kind == SYZ_PROFILE_ATTENTION)) {
    snprintf(rate, sizeof rate, "%.1f", r->flops / r->seconds / 1e9);
    snprintf(share, sizeof share, "%.1f%%", 100 * r->flops / r->seconds / b->limit);
  }
  syz_info("  %-34s %7lld %9.2f ms %6.1f%% %9.2f %9s %8s %9.1f %8.1f", name, (long long)r->calls, 1e3 * r->seconds,
           100 * r->seconds / total, r->flops / 1e9, rate, share, r->bytes / 1e6,
           r->seconds > 0 ? r->bytes / r->seconds / 1e9 : 0);
}

static void add_json(syz_bench *b, const char *part, const char *name, const syz_profile_row *r, double total)
{
  cJSON *row = syz_bench_add_row(b, "profile", part);
  cJSON_AddStringToObject(row, "kind", r->kind < SYZ_PROFILE_KINDS ? kind_name[r->kind] : "other");
  cJSON_AddStringToObject(row, "layer", name);
  cJSON_AddNumberToObject(row, "calls", (double)r->calls);
  cJSON_AddNumberToObject(row, "seconds", r->seconds);
  cJSON_AddNumberToObject(row, "share", r->seconds / total);
  cJSON_AddNumberToObject(row, "flops", r->flops);
  cJSON_AddNumberToObject(row, "bytes", r->bytes);
}

void syz_bench_profile(syz_bench *b, const char *part, const syz_bench_work *w)
{
  static syz_profile_row row[SYZ_PROFILE_ROWS];
  syz_comm *c = b->run->world;
  const syz_profile_row *found;
  w->run(w->context);
  syz_barrier(c);
  syz_profile_start();
  const double start = syz_clock_s();
  w->run(w->context);
  const double total = syz_clock_s() - start;
  syz_profile_stop();
  const int n = syz_profile_rows(&found);
  if (syz_comm_rank(c) != 0) return;
  syz_profile_row sum[SYZ_PROFILE_KINDS + 1] = {{.calls = 0}};
  sum[SYZ_PROFILE_KINDS].kind = SYZ_PROFILE_KINDS;
  sum[SYZ_PROFILE_KINDS].seconds = total;
  for (int i = 0; i < n; i++) {
    row[i] = found[i];
    syz_profile_row *s = &sum[row[i].kind];
    s->kind = row[i].kind;
    s->calls += row[i].calls;
    s->seconds += row[i].seconds;
    s->flops += row[i].flops;
    s->bytes += row[i].bytes;
    sum[SYZ_PROFILE_KINDS].seconds -= row[i].seconds;
  }
  qsort(row, (size_t)n, sizeof *row, by_kind_then_seconds);
  syz_info("%s: %.1f ms on rank 0", part, 1e3 * total);
  syz_info("  %-34s %7s %12s %7s %9s %9s %8s %9s %8s", "layer", "calls", "time", "share", "GFLOP", "GFLOP/s", "limit",
           "MB", "GB/s");
  for (int k = 0; k <= SYZ_PROFILE_KINDS; k++) {
    if (sum[k].seconds <= 0) continue;
    tell_row(b, k < SYZ_PROFILE_KINDS ? kind_name[k] : "other", &sum[k], total);
    if (k == SYZ_PROFILE_KINDS) add_json(b, part, "other", &sum[k], total);
    for (int i = 0; i < n; i++) {
      if ((int)row[i].kind != k) continue;
      char name[80];
      snprintf(name, sizeof name, "  %.60s", row[i].name);
      tell_row(b, name, &row[i], total);
      add_json(b, part, row[i].name, &row[i], total);
    }
  }
}
