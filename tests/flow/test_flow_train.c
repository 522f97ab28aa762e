/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Training: the same bits on any number of ranks and threads, and after stopping and going on; early stops; a flow that
 * diverges. The first argument is a file in which one rank leaves the checksums for the others to compare with.
 */
#include <stdlib.h>

#include "check.h"
#include "syzygy/flow.h"
#include "syzygy/numbers.h"

enum { N = 600, VALID = 200, WIDTH = 6, D = 3, MEMBERS = 5, EPOCHS = 6 };

static syz_comm *world;
static float context[(N + VALID) * WIDTH];
static double label[(N + VALID) * D];
static syz_flow_rows train_rows, valid_rows;

static void make_rows(void)
{
  for (int i = 0; i < N + VALID; i++) {
    const syz_random r = syz_random_make(9, SYZ_RANDOM_TEST, 0, (uint64_t)i);
    for (int c = 0; c < WIDTH; c++) context[i * WIDTH + c] = (float)syz_random_normal(&r, (uint32_t)c);
    const float *x = context + i * WIDTH;
    for (int d = 0; d < D; d++)
      label[i * D + d] =
          5 + (double)x[d] + 0.3 * (d ? label[i * D + d - 1] - 5 : 0) + 0.4 * syz_random_normal(&r, 20u + (uint32_t)d);
  }
  train_rows = (syz_flow_rows){N, context, label};
  valid_rows = (syz_flow_rows){VALID, context + N * WIDTH, label + N * D};
}

static syz_flow *make_flow(syz_flow_kind kind, int threads, syz_flow_precision precision)
{
  syz_flow_label l[D] = {{.name = "a"}, {.name = "b"}, {.name = "c"}};
  syz_flow_options o = syz_flow_options_default(D, WIDTH);
  syz_flow *f = NULL;
  CHECK_OK(syz_flow_labels_fit(l, D, N, label, 0, NULL, NULL));
  o.seed = 77;
  o.members = MEMBERS;
  o.draws_shapes = true;
  o.shape.kind = kind;
  o.label = l;
  o.threads = threads;
  o.precision = precision;
  CHECK_OK(syz_flow_create(&o, &f));
  CHECK_OK(syz_flow_scale_context(f, SYZ_FLOW_COLUMNS, N, context));
  return f;
}

static syz_flow_training_options training_options(void)
{
  syz_flow_training_options o = syz_flow_training_default();
  o.epochs = EPOCHS;
  o.batch = 50;
  o.lr = 3e-3;
  return o;
}

static uint64_t weights_checksum(const syz_flow *f)
{
  uint64_t sum = 0;
  const size_t real = syz_flow_precision_of(f) == SYZ_FLOW_F64 ? 8 : 4;
  for (int m = 0; m < syz_flow_members(f); m++)
    sum = syz_checksum(syz_flow_parameter_block(f, m), (size_t)syz_flow_parameters(f, m) * real, sum);
  return sum;
}

static uint64_t train_all(syz_flow_kind kind, int threads, syz_flow_precision precision)
{
  syz_flow *f = make_flow(kind, threads, precision);
  syz_flow_training *t = NULL;
  const syz_flow_training_options o = training_options();
  bool is_done = false;
  CHECK_OK(syz_flow_training_create(world, f, &o, &train_rows, &valid_rows, &t));
  CHECK_OK(syz_flow_train(t, 1000, &is_done));
  CHECK(is_done);
  const uint64_t sum = syz_flow_state_checksum(t) ^ weights_checksum(f);
  syz_flow_nll nll;
  CHECK_OK(syz_flow_nll_of(f, VALID, valid_rows.context, valid_rows.y, &nll));
  double mean = 0;
  for (int m = 0; m < MEMBERS; m++) {
    const syz_flow_progress p = syz_flow_progress_of(t, m);
    CHECK_EQ(p.epochs, EPOCHS);
    CHECK_EQ(p.steps, EPOCHS * (N / 50));
    CHECK_LT(p.train_loss[EPOCHS - 1], p.train_loss[0] - 0.3);
    mean += p.best_loss / MEMBERS;
  }
  CHECK_LT(nll.joint, mean); /* an ensemble is better than its members are on average */
  syz_flow_training_destroy(&t);
  syz_flow_destroy(&f);
  return sum;
}

/* Two epochs, all arrays to another training object, the rest. */
static uint64_t train_in_parts(syz_flow_kind kind)
{
  syz_flow *f = make_flow(kind, 1, SYZ_FLOW_F32), *g = make_flow(kind, 1, SYZ_FLOW_F32);
  syz_flow_training *t = NULL, *u = NULL;
  const syz_flow_training_options o = training_options();
  bool is_done = true;
  CHECK_OK(syz_flow_training_create(world, f, &o, &train_rows, &valid_rows, &t));
  CHECK_OK(syz_flow_train(t, 2, &is_done));
  CHECK(!is_done);
  CHECK_OK(syz_flow_training_create(world, g, &o, &train_rows, &valid_rows, &u));
  for (int m = 0; m < MEMBERS; m++)
    for (int i = 0; i < SYZ_FLOW_ARRAYS; i++) {
      const syz_flow_array from = syz_flow_state(t, m, i), to = syz_flow_state(u, m, i);
      memcpy(to.data, from.data, (size_t)from.n * (from.type == 'f' ? 4 : 8));
    }
  syz_flow_training_destroy(&t);
  syz_flow_destroy(&f);
  for (int k = 0; k < 20 && !is_done; k++) CHECK_OK(syz_flow_train(u, 1, &is_done));
  CHECK(is_done);
  const uint64_t sum = syz_flow_state_checksum(u) ^ weights_checksum(g);
  syz_flow_training_destroy(&u);
  syz_flow_destroy(&g);
  return sum;
}

/* ------------------------------------------------------------------- stops */

static void test_stops(void)
{
  syz_flow *f = make_flow(SYZ_FLOW_ELEMENTWISE, 1, SYZ_FLOW_F32);
  syz_flow_training *t = NULL;
  syz_flow_training_options o = training_options();
  bool is_done;
  o.epochs = 60;
  o.lr = o.lr_min = 0.02;
  o.stop = SYZ_FLOW_PATIENCE;
  o.patience = 3;
  CHECK_OK(syz_flow_training_create(world, f, &o, &train_rows, &valid_rows, &t));
  CHECK_OK(syz_flow_train(t, 1000, &is_done));
  for (int m = 0; m < MEMBERS; m++) {
    const syz_flow_progress p = syz_flow_progress_of(t, m);
    CHECK_EQ(p.epochs, p.best_epoch + 4);
    /* The flow has a copy of the best weights: their loss is the best one. */
    double log_q[VALID], sum = 0, s[VALID * D];
    const syz_flow_label l[D] = {*syz_flow_label_of(f, 0), *syz_flow_label_of(f, 1), *syz_flow_label_of(f, 2)};
    CHECK_OK(syz_flow_labels_apply(l, D, VALID, valid_rows.y, s, NULL, NULL, NULL));
    CHECK_OK(syz_flow_gradient(f, m, VALID, valid_rows.context, s, NULL, log_q, NULL, NULL, NULL));
    for (int i = 0; i < VALID; i++) sum -= log_q[i] / VALID;
    CHECK_NEAR(sum, p.best_loss, 1e-9);
    CHECK_LT(p.best_loss, p.valid_loss[p.epochs - 1]);
  }
  syz_flow_training_destroy(&t);
  syz_flow_destroy(&f);
  f = make_flow(SYZ_FLOW_ELEMENTWISE, 1, SYZ_FLOW_F32);
  o = syz_flow_training_astroclip();
  o.epochs = 60;
  o.lr = o.lr_min = 0.02;
  CHECK_OK(syz_flow_training_create(world, f, &o, &train_rows, &valid_rows, &t));
  CHECK_OK(syz_flow_train(t, 1000, &is_done));
  for (int m = 0; m < MEMBERS; m++) {
    const syz_flow_progress p = syz_flow_progress_of(t, m);
    CHECK(p.epochs > 11 && p.epochs < 60);
    for (int64_t e = 11; e < p.epochs; e++) {
      double mean = 0;
      for (int k = 1; k <= 5; k++) mean += p.valid_loss[e - k] / 5;
      CHECK((p.valid_loss[e] > mean) == (e == p.epochs - 1));
    }
    const syz_flow_array last = syz_flow_state(t, m, 0); /* Quirk: the last weights */
    CHECK(!memcmp(last.data, syz_flow_parameter_block(f, m), (size_t)last.n * 4));
  }
  syz_flow_training_destroy(&t);
  syz_flow_destroy(&f);
}

/* A learning rate of 1e30 ends in NaN; every rank learns of it, and weights are finite. */
static void test_divergence(void)
{
  syz_flow *f = make_flow(SYZ_FLOW_AUTOREGRESSIVE, 1, SYZ_FLOW_F32);
  syz_flow_training *t = NULL;
  syz_flow_training_options o = training_options();
  bool is_done = false;
  CHECK_OK(syz_flow_training_create(world, f, &o, &train_rows, &valid_rows, &t));
  CHECK_OK(syz_flow_train(t, 1, &is_done));
  const uint64_t good = weights_checksum(f);
  float *weight = syz_flow_state(t, 3, 0).data;
  weight[5] = NAN;
  CHECK_ERROR(syz_flow_train(t, 1, &is_done), SYZ_ERR_NUMERIC, "the loss of member 3 is not finite in epoch 2");
  CHECK(!is_done);
  CHECK(syz_flow_progress_of(t, 3).has_diverged && syz_flow_progress_of(t, 3).is_done);
  CHECK_EQ(syz_flow_progress_of(t, 3).epochs, 1);
  CHECK_EQ(syz_flow_progress_of(t, 2).epochs, 2);
  CHECK(weights_checksum(f) != good); /* others went on */
  const float *kept = syz_flow_parameter_block(f, 3);
  for (int64_t i = 0; i < syz_flow_parameters(f, 3); i++) CHECK(isfinite(kept[i]));
  CHECK_OK(syz_flow_train(t, 1000, &is_done));
  CHECK(is_done);
  syz_flow_training_destroy(&t);
  CHECK_OK(syz_flow_training_create(world, f, &o, &train_rows, &valid_rows, &t));
  if (syz_comm_rank(world) == 0) ((int64_t *)syz_flow_state(t, 2, 4).data)[0] = 99; /* a state of longer training */
  CHECK_ERROR(syz_flow_train(t, 1, &is_done), SYZ_ERR_CHECKPOINT, "the saved state of member 2 says 99 of 6 epochs");
  syz_flow_training_destroy(&t);
  o.lr = 1e30;
  CHECK_OK(syz_flow_training_create(world, f, &o, &train_rows, &valid_rows, &t));
  CHECK_ERROR(syz_flow_train(t, 1000, &is_done), SYZ_ERR_NUMERIC, "keeps its last good weights");
  CHECK(is_done);
  for (int m = 0; m < MEMBERS; m++) {
    const float *w = syz_flow_parameter_block(f, m);
    bool is_finite = true;
    for (int64_t i = 0; i < syz_flow_parameters(f, m); i++) is_finite = is_finite && isfinite(w[i]);
    CHECK(is_finite);
  }
  syz_flow_training_destroy(&t);
  syz_flow_destroy(&f);
}

/* A loss that is lost on one rank ends the training of that member on all of them. */
static void test_fault(void)
{
#ifdef SYZ_FAULTS
  syz_flow *f = make_flow(SYZ_FLOW_ELEMENTWISE, 1, SYZ_FLOW_F32);
  syz_flow_training *t = NULL;
  const syz_flow_training_options o = training_options();
  const int last = syz_comm_size(world) - 1;
  char fault[64], text[64];
  bool is_done;
  snprintf(fault, sizeof fault, "flow_loss:%d:%d", last, 2 * N / 50 + 3); /* third step of the third epoch */
  snprintf(text, sizeof text, "member %d is not finite in epoch 3, step %d", last, 2 * N / 50 + 3);
  CHECK_OK(syz_flow_training_create(world, f, &o, &train_rows, &valid_rows, &t));
  setenv("SYZ_FAULT", fault, 1);
  CHECK_ERROR(syz_flow_train(t, 1000, &is_done), SYZ_ERR_NUMERIC, text);
  unsetenv("SYZ_FAULT");
  CHECK(is_done);
  const syz_flow_progress p = syz_flow_progress_of(t, last);
  CHECK_EQ(p.epochs, 2);
  CHECK_EQ(p.best_epoch, 1);
  const syz_flow_array best = syz_flow_state(t, last, 3);
  CHECK(!memcmp(best.data, syz_flow_parameter_block(f, last), (size_t)best.n * 4));
  syz_flow_training_destroy(&t);
  syz_flow_destroy(&f);
#endif
}

/* What only one rank sees, all are told. */
static void test_bad_input(void)
{
  syz_flow *f = make_flow(SYZ_FLOW_ELEMENTWISE, 1, SYZ_FLOW_F32);
  syz_flow_training *t = NULL;
  syz_flow_training_options o = training_options();
  const int last = syz_comm_size(world) - 1;
  const double keep = label[8];
  if (syz_comm_rank(world) == last) label[8] = NAN;
  CHECK_ERROR(syz_flow_training_create(world, f, &o, &train_rows, &valid_rows, &t), SYZ_ERR_DATA,
              "label c: row 2 has the value nan");
  label[8] = keep;
  if (syz_comm_rank(world) == last) context[7] = INFINITY;
  CHECK_ERROR(syz_flow_training_create(world, f, &o, &train_rows, &valid_rows, &t), SYZ_ERR_DATA,
              "the context of row 1 is inf");
  make_rows();
  if (last) {
    if (syz_comm_rank(world) == last) context[7] += 1;
    CHECK_ERROR(syz_flow_training_create(world, f, &o, &train_rows, &valid_rows, &t), SYZ_ERR_INTERNAL,
                "different training");
    make_rows();
  }
  o.batch = 0;
  CHECK_ERROR(syz_flow_training_create(world, f, &o, &train_rows, &valid_rows, &t), SYZ_ERR_INPUT, "batches of 0");
  CHECK(t == NULL);
  syz_flow_destroy(&f);
}

int main(int argc, char **argv)
{
  if (syz_comm_start(&argc, &argv, &world) != SYZ_OK || argc != 2) return 1;
  make_rows();
  uint64_t sums[4] = {train_all(SYZ_FLOW_AUTOREGRESSIVE, 1, SYZ_FLOW_F32),
                      train_all(SYZ_FLOW_ELEMENTWISE, 1, SYZ_FLOW_F32), train_all(SYZ_FLOW_COUPLING, 1, SYZ_FLOW_F32),
                      train_all(SYZ_FLOW_COUPLING, 1, SYZ_FLOW_F64)},
           first[4];
  CHECK(train_all(SYZ_FLOW_AUTOREGRESSIVE, 3, SYZ_FLOW_F32) == sums[0]);
  CHECK(train_in_parts(SYZ_FLOW_AUTOREGRESSIVE) == sums[0]);
  CHECK(train_in_parts(SYZ_FLOW_COUPLING) == sums[2]);
  if (syz_comm_rank(world) == 0) {
    FILE *f = fopen(argv[1], syz_comm_size(world) == 1 ? "wb" : "rb");
    if (syz_comm_size(world) == 1)
      CHECK(f && fwrite(sums, sizeof sums, 1, f) == 1);
    else
      CHECK(f && fread(first, sizeof first, 1, f) == 1 && !memcmp(first, sums, sizeof sums)); /* the bits of one rank */
    if (f) fclose(f);
  }
  test_stops();
  test_divergence();
  test_fault();
  test_bad_input();
  const int result = CHECK_RESULT();
  syz_comm_finish(&world);
  return result;
}
