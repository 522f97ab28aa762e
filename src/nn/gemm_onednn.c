/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The oneDNN engine (2.x C interface; 3.x removed these calls, so every dnnl call of the program is in this file).
 *
 * oneDNN chooses kernels and the order of sums by all dimensions: with its tile kernels (AMX) the bits of a row of 1024
 * x 4096 change with almost every number of rows. So a plan has one primitive of a fixed number of rows, on dense
 * operands, and splits a product into such pieces. Operands of another layout (a last piece of fewer rows, wider rows,
 * A^T) are copied and padded with zeros, so a row's bits cannot depend on m. B is converted to oneDNN's own layout once
 * for all pieces, or once for all runs when the shape keeps it; with plain layouts the tile kernels reach half the
 * rate.
 */
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <string.h>

#include "engine.h"

/* Rows of a piece. With few, B is read from L3 for too little work; with many, a product of one row costs as much as
 * all of them. On an Intel Xeon with AMX 1152 x 4096 x 1024 runs at 656, 723, 792, 614 GFLOP/s with 64, 128, 192, 256,
 * and 290 x 1024 x 1024 at 800, 707, 694, 466. */
enum { PIECE = 128 };

typedef struct onednn_plan {
  syz_gemm_shape s;
  const syz_compute *compute;
  dnnl_engine_t engine;
  dnnl_stream_t stream;
  dnnl_primitive_t primitive, reorder;
  dnnl_memory_t a, b_plain, b, c, bias;
  size_t packed_bytes, a_bytes, c_bytes; /* B in oneDNN's form; A's and C's rows of a piece */
  unsigned char *packed; /* of a shape that keeps B; else all three are in the context's scratch of products */
} onednn_plan;

#define DNNL_TRY(call)                                                                                                 \
  do {                                                                                                                 \
    dnnl_status_t dnnl_st_ = (call);                                                                                   \
    SYZ_REQUIRE(dnnl_st_ == dnnl_success, dnnl_st_ == dnnl_out_of_memory ? SYZ_ERR_MEMORY : SYZ_ERR_INTERNAL,          \
                "oneDNN: %s gives status %d", #call, (int)dnnl_st_);                                                   \
  } while (0)

/** bfloat16 without AVX512_BF16 is emulated, at a sixth of the float32 speed; float32 without AVX-512 is slower than
 * BLIS. Neither is wanted. */
static bool onednn_can(syz_dtype type_ab)
{
  static bool is_limited; /* oneDNN accepts a limit only once, before any other call; set by the first compute context,
                             before there are threads */
  const unsigned tiles = (unsigned)dnnl_cpu_isa_avx512_core_amx;
  if (!is_limited && syz_processor_isa() < SYZ_ISA_AMX) dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx512_core_bf16);
  is_limited = true;
  if (((unsigned)dnnl_get_effective_cpu_isa() & tiles) == tiles && syz_processor_isa() < SYZ_ISA_AMX) return false;
  const unsigned isa = (unsigned)dnnl_get_effective_cpu_isa();
  const unsigned need =
      type_ab == SYZ_F32 ? (unsigned)dnnl_cpu_isa_avx512_core : (unsigned)dnnl_cpu_isa_avx512_core_bf16;
  return (isa & need) == need && syz_processor_isa() >= (type_ab == SYZ_F32 ? SYZ_ISA_AVX512 : SYZ_ISA_AVX512_BF16);
}

static void onednn_set_threads(int threads) { (void)threads; /* libgomp's, set by omp_set_num_threads */ }

static dnnl_data_type_t onednn_type(syz_dtype t) { return t == SYZ_F32 ? dnnl_f32 : dnnl_bf16; }

static void onednn_destroy(void **plan)
{
  onednn_plan *p = *plan;
  if (!p) return;
  dnnl_memory_t memory[] = {p->a, p->b_plain, p->b, p->c, p->bias};
  for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
    if (memory[i]) dnnl_memory_destroy(memory[i]);
  if (p->primitive) dnnl_primitive_destroy(p->primitive);
  if (p->reorder) dnnl_primitive_destroy(p->reorder);
  if (p->stream) dnnl_stream_destroy(p->stream);
  if (p->engine) dnnl_engine_destroy(p->engine);
  syz_free(&p->packed);
  syz_free(plan);
}

/** The product of one piece, with B as oneDNN likes it best. */
static syz_status create_product(onednn_plan *p)
{
  syz_status st = SYZ_OK;
  const syz_gemm_shape *s = &p->s;
  dnnl_primitive_attr_t attr = NULL;
  dnnl_post_ops_t post = NULL;
  dnnl_primitive_desc_t desc = NULL;
  dnnl_memory_desc_t a, b, c, bias;
  dnnl_matmul_desc_t matmul;
  const dnnl_dims_t da = {PIECE, s->k}, db = {s->k, s->n}, dc = {PIECE, s->n}, dbias = {1, s->n};
  DNNL_TRY(dnnl_memory_desc_init_by_tag(&a, 2, da, onednn_type(s->type_ab), s->transpose_a ? dnnl_ba : dnnl_ab));
  DNNL_TRY(dnnl_memory_desc_init_by_tag(&b, 2, db, onednn_type(s->type_ab), dnnl_format_tag_any));
  DNNL_TRY(dnnl_memory_desc_init_by_tag(&c, 2, dc, onednn_type(s->type_c), dnnl_ab));
  DNNL_TRY(dnnl_memory_desc_init_by_tag(&bias, 2, dbias, dnnl_f32, dnnl_ab));
  DNNL_TRY(dnnl_primitive_attr_create(&attr));
  DNNL_TRY(dnnl_post_ops_create(&post));
  if (s->accumulate) DNNL_TRY(dnnl_post_ops_append_sum(post, 1.0f));
  if (s->has_gelu) DNNL_TRY(dnnl_post_ops_append_eltwise(post, 1.0f, dnnl_eltwise_gelu_erf, 0.0f, 0.0f));
  DNNL_TRY(dnnl_primitive_attr_set_post_ops(attr, post));
  DNNL_TRY(dnnl_matmul_desc_init(&matmul, &a, &b, s->has_bias ? &bias : NULL, &c));
  DNNL_TRY(dnnl_primitive_desc_create(&desc, &matmul, attr, p->engine, NULL));
  DNNL_TRY(dnnl_primitive_create(&p->primitive, desc));
  DNNL_TRY(dnnl_memory_create(&p->a, &a, p->engine, DNNL_MEMORY_NONE));
  DNNL_TRY(dnnl_memory_create(&p->b, dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0), p->engine,
                              DNNL_MEMORY_NONE));
  DNNL_TRY(dnnl_memory_create(&p->c, &c, p->engine, DNNL_MEMORY_NONE));
  if (s->has_bias) DNNL_TRY(dnnl_memory_create(&p->bias, &bias, p->engine, DNNL_MEMORY_NONE));
cleanup:
  if (desc) dnnl_primitive_desc_destroy(desc);
  if (post) dnnl_post_ops_destroy(post);
  if (attr) dnnl_primitive_attr_destroy(attr);
  return st;
}

static size_t whole_lines(size_t bytes) { return (bytes + 63) / 64 * 64; }

/** Converts B to oneDNN's layout. */
static syz_status create_reorder(onednn_plan *p)
{
  syz_status st = SYZ_OK;
  const syz_gemm_shape *s = &p->s;
  dnnl_primitive_desc_t desc = NULL;
  dnnl_memory_desc_t plain;
  const dnnl_memory_desc_t *packed;
  const dnnl_dims_t dims = {s->k, s->n}, strides = {s->transpose_b ? 1 : s->ldb, s->transpose_b ? s->ldb : 1};
  DNNL_TRY(dnnl_memory_get_memory_desc(p->b, &packed));
  p->packed_bytes = whole_lines(dnnl_memory_desc_get_size(packed));
  if (s->keeps_b) SYZ_ALLOC(p->packed, "gemm packed B", p->packed_bytes);
  DNNL_TRY(dnnl_memory_desc_init_by_strides(&plain, 2, dims, onednn_type(s->type_ab), strides));
  DNNL_TRY(dnnl_reorder_primitive_desc_create(&desc, &plain, p->engine, packed, p->engine, NULL));
  DNNL_TRY(dnnl_primitive_create(&p->reorder, desc));
  DNNL_TRY(dnnl_memory_create(&p->b_plain, &plain, p->engine, DNNL_MEMORY_NONE));
cleanup:
  if (desc) dnnl_primitive_desc_destroy(desc);
  return st;
}

static syz_status onednn_create(const syz_compute *compute, const syz_gemm_shape *s, void **plan)
{
  syz_status st = SYZ_OK;
  onednn_plan *p = NULL;
  SYZ_ALLOC(p, "gemm plan", 1);
  p->s = *s;
  p->compute = compute;
  DNNL_TRY(dnnl_engine_create(&p->engine, dnnl_cpu, 0));
  DNNL_TRY(dnnl_stream_create(&p->stream, p->engine, dnnl_stream_default_flags));
  SYZ_TRY(create_product(p));
  SYZ_TRY(create_reorder(p));
  p->a_bytes = whole_lines((size_t)(PIECE * s->k) * syz_dtype_size(s->type_ab));
  p->c_bytes = whole_lines((size_t)(PIECE * s->n) * syz_dtype_size(s->type_c));
  SYZ_TRY(syz_compute_reserve_products(compute, p->a_bytes + p->c_bytes + (p->packed ? 0 : p->packed_bytes)));
  *plan = p;
  p = NULL;
cleanup:
  if (p) {
    void *half_made = p;
    onednn_destroy(&half_made);
  }
  return st;
}

/** For calls that cannot fail once the plan exists. */
static void must(dnnl_status_t status, const char *what)
{
  if (status != dnnl_success)
    syz_abort(SYZ_ERR_INTERNAL, __FILE__, __LINE__, "oneDNN: %s gives status %d", what, (int)status);
}

static unsigned char *a_piece(const onednn_plan *p) { return p->compute->products->bytes; }
static unsigned char *c_piece(const onednn_plan *p) { return a_piece(p) + p->a_bytes; }
static unsigned char *packed_b(const onednn_plan *p) { return p->packed ? p->packed : c_piece(p) + p->c_bytes; }

static void onednn_take(void *plan, const void *b)
{
  const onednn_plan *p = plan;
  const dnnl_exec_arg_t args[2] = {{DNNL_ARG_FROM, p->b_plain}, {DNNL_ARG_TO, p->b}};
  /* oneDNN's handles are not const; it writes only the destination. */
  must(dnnl_memory_set_data_handle(p->b_plain, (void *)(uintptr_t)b), "weights");
  must(dnnl_memory_set_data_handle(p->b, packed_b(p)), "packed weights");
  must(dnnl_primitive_execute(p->reorder, p->stream, 2, args), "reorder");
  must(dnnl_stream_wait(p->stream), "wait");
}

/** Rows of `width` bytes to rows `to_stride` bytes apart, padded with zeros to `to_width`. */
static void copy_rows(unsigned char *to, int64_t to_stride, int64_t to_width, const unsigned char *from,
                      int64_t from_stride, int64_t width, int64_t rows)
{
#pragma omp parallel for schedule(static)
  for (int64_t r = 0; r < rows; r++) {
    memcpy(to + r * to_stride, from + r * from_stride, (size_t)width);
    memset(to + r * to_stride + width, 0, (size_t)(to_width - width));
  }
}

/** Rows [row, row + rows) of A as the primitive reads them: in place or copied. */
static const void *piece_of_a(const onednn_plan *p, const unsigned char *a, int64_t row, int64_t rows)
{
  const syz_gemm_shape *s = &p->s;
  const int64_t size = (int64_t)syz_dtype_size(s->type_ab), k = s->k * size, lda = s->lda * size;
  unsigned char *to = a_piece(p);
  if (s->transpose_a) {
    copy_rows(to, PIECE * size, PIECE * size, a + row * size, lda, rows * size, s->k);
    return to;
  }
  if (rows == PIECE && lda == k) return a + row * lda;
  copy_rows(to, k, k, a + row * lda, lda, k, rows);
  memset(to + rows * k, 0, (size_t)((PIECE - rows) * k));
  return to;
}

/** One product of the batch. */
static void run_one(const onednn_plan *p, int64_t m, const unsigned char *a, unsigned char *c)
{
  const syz_gemm_shape *s = &p->s;
  const int64_t size = (int64_t)syz_dtype_size(s->type_c), n = s->n * size, ldc = s->ldc * size;
  const dnnl_exec_arg_t args[4] = {
      {DNNL_ARG_SRC, p->a}, {DNNL_ARG_WEIGHTS, p->b}, {DNNL_ARG_DST, p->c}, {DNNL_ARG_BIAS, p->bias}};
  for (int64_t row = 0; row < m; row += PIECE) {
    const int64_t rows = m - row < PIECE ? m - row : PIECE;
    const bool is_copied = rows < PIECE || s->ldc != s->n;
    unsigned char *to = is_copied ? c_piece(p) : c + row * ldc;
    must(dnnl_memory_set_data_handle(p->a, (void *)(uintptr_t)piece_of_a(p, a, row, rows)), "source");
    must(dnnl_memory_set_data_handle(p->c, to), "destination");
    if (is_copied && s->accumulate) copy_rows(to, n, n, c + row * ldc, ldc, n, rows);
    must(dnnl_primitive_execute(p->primitive, p->stream, s->has_bias ? 4 : 3, args), "execute");
    must(dnnl_stream_wait(p->stream), "wait");
    if (is_copied) copy_rows(c + row * ldc, ldc, n, to, n, n, rows);
  }
}

static void onednn_run(const void *plan, int64_t m, const void *a, const void *b, const float *bias, void *c)
{
  const onednn_plan *p = plan;
  const syz_gemm_shape *s = &p->s;
  const int64_t size = (int64_t)syz_dtype_size(s->type_ab), size_c = (int64_t)syz_dtype_size(s->type_c);
  if (s->has_bias) must(dnnl_memory_set_data_handle(p->bias, (void *)(uintptr_t)bias), "bias");
  for (int64_t z = 0; z < s->batch; z++) {
    if (!s->keeps_b && (z == 0 || s->stride_b))
      onednn_take((void *)(uintptr_t)plan, (const unsigned char *)b + z * s->stride_b * size);
    run_one(p, m, (const unsigned char *)a + z * s->stride_a * size, (unsigned char *)c + z * s->stride_c * size_c);
  }
}

static void onednn_describe(syz_dtype type_ab, char *text, size_t n)
{
  const dnnl_version_t *v = dnnl_version();
  const unsigned isa = (unsigned)dnnl_get_effective_cpu_isa(), tiles = (unsigned)dnnl_cpu_isa_avx512_core_amx;
  snprintf(text, n, "oneDNN %d.%d.%d %s", v->major, v->minor, v->patch,
           type_ab == SYZ_F32       ? "avx512_core"
           : (isa & tiles) == tiles ? "avx512_core_amx"
                                    : "avx512_core_bf16");
}

const syz_engine_ops syz_engine_onednn = {.name = "oneDNN",
                                          .can = onednn_can,
                                          .set_threads = onednn_set_threads,
                                          .create = onednn_create,
                                          .destroy = onednn_destroy,
                                          .take = onednn_take,
                                          .run = onednn_run,
                                          .describe = onednn_describe};
