/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Masked modelling on its own: gradients against central differences, a spectrum's prediction alone and in any company,
 * masked tokens unseen, order of `ready`, no allocation in a step, the planned memory, refusals.
 */
#include <stdlib.h>

#include "check.h"
#include "syzygy/model.h"

enum { BATCH = 4, RUN = 3 };

static const syz_model_config config = {
    .image =
        {.dim = 16, .depth = 2, .heads = 2, .patch = 8, .size = 24, .tokens = SYZ_TOKENS_PATCHES, .layerscale = 0.5},
    .spectrum = {.dim = 12, .depth = 3, .heads = 2, .section = 600, .overlap = 100, .max_tokens = 20},
    .embedding = {.dim = 16, .heads = 2}};

typedef struct bench {
  syz_compute *compute;
  syz_model *m;
  syz_masked *k;
  int64_t tokens, width, n;
  float *flux, *pieces, *prediction, *v, *gradients;
  int64_t row[BATCH * 2 * RUN];
} bench;

static void randomise(syz_model *m)
{
  int n;
  const syz_parameter *p = syz_model_parameters(m, &n);
  for (int i = 0; i < n; i++) {
    float *w = syz_model_weights(m) + p[i].offset;
    syz_random r = syz_random_make(5, SYZ_RANDOM_TEST, 1, (uint64_t)i);
    syz_random_fill_normal(&r, w, (size_t)p[i].size);
    const bool is_gain = strstr(p[i].name, "norm") && strstr(p[i].name, ".weight");
    const double fan_in = p[i].ndim >= 2 ? (double)(p[i].size / p[i].shape[0]) : 10;
    for (int64_t j = 0; j < p[i].size; j++) w[j] = is_gain ? 1 + 0.1f * w[j] : w[j] / (float)sqrt(fan_in);
  }
}

static void bench_open(bench *b, syz_dtype act, int threads)
{
  *b = (bench){
      .tokens = syz_model_tokens(&config, SYZ_SPECTRUM), .width = config.spectrum.section + 2, .n = BATCH * 2 * RUN};
  CHECK_OK(syz_compute_create(act, SYZ_ENGINE_AUTO, threads, &b->compute));
  CHECK_OK(syz_model_create_for(SYZ_PURPOSE_MASKED, &config, b->compute, &b->m));
  randomise(b->m);
  CHECK_OK(syz_masked_create(b->m, BATCH, b->n, true, &b->k));
  b->flux = syz_alloc("flux", BATCH * SYZ_TOWER_PIXELS, sizeof(float));
  b->pieces = syz_alloc("pieces", (size_t)(BATCH * b->tokens * b->width), sizeof(float));
  b->prediction = syz_alloc("prediction", (size_t)(b->n * b->width), sizeof(float));
  b->v = syz_alloc("v", (size_t)(b->n * b->width), sizeof(float));
  b->gradients = syz_alloc("gradients", (size_t)syz_model_size(b->m), sizeof(float));
  syz_random r = syz_random_make(6, SYZ_RANDOM_TEST, 2, 0);
  syz_random_fill_normal(&r, b->flux, BATCH * SYZ_TOWER_PIXELS);
  for (int64_t i = 0; i < BATCH; i++)
    for (int64_t p = 0; p < SYZ_TOWER_PIXELS; p++)
      b->flux[i * SYZ_TOWER_PIXELS + p] += (float)i + 3.0f * (float)sin(0.002 * (double)((i + 1) * p));
  r = syz_random_make(6, SYZ_RANDOM_TEST, 3, 0);
  syz_random_fill_normal(&r, b->v, (size_t)(b->n * b->width));
  /* Two runs a spectrum, the first spectrum's from the very first token, the last one's to the very last. */
  for (int64_t i = 0; i < BATCH; i++)
    for (int64_t t = 0; t < RUN; t++) {
      b->row[(i * 2) * RUN + t] = i * b->tokens + i + t;
      b->row[(i * 2 + 1) * RUN + t] = i * b->tokens + b->tokens - BATCH - RUN + 1 + i + t;
    }
  for (int64_t i = 0; i < BATCH; i++)
    syz_masked_pieces(&config, b->flux + i * SYZ_TOWER_PIXELS, NULL, b->pieces + i * b->tokens * b->width, NULL);
}

static void bench_close(bench *b)
{
  syz_masked_destroy(&b->k);
  syz_model_destroy(&b->m);
  syz_compute_destroy(&b->compute);
  syz_free(&b->flux);
  syz_free(&b->pieces);
  syz_free(&b->prediction);
  syz_free(&b->v);
  syz_free(&b->gradients);
}

static double loss(bench *b)
{
  double sum = 0;
  syz_masked_pack(b->k);
  syz_masked_forward(b->k, BATCH, b->pieces, b->n, b->row, b->prediction);
  for (int64_t i = 0; i < b->n * b->width; i++) sum += (double)b->v[i] * b->prediction[i];
  return sum;
}

static double central_slope(bench *b, float *w, const float *kept, const double *direction, int64_t n, double h)
{
  double value[2];
  for (int side = 0; side < 2; side++) {
    for (int64_t j = 0; j < n; j++) w[j] = (float)(kept[j] + (side ? h : -h) * direction[j]);
    value[side] = loss(b);
  }
  memcpy(w, kept, (size_t)n * sizeof *w);
  return (value[1] - value[0]) / (2 * h);
}

/* Every parameter alone, along its gradient + a random direction, as in test_towers.c; measured worst 2e-4, one per
 * cent shows as 1e-2. */
static void check_gradients(void)
{
  bench b;
  int n;
  double worst = 0, worst_faulty = INFINITY;
  bench_open(&b, SYZ_F32, 1);
  loss(&b);
  syz_masked_backward(b.k, b.v, b.gradients, NULL, NULL);
  const syz_parameter *p = syz_model_parameters(b.m, &n);
  for (int i = 0; i < n; i++) {
    const float *g = b.gradients + p[i].offset;
    float *w = syz_model_weights(b.m) + p[i].offset, *kept = malloc((size_t)p[i].size * sizeof *kept);
    double *direction = malloc((size_t)p[i].size * sizeof *direction), norm = 0, inner = 0;
    CHECK(p[i].is_used);
    for (int64_t j = 0; j < p[i].size; j++) norm += (double)g[j] * g[j];
    norm = sqrt(norm);
    CHECK_GT(norm, 0);
    syz_random r = syz_random_make(9, SYZ_RANDOM_TEST, 4, (uint64_t)i);
    for (int64_t j = 0; j < p[i].size; j++) {
      direction[j] = g[j] / norm + syz_random_normal(&r, (uint32_t)j) / sqrt((double)p[i].size);
      inner += direction[j] * g[j];
    }
    memcpy(kept, w, (size_t)p[i].size * sizeof *kept);
    const double h = 0.1 / (norm > 1 ? norm : 1);
    const double slope = (4 * central_slope(&b, w, kept, direction, p[i].size, h) -
                          central_slope(&b, w, kept, direction, p[i].size, 2 * h)) /
                         3;
    if (getenv("VERBOSE")) printf("%-60s |g| %.2e error %.1e\n", p[i].name, norm, fabs(slope - inner) / fabs(inner));
    worst = fmax(worst, fabs(slope - inner) / fabs(inner));
    worst_faulty = fmin(worst_faulty, fabs(slope - 1.01 * inner) / fabs(inner));
    free(kept);
    free(direction);
  }
  printf("gradients: worst %.1e, with one per cent on any parameter at least %.1e\n", worst, worst_faulty);
  CHECK_LT(worst, 2e-3);
  CHECK_GT(worst_faulty, 2e-3);
  bench_close(&b);
}

/* A spectrum alone, in a smaller call and on two threads: the same bits. What stands in masked tokens changes nothing.
 */
static void check_company(syz_dtype act)
{
  bench b, two;
  bench_open(&b, act, 1);
  bench_open(&two, act, 2);
  loss(&b);
  const int64_t each = 2 * RUN, numbers = each * b.width;
  loss(&two);
  CHECK(memcmp(two.prediction, b.prediction, (size_t)(BATCH * numbers) * sizeof(float)) == 0);
  for (int64_t i = 0; i < BATCH; i++) {
    int64_t row[2 * RUN];
    for (int64_t r = 0; r < each; r++) row[r] = b.row[i * each + r] - i * b.tokens;
    syz_masked_forward(two.k, 1, b.pieces + i * b.tokens * b.width, each, row, two.prediction);
    CHECK(memcmp(two.prediction, b.prediction + i * numbers, (size_t)numbers * sizeof(float)) == 0);
  }
  for (int64_t i = 0; i < b.n; i++)
    for (int64_t j = 0; j < b.width; j++) two.pieces[b.row[i] * b.width + j] = 1e6f;
  loss(&two);
  CHECK(memcmp(two.prediction, b.prediction, (size_t)(BATCH * numbers) * sizeof(float)) == 0);
  two.pieces[(b.row[RUN - 1] + 1) * b.width + 2] += 1; /* the token behind the first run is seen */
  loss(&two);
  CHECK(memcmp(two.prediction, b.prediction, (size_t)numbers * sizeof(float)) != 0);
  bench_close(&b);
  bench_close(&two);
}

typedef struct told {
  const float *gradients, *expected;
  unsigned char *times;
} told;

static void note_ready(void *context, int64_t first, int64_t count)
{
  told *t = context;
  for (int64_t i = first; i < first + count; i++) t->times[i]++;
  if (t->expected) CHECK(memcmp(t->gradients + first, t->expected + first, (size_t)count * sizeof(float)) == 0);
}

static void check_steps(void)
{
  bench b;
  bench_open(&b, SYZ_F32, 1);
  const int64_t size = syz_model_size(b.m);
  int64_t first, count;
  float *expected = syz_alloc("expected", (size_t)size, sizeof *expected);
  told t = {.gradients = b.gradients, .times = syz_alloc("times", (size_t)size, 1)};
  syz_model_range(b.m, SYZ_PART_SPECTRUM_BACKBONE, &first, &count);
  CHECK_EQ(count, size); /* nothing else in a model of this purpose */
  /* A rank without objects takes part and adds nothing. */
  syz_masked_forward(b.k, 0, NULL, 0, NULL, NULL);
  syz_masked_backward(b.k, NULL, b.gradients, note_ready, &t);
  for (int64_t i = 0; i < size; i++) CHECK(t.times[i] == 1 && b.gradients[i] == 0);
  loss(&b);
  syz_masked_backward(b.k, b.v, expected, NULL, NULL);
  memset(t.times, 0, (size_t)size);
  t.expected = expected;
  const int64_t allocations = syz_memory_get().allocations;
  loss(&b);
  syz_masked_backward(b.k, b.v, b.gradients, note_ready, &t);
  CHECK_EQ(syz_memory_get().allocations - allocations, 0);
  for (int64_t i = 0; i < size; i++) CHECK(t.times[i] == 1);
  /* Two halves add up to the whole. */
  float *halves = syz_alloc("halves", (size_t)size, sizeof *halves);
  double difference = 0, norm = 0;
  for (int64_t i = 0; i < 2; i++) {
    int64_t row[BATCH * RUN];
    const int64_t half = b.n / 2, spectra = BATCH / 2;
    for (int64_t r = 0; r < half; r++) row[r] = b.row[i * half + r] - i * spectra * b.tokens;
    syz_masked_forward(b.k, spectra, b.pieces + i * spectra * b.tokens * b.width, half, row, b.prediction);
    syz_masked_backward(b.k, b.v + i * half * b.width, halves, NULL, NULL);
  }
  for (int64_t i = 0; i < size; i++) {
    difference += ((double)halves[i] - expected[i]) * ((double)halves[i] - expected[i]);
    norm += (double)expected[i] * expected[i];
  }
  CHECK_LT(sqrt(difference / norm), 1e-6);
  syz_free(&halves);
  syz_free(&expected);
  syz_free(&t.times);
  bench_close(&b);
}

/* Bad pixels do not matter, whatever stands there; without a good one nothing is divided by zero. */
static void check_bad_pixels(void)
{
  bench b;
  bench_open(&b, SYZ_F32, 1);
  uint8_t *good = syz_alloc("good", SYZ_TOWER_PIXELS, 1);
  float *other = syz_alloc("pieces", (size_t)(b.tokens * b.width), sizeof *other), deviation[2];
  const size_t bytes = (size_t)(b.tokens * b.width) * sizeof *other;
  memset(good, 1, SYZ_TOWER_PIXELS);
  syz_masked_pieces(&config, b.flux, good, other, &deviation[0]);
  CHECK(memcmp(other, b.pieces, bytes) == 0);
  for (int64_t p = 0; p < SYZ_TOWER_PIXELS; p += 7) good[p] = 0;
  syz_masked_pieces(&config, b.flux, good, b.pieces, &deviation[0]);
  for (int64_t p = 0; p < SYZ_TOWER_PIXELS; p += 7) b.flux[p] = -1e9f;
  syz_masked_pieces(&config, b.flux, good, other, &deviation[1]);
  CHECK(memcmp(other, b.pieces, bytes) == 0);
  CHECK_EQ(deviation[0], deviation[1]);
  CHECK_EQ(other[b.width + 2], 0);
  CHECK(other[b.width + 3] != 0);
  memset(good, 0, SYZ_TOWER_PIXELS);
  syz_masked_pieces(&config, b.flux, good, other, &deviation[0]);
  CHECK_NEAR(deviation[0], 0.2, 1e-7);
  CHECK_EQ(other[0], -1);
  syz_free(&good);
  syz_free(&other);
  bench_close(&b);
}

static void check_plan(void)
{
  bench b;
  bench_open(&b, SYZ_F32, 1);
  syz_masked *k = NULL;
  CHECK_EQ(syz_masked_bytes(b.m, 2, 3 * b.tokens, true), 0);
  CHECK_ERROR(syz_masked_create(b.m, 2, 3 * b.tokens, true, &k), SYZ_ERR_INPUT, "masked tokens");
  syz_masked_destroy(&b.k);
  const size_t planned = syz_masked_bytes(b.m, BATCH, b.n, true), before = syz_memory_get().live_bytes;
  CHECK_OK(syz_masked_create(b.m, BATCH, b.n, true, &k));
  const double taken = (double)(syz_memory_get().live_bytes - before);
  printf("planned %.0f kB, taken %.0f kB\n", (double)planned / 1e3, taken / 1e3);
  CHECK_LT(fabs((double)planned / taken - 1), 0.05);
  CHECK_LT((double)syz_masked_bytes(b.m, BATCH, b.n, false), 0.6 * (double)planned);
  syz_masked_destroy(&k);
  CHECK_EQ(syz_memory_get().live_bytes, before);
  bench_close(&b);
}

int main(void)
{
  check_gradients();
  check_company(SYZ_F32);
  check_company(SYZ_BF16);
  check_steps();
  check_bad_pixels();
  check_plan();
  return CHECK_RESULT();
}
