/* SPDX-License-Identifier: BSD-3-Clause */
/** The engine that is chosen by measuring: the same on all ranks, one that all can run, the same each time, an earlier
 * run's where it can be. */
#include "check.h"
#include "syzygy/nn.h"

static const syz_layer_size large[2] = {{400, 1536, 384}, {400, 384, 1536}}, small[1] = {{8, 32, 32}};
static const char wide[] = "own kernels avx512 widened";

/** A context chosen for the layers; NULL after a failure. */
static syz_compute *choose(syz_comm *world, syz_dtype act, syz_engine engine, const syz_layer_size *size, int n,
                           const char *earlier)
{
  syz_compute *c = NULL;
  CHECK_OK(syz_compute_create(act, engine, 1, &c));
  if (c) CHECK_OK(syz_compute_choose(world, c, size, n, true, earlier));
  return c;
}

/** All ranks have what rank 0 has. */
static void check_same(syz_comm *world, const syz_compute *c)
{
  char text[2][512] = {{0}};
  snprintf(text[0], sizeof text[0], "%s; %s", syz_compute_describe(c), syz_compute_measured(c));
  memcpy(text[1], text[0], sizeof text[0]);
  syz_bcast(world, text[1], sizeof text[1], 0);
  CHECK(strcmp(text[0], text[1]) == 0);
}

static void test_measured(syz_comm *world, syz_dtype act)
{
  char first[128] = "";
  for (int k = 0; k < 3; k++) {
    syz_compute *c = choose(world, act, SYZ_ENGINE_AUTO, large, 2, "");
    if (!c) return;
    check_same(world, c);
    if (syz_comm_rank(world) == 0 && k == 0)
      fprintf(stderr, "%s; %s\n", syz_compute_describe(c), syz_compute_measured(c));
    if (k == 0) snprintf(first, sizeof first, "%s", syz_compute_name(c));
    CHECK(strcmp(syz_compute_name(c), first) == 0);
    CHECK(strstr(syz_compute_describe(c), "GFLOP/s") == NULL); /* the name is the same from run to run */
    syz_compute_destroy(&c);
  }
}

/** Several own kernels for bfloat16. */
static bool has_choice(void) { return syz_processor_isa() >= SYZ_ISA_AVX512 && syz_processor_isa() <= SYZ_ISA_AMX; }

static void test_named(syz_comm *world)
{
  /* Small layers tell nothing: the order that is known beforehand. An engine asked for by name stays. */
  syz_compute *c = choose(world, SYZ_BF16, SYZ_ENGINE_AUTO, small, 1, ""), *plain = NULL;
  CHECK_OK(syz_compute_create(SYZ_BF16, SYZ_ENGINE_AUTO, 1, &plain));
  CHECK(strcmp(syz_compute_describe(c), syz_compute_describe(plain)) == 0 && *syz_compute_measured(c) == '\0');
  syz_compute_destroy(&c);
  syz_compute_destroy(&plain);
  c = choose(world, SYZ_F32, SYZ_ENGINE_BLIS, large, 2, "own kernels avx512");
  CHECK(strstr(syz_compute_name(c), "BLIS") != NULL);
  syz_compute_destroy(&c);
  if (!has_choice()) return;
  /* An earlier run's engine is taken unmeasured; one that nobody has is not. */
  c = choose(world, SYZ_BF16, SYZ_ENGINE_AUTO, large, 2, wide);
  CHECK(strcmp(syz_compute_name(c), wide) == 0 && *syz_compute_measured(c) == '\0');
  syz_compute_destroy(&c);
  c = choose(world, SYZ_BF16, SYZ_ENGINE_AUTO, large, 2, "own kernels of another machine");
  CHECK(strcmp(syz_compute_name(c), "own kernels of another machine") != 0);
  syz_compute_destroy(&c);
}

/** One rank's processor has less. */
static void test_mixed(syz_comm *world)
{
  const bool is_last = syz_comm_rank(world) == syz_comm_size(world) - 1;
  if (!has_choice()) return;
  if (is_last) syz_processor_limit(SYZ_ISA_AVX512);
  syz_compute *c = choose(world, SYZ_BF16, SYZ_ENGINE_AUTO, large, 2, "");
  CHECK(strcmp(syz_compute_name(c), wide) == 0);
  CHECK_EQ(syz_compute_act(c), SYZ_BF16);
  check_same(world, c);
  syz_compute_destroy(&c);
  if (is_last) syz_processor_limit(SYZ_ISA_AVX2);
  c = choose(world, SYZ_BF16, SYZ_ENGINE_AUTO, large, 2, "");
  CHECK_EQ(syz_compute_act(c), SYZ_F32);
  CHECK(strstr(syz_compute_name(c), "BLIS") != NULL);
  check_same(world, c);
  syz_compute_destroy(&c);
  syz_processor_limit(SYZ_ISA_AMX);
}

int main(int argc, char **argv)
{
  syz_comm *world = NULL;
  if (syz_comm_start(&argc, &argv, &world) != SYZ_OK) return 1;
  if (!has_choice() && syz_comm_rank(world) == 0)
    fprintf(stderr, "SKIPPED in part: this processor has one engine for each type\n");
  const int64_t blocks = syz_memory_get().live_blocks;
  test_measured(world, SYZ_F32);
  test_measured(world, SYZ_BF16);
  test_named(world);
  test_mixed(world);
  CHECK_EQ(syz_memory_get().live_blocks, blocks);
  int64_t result = CHECK_RESULT();
  syz_allreduce_i64(world, &result, 1, SYZ_MAX);
  syz_comm_finish(&world);
  return (int)result;
}
