/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Driver of test_flow_torch.py: flow_driver FOLDER KIND LABELS CONTEXT LAYERS HIDDEN HIDDEN_LAYERS BINS BOUND END_SLOPE
 * KEEPS_ORDER PRECISION N. Without FOLDER/parameters.f64 it leaves table.txt alone: a line "name rows columns offset"
 * for each tensor. With it: reads parameters.f64, context.f32 [n, C], s.f64 [n, D], weight.f64 [n] and leaves log_q, z,
 * back (s again from z), dparameters, ds, dcontext, shared (density of all s at the first context), and in float64
 * trained (weights after four epochs of one batch each, Adam 1e-2 to 1e-4, norm of the gradient at most 1) with losses
 * (of training, of validation), all .f64.
 */
#include <stdlib.h>

#include "check.h"
#include "syzygy/flow.h"

static const char *folder;

static FILE *file(const char *name, const char *mode)
{
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return fopen(path, mode);
}

static void *load(const char *name, int64_t n, size_t size)
{
  void *data = syz_alloc(name, (size_t)n, size);
  FILE *f = file(name, "rb");
  if (!f || fread(data, size, (size_t)n, f) != (size_t)n) exit(1);
  fclose(f);
  return data;
}

static void save(const char *name, const double *data, int64_t n)
{
  FILE *f = file(name, "wb");
  if (!f || fwrite(data, 8, (size_t)n, f) != (size_t)n) exit(1);
  fclose(f);
}

static void write_table(const syz_flow *f)
{
  FILE *table = file("table.txt", "w");
  if (!table) exit(1);
  for (int64_t i = 0; i < syz_flow_tensors(f, 0); i++) {
    const syz_flow_tensor t = syz_flow_tensor_get(f, 0, i);
    fprintf(table, "%s %lld %lld %lld\n", t.name, (long long)t.rows, (long long)t.columns, (long long)t.offset);
  }
  fclose(table);
}

static void take_parameters(syz_flow *f)
{
  const int64_t n = syz_flow_parameters(f, 0);
  double *value = load("parameters.f64", n, 8);
  for (int64_t i = 0; i < n; i++)
    if (syz_flow_precision_of(f) == SYZ_FLOW_F64)
      ((double *)syz_flow_parameter_block(f, 0))[i] = value[i];
    else
      ((float *)syz_flow_parameter_block(f, 0))[i] = (float)value[i];
  syz_free(&value);
}

static void train(syz_comm *world, syz_flow *f, int64_t n, const float *context, const double *s)
{
  enum { TRAINED_EPOCHS = 4 };
  syz_flow_training_options o = syz_flow_training_default();
  syz_flow_training *t = NULL;
  bool is_done = false;
  const syz_flow_rows rows = {n, context, s};
  const int64_t size = syz_flow_parameters(f, 0);
  double *weight = syz_alloc("weights", (size_t)size, 8), losses[2 * TRAINED_EPOCHS];
  o.epochs = TRAINED_EPOCHS;
  o.batch = (int)n;
  o.lr = 1e-2;
  o.lr_min = 1e-4;
  o.lr_by_epoch = true;
  o.clip_norm = 1;
  CHECK_OK(syz_flow_training_create(world, f, &o, &rows, &rows, &t));
  CHECK_OK(syz_flow_train(t, TRAINED_EPOCHS, &is_done));
  const syz_flow_array now = syz_flow_state(t, 0, 0);
  for (int64_t i = 0; i < size; i++)
    weight[i] = now.type == 'd' ? ((const double *)now.data)[i] : (double)((const float *)now.data)[i];
  memcpy(losses, syz_flow_progress_of(t, 0).train_loss, sizeof losses / 2);
  memcpy(losses + TRAINED_EPOCHS, syz_flow_progress_of(t, 0).valid_loss, sizeof losses / 2);
  save("trained.f64", weight, size);
  save("losses.f64", losses, 2 * TRAINED_EPOCHS);
  syz_flow_training_destroy(&t);
  syz_free(&weight);
}

static void run(syz_comm *world, syz_flow *f, int64_t n)
{
  const syz_flow_shape *shape = syz_flow_member_shape(f, 0);
  const int64_t labels = shape->labels, width = shape->context, size = syz_flow_parameters(f, 0);
  float *context = load("context.f32", n * width, 4);
  double *s = load("s.f64", n * labels, 8), *weight = load("weight.f64", n, 8);
  double *out = syz_alloc("out", (size_t)(n * (3 * labels + width + 2) + size), 8);
  double *log_q = out, *z = log_q + n, *back = z + n * labels, *ds = back + n * labels, *dcontext = ds + n * labels;
  double *shared = dcontext + n * width, *dparameters = shared + n;
  take_parameters(f);
  CHECK_OK(syz_flow_gradient(f, 0, n, context, s, weight, log_q, dparameters, ds, dcontext));
  CHECK_OK(syz_flow_to_base(f, 0, n, context, s, z));
  CHECK_OK(syz_flow_from_base(f, 0, n, context, z, back));
  CHECK_OK(syz_flow_log_density_at(f, context, n, s, shared));
  save("log_q.f64", log_q, n);
  save("z.f64", z, n * labels);
  save("back.f64", back, n * labels);
  save("ds.f64", ds, n * labels);
  save("dcontext.f64", dcontext, n * width);
  save("shared.f64", shared, n);
  save("dparameters.f64", dparameters, size);
  if (world) train(world, f, n, context, s);
  syz_free(&out);
  syz_free(&context);
  syz_free(&s);
  syz_free(&weight);
}

int main(int argc, char **argv)
{
  syz_comm *world = NULL;
  if (argc != 14) return 2;
  folder = argv[1];
  syz_flow_options o = syz_flow_options_default(atoi(argv[3]), atoi(argv[4]));
  syz_flow_label label[SYZ_FLOW_LABELS];
  syz_flow *f = NULL;
  o.shape.kind = (syz_flow_kind)atoi(argv[2]);
  o.shape.layers = atoi(argv[5]);
  o.shape.hidden = atoi(argv[6]);
  o.shape.hidden_layers = atoi(argv[7]);
  o.shape.bins = atoi(argv[8]);
  o.shape.bound = atof(argv[9]);
  o.shape.end_slope = atof(argv[10]);
  o.shape.keeps_order = atoi(argv[11]) != 0;
  o.precision = atoi(argv[12]) ? SYZ_FLOW_F64 : SYZ_FLOW_F32;
  for (int d = 0; d < SYZ_FLOW_LABELS; d++) label[d] = (syz_flow_label){.name = "y", .scale = 1};
  o.label = label;
  CHECK_OK(syz_flow_create(&o, &f));
  if (!f) return CHECK_RESULT();
  FILE *given = file("parameters.f64", "rb");
  if (given) {
    fclose(given);
    if (o.precision == SYZ_FLOW_F64) CHECK_OK(syz_comm_start(&argc, &argv, &world)); /* to train; it takes a second */
    run(world, f, atoll(argv[13]));
  } else {
    write_table(f);
  }
  syz_flow_destroy(&f);
  const int result = CHECK_RESULT();
  if (world) syz_comm_finish(&world);
  return result;
}
