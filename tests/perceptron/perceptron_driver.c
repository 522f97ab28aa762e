/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Driver of test_perceptron_torch.py: perceptron_driver FOLDER LOSS INPUTS OUTPUTS DROPOUT N EPOCHS BATCH HIDDEN..
 * reads x.f32 [n, inputs], y.f64 and id.i64 [n], and leaves of member 1 of 2: layers.txt (inputs, outputs, stride,
 * weight, bias of each layer), weight.f32, loss.f64 and gradient.f32 with the dropout of epoch 3, mask<l>.f32 of that
 * dropout, predicted.f64 (mean of the members, before training), other.f32 (weights of member 0); then, without
 * dropout, order of every epoch (order.i64), epoch_loss.f64 and trained.f32.
 */
#include <stdlib.h>

#include "check.h"
#include "syzygy/nn.h"
#include "syzygy/perceptron.h"

static const char *folder;

static FILE *file(const char *name, const char *mode)
{
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *f = fopen(path, mode);
  if (!f) exit(1);
  return f;
}

static void *load(const char *name, int64_t n, size_t size)
{
  void *data = syz_alloc(name, (size_t)n, size);
  FILE *f = file(name, "rb");
  if (fread(data, size, (size_t)n, f) != (size_t)n) exit(1);
  fclose(f);
  return data;
}

static void save(const char *name, const void *data, int64_t n, size_t size)
{
  FILE *f = file(name, "wb");
  if (fwrite(data, size, (size_t)n, f) != (size_t)n) exit(1);
  fclose(f);
}

static syz_perceptron *make(const syz_perceptron_options *o, const syz_perceptron_rows *r)
{
  syz_perceptron *p = NULL;
  CHECK_OK(syz_perceptron_create(o, &p));
  if (!p) exit(1);
  syz_perceptron_scale_inputs(p, r);
  syz_perceptron_scale_labels(p, r);
  return p;
}

static void save_masks(const syz_perceptron *p, const syz_perceptron_options *o, const syz_perceptron_rows *r)
{
  for (int l = 0; l < o->n_hidden; l++) {
    char name[32];
    const int64_t width = syz_perceptron_layer_get(p, l).stride;
    float *mask = syz_alloc("mask", (size_t)(r->n * width), sizeof *mask);
    for (int64_t i = 0; i < r->n * width; i++) mask[i] = 1;
    syz_dropout(mask, (float)o->dropout, syz_perceptron_seed(p, 1), 3, r->id, (uint32_t)l, r->n, width);
    snprintf(name, sizeof name, "mask%d.f32", l);
    save(name, mask, r->n * width, 4);
    syz_free(&mask);
  }
}

static void one_batch(const syz_perceptron_options *o, const syz_perceptron_rows *r)
{
  syz_perceptron *p = make(o, r);
  const int64_t size = syz_perceptron_parameters(p);
  float *gradient = syz_alloc("gradient", (size_t)size, 4);
  double *y = syz_alloc("outputs", (size_t)(r->n * o->outputs), 8), loss;
  FILE *table = file("layers.txt", "w");
  for (int l = 0; l < syz_perceptron_layers(p); l++) {
    const syz_perceptron_layer y_l = syz_perceptron_layer_get(p, l);
    fprintf(table, "%lld %lld %lld %lld %lld\n", (long long)y_l.inputs, (long long)y_l.outputs, (long long)y_l.stride,
            (long long)y_l.weight, (long long)y_l.bias);
  }
  fclose(table);
  CHECK_OK(syz_perceptron_gradient(p, 1, 3, r, &loss, gradient));
  CHECK_OK(syz_perceptron_predict(p, r->n, r->x, y));
  save("weight.f32", syz_perceptron_block(p, 1), size, 4);
  save("other.f32", syz_perceptron_block(p, 0), size, 4);
  save("loss.f64", &loss, 1, 8);
  save("gradient.f32", gradient, size, 4);
  save("predicted.f64", y, r->n * o->outputs, 8);
  save_masks(p, o, r);
  syz_free(&gradient);
  syz_free(&y);
  syz_perceptron_destroy(&p);
}

static void training(syz_comm *world, syz_perceptron_options o, const syz_perceptron_rows *r, int epochs, int batch)
{
  syz_perceptron_training *t = NULL;
  const syz_perceptron_training_options how = {.epochs = epochs, .batch = batch, .rate = 1e-3};
  bool is_done = false;
  o.dropout = 0;
  syz_perceptron *p = make(&o, r);
  int64_t *order = syz_alloc("order", (size_t)(r->n * epochs), 8);
  for (int e = 0; e < epochs; e++) CHECK_OK(syz_perceptron_order(p, 1, e, r->n, r->id, order + e * r->n));
  CHECK_OK(syz_perceptron_training_create(world, p, &how, r, NULL, &t));
  CHECK_OK(syz_perceptron_train(t, epochs, &is_done));
  CHECK(is_done);
  save("order.i64", order, r->n * epochs, 8);
  save("epoch_loss.f64", syz_perceptron_progress_of(t, 1).train_loss, epochs, 8);
  save("trained.f32", syz_perceptron_block(p, 1), syz_perceptron_parameters(p), 4);
  syz_free(&order);
  syz_perceptron_training_destroy(&t);
  syz_perceptron_destroy(&p);
}

int main(int argc, char **argv)
{
  syz_comm *world;
  if (syz_comm_start(&argc, &argv, &world) != SYZ_OK || argc < 9 || argc > 9 + SYZ_PERCEPTRON_HIDDEN) return 2;
  folder = argv[1];
  syz_perceptron_options o = {.loss = (syz_perceptron_loss)atoi(argv[2]),
                              .inputs = atoll(argv[3]),
                              .outputs = atoll(argv[4]),
                              .dropout = atof(argv[5]),
                              .n_hidden = argc - 9,
                              .members = 2,
                              .seed = 5};
  for (int l = 0; l < o.n_hidden; l++) o.hidden[l] = atoll(argv[9 + l]);
  const int64_t n = atoll(argv[6]);
  float *x = load("x.f32", n * o.inputs, 4);
  double *y = load("y.f64", n * (o.loss == SYZ_PERCEPTRON_SQUARES ? o.outputs : 1), 8);
  int64_t *id = load("id.i64", n, 8);
  const syz_perceptron_rows r = {n, x, y, id};
  one_batch(&o, &r);
  training(world, o, &r, atoi(argv[7]), atoi(argv[8]));
  syz_free(&x);
  syz_free(&y);
  syz_free(&id);
  const int result = CHECK_RESULT();
  syz_comm_finish(&world);
  return result;
}
