/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * What the distillation loss must do at its borders: known answers, numbers that are not finite on one rank, create and
 * destroy. The numbers between are in test_distillation.py.
 */
#include <stdlib.h>

#include "check.h"
#include "syzygy/loss.h"

enum { K = 1100, WIDTH = 12, STUDENT = 5, TEACHER = 4 };

typedef struct problem {
  float weight_student[K * WIDTH], weight_teacher[K * WIDTH], z_teacher[TEACHER * WIDTH], z_student[STUDENT * WIDTH],
      row_weight[STUDENT];
  int64_t target[STUDENT * SYZ_TARGETS_PER_ROW];
  int term[STUDENT];
  float dz[STUDENT * WIDTH], dweight[K * WIDTH];
  syz_distillation_batch batch;
} problem;

static void fill_unit(float *x, int64_t rows, uint64_t sample)
{
  float norm;
  const syz_random r = syz_random_make(11, SYZ_RANDOM_TEST, 0, sample);
  syz_random_fill_normal(&r, x, (size_t)(rows * WIDTH));
  for (int64_t i = 0; i < rows; i++) syz_l2norm_forward(x + i * WIDTH, &norm, x + i * WIDTH, 1e-12f, 1, WIDTH);
}

static syz_distillation_config config_of(syz_centring centring)
{
  return (syz_distillation_config){.prototypes = K,
                                   .width = WIDTH,
                                   .most_student = STUDENT,
                                   .most_teacher = TEACHER,
                                   .sets = 2,
                                   .centring = centring,
                                   .sinkhorn_iterations = 3,
                                   .centre_momentum = 0.9,
                                   .student_temperature = 0.1};
}

/* The same numbers of rows on every rank, other numbers in them. */
static void draw(problem *p, int rank)
{
  fill_unit(p->weight_student, K, 1);
  fill_unit(p->weight_teacher, K, 2);
  fill_unit(p->z_teacher, TEACHER, 3 + 2 * (uint64_t)rank);
  fill_unit(p->z_student, STUDENT, 4 + 2 * (uint64_t)rank);
  memset(p->dweight, 0, sizeof p->dweight);
  for (int64_t i = 0; i < STUDENT; i++) {
    for (int t = 0; t < SYZ_TARGETS_PER_ROW; t++)
      p->target[i * SYZ_TARGETS_PER_ROW + t] = t < 2 ? (i + t) % TEACHER : -1;
    p->row_weight[i] = 0.25f;
    p->term[i] = (int)i % SYZ_DISTILLATION_TERMS;
  }
  p->batch = (syz_distillation_batch){.weight_student = p->weight_student,
                                      .weight_teacher = p->weight_teacher,
                                      .n_teacher = {1, TEACHER - 1},
                                      .z_teacher = p->z_teacher,
                                      .teacher_temperature = 0.05,
                                      .n_student = STUDENT,
                                      .z_student = p->z_student,
                                      .target = p->target,
                                      .row_weight = p->row_weight,
                                      .term = p->term};
}

static double total(const syz_distillation_loss *l) { return l->term[0] + l->term[1] + l->term[2] + l->term[3]; }

static double largest(const float *x, int64_t n)
{
  double most = 0;
  for (int64_t i = 0; i < n; i++) most = fmax(most, fabs((double)x[i]));
  return most;
}

/* All prototypes equal: every softmax is uniform, the loss is log K a target, nothing pulls anywhere. Prototypes of any
 * length. */
static void equal_prototypes(syz_comm *world, const syz_compute *compute, problem *p, syz_centring centring)
{
  const syz_distillation_config config = config_of(centring);
  syz_distillation *d = NULL;
  syz_distillation_loss loss;
  draw(p, syz_comm_rank(world));
  for (int64_t k = 1; k < K; k++)
    for (int64_t i = 0; i < WIDTH; i++) {
      p->weight_student[k * WIDTH + i] = p->weight_student[i] * (1 + (float)(k % 7));
      p->weight_teacher[k * WIDTH + i] = p->weight_teacher[i] * (1 + (float)(k % 5));
    }
  CHECK_OK(syz_distillation_create(world, compute, &config, &d));
  syz_distillation_forward(d, &p->batch, &loss);
  syz_distillation_backward(d, &p->batch, p->dz, p->dweight);
  CHECK_NEAR(total(&loss), 0.25 * 2 * STUDENT * syz_comm_size(world) * log(K), 1e-5 * syz_comm_size(world));
  for (int s = 0; s < 2; s++) {
    CHECK_NEAR(loss.target_entropy[s], log(K), 1e-6);
    CHECK_NEAR(loss.mean_entropy[s], log(K), 1e-6);
  }
  CHECK_LT(largest(p->dz, STUDENT * WIDTH), 1e-4);
  CHECK_LT(largest(p->dweight, K * WIDTH), 1e-6);
  syz_distillation_destroy(&d);
}

/* Every teacher row at the same prototype and a sharp temperature: targets of one prototype and no entropy, of a row or
 * of the mean. */
static void collapse(syz_comm *world, const syz_compute *compute, problem *p)
{
  const syz_distillation_config config = config_of(SYZ_CENTRE_MEAN);
  syz_distillation *d = NULL;
  syz_distillation_loss loss;
  draw(p, syz_comm_rank(world));
  for (int64_t r = 0; r < TEACHER; r++)
    memcpy(p->z_teacher + r * WIDTH, p->weight_teacher + 700 * WIDTH, WIDTH * sizeof(float));
  p->batch.teacher_temperature = 0.001;
  CHECK_OK(syz_distillation_create(world, compute, &config, &d));
  syz_distillation_forward(d, &p->batch, &loss);
  for (int s = 0; s < 2; s++) {
    CHECK_LT(fabs(loss.target_entropy[s]), 1e-3);
    CHECK_LT(fabs(loss.mean_entropy[s]), 1e-3);
  }
  syz_distillation_destroy(&d);
}

enum { WEIGHT_STUDENT, WEIGHT_TEACHER, Z_TEACHER, Z_STUDENT, PLACES };

/* One number of the last rank is not finite: the loss is not on any rank, nobody waits, and the next step is as if
 * nothing had been. */
static void not_finite(syz_comm *world, const syz_compute *compute, problem *p, syz_centring centring)
{
  const syz_distillation_config config = config_of(centring);
  const bool is_last = syz_comm_rank(world) == syz_comm_size(world) - 1;
  syz_distillation *d = NULL;
  syz_distillation_loss before, loss, after;
  draw(p, syz_comm_rank(world));
  CHECK_OK(syz_distillation_create(world, compute, &config, &d));
  syz_distillation_forward(d, &p->batch, &before);
  CHECK(isfinite(total(&before)));
  for (int place = 0; place < PLACES; place++)
    for (int kind = 0; kind < 3; kind++) {
      float *x[PLACES] = {p->weight_student + 600 * WIDTH, p->weight_teacher + 3 * WIDTH, p->z_teacher + 2 * WIDTH,
                          p->z_student + WIDTH};
      union {
        uint32_t u;
        float f;
      } payload = {0x7fdfffffu}; /* a NaN with all its low bits set */
      const float bad[3] = {NAN, INFINITY, payload.f}, good = *x[place];
      if (is_last) *x[place] = bad[kind];
      syz_distillation_forward(d, &p->batch, &loss);
      syz_distillation_backward(d, &p->batch, p->dz, p->dweight);
      CHECK(!isfinite(total(&loss)));
      if (place == WEIGHT_TEACHER || place == Z_TEACHER)
        CHECK(!isfinite(loss.target_entropy[1]) && !isfinite(loss.mean_entropy[1]));
      if (is_last) *x[place] = good;
    }
  syz_distillation_forward(d, &p->batch, &after);
  CHECK_EQ(memcmp(&before, &after, sizeof after), 0);
  syz_distillation_destroy(&d);
}

int main(int argc, char **argv)
{
  syz_comm *world = NULL;
  syz_compute *compute = NULL;
  if (syz_comm_start(&argc, &argv, &world) != SYZ_OK) return 1;
  const int64_t blocks = syz_memory_get().live_blocks;
  problem *p = malloc(sizeof *p);
  CHECK(p != NULL);
  for (int act = 0; act < 2 && p; act++) {
    CHECK_OK(syz_compute_create(act ? SYZ_BF16 : SYZ_F32, SYZ_ENGINE_AUTO, 1, &compute));
    for (int centring = 0; centring < 2; centring++) {
      if (!act) equal_prototypes(world, compute, p, (syz_centring)centring);
      not_finite(world, compute, p, (syz_centring)centring);
    }
    collapse(world, compute, p);
    syz_distillation *d = NULL;
    syz_distillation_config wrong = config_of(SYZ_CENTRE_MEAN);
    wrong.sets = 3;
    CHECK_ERROR(syz_distillation_create(world, compute, &wrong, &d), SYZ_ERR_INTERNAL, "3 sets");
    wrong = config_of(SYZ_CENTRE_MEAN);
    wrong.prototypes = INT64_C(1) << 40;
    CHECK_ERROR(syz_distillation_create(world, compute, &wrong, &d), SYZ_ERR_MEMORY, "distillation");
    CHECK(d == NULL);
    syz_distillation_destroy(&d);
    syz_compute_destroy(&compute);
  }
  CHECK_EQ(syz_memory_get().live_blocks, blocks);
  free(p);
  int64_t failed = CHECK_RESULT();
  syz_allreduce_i64(world, &failed, 1, SYZ_MAX);
  syz_comm_finish(&world);
  return (int)failed;
}
