/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * A failure on one rank while a model file is written or read: all ranks return the same code, an old file of that name
 * is intact, nothing half-written is left, and the next attempt succeeds. One failure a run: `test_model_fault POINT`.
 */
#include <stdlib.h>
#include <unistd.h>

#include "check.h"
#include "syzygy/model.h"

int main(int argc, char **argv)
{
  syz_comm *world;
  syz_compute *compute;
  syz_model *old = NULL, *new = NULL, *back = NULL;
  char folder[256] = "/tmp/syzygy-model-XXXXXX", path[300], temporary[310], fault[64];
  const syz_model_config config = {
      .image = {.dim = 16, .depth = 1, .heads = 2, .patch = 8, .size = 24, .tokens = SYZ_TOKENS_DINOV2},
      .spectrum = {.dim = 12, .depth = 1, .heads = 2, .section = 600, .overlap = 100, .max_tokens = 20},
      .embedding = {.dim = 16, .heads = 4}};
#ifndef SYZ_FAULTS
  printf("built without SYZ_FAULTS: skipped\n");
  return 77;
#endif
  if (argc != 2) return 2;
  const bool is_read = strcmp(argv[1], "h5_read") == 0, is_once = strcmp(argv[1], "h5_write") != 0;
  const bool is_of_root = is_read || strcmp(argv[1], "h5_create") == 0; /* what rank 0 alone does */
  CHECK_OK(syz_comm_start(&argc, &argv, &world));
  CHECK_OK(syz_compute_create(SYZ_F32, SYZ_ENGINE_AUTO, 1, &compute));
  const int rank = syz_comm_rank(world), size = syz_comm_size(world);
  if (rank == 0) CHECK(mkdtemp(folder) != NULL);
  syz_bcast(world, folder, sizeof folder, 0);
  snprintf(path, sizeof path, "%s/model.h5", folder);
  snprintf(temporary, sizeof temporary, "%s.tmp", path);
  CHECK_OK(syz_model_create(&config, true, true, compute, &old));
  CHECK_OK(syz_model_create(&config, true, true, compute, &new));
  CHECK_OK(syz_model_create(&config, true, true, compute, &back));
  syz_model_initialise(old, 1);
  syz_model_initialise(new, 2);
  int n;
  syz_model_parameters(old, &n);

  /* The first file is written whole; the failure comes in the middle of the second attempt. */
  const int visit = is_read ? n / 2 : is_once ? 2 : n + n / 2;
  snprintf(fault, sizeof fault, "%s:%d:%d", argv[1], is_of_root ? 0 : size - 1, visit);
  setenv("SYZ_FAULT", fault, 1);
  CHECK_OK(syz_model_file_write(world, path, old, "test", ""));
  if (is_read) {
    CHECK_ERROR(syz_model_file_read(world, path, back, false), SYZ_ERR_DATA, path);
  } else {
    CHECK_ERROR(syz_model_file_write(world, path, new, "test", ""), SYZ_ERR_WRITE, "injected failure");
    syz_barrier(world); /* rank 0 removes it after all have agreed */
    CHECK(access(temporary, F_OK) != 0);
  }
  CHECK_OK(syz_model_file_read(world, path, back, false));
  CHECK(memcmp(syz_model_weights(back), syz_model_weights(old), (size_t)syz_model_size(old) * sizeof(float)) == 0);
  CHECK_OK(syz_model_file_write(world, path, new, "test", ""));
  CHECK_OK(syz_model_file_read(world, path, back, false));
  CHECK(memcmp(syz_model_weights(back), syz_model_weights(new), (size_t)syz_model_size(new) * sizeof(float)) == 0);
  syz_model_destroy(&old);
  syz_model_destroy(&new);
  syz_model_destroy(&back);
  syz_barrier(world);
  if (rank == 0) {
    unlink(path);
    CHECK(rmdir(folder) == 0);
  }
  const int result = CHECK_RESULT();
  syz_compute_destroy(&compute);
  syz_comm_finish(&world);
  return result;
}
