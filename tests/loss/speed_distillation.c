/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Time of one distillation step (forward and backward) on this rank, as a share of the matrix-product limit measured in
 * the same run. Read by people, not part of the tests.
 *
 * speed_distillation [f32|bf16] [STUDENT ROWS] [TEACHER ROWS] [PROTOTYPES] [WIDTH] [TEMPERATURE]; temperature below 0:
 * Sinkhorn-Knopp. Counted operations: 2 K width (teacher rows + 3 student rows); done: 2 K width (3 teacher + 4
 * student), with Sinkhorn-Knopp 2 teacher more.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "syzygy/loss.h"

static double cpu_seconds(void)
{
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float *draw(int64_t n, uint64_t sample, double scale)
{
  float *x = syz_alloc("speed", (size_t)n, sizeof *x);
  const syz_random r = syz_random_make(1, SYZ_RANDOM_BENCH, 0, sample);
  if (!x) exit(1);
  syz_random_fill_normal(&r, x, (size_t)n);
  for (int64_t i = 0; i < n; i++) x[i] *= (float)scale;
  return x;
}

int main(int argc, char **argv)
{
  syz_comm *world = NULL;
  syz_compute *compute = NULL;
  syz_distillation *d = NULL;
  if (syz_comm_start(&argc, &argv, &world) != SYZ_OK) return 1;
  const syz_dtype act = argc > 1 && !strcmp(argv[1], "f32") ? SYZ_F32 : SYZ_BF16;
  const int64_t n = argc > 2 ? atoll(argv[2]) : 424, m = argc > 3 ? atoll(argv[3]) : 360,
                K = argc > 4 ? atoll(argv[4]) : 65536, width = argc > 5 ? atoll(argv[5]) : 256;
  const double temperature = argc > 6 ? atof(argv[6]) : 0.05;
  const syz_distillation_config config = {.prototypes = K,
                                          .width = width,
                                          .most_student = n,
                                          .most_teacher = m,
                                          .sets = 2,
                                          .centring = temperature < 0 ? SYZ_CENTRE_SINKHORN : SYZ_CENTRE_MEAN,
                                          .sinkhorn_iterations = 3,
                                          .centre_momentum = 0.9,
                                          .student_temperature = 0.1};
  if (syz_compute_create(act, SYZ_ENGINE_AUTO, 1, &compute) != SYZ_OK ||
      syz_distillation_create(world, compute, &config, &d) != SYZ_OK) {
    fprintf(stderr, "%s\n", syz_error_text());
    return 1;
  }
  const double size = 1 / sqrt((double)width);
  float *z_s = draw(n * width, 1, size), *z_t = draw(m * width, 2, size), *w_s = draw(K * width, 3, 0.02),
        *w_t = draw(K * width, 4, 0.02);
  float *dz = draw(n * width, 5, 1), *dw = draw(K * width, 6, 1), *weight = draw(n, 7, 1);
  int64_t *target = syz_alloc("speed", (size_t)(n * SYZ_TARGETS_PER_ROW), sizeof *target);
  int *term = syz_alloc("speed", (size_t)n, sizeof *term);
  if (!target || !term) return 1;
  for (int64_t i = 0; i < n; i++)
    for (int t = 0; t < SYZ_TARGETS_PER_ROW; t++)
      target[i * SYZ_TARGETS_PER_ROW + t] = t < 1 + (i % 7 == 0) ? (i + t) % m : -1;
  const syz_distillation_batch batch = {.weight_student = w_s,
                                        .weight_teacher = w_t,
                                        .n_teacher = {m / 10, m - m / 10},
                                        .z_teacher = z_t,
                                        .teacher_temperature = fabs(temperature),
                                        .n_student = n,
                                        .z_student = z_s,
                                        .target = target,
                                        .row_weight = weight,
                                        .term = term};
  syz_distillation_loss loss;
  const double unit = 2.0 * (double)K * (double)width;
  const double counted = unit * (double)(m + 3 * n),
               done = counted + unit * (double)(2 * m + n) + (temperature < 0 ? 2 * unit * (double)m : 0);
  double best_forward = 1e30, best_backward = 1e30, limit = 0;
  for (int trial = 0; trial < 5; trial++) {
    limit = fmax(limit, syz_gemm_limit(compute, 0.4, NULL));
    const double t0 = cpu_seconds();
    syz_distillation_forward(d, &batch, &loss);
    const double t1 = cpu_seconds();
    syz_distillation_backward(d, &batch, dz, dw);
    const double t2 = cpu_seconds();
    best_forward = fmin(best_forward, t1 - t0);
    best_backward = fmin(best_backward, t2 - t1);
    syz_distillation_update(d);
  }
  const double seconds = best_forward + best_backward;
  printf("%s, %lld + %lld rows, %lld prototypes of %lld: forward %.1f ms, backward %.1f ms; counted %.1f GF/s, %.0f %% "
         "of the limit (%.0f), done %.0f %%; %.1f MB\n",
         syz_compute_describe(compute), (long long)n, (long long)m, (long long)K, (long long)width, 1e3 * best_forward,
         1e3 * best_backward, 1e-9 * counted / seconds, 100 * counted / seconds / limit, 1e-9 * limit,
         100 * done / seconds / limit, 1e-6 * (double)syz_distillation_bytes(compute, &config));
  printf("loss %.4f, entropies %.4f %.4f of %.4f\n", loss.term[0] / (double)n, loss.target_entropy[1],
         loss.mean_entropy[1], log((double)K));
  syz_comm_finish(&world);
  return 0;
}
