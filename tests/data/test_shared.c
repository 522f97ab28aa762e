/* SPDX-License-Identifier: BSD-3-Clause */
/** A data set large enough for its object table to be shared by the ranks of a node; the file is made by
 * test_shared.py. */
#include "check.h"
#include "syzygy/data.h"
#include "../../src/data/shardset.h"

static void test_table(syz_comm *world)
{
  const size_t sizes[] = {0, 1000, 3 << 20};
  for (int k = 0; k < 3; k++) {
    syz_shared t;
    CHECK_OK(syz_shared_create(world, "test", sizes[k], 1 << 20, &t));
    bool is_shared = t.size > 0;
    CHECK(is_shared == (sizes[k] >= 1 << 20 && syz_comm_size(world) > 1)); /* all ranks of a test are on one node */
    unsigned char *p = t.bytes;
    int64_t sum = 0;
    for (size_t i = 0; i < sizes[k]; i += 100) sum += p[i];
    CHECK_EQ(sum, 0);
    syz_shared_settle(&t);
    for (size_t i = 0; t.is_writer && i < sizes[k]; i++) p[i] = (unsigned char)(i * 7 + 1);
    syz_shared_settle(&t);
    int64_t wrong = 0;
    for (size_t i = 0; i < sizes[k]; i++) wrong += p[i] != (unsigned char)(i * 7 + 1);
    CHECK_EQ(wrong, 0);
    syz_shared_destroy(&t);
    syz_shared_destroy(&t);
  }
  /* More than there is: every rank gets a refusal, or memory of its own, but nobody dies or waits. */
  syz_shared t;
  syz_status st = syz_shared_create(world, "test", (size_t)1 << 50, 1 << 20, &t);
  CHECK(st == SYZ_ERR_MEMORY);
  syz_shared_destroy(&t);
}

int main(int argc, char **argv)
{
  syz_comm *world = NULL;
  syz_shardset *s = NULL;
  if (syz_comm_start(&argc, &argv, &world) != SYZ_OK) return 1;
  int64_t blocks = syz_memory_get().live_blocks;
  test_table(world);
  if (argc > 1) {
    const char *path = argv[1];
    int64_t left_out = 0;
    CHECK_OK(syz_shardset_open(world, 1, &path, SYZ_SPLIT_ALL, false, &s));
    if (s) {
      int64_t n = syz_shardset_size(s), wrong = 0;
      CHECK_GT((double)n * sizeof(syz_object), 1 << 20);
      const syz_object *o = syz_shardset_objects(s);
      for (int64_t i = 0; i < n; i++) wrong += o[i].object_id != i * 1000003 || o[i].has_spectrum != (i % 3 != 0);
      CHECK_EQ(wrong, 0);
      CHECK_OK(syz_shardset_select(s, false, true, &left_out));
      CHECK_EQ(left_out, (n + 2) / 3);
      CHECK_EQ(syz_shardset_size(s), n - (n + 2) / 3);
      o = syz_shardset_objects(s);
      for (int64_t i = 0; i < syz_shardset_size(s); i++) wrong += o[i].object_id != (i / 2 * 3 + 1 + i % 2) * 1000003;
      CHECK_EQ(wrong, 0);
      int64_t index = 4; /* row 7 */
      static float flux[SYZ_SPECTRUM_PIXELS];
      CHECK_OK(syz_shardset_read(s, 1, &index, NULL, flux, NULL));
      CHECK_EQ(flux[5], 7.5);
    }
    syz_shardset_close(&s);
  }
  CHECK_EQ(syz_memory_get().live_blocks, blocks);
  int64_t failures = check_failures;
  syz_allreduce_i64(world, &failures, 1, SYZ_SUM);
  int result = CHECK_RESULT();
  syz_comm_finish(&world);
  return failures ? 1 : result;
}
