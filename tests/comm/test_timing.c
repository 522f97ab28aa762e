/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The book of time: what a phase spends inside MPI is kept apart from its own work on every rank, a restart forgets
 * what was before, and timing.json says both.
 *
 * Each rank works for another time and then waits for the slowest: the waiting has to be found as time inside MPI.
 */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "syzygy/comm.h"
#include "syzygy/files.h"

enum { UNIT_MS = 40 };
static int rank, size;

static void work_ms(int ms)
{
  const double end = syz_clock_s() + 1e-3 * ms;
  while (syz_clock_s() < end) {
  }
}

/* Seconds that the barrier took, by the clock around it. */
static double phases(syz_timing *t, syz_comm *c)
{
  syz_timing_begin(t, "work");
  work_ms(UNIT_MS * rank);
  const double start = syz_clock_s();
  syz_barrier(c);
  const double waited = syz_clock_s() - start;
  syz_timing_begin(t, "inner");
  work_ms(UNIT_MS);
  syz_timing_end(t);
  syz_timing_end(t);
  return waited;
}

static void books(syz_comm *c)
{
  syz_timing t = {.within_s = syz_comm_seconds()};
  syz_barrier(c);
  const double waited = phases(&t, c);
  CHECK(t.n == 2 && t.count[0] == 1 && t.count[1] == 1);
  CHECK_NEAR(t.within[0], waited,
             2e-3); /* a busy machine may stop us between two readings of the clock, seldom for long */
  CHECK_GT(t.seconds[0] - t.within[0], 1e-3 * UNIT_MS * rank - 0.001);
  CHECK_NEAR(t.within[1], 0, 0);
  CHECK_GT(t.seconds[1], 1e-3 * UNIT_MS - 0.001);
  CHECK(t.seconds[0] >= t.within[0]);

  syz_timing_restart(&t);
  CHECK(t.n == 0);
  const double start = syz_clock_s();
  (void)phases(&t, c);
  const double all = syz_clock_s() - start;
  CHECK(t.n == 2 && t.count[0] == 1);
  CHECK_NEAR(t.seconds[0] + t.seconds[1], all, 1e-3);
  CHECK_NEAR(t.t_first, start, 1e-3);

  syz_timing without = {0};
  (void)phases(&without, c);
  CHECK_NEAR(without.within[0], 0, 0);
}

static const cJSON *phase_of(const cJSON *root, const char *name)
{
  const cJSON *p;
  cJSON_ArrayForEach(p, cJSON_GetObjectItem(root, "phases")) if (strcmp(cJSON_GetObjectItem(p, "phase")->valuestring,
                                                                        name) == 0) return p;
  return NULL;
}

static double number(const cJSON *o, const char *name)
{
  const cJSON *x = cJSON_GetObjectItem(o, name);
  return cJSON_IsNumber(x) ? x->valuedouble : NAN;
}

static void file(syz_comm *c)
{
  char path[64];
  snprintf(path, sizeof path, "timing-test-%d.json", size);
  syz_timing t = {.within_s = syz_comm_seconds()};
  syz_barrier(c);
  (void)phases(&t, c);
  work_ms(rank == 0 ? UNIT_MS : 0);
  double between = syz_clock_s();
  syz_barrier(c);
  between = syz_clock_s() - between;
  double busy = t.seconds[0] - t.within[0], within = t.within[0], most = busy;
  syz_allreduce_f64(c, &within, 1, SYZ_SUM);
  syz_allreduce_f64(c, &between, 1, SYZ_SUM);
  syz_allreduce_f64(c, &most, 1, SYZ_MAX);
  CHECK_OK(syz_timing_report(c, &t, path));
  if (rank != 0) return;
  char *text = NULL;
  size_t n;
  CHECK_OK(syz_file_read(path, 1 << 20, &text, &n));
  cJSON *root = cJSON_Parse(text);
  const cJSON *work = phase_of(root, "work"), *each = cJSON_GetObjectItem(work, "busy_s");
  CHECK(work && number(root, "ranks") == size);
  CHECK_GT(number(root, "seconds"), 1e-3 * UNIT_MS * size - 0.005);
  CHECK_GT(number(root, "peak_bytes"), 1e6);
  CHECK_NEAR(number(work, "mpi_s"), within / size, 1e-6);
  CHECK_GT(number(root, "mpi_s"), (within + between) / size - 2e-3); /* the sums of this test itself come on top */
  CHECK_LT(number(root, "mpi_s"), (within + between) / size + 5e-2);
  CHECK_EQ(cJSON_GetArraySize(each), size);
  CHECK_NEAR(cJSON_GetArrayItem(each, 0)->valuedouble, busy, 1e-5);
  double found = 0;
  for (int r = 0; r < size; r++) {
    const double x = cJSON_GetArrayItem(each, r)->valuedouble;
    CHECK_GT(x, 1e-3 * UNIT_MS * r - 0.001); /* in the order of ranks */
    found = fmax(found, x);
  }
  CHECK_NEAR(found, most, 1e-5 * most + 1e-6);
  cJSON_Delete(root);
  syz_free(&text);
  unlink(path);
}

int main(int argc, char **argv)
{
  syz_comm *c = NULL;
  CHECK_OK(syz_comm_start(&argc, &argv, &c));
  rank = syz_comm_rank(c);
  size = syz_comm_size(c);
  books(c);
  file(c);
  int64_t failures = check_failures;
  syz_allreduce_i64(c, &failures, 1, SYZ_SUM);
  syz_comm_finish(&c);
  return failures ? 1 : CHECK_RESULT();
}
