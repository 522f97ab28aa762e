/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Towers on their own: gradients against central differences, independence of the batch, no allocation in a step, order
 * of `ready`, dropout, plans, recomputation.
 */
#include <stdlib.h>

#include "check.h"
#include "syzygy/model.h"

enum { BATCH = 5 };

static syz_model_config small_config(syz_tokens tokens, int64_t e, double dropout)
{
  return (syz_model_config){
      .image = {.dim = 16, .depth = 2, .heads = 2, .patch = 8, .size = 24, .tokens = tokens, .layerscale = 0.5},
      .spectrum = {.dim = 12, .depth = 2, .heads = 2, .section = 600, .overlap = 100, .max_tokens = 20},
      .embedding = {.dim = e, .heads = 2, .dropout = dropout}};
}

/* One tower under test: weights that hide nothing, a batch of inputs, a linear loss sum of v * embedding. */
typedef struct bench {
  syz_model *m;
  syz_compute *compute;
  syz_modality tower;
  int64_t e, width;
  float *input, *v, *embedding, *gradients;
  syz_dropout_key key;
  const syz_dropout_key *dropout;
} bench;

static int64_t samples[BATCH] = {7, 3, 11, 2, 400};

static void randomise(syz_model *m)
{
  int n;
  const syz_parameter *p = syz_model_parameters(m, &n);
  for (int i = 0; i < n; i++) {
    float *w = syz_model_weights(m) + p[i].offset;
    syz_random r = syz_random_make(5, SYZ_RANDOM_TEST, 1, (uint64_t)i);
    syz_random_fill_normal(&r, w, (size_t)p[i].size);
    const bool is_gain = strstr(p[i].name, "norm") && strstr(p[i].name, ".weight");
    const double fan_in = p[i].ndim >= 2 && p[i].shape[0] > 1 ? (double)(p[i].size / p[i].shape[0]) : 10;
    for (int64_t k = 0; k < p[i].size; k++)
      w[k] = strstr(p[i].name, "gamma")   ? 0.5f + 0.1f * w[k]
             : is_gain                    ? 1 + 0.1f * w[k]
             : strstr(p[i].name, "query") ? w[k]
                                          : w[k] / (float)sqrt(fan_in);
  }
  syz_model_pack(m, false);
}

static void bench_open(bench *b, syz_modality tower, const syz_model_config *config, syz_dtype act, int threads,
                       syz_tower_mode mode)
{
  *b = (bench){.tower = tower, .e = config->embedding.dim};
  b->width = tower == SYZ_IMAGE ? 3 * config->image.size * config->image.size : SYZ_TOWER_PIXELS;
  CHECK_OK(syz_compute_create(act, SYZ_ENGINE_AUTO, threads, &b->compute));
  CHECK_OK(syz_model_create(config, tower == SYZ_IMAGE, tower == SYZ_SPECTRUM, b->compute, &b->m));
  CHECK_OK(syz_tower_plan(b->m, tower, BATCH, mode));
  randomise(b->m);
  b->input = syz_alloc("input", (size_t)(BATCH * b->width), sizeof(float));
  b->v = syz_alloc("v", (size_t)(BATCH * b->e), sizeof(float));
  b->embedding = syz_alloc("embedding", (size_t)(BATCH * b->e), sizeof(float));
  b->gradients = syz_alloc("gradients", (size_t)syz_model_size(b->m), sizeof(float));
  syz_random r = syz_random_make(6, SYZ_RANDOM_TEST, 2, (uint64_t)tower);
  syz_random_fill_normal(&r, b->input, (size_t)(BATCH * b->width));
  /* Sections must differ in more than noise that averages out: a slope and an offset that differ from object to object.
   */
  for (int64_t i = 0; i < BATCH; i++)
    for (int64_t k = 0; k < b->width; k++)
      b->input[i * b->width + k] += (float)i + 3.0f * (float)sin(0.002 * (double)((i + 1) * k));
  r = syz_random_make(6, SYZ_RANDOM_TEST, 3, (uint64_t)tower);
  syz_random_fill_normal(&r, b->v, (size_t)(BATCH * b->e));
  b->key = (syz_dropout_key){.seed = 3, .step = 8, .sample = samples};
}

static void bench_close(bench *b)
{
  syz_model_destroy(&b->m);
  syz_compute_destroy(&b->compute);
  syz_free(&b->input);
  syz_free(&b->v);
  syz_free(&b->embedding);
  syz_free(&b->gradients);
}

static double loss(bench *b)
{
  double sum = 0;
  syz_model_pack(b->m, false);
  syz_tower_forward(b->m, b->tower, BATCH, b->input, b->dropout, b->embedding);
  for (int64_t i = 0; i < BATCH * b->e; i++) sum += (double)b->v[i] * b->embedding[i];
  return sum;
}

static double central_slope(bench *b, float *w, const float *kept, const double *direction, int64_t n, double h)
{
  double value[2];
  for (int side = 0; side < 2; side++) {
    for (int64_t k = 0; k < n; k++) w[k] = (float)(kept[k] + (side ? h : -h) * direction[k]);
    value[side] = loss(b);
  }
  memcpy(w, kept, (size_t)n * sizeof *w);
  return (value[1] - value[0]) / (2 * h);
}

/*
 * Every parameter alone: the slope along (its gradient + a random direction), both of unit length, against the
 * gradient's inner product with it. Float32 loss of order 10 at steps that move it by about 0.1: rounding 1e-5
 * relative; the term of third order is removed by a second, double step. Measured worst 2.4e-4; a gradient that is one
 * per cent off anywhere shows as 1e-2. Tolerance between: 2e-3.
 */
static void check_gradients(const char *label, syz_modality tower, const syz_model_config *config, bool has_dropout)
{
  bench b;
  bench_open(&b, tower, config, SYZ_F32, 1, SYZ_MODE_TRAIN);
  if (has_dropout) b.dropout = &b.key;
  loss(&b);
  syz_tower_backward(b.m, tower, BATCH, b.v, b.dropout, b.gradients, NULL, NULL);
  int n;
  const syz_parameter *p = syz_model_parameters(b.m, &n);
  double worst = 0, worst_faulty = INFINITY;
  for (int i = 0; i < n; i++) {
    const float *g = b.gradients + p[i].offset;
    float *w = syz_model_weights(b.m) + p[i].offset, *kept = malloc((size_t)p[i].size * sizeof *kept);
    double *direction = malloc((size_t)p[i].size * sizeof *direction), norm = 0, inner = 0, faulty = 0;
    for (int64_t k = 0; k < p[i].size; k++) norm += (double)g[k] * g[k];
    norm = sqrt(norm);
    CHECK(p[i].is_used == (norm > 0));
    if (norm > 0) {
      syz_random r = syz_random_make(9, SYZ_RANDOM_TEST, 4, (uint64_t)i);
      const bool is_bias_of_in_proj =
          strstr(p[i].name, "in_proj_bias") != NULL; /* keys: no gradient, nothing to find there */
      for (int64_t k = 0; k < p[i].size; k++) {
        direction[k] = g[k] / norm + syz_random_normal(&r, (uint32_t)k) / sqrt((double)p[i].size);
        if (is_bias_of_in_proj && k >= b.e && k < 2 * b.e) CHECK_EQ(g[k], 0);
        inner += direction[k] * g[k];
        faulty += direction[k] * g[k] * 1.01;
      }
      memcpy(kept, w, (size_t)p[i].size * sizeof *kept);
      const double h = 0.05 / (norm > 1 ? norm : 1);
      const double slope = (4 * central_slope(&b, w, kept, direction, p[i].size, h) -
                            central_slope(&b, w, kept, direction, p[i].size, 2 * h)) /
                           3;
      const double error = fabs(slope - inner) / fabs(inner);
      if (getenv("VERBOSE"))
        printf("%-70s |g| %.3e  slope %.6e  inner %.6e  error %.1e\n", p[i].name, norm, slope, inner, error);
      worst = fmax(worst, error);
      worst_faulty = fmin(worst_faulty, fabs(slope - faulty) / fabs(inner));
    }
    free(kept);
    free(direction);
  }
  printf("%s: worst %.1e, with one per cent on any parameter at least %.1e\n", label, worst, worst_faulty);
  CHECK_LT(worst, 2e-3);
  CHECK_GT(worst_faulty, 2e-3);
  bench_close(&b);
}

/* An object's embedding has the same bits alone, in a batch, and at another place of it; tokens kept or not; one thread
 * or two. */
static void check_batches(syz_modality tower, const syz_model_config *config, syz_dtype act)
{
  bench b, two;
  bench_open(&b, tower, config, act, 1, SYZ_MODE_TRAIN);
  bench_open(&two, tower, config, act, 2, SYZ_MODE_EMBED);
  const size_t row = (size_t)b.e * sizeof(float);
  float *alone = syz_alloc("alone", (size_t)b.e, sizeof *alone),
        *tokens_embedding = syz_alloc("embedding", (size_t)(BATCH * b.e), sizeof(float));
  const int64_t t = syz_model_tokens(config, tower), d = tower == SYZ_IMAGE ? config->image.dim : config->spectrum.dim;
  void *tokens = syz_alloc("tokens", (size_t)(BATCH * t * d), syz_dtype_size(syz_compute_act(b.compute)));
  loss(&b);
  syz_tower_backbone(b.m, tower, BATCH, b.input, tokens);
  syz_tower_head(b.m, tower, BATCH, tokens, NULL, tokens_embedding);
  CHECK(memcmp(tokens_embedding, b.embedding, BATCH * row) == 0);
  CHECK_OK(syz_tower_plan(b.m, tower, BATCH, SYZ_MODE_HEAD));
  syz_tower_head(b.m, tower, BATCH, tokens, NULL, tokens_embedding);
  CHECK(memcmp(tokens_embedding, b.embedding, BATCH * row) == 0);
  syz_tower_forward(two.m, tower, BATCH, two.input, NULL, two.embedding);
  CHECK(memcmp(two.embedding, b.embedding, BATCH * row) == 0);
  for (int64_t i = 0; i < BATCH; i++) {
    syz_tower_forward(two.m, tower, 1, two.input + i * b.width, NULL, alone);
    CHECK(memcmp(alone, b.embedding + i * b.e, row) == 0);
  }
  syz_tower_forward(two.m, tower, 3, two.input + 2 * b.width, NULL, two.embedding);
  CHECK(memcmp(two.embedding, b.embedding + 2 * b.e, 3 * row) == 0);
  CHECK_OK(syz_tower_plan(two.m, tower, 1, SYZ_MODE_EMBED)); /* another plan, same bits */
  syz_tower_forward(two.m, tower, 1, two.input + 4 * b.width, NULL, alone);
  CHECK(memcmp(alone, b.embedding + 4 * b.e, row) == 0);
  CHECK(memcmp(b.embedding, b.embedding + b.e, row) != 0);
  syz_free(&alone);
  syz_free(&tokens_embedding);
  syz_free(&tokens);
  bench_close(&b);
  bench_close(&two);
}

/* What `ready` was told: which elements became final, how often, and that backward had finished them by then. */
typedef struct told {
  const float *gradients, *expected;
  unsigned char *times;
  int calls;
} told;

static void note_ready(void *context, int64_t first, int64_t count)
{
  told *t = context;
  t->calls++;
  for (int64_t i = first; i < first + count; i++) t->times[i]++;
  if (t->expected) CHECK(memcmp(t->gradients + first, t->expected + first, (size_t)count * sizeof(float)) == 0);
}

static void check_steps(syz_modality tower, const syz_model_config *config, syz_dtype act)
{
  bench b;
  bench_open(&b, tower, config, act, 1, SYZ_MODE_TRAIN);
  const int64_t size = syz_model_size(b.m);
  float *expected = syz_alloc("expected", (size_t)size, sizeof *expected);
  told t = {.gradients = b.gradients, .times = syz_alloc("times", (size_t)size, 1)};

  /* A rank without objects takes part and adds nothing. */
  syz_tower_forward(b.m, tower, 0, NULL, NULL, NULL);
  syz_tower_backward(b.m, tower, 0, NULL, NULL, b.gradients, note_ready, &t);
  const int calls = t.calls;
  for (int64_t i = 0; i < size; i++) CHECK(t.times[i] == 1 && b.gradients[i] == 0);

  loss(&b);
  syz_tower_backward(b.m, tower, BATCH, b.v, NULL, expected, NULL, NULL);
  memset(t.times, 0, (size_t)size);
  t.calls = 0;
  t.expected = expected;
  const syz_memory_stats before = syz_memory_get();
  loss(&b);
  syz_tower_backward(b.m, tower, BATCH, b.v, NULL, b.gradients, note_ready, &t);
  CHECK_EQ(syz_memory_get().allocations, before.allocations);
  CHECK_EQ(t.calls, calls);
  for (int64_t i = 0; i < size; i++) CHECK(t.times[i] == 1);
  CHECK(memcmp(expected, b.gradients, (size_t)size * sizeof(float)) == 0);

  /* Gradients add: a second pass doubles them (to rounding: LayerScale is resolved in between). */
  syz_tower_forward(b.m, tower, BATCH, b.input, NULL, b.embedding);
  syz_tower_backward(b.m, tower, BATCH, b.v, NULL, b.gradients, NULL, NULL);
  double worst = 0, largest = 0;
  for (int64_t i = 0; i < size; i++) {
    worst = fmax(worst, fabs(b.gradients[i] - 2.0 * expected[i]));
    largest = fmax(largest, fabs(expected[i]));
  }
  CHECK_LT(worst / largest, 1e-5);
  syz_free(&expected);
  syz_free(&t.times);
  bench_close(&b);
}

/* With p = 0.5: zeros in half of the image's output, a function of the object's place in the global batch, none without
 * a key. */
static void check_dropout(void)
{
  const syz_model_config config = small_config(SYZ_TOKENS_PATCHES, 64, 0.5);
  bench b;
  bench_open(&b, SYZ_IMAGE, &config, SYZ_F32, 1, SYZ_MODE_TRAIN);
  const size_t row = (size_t)b.e * sizeof(float);
  float *alone = syz_alloc("alone", (size_t)b.e, sizeof *alone);
  int zeros = 0;
  b.dropout = &b.key;
  loss(&b);
  for (int64_t i = 0; i < BATCH * b.e; i++) zeros += b.embedding[i] == 0;
  CHECK_NEAR((double)zeros / (double)(BATCH * b.e), 0.5, 5 * 0.5 / sqrt((double)(BATCH * b.e)));
  const syz_dropout_key third = {.seed = 3, .step = 8, .sample = &samples[2]};
  syz_tower_forward(b.m, SYZ_IMAGE, 1, b.input + 2 * b.width, &third, alone);
  CHECK(memcmp(alone, b.embedding + 2 * b.e, row) == 0);
  const syz_dropout_key other = {.seed = 3, .step = 9, .sample = &samples[2]};
  syz_tower_forward(b.m, SYZ_IMAGE, 1, b.input + 2 * b.width, &other, alone);
  CHECK(memcmp(alone, b.embedding + 2 * b.e, row) != 0);
  syz_tower_forward(b.m, SYZ_IMAGE, 1, b.input + 2 * b.width, NULL, alone);
  for (int64_t i = 0; i < b.e; i++) CHECK(alone[i] != 0);
  syz_free(&alone);
  bench_close(&b);
}

/* What plan_bytes says for one more object is what a plan takes for one more object. */
static void check_plan_bytes(syz_modality tower, const syz_model_config *config, syz_tower_mode mode)
{
  bench b;
  bench_open(&b, tower, config, SYZ_F32, 1, mode);
  const size_t few = syz_tower_plan_bytes(b.m, tower, 300, mode), many = syz_tower_plan_bytes(b.m, tower, 600, mode);
  const size_t live = syz_memory_get().live_bytes; /* the compute context has grown its scratch by now and keeps it */
  CHECK_EQ(syz_tower_plan_bytes(b.m, tower, 600, mode), many);
  CHECK_EQ(syz_memory_get().live_bytes, live);
  CHECK_OK(syz_tower_plan(b.m, tower, 300, mode));
  const size_t live_few = syz_memory_get().live_bytes;
  CHECK_OK(syz_tower_plan(b.m, tower, 600, mode));
  const double grown = (double)(syz_memory_get().live_bytes - live_few), said = (double)(many - few);
  CHECK_GT(said, 0);
  CHECK_NEAR(grown / said, 1.0, 0.05);
  bench_close(&b);
}

/* Blocks run again in the backward pass give the same bits in less memory. */
static void check_recompute(syz_modality tower, const syz_model_config *shallow, syz_dtype act)
{
  syz_model_config config = *shallow;
  config.image.depth = config.spectrum.depth = 4;
  bench b;
  bench_open(&b, tower, &config, act, 1, SYZ_MODE_TRAIN);
  const size_t bytes = (size_t)syz_model_size(b.m) * sizeof(float);
  float *expected = syz_alloc("expected", bytes, 1);
  size_t before = syz_tower_plan_bytes(b.m, tower, 300, SYZ_MODE_TRAIN);
  loss(&b);
  syz_tower_backward(b.m, tower, BATCH, b.v, NULL, b.gradients, NULL, NULL);
  memcpy(expected, b.gradients, bytes);
  for (int64_t blocks = 2; blocks <= 8; blocks += 2) { /* 8: more than there are */
    syz_model_recompute(b.m, blocks);
    const size_t planned = syz_tower_plan_bytes(b.m, tower, 300, SYZ_MODE_TRAIN);
    CHECK(blocks > 4 ? planned == before : planned < before);
    before = planned;
    CHECK_OK(syz_tower_plan(b.m, tower, BATCH, SYZ_MODE_TRAIN));
    memset(b.gradients, 0, bytes);
    loss(&b);
    const int64_t allocations = syz_memory_get().allocations;
    syz_tower_backward(b.m, tower, BATCH, b.v, NULL, b.gradients, NULL, NULL);
    CHECK_EQ(syz_memory_get().allocations, allocations);
    CHECK(memcmp(expected, b.gradients, bytes) == 0);
  }
  syz_free(&expected);
  bench_close(&b);
}

int main(void)
{
  const syz_model_config patches = small_config(SYZ_TOKENS_PATCHES, 16, 0),
                         dinov2 = small_config(SYZ_TOKENS_DINOV2, 20, 0);
  const syz_model_config dropout = small_config(SYZ_TOKENS_DINOV2, 12, 0.3);
  const syz_memory_stats start = syz_memory_get();
  check_gradients("image, patches, one projection", SYZ_IMAGE, &patches, false);
  check_gradients("image, dinov2, separate projections", SYZ_IMAGE, &dinov2, false);
  check_gradients("spectrum, separate projections", SYZ_SPECTRUM, &patches, false);
  check_gradients("image, dropout", SYZ_IMAGE, &dropout, true);
  check_gradients("spectrum, one projection, dropout", SYZ_SPECTRUM, &dropout, true);
  for (int act = 0; act < 2; act++) {
    const syz_dtype type = act ? SYZ_BF16 : SYZ_F32;
    check_batches(SYZ_IMAGE, &patches, type);
    check_batches(SYZ_IMAGE, &dinov2, type);
    check_batches(SYZ_SPECTRUM, &patches, type);
    check_steps(SYZ_IMAGE, &dinov2, type);
    check_steps(SYZ_SPECTRUM, &patches, type);
    check_recompute(SYZ_IMAGE, &dinov2, type);
    check_recompute(SYZ_SPECTRUM, &patches, type);
  }
  check_dropout();
  for (int mode = SYZ_MODE_EMBED; mode <= SYZ_MODE_HEAD; mode++) {
    check_plan_bytes(SYZ_IMAGE, &dinov2, (syz_tower_mode)mode);
    check_plan_bytes(SYZ_SPECTRUM, &patches, (syz_tower_mode)mode);
  }
  CHECK_EQ(syz_memory_get().live_blocks, start.live_blocks);
  return CHECK_RESULT();
}
