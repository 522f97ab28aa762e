/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Steps of the distillation loss on given numbers: the C side of test_distillation.py.
 *
 * distillation_driver FOLDER f32|bf16 ENGINE THREADS; each rank reads FOLDER/in.<rank> and writes FOLDER/out.<rank>.
 * in:  int64 prototypes, width, sets, centring, iterations, steps, most_student, most_teacher; float64 centre momentum,
 * student temperature; each step: int64 n_teacher[2], n_student; float64 teacher temperature; float32 weight_student,
 * weight_teacher [K, width], z_teacher, z_student; int64 target [n_student, SYZ_TARGETS_PER_ROW]; float32 row_weight;
 * int32 term. out: each step: float64 term[4], target_entropy[2], mean_entropy[2]; float32 dz, dweight (half the sum of
 * two backward passes), centre [sets, K] after the step's update.
 */
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "syzygy/loss.h"

static void *read_array(FILE *f, int64_t n, size_t size)
{
  void *x = malloc((size_t)n * size + 1);
  CHECK(f && x && fread(x, size, (size_t)n, f) == (size_t)n);
  return x;
}

static void write_array(FILE *f, const void *x, int64_t n, size_t size)
{
  CHECK(f && fwrite(x, size, (size_t)n, f) == (size_t)n);
}

static void step(syz_distillation *d, const syz_distillation_config *c, FILE *in, FILE *out)
{
  int64_t *n = read_array(in, 3, sizeof *n);
  const int64_t K = c->prototypes, width = c->width, teacher = n[0] + n[1], student = n[2];
  double *temperature = read_array(in, 1, sizeof *temperature);
  float *weight_student = read_array(in, K * width, sizeof(float)),
        *weight_teacher = read_array(in, K * width, sizeof(float));
  float *z_teacher = read_array(in, teacher * width, sizeof(float)),
        *z_student = read_array(in, student * width, sizeof(float));
  int64_t *target = read_array(in, student * SYZ_TARGETS_PER_ROW, sizeof *target);
  float *row_weight = read_array(in, student, sizeof *row_weight);
  int *term = read_array(in, student, sizeof *term);
  float *dz = malloc((size_t)(student * width + 1) * sizeof *dz),
        *dweight = malloc((size_t)(K * width) * sizeof *dweight);
  const syz_distillation_batch batch = {.weight_student = weight_student,
                                        .weight_teacher = weight_teacher,
                                        .n_teacher = {n[0], n[1]},
                                        .z_teacher = teacher ? z_teacher : NULL,
                                        .teacher_temperature = *temperature,
                                        .n_student = student,
                                        .z_student = student ? z_student : NULL,
                                        .target = target,
                                        .row_weight = row_weight,
                                        .term = term};
  syz_distillation_loss loss, again;
  for (int64_t i = 0; i < student * width; i++) dz[i] = NAN; /* is written */
  memset(dweight, 0, (size_t)(K * width) * sizeof *dweight);
  const int64_t before = syz_memory_get().allocations;
  syz_distillation_forward(d, &batch, &again);
  syz_distillation_forward(d, &batch, &loss);
  for (int pass = 0; pass < 2; pass++) syz_distillation_backward(d, &batch, dz, dweight); /* dweight is added to */
  CHECK_EQ(syz_memory_get().allocations, before);
  CHECK_EQ(memcmp(&loss, &again, sizeof loss), 0);
  syz_distillation_update(d);
  for (int64_t i = 0; i < K * width; i++) dweight[i] *= 0.5f;
  write_array(out, &loss, 8, sizeof(double));
  write_array(out, dz, student * width, sizeof(float));
  write_array(out, dweight, K * width, sizeof(float));
  for (int s = 0; s < c->sets; s++) write_array(out, syz_distillation_centre(d, s), K, sizeof(float));
  void *const all[] = {n,    temperature, weight_student, weight_teacher, z_teacher, z_student, target, row_weight,
                       term, dz,          dweight};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

int main(int argc, char **argv)
{
  syz_comm *world = NULL;
  syz_compute *compute = NULL;
  syz_distillation *d = NULL;
  if (syz_comm_start(&argc, &argv, &world) != SYZ_OK) return 1;
  if (argc != 5) return 2;
  char path[512];
  snprintf(path, sizeof path, "%s/in.%d", argv[1], syz_comm_rank(world));
  FILE *in = fopen(path, "rb");
  snprintf(path, sizeof path, "%s/out.%d", argv[1], syz_comm_rank(world));
  FILE *out = fopen(path, "wb");
  int64_t *size = read_array(in, 8, sizeof *size);
  double *real = read_array(in, 2, sizeof *real);
  const syz_distillation_config config = {.prototypes = size[0],
                                          .width = size[1],
                                          .sets = (int)size[2],
                                          .centring = size[3] ? SYZ_CENTRE_SINKHORN : SYZ_CENTRE_MEAN,
                                          .sinkhorn_iterations = (int)size[4],
                                          .most_student = size[6],
                                          .most_teacher = size[7],
                                          .centre_momentum = real[0],
                                          .student_temperature = real[1]};
  const syz_dtype act = strcmp(argv[2], "bf16") ? SYZ_F32 : SYZ_BF16;
  const int64_t blocks = syz_memory_get().live_blocks;
  int64_t result = 0;
  const syz_status made = syz_compute_create(act, (syz_engine)atoi(argv[3]), atoi(argv[4]), &compute);
  if (made == SYZ_ERR_INPUT || (compute && syz_compute_act(compute) != act)) {
    fprintf(stderr, "%s\n", syz_error_text());
    result = 77; /* this build or processor lacks the engine or the type */
  } else {
    CHECK(compute != NULL);
    const size_t bytes = syz_distillation_bytes(compute, &config), before = syz_memory_get().live_bytes;
    CHECK_OK(syz_distillation_create(world, compute, &config, &d));
    /* The scratch of the context may have grown with the first layers of another size. */
    CHECK_NEAR((double)(syz_memory_get().live_bytes - before) / (double)bytes, 1.0, 0.1);
    for (int64_t i = 0; i < size[5] && !check_failures; i++) step(d, &config, in, out);
    syz_distillation_destroy(&d);
    syz_compute_destroy(&compute);
    CHECK_EQ(syz_memory_get().live_blocks, blocks);
    result = CHECK_RESULT();
  }
  syz_allreduce_i64(world, &result, 1, SYZ_MAX);
  if (in) fclose(in);
  if (out) fclose(out);
  free(size);
  free(real);
  syz_comm_finish(&world);
  return (int)result;
}
