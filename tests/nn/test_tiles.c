/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The kernels on tiles, emulated in plain C and, where the processor has them, in hardware: sums against float64, what
 * becomes of them against the formulas, odd sizes, A packed or as it lies, a row alone, and the same bits from both.
 * Skipped aloud without AVX512_BF16, whose packing they share.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "kernel.h"
#include "kernel_int8.h"
#include "syzygy/numbers.h"

extern const syz_kernel emulated_kernel_bf16, emulated_kernel_int8;

static syz_compute *compute;

static float *draw(int64_t n, uint64_t sample)
{
  float *x = syz_alloc("draw", (size_t)n, sizeof *x);
  const syz_random r = syz_random_make(17, SYZ_RANDOM_TEST, 5, sample);
  syz_random_fill_normal(&r, x, (size_t)n);
  return x;
}

/** Numbers as bfloat16 holds them: rounded in x itself, and the array, which begins on a cache line. */
static syz_bf16 *rounded(float *x, int64_t n)
{
  syz_bf16 *y = syz_alloc("rounded", (size_t)n, sizeof *y);
  syz_convert_to_act(SYZ_BF16, y, x, n);
  syz_convert_to_f32(SYZ_BF16, x, y, n);
  return y;
}

/** A product of the case at hand. */
typedef struct problem {
  int64_t m, n, k;
  float *a, *w, *bias, *scale, *y, *u; /* [m, k], [n, k], [n], [n], [m, n], [m, n] */
  syz_bf16 *a16, *u16;
  uint32_t *b; /* w packed */
  double *sum; /* [m, n] */
} problem;

static problem make(int64_t m, int64_t n, int64_t k)
{
  problem p = {.m = m,
               .n = n,
               .k = k,
               .a = draw(m * k, 1),
               .w = draw(n * k, 2),
               .bias = draw(n, 3),
               .scale = draw(n, 4),
               .y = draw(m * n, 5),
               .u = draw(m * n, 6)};
  const int64_t units = syz_units(&emulated_kernel_bf16, k);
  syz_bf16 *w16 = rounded(p.w, n * k);
  p.a16 = rounded(p.a, m * k);
  p.u16 = rounded(p.u, m * n);
  p.b = syz_alloc("packed", (size_t)syz_packed_words(n, units), sizeof *p.b);
  for (int64_t j = 0; j < n; j += SYZ_TILE_COLUMNS)
    syz_packing_tiles.weight_rows(p.b + j * units, p.w + j * k, k,
                                  n - j < SYZ_TILE_COLUMNS ? (int)(n - j) : SYZ_TILE_COLUMNS, k, false);
  uint32_t *past_caches = syz_alloc("packed", (size_t)syz_packed_words(n, units), sizeof *past_caches);
  for (int64_t j = 0; j < n; j += SYZ_TILE_COLUMNS)
    syz_packing_tiles.weight_rows(past_caches + j * units, p.w + j * k, k,
                                  n - j < SYZ_TILE_COLUMNS ? (int)(n - j) : SYZ_TILE_COLUMNS, k, true);
  CHECK(!memcmp(p.b, past_caches, (size_t)syz_packed_words(n, units) * sizeof *p.b));
  syz_free(&past_caches);
  p.sum = syz_alloc("sums", (size_t)(m * n), sizeof *p.sum);
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++)
      for (int64_t l = 0; l < k; l++) p.sum[i * n + j] += (double)p.a[i * k + l] * (double)p.w[j * k + l];
  syz_free(&w16);
  return p;
}

static void destroy(problem *p)
{
  syz_free(&p->a), syz_free(&p->w), syz_free(&p->bias), syz_free(&p->scale), syz_free(&p->y), syz_free(&p->u);
  syz_free(&p->a16), syz_free(&p->u16), syz_free(&p->b), syz_free(&p->sum);
}

static double gelu(double u) { return 0.5 * u * (1 + erf(u * 0.70710678118654752440)); }
static double slope(double u)
{
  return 0.5 * (1 + erf(u * 0.70710678118654752440)) + u * exp(-0.5 * u * u) * 0.39894228040143267794;
}

/** What the action makes of a sum, in float64; y: what was there. */
static double expected(syz_tile_action action, double sum, double bias, double scale, double y, double u)
{
  switch (action) {
  case SYZ_TILE_F32:
  case SYZ_TILE_ACT:
    return sum + bias;
  case SYZ_TILE_RESIDUAL:
    return y + scale * (sum + bias);
  case SYZ_TILE_GELU:
  case SYZ_TILE_GELU_F32:
    return gelu(sum + bias);
  case SYZ_TILE_SLOPE:
    return sum * slope(u);
  case SYZ_TILE_ADD:
    return y + sum;
  case SYZ_TILE_ADD_ALL:
    return y + sum + bias;
  }
  return NAN;
}

static bool gives_bf16(syz_tile_action action)
{
  return action == SYZ_TILE_ACT || action == SYZ_TILE_GELU || action == SYZ_TILE_SLOPE;
}

/** The result [m, n], behind it 64 untouched bytes that are checked; the caller's. */
static void *run(const problem *p, const syz_kernel *q, syz_tile_action action, syz_left a, int64_t m, int64_t *bytes)
{
  const int64_t size = gives_bf16(action) ? 2 : 4;
  *bytes = m * p->n * size;
  unsigned char *y = syz_alloc("y", (size_t)*bytes + 64, 1), *u = syz_alloc("u", (size_t)(p->m * p->n), 2);
  memset(y, 0x5a, (size_t)*bytes + 64);
  if (!gives_bf16(action)) memcpy(y, p->y, (size_t)*bytes);
  memcpy(u, p->u16, (size_t)(p->m * p->n) * 2);
  const bool writes_u = action == SYZ_TILE_RESIDUAL || action == SYZ_TILE_GELU;
  const syz_tile_end end = {
      .action = action, .bias = p->bias, .scale = p->scale, .y = y, .ldy = p->n, .u = u, .ldu = p->n};
  syz_kernel_product(compute, q, m, p->n, p->k, a, p->b, &end);
  for (int i = 0; i < 64; i++) CHECK(y[*bytes + i] == 0x5a);
  if (writes_u && q == &emulated_kernel_bf16) /* the sums with bias, rounded */
    for (int64_t i = 0; i < m * p->n; i++) {
      const double v = p->sum[i] + (double)p->bias[i % p->n];
      CHECK_NEAR((double)syz_bf16_to_f32(((syz_bf16 *)(void *)u)[i]), v, 0.004 * fabs(v) + 1e-4);
    }
  syz_free(&u);
  return y;
}

/** 1.1e-4 of the largest terms' size and half a step of bfloat16: a fault of 1 % in one sum shows. */
static void check_values(const problem *p, syz_tile_action action, const void *y)
{
  const double size = sqrt((double)p->k);
  double worst = 0;
  for (int64_t i = 0; i < p->m * p->n; i++) {
    const int64_t j = i % p->n;
    const double e =
        expected(action, p->sum[i], (double)p->bias[j], (double)p->scale[j], (double)p->y[i], (double)p->u[i]);
    const double v =
        gives_bf16(action) ? (double)syz_bf16_to_f32(((const syz_bf16 *)y)[i]) : (double)((const float *)y)[i];
    worst = fmax(worst, fabs(v - e) / (1e-6 * size + 2e-6 + (gives_bf16(action) ? 0.00196 * fabs(e) : 4e-6 * fabs(e))));
  }
  CHECK_LT(worst, 2);
}

static void test_product(int64_t m, int64_t n, int64_t k, const syz_kernel *hardware)
{
  problem p = make(m, n, k);
  const int64_t units = syz_units(&emulated_kernel_bf16, k);
  uint32_t *left = syz_alloc("left", (size_t)syz_packed_left_words(&emulated_kernel_bf16, m, units), sizeof *left),
           *across = syz_alloc("left", (size_t)syz_packed_left_words(&emulated_kernel_bf16, m, units), sizeof *across);
  syz_bf16 *transposed = syz_alloc("transposed", (size_t)(m * k), sizeof *transposed);
  for (int64_t i = 0; i < m; i++)
    for (int64_t l = 0; l < k; l++) transposed[l * m + i] = p.a16[i * k + l];
  syz_kernel_pack_left_rows(&emulated_kernel_bf16, left, p.a16, k, m, k);
  emulated_kernel_bf16.pack_left_columns(across, transposed, m, m, k);
  CHECK(!memcmp(left, across, (size_t)syz_packed_left_words(&emulated_kernel_bf16, m, units) * sizeof *left));
  for (syz_tile_action action = SYZ_TILE_F32; action <= SYZ_TILE_ADD_ALL; action++) {
    int64_t bytes, one_bytes;
    void *y = run(&p, &emulated_kernel_bf16, action, (syz_left){p.a16, k}, m, &bytes);
    void *packed = run(&p, &emulated_kernel_bf16, action, (syz_left){left, 0}, m, &bytes);
    void *one = run(&p, &emulated_kernel_bf16, action, (syz_left){p.a16, k}, 1, &one_bytes);
    check_values(&p, action, y);
    CHECK(!memcmp(y, packed, (size_t)bytes));
    CHECK(!memcmp(y, one, (size_t)one_bytes));
    if (hardware) {
      void *real = run(&p, hardware, action, (syz_left){p.a16, k}, m, &bytes);
      CHECK(!memcmp(y, real, (size_t)bytes));
      syz_free(&real);
    }
    syz_free(&y), syz_free(&packed), syz_free(&one);
  }
  syz_free(&left), syz_free(&across), syz_free(&transposed);
  destroy(&p);
}

/** Sums of integers are exact: with scales of 1 and zeros of 0 they come out as they are. */
static void test_integers(int64_t m, int64_t n, int64_t k, const syz_kernel *hardware)
{
  const syz_kernel *const kernel[] = {&emulated_kernel_int8, hardware};
  const int64_t units = syz_units(kernel[0], k), ld = units * 4 + 64,
                columns = syz_ceil_div(n, SYZ_TILE_COLUMNS) * SYZ_TILE_COLUMNS;
  float *w = draw(n * k, 8), *scale = syz_alloc("scale", (size_t)columns, sizeof *scale),
        *y = syz_alloc("y", (size_t)(m * n), sizeof *y);
  float *ones = syz_alloc("ones", (size_t)m, sizeof *ones);
  int32_t *sum = syz_alloc("sum", (size_t)columns, sizeof *sum), *zero = syz_alloc("zero", (size_t)m, sizeof *zero);
  uint32_t *b = syz_alloc("packed", (size_t)syz_packed_words(n, units), sizeof *b);
  uint8_t *a = syz_alloc("rows", (size_t)(syz_ceil_div(m, 32) * 32 * ld), 1);
  for (int64_t i = 0; i < m; i++)
    for (int64_t l = 0; l < k; l++) a[i * ld + l] = (uint8_t)((i * 7919 + l * 104729) % 256);
  for (int64_t j = 0; j < n; j += SYZ_TILE_COLUMNS)
    syz_int8_pack_weight(b + j * units, scale + j, sum + j, w + j * k, k,
                         n - j < SYZ_TILE_COLUMNS ? (int)(n - j) : SYZ_TILE_COLUMNS, k, NULL, true);
  for (int64_t i = 0; i < m; i++) ones[i] = 1;
  for (int64_t j = 0; j < columns; j++) scale[j] = 1;
  const syz_int8_scales scales = {ones, zero, scale, sum};
  const syz_tile_end end = {.action = SYZ_TILE_F32, .y = y, .ldy = n, .int8 = &scales};
  for (int i = 0; i < 2 && kernel[i]; i++) {
    memset(y, 0, (size_t)(m * n) * sizeof *y);
    syz_kernel_product(compute, kernel[i], m, n, k, (syz_left){a, ld}, b, &end);
    for (int64_t r = 0; r < m; r++)
      for (int64_t j = 0; j < n; j++) {
        long true_sum = 0;
        for (int64_t l = 0; l < k; l++) {
          const uint32_t word =
              b[j / SYZ_TILE_COLUMNS * SYZ_TILE_COLUMNS * units + syz_panel_at(true, l / 4, j % SYZ_TILE_COLUMNS)];
          true_sum += (long)a[r * ld + l] * (int8_t)(word >> 8 * (l % 4) & 0xff);
        }
        CHECK_EQ(y[r * n + j], (float)true_sum);
      }
  }
  syz_free(&w), syz_free(&scale), syz_free(&y), syz_free(&ones), syz_free(&sum), syz_free(&zero), syz_free(&b),
      syz_free(&a);
}

/* ------------------------------------------- tiles in threads, processes and signals */

static volatile sig_atomic_t alarms;

/** A handler that uses vector registers and some stack. */
static void on_alarm(int signal)
{
  volatile char stack[4096];
  (void)signal;
  for (size_t i = 0; i < sizeof stack; i++) stack[i] = (char)i;
  alarms++;
}

typedef struct repeat {
  const problem *p;
  const syz_kernel *q;
  const void *expected;
  int turns;
  bool is_same;
} repeat;

static void *repeat_product(void *argument)
{
  repeat *r = argument;
  r->is_same = true;
  for (int i = 0; i < r->turns; i++) {
    int64_t bytes;
    void *y = run(r->p, r->q, SYZ_TILE_F32, (syz_left){r->p->a16, r->p->k}, r->p->m, &bytes);
    r->is_same = r->is_same && !memcmp(y, r->expected, (size_t)bytes);
    syz_free(&y);
  }
  return NULL;
}

/** While signals arrive; in a thread that OpenMP did not make; in a forked child: the same bits. */
static void test_tile_state(const syz_kernel *q)
{
  problem p = make(64, 64, 320);
  int64_t bytes;
  void *y = run(&p, q, SYZ_TILE_F32, (syz_left){p.a16, p.k}, p.m, &bytes);
  repeat r = {&p, q, y, 2000, false}, once = {&p, q, y, 1, false};
  const struct itimerval often = {{0, 500}, {0, 500}}, never = {{0, 0}, {0, 0}};
  struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART}, before;
  CHECK(sigaction(SIGALRM, &action, &before) == 0 && setitimer(ITIMER_REAL, &often, NULL) == 0);
  repeat_product(&r);
  CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0 && sigaction(SIGALRM, &before, NULL) == 0);
  CHECK(r.is_same && alarms > 0);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, repeat_product, &once) == 0 && pthread_join(thread, NULL) == 0 && once.is_same);
  const pid_t child = fork();
  if (child == 0) { /* without OpenMP's threads, which a child does not have */
    int64_t n;
    float *sum = syz_alloc("sums", (size_t)(p.m * p.n), sizeof *sum),
          *room = syz_alloc("room", SYZ_KERNEL_ROOM, sizeof *room);
    const syz_tile_end end = {.action = SYZ_TILE_F32, .bias = p.bias, .y = sum, .ldy = p.n};
    q->block(p.m, p.n, syz_units(q, p.k), (const uint32_t *)(const void *)p.a16, p.k / 2, p.b, &end, 0, 0, room);
    n = memcmp(sum, y, (size_t)bytes);
    _exit(n ? 1 : 0);
  }
  int status = -1;
  CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
  syz_free(&y);
  destroy(&p);
}

int main(void)
{
  enum { SKIPPED = 77, MOST_ROWS = 200, LONGEST = 2880 };
  if (syz_processor_isa() < SYZ_ISA_AVX512_BF16) {
    fprintf(stderr, "SKIPPED: the kernels on tiles share packing and what becomes of sums with AVX512_BF16, which this "
                    "processor lacks\n");
    return SKIPPED;
  }
  const bool has_tiles = syz_processor_isa() >= SYZ_ISA_AMX;
  const syz_kernel *bf16 = has_tiles ? &syz_kernel_amx_bf16 : NULL, *int8 = has_tiles ? &syz_kernel_amx_int8 : NULL;
  if (!has_tiles) fprintf(stderr, "no tiles (AMX) on this processor: emulation alone\n");
  CHECK_OK(syz_compute_create(SYZ_BF16, SYZ_ENGINE_NATIVE, 2, &compute));
  CHECK_OK(syz_kernel_reserve(compute, &emulated_kernel_bf16, MOST_ROWS, LONGEST));
  static const int64_t size[][3] = {{1, 1, 1},
                                    {2, 16, 2},
                                    {16, 33, 31},
                                    {17, 64, 32},
                                    {31, 63, 33},
                                    {32, 32, 64},
                                    {33, 1, 96},
                                    {49, 130, 7},
                                    {65, 80, 512},
                                    {34, 70, 1024},
                                    {40, 96, 1500},
                                    {MOST_ROWS, 40, 544},
                                    /* one step beyond a piece that stays in L2, in bfloat16 and in integers; rows as
                                     * they lie in two pieces; more columns than there is room for sums */
                                    {33, 70, 1440},
                                    {5, 34, LONGEST},
                                    {34, 40, 1504},
                                    {8, 6144, 32}};
  for (size_t i = 0; i < sizeof size / sizeof *size; i++) {
    test_product(size[i][0], size[i][1], size[i][2], bf16);
    test_integers(size[i][0], size[i][1], size[i][2], int8);
  }
  if (has_tiles) test_tile_state(bf16);
  syz_compute_destroy(&compute);
  CHECK_EQ(syz_memory_get().live_blocks, 0);
  return CHECK_RESULT();
}
