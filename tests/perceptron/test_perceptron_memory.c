/* SPDX-License-Identifier: BSD-3-Clause */
/** Each allocation of a training and of a prediction fails once, on the last rank: all say so, and go on afterwards. */
#include <stdlib.h>

#include "check.h"
#include "syzygy/perceptron.h"

enum { N = 60, WIDTH = 3, D = 2, MEMBERS = 2 };

static syz_comm *world;
static float x[N * WIDTH];
static double y[N * D], said[N * D];
static int64_t id[N];

static syz_status use(syz_perceptron *p, bool *is_done)
{
  syz_status st = SYZ_OK;
  const syz_perceptron_rows rows = {N - 20, x, y, id},
                            valid = {20, x + (N - 20) * WIDTH, y + (N - 20) * D, id + N - 20};
  const syz_perceptron_training_options o = {.epochs = 1, .batch = 10, .rate = 1e-3, .patience = 1};
  syz_perceptron_training *t = NULL;
  SYZ_TRY(syz_perceptron_training_create(world, p, &o, &rows, &valid, &t));
  SYZ_TRY(syz_perceptron_train(t, 1, is_done));
  SYZ_TRY_ALL(world, syz_perceptron_predict(p, N, x, said));
cleanup:
  syz_perceptron_training_destroy(&t);
  return st;
}

int main(int argc, char **argv)
{
  if (syz_comm_start(&argc, &argv, &world) != SYZ_OK) return 1;
#ifdef SYZ_FAULTS
  const syz_perceptron_options o = {
      .inputs = WIDTH, .outputs = D, .n_hidden = 1, .hidden = {5}, .members = MEMBERS, .seed = 1};
  const int last = syz_comm_size(world) - 1;
  syz_perceptron *p = NULL;
  syz_status st = SYZ_ERR_MEMORY;
  int tries = 0;
  for (int i = 0; i < N * WIDTH; i++) x[i] = (float)(i % 7);
  for (int i = 0; i < N * D; i++) y[i] = i % 5;
  for (int i = 0; i < N; i++) id[i] = i;
  CHECK_OK(syz_perceptron_create(&o, &p));
  /* Visits of a point are counted through the life of the program: each try ends with the one that failed. */
  for (int visit = 0; st == SYZ_ERR_MEMORY && tries < 200;) {
    char fault[64];
    bool is_done;
    visit += ++tries;
    snprintf(fault, sizeof fault, "alloc:%d:%d", last, visit);
    setenv("SYZ_FAULT", fault, 1);
    st = use(p, &is_done);
    unsetenv("SYZ_FAULT");
  }
  CHECK_EQ(st, SYZ_OK);
  CHECK(tries > 30);
  fprintf(stderr, "%d allocations\n", tries - 1);
  syz_perceptron_destroy(&p);
#else
  CHECK(true);
#endif
  const int result = CHECK_RESULT();
  syz_comm_finish(&world);
  return result;
}
