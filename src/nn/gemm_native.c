/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The engine on the own kernels, for products whose factors are not kept packed: B is packed in blocks of columns, A in
 * blocks of rows unless the kernels can read it in place.
 */
#include <stdio.h>

#include "kernel.h"

enum {
  BLOCK_COLUMNS = 4096, /* of B, and rows of A, packed at a time: bounds the plan's memory */
  BLOCK_ROWS = 1536,    /* a multiple of every kernel's rows */
};

typedef struct native_plan {
  const syz_compute *compute;
  syz_gemm_shape s;
  const syz_kernel *kernel;
  uint32_t *left, *right;
} native_plan;

static bool native_can(syz_dtype type_ab)
{
  const syz_kernel *list[SYZ_KERNELS_MOST];
  return syz_kernel_list(type_ab, list) > 0;
}

static void native_set_threads(int threads) { (void)threads; /* OpenMP's */ }

static void native_destroy(void **plan)
{
  native_plan *p = *plan;
  if (!p) return;
  syz_free(&p->left);
  syz_free(&p->right);
  syz_free(plan);
}

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static syz_status native_create(const syz_compute *c, const syz_gemm_shape *shape, void **plan)
{
  syz_status st = SYZ_OK;
  native_plan *p;
  SYZ_ALLOC(p, "gemm plan", 1);
  p->s = *shape;
  p->compute = c;
  p->kernel = c->kernel[shape->type_ab];
  const int64_t units = syz_units(p->kernel, shape->k);
  SYZ_ALLOC(p->left, "gemm packed A", syz_packed_left_words(p->kernel, smaller(shape->m, BLOCK_ROWS), units));
  SYZ_ALLOC(p->right, "gemm packed B", syz_packed_words(smaller(shape->n, BLOCK_COLUMNS), units));
  SYZ_TRY(syz_kernel_reserve(c, p->kernel, smaller(shape->m, BLOCK_ROWS), shape->k));
  *plan = p;
  p = NULL;
cleanup:
  if (p) {
    void *half_made = p;
    native_destroy(&half_made);
  }
  return st;
}

/** Whether the kernels can read A in place: whole, aligned units. */
static bool lies_in_units(const native_plan *p, const void *a)
{
  return !p->s.transpose_a && p->s.k % p->kernel->unit == 0 && p->s.lda % p->kernel->unit == 0 && (uintptr_t)a % 4 == 0;
}

static void run_one(const native_plan *p, int64_t rows, const char *a, const char *b, const float *bias, char *c)
{
  const syz_gemm_shape *s = &p->s;
  const syz_kernel *q = p->kernel;
  const int64_t size = (int64_t)syz_dtype_size(s->type_ab), size_c = (int64_t)syz_dtype_size(s->type_c);
  const bool is_plain = lies_in_units(p, a);
  syz_tile_end end = {.is_gelu = s->has_gelu, .ldy = s->ldc};
  if (s->accumulate)
    end.action = SYZ_TILE_ADD_ALL;
  else if (s->type_c == SYZ_F32)
    end.action = s->has_gelu ? SYZ_TILE_GELU_F32 : SYZ_TILE_F32;
  else
    end.action = s->has_gelu ? SYZ_TILE_GELU : SYZ_TILE_ACT;
  for (int64_t j = 0; j < s->n; j += BLOCK_COLUMNS) {
    const int64_t n = smaller(s->n - j, BLOCK_COLUMNS);
    if (s->transpose_b)
      syz_kernel_pack_rows(q, p->right, b + j * s->ldb * size, s->ldb, n, s->k);
    else
      syz_kernel_pack_columns(q, p->right, b + j * size, s->ldb, n, s->k);
    for (int64_t i = 0; i < rows; i += BLOCK_ROWS) {
      const int64_t m = smaller(rows - i, BLOCK_ROWS);
      syz_left left = {p->left, 0};
      if (is_plain)
        left = (syz_left){a + i * s->lda * size, s->lda};
      else if (s->transpose_a)
        q->pack_left_columns(p->left, a + i * size, s->lda, m, s->k);
      else
        syz_kernel_pack_left_rows(q, p->left, a + i * s->lda * size, s->lda, m, s->k);
      end.y = c + (i * s->ldc + j) * size_c;
      end.bias = bias ? bias + j : NULL;
      syz_kernel_product(p->compute, q, m, n, s->k, left, p->right, &end);
    }
  }
}

static void native_run(const void *plan, int64_t m, const void *a, const void *b, const float *bias, void *c)
{
  const native_plan *p = plan;
  const int64_t size = (int64_t)syz_dtype_size(p->s.type_ab), size_c = (int64_t)syz_dtype_size(p->s.type_c);
  for (int64_t z = 0; z < p->s.batch; z++)
    run_one(p, m, (const char *)a + z * p->s.stride_a * size, (const char *)b + z * p->s.stride_b * size,
            p->s.has_bias ? bias : NULL, (char *)c + z * p->s.stride_c * size_c);
}

static void native_describe(syz_dtype type_ab, char *text, size_t n)
{
  const syz_kernel *list[SYZ_KERNELS_MOST];
  snprintf(text, n, "own kernels %s", syz_kernel_list(type_ab, list) > 0 ? list[0]->name : "none");
}

const syz_engine_ops syz_engine_native = {.name = "native",
                                          .can = native_can,
                                          .set_threads = native_set_threads,
                                          .create = native_create,
                                          .destroy = native_destroy,
                                          .run = native_run,
                                          .describe = native_describe};
