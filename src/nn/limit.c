/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The limit of this machine: the fastest of all engines on the shapes of the two towers' largest products, with packed
 * weights, and the tile instructions alone, without loads.
 */
#include <math.h>
#include <time.h>

#include "kernel.h"
#ifdef __x86_64__
#include "tiles.h"
#endif

double syz_thread_seconds(void)
{
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/**
 * Words that are ordinary numbers in both types (0.5 to 1, either sign) and not all alike: a processor may run faster
 * on zeros.
 */
void syz_fill_ordinary(void *bytes, size_t n)
{
  uint32_t state = 1;
  for (size_t i = 0; i < n / sizeof(uint32_t); i++) {
    state = state * 1664525u + 1013904223u;
    ((uint32_t *)bytes)[i] = 0x3f003f00u | (state >> 8 & 0x807f807fu);
  }
}

/** m, n, k: the limit is measured on the shapes of the layers. */
static const int64_t limit_shape[][3] = {{1152, 1024, 1024}, {1152, 4096, 1024}, {1152, 1024, 4096}, {1152, 3072, 768}};
enum { SHAPES = sizeof limit_shape / sizeof limit_shape[0] };

typedef struct operands {
  void *a, *b, *y;
  float *weight;
} operands;

static void free_operands(operands *o)
{
  syz_free(&o->a);
  syz_free(&o->b);
  syz_free(&o->y);
  syz_free(&o->weight);
}

static bool make_operands(syz_dtype type, int64_t m, int64_t n, int64_t k, operands *o)
{
  const size_t size = syz_dtype_size(type);
  *o = (operands){syz_alloc("limit", (size_t)(m * k), size), syz_alloc("limit", (size_t)(n * k), size),
                  syz_alloc("limit", (size_t)(m * n), sizeof(float)),
                  syz_alloc("limit", (size_t)(n * k), sizeof(float))};
  if (!o->a || !o->b || !o->y || !o->weight) return false;
  syz_fill_ordinary(o->a, (size_t)(m * k) * size);
  syz_fill_ordinary(o->b, (size_t)(n * k) * size);
  syz_fill_ordinary(o->weight, (size_t)(n * k) * sizeof(float));
  return true;
}

/** FLOP/s of the best product within `seconds`: a library's product alone, an own kernel's as a layer. 0: it cannot be
 * made. */
static double best_rate(const syz_compute *c, bool is_own, const int64_t *shape, const operands *o, double seconds)
{
  const int64_t m = shape[0], n = shape[1], k = shape[2];
  const syz_gemm_shape product = {
      .m = m, .n = n, .k = k, .transpose_b = true, .batch = 1, .type_ab = c->act, .type_c = SYZ_F32, .keeps_b = true};
  syz_linear *layer = NULL;
  syz_gemm *bare = NULL;
  double best = 0;
  if ((is_own ? syz_linear_create(c, n, k, m, false, &layer) : syz_gemm_create(c, &product, &bare)) != SYZ_OK) return 0;
  if (is_own)
    syz_linear_pack(layer, o->weight, NULL, NULL);
  else
    syz_gemm_take(bare, o->b);
  const double start = syz_thread_seconds();
  for (double t = start; t < start + seconds;) {
    if (is_own)
      syz_linear_forward(layer, m, o->a, SYZ_EPILOGUE_NONE, o->y, NULL);
    else
      syz_gemm_run(bare, o->a, NULL, NULL, o->y);
    const double end = syz_thread_seconds();
    best = fmax(best, 2.0 * (double)m * (double)n * (double)k / (end - t));
    t = end;
  }
  syz_linear_destroy(&layer);
  syz_gemm_destroy(&bare);
  return best;
}

double syz_gemm_limit(const syz_compute *c, double seconds, const char **by)
{
  const syz_candidate *const list = syz_candidate_table;
  syz_scratch scratch[2] = {{NULL, 0}, {NULL, 0}};
  syz_compute own = *c;
  double best = 0;
  int there = 0;
  bool is_slow[SYZ_CANDIDATES] = {false}; /* less than half the best rate on one shape: not measured on the others */
  own.scratch = &scratch[0], own.products = &scratch[1];
  for (int i = 0; i < SYZ_CANDIDATES; i++) there += list[i].type == c->act && syz_candidate_can(&list[i]);
  if (by) *by = "";
  if (syz_compute_reserve_products(&own, (size_t)c->threads * SYZ_KERNEL_ROOM * sizeof(float)) != SYZ_OK) return 0;
  for (int s = 0; s < SHAPES; s++) {
    operands o;
    const bool is_made = make_operands(c->act, limit_shape[s][0], limit_shape[s][1], limit_shape[s][2], &o);
    for (int i = 0; i < SYZ_CANDIDATES && is_made; i++) {
      if (list[i].type != c->act || is_slow[i] || !syz_candidate_can(&list[i])) continue;
      own.engine[c->act] = list[i].engine;
      if (list[i].kernel) own.kernel[c->act] = list[i].kernel;
      const double rate =
          best_rate(&own, list[i].kernel != NULL, limit_shape[s], &o, seconds / (SHAPES * there)) / c->threads;
      if (rate > best && by) *by = syz_candidate_name(&list[i]);
      best = fmax(best, rate);
      is_slow[i] = rate < best / 2;
    }
    free_operands(&o);
  }
  syz_free(&scratch[0].bytes);
  syz_free(&scratch[1].bytes);
  return best;
}

/* ------------------------------------------------------------------- tiles */

#ifdef __x86_64__
enum { TURNS = 4096, TILE_BYTES = 64 };

/** Four sums of products of four tiles, over and over. */
__attribute__((target(TILE_TARGET))) static void multiply_tiles(const void *operand, float *sum)
{
  tile_begin();
  tile_zero(0);
  tile_zero(1);
  tile_zero(2);
  tile_zero(3);
  tile_load(4, operand, TILE_BYTES);
  tile_load(5, operand, TILE_BYTES);
  tile_load(6, operand, TILE_BYTES);
  tile_load(7, operand, TILE_BYTES);
  for (int i = 0; i < TURNS; i++) {
    tile_dot_bf16(0, 4, 6);
    tile_dot_bf16(1, 4, 7);
    tile_dot_bf16(2, 5, 6);
    tile_dot_bf16(3, 5, 7);
  }
  tile_store(0, sum, TILE_BYTES);
  tile_store(1, sum, TILE_BYTES);
  tile_store(2, sum, TILE_BYTES);
  tile_store(3, sum, TILE_BYTES);
  tile_end();
}

double syz_tile_limit(double seconds)
{
  const double flops = 4.0 * TURNS * 2 * 16 * 16 * 32;
  _Alignas(64) uint32_t operand[16 * 16];
  _Alignas(64) float sum[16 * 16];
  double best = 0;
  if (syz_processor_isa() < SYZ_ISA_AMX) return 0;
  syz_fill_ordinary(operand, sizeof operand);
  const double start = syz_thread_seconds();
  for (double t = start; t < start + seconds;) {
    multiply_tiles(operand, sum);
    const double end = syz_thread_seconds();
    best = fmax(best, flops / (end - t));
    t = end;
  }
  return best;
}
#else
double syz_tile_limit(double seconds)
{
  (void)seconds;
  return 0; /* no tiles here */
}
#endif
