/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Driver of test_linear.py: linear_driver TASK FOLDER ROWS WIDTH OPTION... reads FOLDER/x.f32 [rows, width] and what
 * else a task needs, and leaves float64 results in FOLDER. With three ranks and more, rank 1 has no rows.
 *
 *   pca COMPONENTS SCALAPACK_FROM      -> pca.f64: mean, variance, direction, total; projection.f32 of all rows
 *   softmax CLASSES L2                 <- label.i8, weight.f64 [classes]
 *                                      -> head.f64: weight, bias; softmax.f64: loss, gradient, iterations
 *   ridge TARGETS ALPHA                <- y.f32 [rows, targets]   -> head.f64; r2.f64 of the training rows
 *   votes QUESTIONS L2                 <- begin.i64 [questions + 1], votes.f32, raw.f64 [rows, answers]
 *                                      -> loss.f64, gradient.f64 of raw; head.f64; votes.f64: loss, gradient,
 *                                         iterations, converged, rows
 *   knn K CLASSES                      <- y.f32 [rows, 2], role.u8
 *                                      -> prediction.f32 [2, rows]: target 0 a number, target 1 a class
 */
#include "driver.h"

static int64_t width;
static float *x;

static void save_head(const syz_linear_head *h)
{
  save("head.f64", "wb", h->weight, h->outputs * h->width, 8);
  save("head.f64", "ab", h->bias, h->outputs, 8);
}

static void run_pca(const syz_rows *r, int64_t components, int64_t scalapack_from)
{
  syz_pca *p = NULL;
  CHECK_OK(syz_pca_fit(world, r, &(syz_pca_options){components, scalapack_from}, &p));
  if (!p) return;
  float *y = syz_alloc("projection", (size_t)(rows * p->components + 1), sizeof *y);
  save("pca.f64", "wb", p->mean, width, 8);
  save("pca.f64", "ab", p->variance, p->components, 8);
  save("pca.f64", "ab", p->direction, p->components * width, 8);
  save("pca.f64", "ab", &p->total_variance, 1, 8);
  syz_pca_project(p, rows, x, y);
  save("projection.f32", "wb", y, rows * p->components, 4);
  syz_free(&y);
  syz_pca_destroy(&p);
}

static void run_softmax(const syz_rows *r, int classes, double l2)
{
  int8_t *label = load("label.i8", (size_t)rows, 1);
  double *weight = load("weight.f64", (size_t)classes, 8);
  const syz_softmax_options options = {
      .classes = classes, .class_weight = weight, .l2 = l2, .iterations = 2000, .tolerance = 1e-9};
  syz_softmax_result result;
  syz_linear_head *h = NULL;
  CHECK_OK(syz_softmax_fit(world, r, label + first, &options, &h, &result));
  CHECK(result.has_converged);
  const double out[3] = {result.loss, result.gradient, (double)result.iterations};
  save("softmax.f64", "wb", out, 3, 8);
  if (h) save_head(h);
  syz_linear_head_destroy(&h);
  label[count ? first : 0] = (int8_t)classes;
  CHECK_ERROR(syz_softmax_fit(world, r, label + first, &options, &h, &result), SYZ_ERR_INPUT, "none of the");
  CHECK(h == NULL);
  syz_free(&label);
  syz_free(&weight);
}

static void run_ridge(const syz_rows *r, int targets, double alpha)
{
  float *y = load("y.f32", (size_t)(rows * targets), 4),
        *prediction = syz_alloc("prediction", (size_t)(rows * targets), 4);
  double r2[8];
  syz_linear_head *h = NULL;
  CHECK_OK(syz_ridge_fit(world, r, targets, y + first * targets, alpha, &h));
  if (h) {
    syz_linear_head_apply(h, rows, x, prediction);
    syz_r_squared_over_ranks(world, count, targets, y + first * targets, prediction + first * targets, r2);
    save_head(h);
    save("r2.f64", "wb", r2, targets, 8);
  }
  syz_linear_head_destroy(&h);
  syz_free(&y);
  syz_free(&prediction);
}

/* Penalties 1e-6, 1e-5 .. 10 with rows in the folds of fold.u8. */
static void run_path(const syz_rows *r, int targets, int folds)
{
  float *y = load("y.f32", (size_t)(rows * targets), 4);
  uint8_t *fold = load("fold.u8", (size_t)rows, 1);
  double alpha[8], chosen[8];
  syz_linear_head *h = NULL;
  syz_ridge_result *found = syz_alloc("result", 1, sizeof *found);
  for (int i = 0; i < 8; i++) alpha[i] = pow(10, i - 6);
  const syz_ridge_options options = {folds, 8, alpha};
  CHECK_OK(syz_ridge_path_fit(world, r, fold + first, targets, y + first * targets, &options, &h, found));
  for (int t = 0; t < targets; t++) chosen[t] = found->chosen[t];
  if (h) save_head(h);
  save("path.f64", "wb", found->error, 8 * targets, 8);
  save("path.f64", "ab", chosen, targets, 8);
  syz_linear_head_destroy(&h);
  for (int64_t i = 0; i < rows; i++) fold[i] = (uint8_t)(i == 0 ? 0 : SYZ_FOLDS);
  CHECK_ERROR(syz_ridge_path_fit(world, r, fold + first, targets, y + first * targets, &options, &h, found),
              SYZ_ERR_INPUT, "there are 1");
  CHECK(h == NULL);
  syz_free(&found);
  syz_free(&y);
  syz_free(&fold);
}

/* Softmax with l2 of 1e-4, 1e-3, .. 1. */
static void run_softmax_path(const syz_rows *r, int classes, int folds)
{
  int8_t *label = load("label.i8", (size_t)rows, 1);
  uint8_t *fold = load("fold.u8", (size_t)rows, 1);
  const double l2[5] = {1e-4, 1e-3, 1e-2, 1e-1, 1};
  const syz_softmax_path options = {.fit = {.classes = classes, .iterations = 2000, .tolerance = 1e-9},
                                    .folds = folds,
                                    .n_penalties = 5,
                                    .penalty = l2};
  syz_softmax_result result;
  syz_linear_head *h = NULL;
  CHECK_OK(syz_softmax_path_fit(world, r, label + first, fold + first, &options, &h, &result));
  const double chosen = result.chosen;
  save("path.f64", "wb", result.held_out_loss, 5, 8);
  save("path.f64", "ab", &chosen, 1, 8);
  if (h) save_head(h);
  syz_linear_head_destroy(&h);
  syz_free(&label);
  syz_free(&fold);
}

/* Cosine and raw Euclidean distance, every neighbour alike, three sizes from one search. */
static void run_knn_choices(int classes)
{
  float *y = load("y.f32", (size_t)(2 * rows), 4), *prediction = syz_alloc("prediction", (size_t)(6 * rows), 4);
  uint8_t *role = load("role.u8", (size_t)rows, 1);
  syz_compute *compute = NULL;
  int64_t from, n;
  const syz_knn_target target[2] = {{0, y, prediction}, {classes, y + rows, prediction + 3 * rows}};
  CHECK_OK(syz_compute_create(SYZ_F32, SYZ_ENGINE_BLIS, 1, &compute));
  syz_index_share(rows, syz_comm_size(world), syz_comm_rank(world), &from, &n);
  for (int choice = 0; choice < 4; choice++) {
    const syz_knn_options options = {.metric = choice & 1 ? SYZ_METRIC_COSINE : SYZ_METRIC_EUCLIDEAN,
                                     .is_raw = true,
                                     .is_uniform = choice & 2,
                                     .n_k = 3,
                                     .k = {1, 7, 20}};
    CHECK_OK(syz_knn_predict(world, compute, rows, width, x + from * width, role, &options, 2, target));
    save("choices.f32", choice ? "ab" : "wb", prediction, 6 * rows, 4);
  }
  syz_compute_destroy(&compute);
  syz_free(&y);
  syz_free(&prediction);
  syz_free(&role);
}

static void run_knn(int64_t k, int classes)
{
  float *y = load("y.f32", (size_t)(2 * rows), 4), *prediction = syz_alloc("prediction", (size_t)(2 * rows), 4);
  uint8_t *role = load("role.u8", (size_t)rows, 1);
  syz_compute *compute = NULL;
  int64_t from, n;
  const syz_knn_options options = {.metric = SYZ_METRIC_EUCLIDEAN, .n_k = 1, .k = {k}};
  syz_knn_target target[2] = {{0, y, prediction}, {classes, y + rows, prediction + rows}};
  CHECK_OK(syz_compute_create(SYZ_F32, SYZ_ENGINE_BLIS, 1, &compute));
  syz_index_share(rows, syz_comm_size(world), syz_comm_rank(world), &from, &n);
  CHECK_OK(syz_knn_predict(world, compute, rows, width, x + from * width, role, &options, 2, target));
  save("prediction.f32", "wb", prediction, 2 * rows, 4);
  target[1].classes = classes - 1;
  CHECK_ERROR(syz_knn_predict(world, compute, rows, width, x + from * width, role, &options, 2, target), SYZ_ERR_DATA,
              "none of 0 ..");
  syz_compute_destroy(&compute);
  syz_free(&y);
  syz_free(&prediction);
  syz_free(&role);
}

/* Loss and gradient of each row at raw [rows, answers], then a fit; some 34 answers of 10 questions. */
static void run_votes(syz_rows *r, int questions, double l2)
{
  int64_t *given = load("begin.i64", (size_t)questions + 1, 8);
  int begin[SYZ_QUESTIONS + 1];
  for (int q = 0; q <= questions; q++) begin[q] = (int)given[q];
  const int64_t answers = begin[questions];
  const syz_dirichlet_options options = {questions, begin, l2, 2000, 1e-7};
  float *votes = load("votes.f32", (size_t)(rows * answers), 4);
  double *raw = load("raw.f64", (size_t)(rows * answers), 8);
  double *loss = syz_alloc("loss", (size_t)rows, 8), *gradient = syz_alloc("gradient", (size_t)(rows * answers), 8);
  syz_linear_head *h = NULL;
  syz_dirichlet_result result;
  for (int64_t i = 0; i < rows; i++)
    loss[i] =
        syz_dirichlet_loss(questions, begin, votes + i * answers, raw + i * answers, NULL, gradient + i * answers);
  save("loss.f64", "wb", loss, rows, 8);
  save("gradient.f64", "wb", gradient, rows * answers, 8);
  CHECK_OK(syz_dirichlet_fit(world, r, votes + first * answers, &options, &h, &result));
  save("head.f64", "wb", h->weight, answers * width, 8);
  save("head.f64", "ab", h->bias, answers, 8);
  const double told[] = {result.loss, result.gradient, (double)result.iterations, result.has_converged,
                         (double)result.rows};
  save("votes.f64", "wb", told, 5, 8);
  syz_linear_head_destroy(&h);
  memset(votes, 0, (size_t)(rows * answers) * sizeof *votes);
  CHECK_ERROR(syz_dirichlet_fit(world, r, votes, &options, &h, &result), SYZ_ERR_INPUT, "no row has any");
  syz_free(&given);
  syz_free(&votes);
  syz_free(&raw);
  syz_free(&loss);
  syz_free(&gradient);
}

/* What must be refused is refused on all ranks. */
static void refusals(syz_rows *r)
{
  syz_pca *p = NULL;
  syz_linear_head *h = NULL;
  syz_softmax_result result;
  float y = 1;
  syz_rows none = *r;
  none.n = syz_comm_rank(world) == 0 ? 1 : 0;
  CHECK_ERROR(syz_pca_fit(world, &none, &(syz_pca_options){3, 1000}, &p), SYZ_ERR_INPUT, "at least 2 rows");
  CHECK_ERROR(syz_ridge_fit(world, &none, 1, &y, 1, &h), SYZ_ERR_INPUT, "at least 2 rows");
  none.n = 0;
  CHECK_ERROR(syz_softmax_fit(world, &none, NULL, &(syz_softmax_options){.classes = 2}, &h, &result), SYZ_ERR_INPUT,
              "no row");
  if (syz_comm_rank(world) == syz_comm_size(world) - 1) x[first * width + 1] = NAN;
  CHECK_ERROR(syz_pca_fit(world, r, &(syz_pca_options){3, 1000}, &p), SYZ_ERR_NUMERIC, "column 1");
  CHECK(p == NULL && h == NULL);
}

int main(int argc, char **argv)
{
  CHECK_OK(syz_comm_start(&argc, &argv, &world));
  if (argc < 7) return 2;
  const int64_t blocks = syz_memory_get().live_blocks;
  folder = argv[2];
  rows = atoll(argv[3]);
  width = atoll(argv[4]);
  x = load("x.f32", (size_t)(rows * width), 4);
  share();
  syz_array_rows array = {SYZ_F32, x + first * width, width};
  syz_rows r = {count, width, &array, syz_array_rows_read};
  const double a = atof(argv[5]), b = atof(argv[6]);
  if (strcmp(argv[1], "pca") == 0) run_pca(&r, (int64_t)a, (int64_t)b);
  if (strcmp(argv[1], "softmax") == 0) run_softmax(&r, (int)a, b);
  if (strcmp(argv[1], "ridge") == 0) run_ridge(&r, (int)a, b);
  if (strcmp(argv[1], "path") == 0) run_path(&r, (int)a, (int)b);
  if (strcmp(argv[1], "softmax_path") == 0) run_softmax_path(&r, (int)a, (int)b);
  if (strcmp(argv[1], "choices") == 0) run_knn_choices((int)a);
  if (strcmp(argv[1], "knn") == 0) run_knn((int64_t)a, (int)b);
  if (strcmp(argv[1], "votes") == 0) run_votes(&r, (int)a, b);
  if (strcmp(argv[1], "refusals") == 0) refusals(&r);
  syz_free(&x);
  CHECK_EQ(syz_memory_get().live_blocks, blocks);
  int64_t failed = CHECK_RESULT();
  syz_allreduce_i64(world, &failed, 1, SYZ_MAX);
  syz_comm_finish(&world);
  return failed != 0;
}
