/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Training of networks: the same bits on any number of ranks and threads, and after stopping and going on; batches
 * that do not depend on the order of the rows; a known function and known classes; unknown labels; early stops; a
 * network that diverges. The first argument is a file in which one rank leaves its checksums for the others to compare
 * with.
 */
#include <stdlib.h>

#include "check.h"
#include "syzygy/numbers.h"
#include "syzygy/perceptron.h"

enum { N = 900, VALID = 200, WIDTH = 5, D = 2, MEMBERS = 5, EPOCHS = 8 };

static syz_comm *world;
static float x[(N + VALID) * WIDTH];
static double y[(N + VALID) * D], class[N + VALID];
static int64_t id[N + VALID];

static double first_label(const float *f) { return 50 + 3 * sin(2 * (double)f[0]) + 2 * (double)f[1] * (double)f[2]; }

static void make_rows(void)
{
  for (int i = 0; i < N + VALID; i++) {
    const syz_random r = syz_random_make(9, SYZ_RANDOM_TEST, 0, (uint64_t)i);
    for (int c = 0; c < WIDTH; c++) x[i * WIDTH + c] = (float)(2 * syz_random_uniform(&r, (uint32_t)c) - 1);
    const float *f = x + i * WIDTH;
    y[i * D] = first_label(f);
    y[i * D + 1] = -1e-3 * fabs((double)f[3]);
    class[i] = (f[0] * f[1] > 0 ? 1 : 0) + (f[2] > 0.5f ? 2 : 0);
    id[i] = INT64_C(39627788403084375) + 7 * i;
  }
}

static const syz_perceptron_rows numbers = {N, x, y, id};
static const syz_perceptron_rows numbers_valid = {VALID, x + N *WIDTH, y + N *D, id + N};
static const syz_perceptron_rows classes = {N, x, class, id};
static const syz_perceptron_rows classes_valid = {VALID, x + N *WIDTH, class + N, id + N};

static syz_perceptron *make(syz_perceptron_loss loss, int threads)
{
  const syz_perceptron_options o = {.loss = loss,
                                    .inputs = WIDTH,
                                    .outputs = loss == SYZ_PERCEPTRON_SQUARES ? D : 4,
                                    .n_hidden = 2,
                                    .hidden = {44, 36},
                                    .dropout = 0.05,
                                    .members = MEMBERS,
                                    .threads = threads,
                                    .seed = 77};
  syz_perceptron *p = NULL;
  CHECK_OK(syz_perceptron_create(&o, &p));
  syz_perceptron_scale_inputs(p, loss == SYZ_PERCEPTRON_SQUARES ? &numbers : &classes);
  syz_perceptron_scale_labels(p, loss == SYZ_PERCEPTRON_SQUARES ? &numbers : &classes);
  return p;
}

static syz_perceptron_training_options how(int epochs)
{
  return (syz_perceptron_training_options){.epochs = epochs, .batch = 50, .rate = 3e-3, .patience = 1000};
}

static uint64_t sum_of(syz_perceptron *p, syz_perceptron_training *t)
{
  uint64_t sum = 0;
  for (int m = 0; m < MEMBERS; m++) {
    sum = syz_checksum(syz_perceptron_block(p, m), (size_t)syz_perceptron_parameters(p) * 4, sum);
    for (int i = 0; i < SYZ_PERCEPTRON_ARRAYS; i++) {
      const syz_perceptron_array a = syz_perceptron_state(t, m, i);
      sum = syz_checksum(a.data, (size_t)a.n * (a.type == 'f' ? 4 : 8), sum);
    }
  }
  return sum;
}

static uint64_t train_all(int threads)
{
  syz_perceptron *p = make(SYZ_PERCEPTRON_SQUARES, threads);
  syz_perceptron_training *t = NULL;
  const syz_perceptron_training_options o = how(EPOCHS);
  bool is_done = false;
  CHECK_OK(syz_perceptron_training_create(world, p, &o, &numbers, &numbers_valid, &t));
  CHECK_OK(syz_perceptron_train(t, 1000, &is_done));
  CHECK(is_done);
  const uint64_t sum = sum_of(p, t);
  syz_perceptron_training_destroy(&t);
  syz_perceptron_destroy(&p);
  return sum;
}

/* Three epochs, all arrays to another training, the rest epoch by epoch. */
static uint64_t train_in_parts(void)
{
  syz_perceptron *p = make(SYZ_PERCEPTRON_SQUARES, 1), *q = make(SYZ_PERCEPTRON_SQUARES, 1);
  syz_perceptron_training *t = NULL, *u = NULL;
  const syz_perceptron_training_options o = how(EPOCHS);
  bool is_done = true;
  CHECK_OK(syz_perceptron_training_create(world, p, &o, &numbers, &numbers_valid, &t));
  CHECK_OK(syz_perceptron_train(t, 3, &is_done));
  CHECK(!is_done);
  CHECK_OK(syz_perceptron_training_create(world, q, &o, &numbers, &numbers_valid, &u));
  for (int m = 0; m < MEMBERS; m++)
    for (int i = 0; i < SYZ_PERCEPTRON_ARRAYS; i++) {
      const syz_perceptron_array from = syz_perceptron_state(t, m, i), to = syz_perceptron_state(u, m, i);
      memcpy(to.data, from.data, (size_t)from.n * (from.type == 'f' ? 4 : 8));
    }
  syz_perceptron_training_destroy(&t);
  syz_perceptron_destroy(&p);
  for (int k = 0; k < 20 && !is_done; k++) CHECK_OK(syz_perceptron_train(u, 1, &is_done));
  CHECK(is_done);
  const uint64_t sum = sum_of(q, u);
  syz_perceptron_training_destroy(&u);
  syz_perceptron_destroy(&q);
  return sum;
}

/* The rows upside down: batches hold the same objects in the same order. */
static void test_order(void)
{
  syz_perceptron *p = make(SYZ_PERCEPTRON_SQUARES, 1);
  static int64_t back[N], one[N], other[N];
  for (int i = 0; i < N; i++) back[i] = id[N - 1 - i];
  CHECK_OK(syz_perceptron_order(p, 2, 4, N, id, one));
  CHECK_OK(syz_perceptron_order(p, 2, 4, N, back, other));
  for (int i = 0; i < N; i++) CHECK(id[one[i]] == back[other[i]]);
  CHECK_OK(syz_perceptron_order(p, 1, 4, N, id, other));
  CHECK(memcmp(one, other, sizeof one));
  syz_perceptron_destroy(&p);
}

/* ------------------------------------------------------- what is learned */

static void test_known_function(void)
{
  syz_perceptron *p = make(SYZ_PERCEPTRON_SQUARES, 1);
  syz_perceptron_training *t = NULL;
  const syz_perceptron_training_options o = how(60);
  static double said[VALID * D], alone[D];
  double miss[D] = {0}, all[D] = {0}, mean[D] = {0};
  bool is_done = false;
  for (int i = 0; i < N; i++) /* a third of the second label, and a few of the first, are unknown */
    if (i % 3 == 0 || i % 50 == 0) y[i * D + (i % 50 == 0 ? 0 : 1)] = NAN;
  syz_perceptron_scale_labels(p, &numbers);
  CHECK_OK(syz_perceptron_training_create(world, p, &o, &numbers, &numbers_valid, &t));
  CHECK_OK(syz_perceptron_train(t, 1000, &is_done));
  CHECK_OK(syz_perceptron_predict(p, VALID, numbers_valid.x, said));
  for (int i = 0; i < VALID * D; i++) mean[i % D] += numbers_valid.y[i] / VALID;
  for (int i = 0; i < VALID * D; i++) {
    miss[i % D] += pow(said[i] - numbers_valid.y[i], 2);
    all[i % D] += pow(mean[i % D] - numbers_valid.y[i], 2);
  }
  CHECK_GT(1 - miss[0] / all[0], 0.97);
  CHECK_GT(1 - miss[1] / all[1], 0.9);
  CHECK_OK(syz_perceptron_predict(p, 1, numbers_valid.x + 130 * WIDTH, alone)); /* an object has its bits anywhere */
  CHECK(!memcmp(alone, said + 130 * D, sizeof alone));
  syz_perceptron_training_destroy(&t);
  syz_perceptron_destroy(&p);
  make_rows();
}

static void test_known_classes(syz_perceptron_loss loss)
{
  syz_perceptron *p = make(loss, 1);
  syz_perceptron_training *t = NULL;
  const syz_perceptron_training_options o = how(40);
  static double said[VALID * 4];
  bool is_done = false;
  int right = 0;
  CHECK_OK(syz_perceptron_training_create(world, p, &o, &classes, &classes_valid, &t));
  CHECK_OK(syz_perceptron_train(t, 1000, &is_done));
  CHECK_OK(syz_perceptron_predict(p, VALID, classes_valid.x, said));
  for (int i = 0; i < VALID; i++) {
    int best = 0;
    double sum = 0;
    for (int c = 0; c < 4; c++) {
      sum += said[4 * i + c];
      if (said[4 * i + c] > said[4 * i + best]) best = c;
    }
    CHECK_NEAR(sum, 1, 1e-12);
    right += best == (int)classes_valid.y[i];
  }
  CHECK_GT((double)right / VALID, 0.9);
  syz_perceptron_training_destroy(&t);
  syz_perceptron_destroy(&p);
}

/* ------------------------------------------------------------------ stops */

static void test_stops(void)
{
  syz_perceptron *p = make(SYZ_PERCEPTRON_SQUARES, 1);
  syz_perceptron_training *t = NULL;
  syz_perceptron_training_options o = how(400);
  bool is_done = false;
  o.patience = 3;
  o.rate = 0.02;
  CHECK_OK(syz_perceptron_training_create(world, p, &o, &numbers, &numbers_valid, &t));
  CHECK_OK(syz_perceptron_train(t, 1000, &is_done));
  CHECK(is_done);
  for (int m = 0; m < MEMBERS; m++) {
    const syz_perceptron_progress g = syz_perceptron_progress_of(t, m);
    double loss;
    float *gradient = syz_alloc("gradient", (size_t)syz_perceptron_parameters(p), 4);
    CHECK(g.epochs < 400);
    CHECK_EQ(g.epochs, g.best_epoch + 4);
    CHECK_EQ(g.steps, g.epochs * (N / 50));
    /* A true copy of the best weights: their loss is the best one. */
    CHECK_OK(syz_perceptron_gradient(p, m, -1, &numbers_valid, &loss, gradient));
    CHECK_NEAR(loss, g.valid_loss[g.best_epoch], 1e-12);
    for (int64_t e = 0; e < g.epochs; e++) CHECK(g.valid_loss[e] >= g.valid_loss[g.best_epoch]);
    syz_free(&gradient);
  }
  syz_perceptron_training_destroy(&t);
  CHECK_OK(syz_perceptron_training_create(world, p, &o, &numbers, NULL, &t)); /* without validation: the last weights */
  CHECK_OK(syz_perceptron_train(t, 5, &is_done));
  CHECK(!is_done);
  const syz_perceptron_array last = syz_perceptron_state(t, 1, 0);
  CHECK(!memcmp(last.data, syz_perceptron_block(p, 1), (size_t)last.n * 4));
  syz_perceptron_training_destroy(&t);
  syz_perceptron_destroy(&p);
}

static bool all_finite(syz_perceptron *p)
{
  for (int m = 0; m < MEMBERS; m++)
    for (int64_t i = 0; i < syz_perceptron_parameters(p); i++)
      if (!isfinite(syz_perceptron_block(p, m)[i])) return false;
  return true;
}

static void test_divergence(void)
{
  syz_perceptron *p = make(SYZ_PERCEPTRON_SQUARES, 1);
  syz_perceptron_training *t = NULL;
  syz_perceptron_training_options o = how(6);
  bool is_done = false;
  CHECK_OK(syz_perceptron_training_create(world, p, &o, &numbers, &numbers_valid, &t));
  CHECK_OK(syz_perceptron_train(t, 1, &is_done));
  ((float *)syz_perceptron_state(t, 3, 0).data)[5] = NAN;
  CHECK_ERROR(syz_perceptron_train(t, 1, &is_done), SYZ_ERR_NUMERIC, "the loss of member 3 is not finite in epoch 2");
  CHECK(!is_done);
  CHECK(syz_perceptron_progress_of(t, 3).has_diverged && syz_perceptron_progress_of(t, 3).is_done);
  CHECK_EQ(syz_perceptron_progress_of(t, 3).epochs, 1);
  CHECK_EQ(syz_perceptron_progress_of(t, 2).epochs, 2);
  CHECK(all_finite(p));
  CHECK_OK(syz_perceptron_train(t, 1000, &is_done)); /* the others go on */
  CHECK(is_done);
  syz_perceptron_training_destroy(&t);
  o.rate = 1e30;
  CHECK_OK(syz_perceptron_training_create(world, p, &o, &numbers, &numbers_valid, &t));
  CHECK_ERROR(syz_perceptron_train(t, 1000, &is_done), SYZ_ERR_NUMERIC, "keeps its last good weights");
  CHECK(is_done && all_finite(p));
  syz_perceptron_training_destroy(&t);
  syz_perceptron_destroy(&p);
}

/* A loss that is lost on one rank ends the training of that member on all of them. */
static void test_fault(void)
{
#ifdef SYZ_FAULTS
  syz_perceptron *p = make(SYZ_PERCEPTRON_SQUARES, 1);
  syz_perceptron_training *t = NULL;
  const syz_perceptron_training_options o = how(6);
  const int last = syz_comm_size(world) - 1;
  char fault[64], text[96];
  bool is_done;
  snprintf(fault, sizeof fault, "perceptron_loss:%d:%d", last, 2 * N / 50 + 3); /* third step of the third epoch */
  snprintf(text, sizeof text, "member %d is not finite in epoch 3, after step %d", last, 2 * N / 50 + 2);
  CHECK_OK(syz_perceptron_training_create(world, p, &o, &numbers, &numbers_valid, &t));
  setenv("SYZ_FAULT", fault, 1);
  CHECK_ERROR(syz_perceptron_train(t, 1000, &is_done), SYZ_ERR_NUMERIC, text);
  unsetenv("SYZ_FAULT");
  CHECK(is_done);
  CHECK_EQ(syz_perceptron_progress_of(t, last).epochs, 2);
  syz_perceptron_training_destroy(&t);
  syz_perceptron_destroy(&p);
#endif
}

/* What only one rank sees, all are told. */
static void test_bad_input(void)
{
  syz_perceptron *p = make(SYZ_PERCEPTRON_CLASSES, 1);
  syz_perceptron_training *t = NULL;
  syz_perceptron_training_options o = how(6);
  const int last = syz_comm_size(world) - 1;
  const bool is_last = syz_comm_rank(world) == last;
  if (is_last) class[8] = 4;
  CHECK_ERROR(syz_perceptron_training_create(world, p, &o, &classes, NULL, &t), SYZ_ERR_DATA, "row 8 has the class 4");
  if (is_last) class[8] = NAN;
  CHECK_ERROR(syz_perceptron_training_create(world, p, &o, &classes, NULL, &t), SYZ_ERR_DATA, "row 8 has the class");
  make_rows();
  if (is_last) x[7] = INFINITY;
  CHECK_ERROR(syz_perceptron_training_create(world, p, &o, &classes, NULL, &t), SYZ_ERR_DATA, "row 1 hold inf");
  make_rows();
  if (is_last && last) x[7] += 1;
  if (last)
    CHECK_ERROR(syz_perceptron_training_create(world, p, &o, &classes, NULL, &t), SYZ_ERR_INTERNAL,
                "different training");
  make_rows();
  o.batch = 0;
  CHECK_ERROR(syz_perceptron_training_create(world, p, &o, &classes, NULL, &t), SYZ_ERR_INPUT, "batches of 0");
  CHECK(t == NULL);
  syz_perceptron_destroy(&p);
  syz_perceptron_options bad = {.inputs = 3, .outputs = 1, .members = 1, .n_hidden = 1, .hidden = {0}};
  CHECK_ERROR(syz_perceptron_create(&bad, &p), SYZ_ERR_INPUT, "a hidden layer of 0");
  bad.hidden[0] = 3;
  bad.dropout = 1;
  CHECK_ERROR(syz_perceptron_create(&bad, &p), SYZ_ERR_INPUT, "a dropout of 1");
  CHECK(p == NULL);
}

int main(int argc, char **argv)
{
  if (syz_comm_start(&argc, &argv, &world) != SYZ_OK || argc != 2) return 1;
  make_rows();
  uint64_t sum = train_all(1), first;
  CHECK(train_all(3) == sum);
  CHECK(train_in_parts() == sum);
  if (syz_comm_rank(world) == 0) {
    FILE *f = fopen(argv[1], syz_comm_size(world) == 1 ? "wb" : "rb");
    if (syz_comm_size(world) == 1)
      CHECK(f && fwrite(&sum, sizeof sum, 1, f) == 1);
    else
      CHECK(f && fread(&first, sizeof first, 1, f) == 1 && first == sum); /* the bits of one rank */
    if (f) fclose(f);
  }
  test_order();
  test_known_function();
  test_known_classes(SYZ_PERCEPTRON_CLASSES);
  test_known_classes(SYZ_PERCEPTRON_CLASSES_TWICE);
  test_stops();
  test_divergence();
  test_fault();
  test_bad_input();
  const int result = CHECK_RESULT();
  syz_comm_finish(&world);
  return result;
}
