/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The oneDNN engine (2.x C interface; 3.x removed these calls, so every dnnl call of the program stands in this file).
 *
 * One matmul primitive a plan, with all dimensions fixed: then oneDNN takes its brgemm kernels, whose rows have the same bits for
 * any number of rows; with a run-time m they differ (measured on 2.6.3). A batch stride of 0 becomes a broadcast dimension.
 */
#include <oneapi/dnnl/dnnl.h>
#include <math.h>
#include <stdio.h>

#include "engine.h"

typedef struct onednn_plan {
  dnnl_engine_t engine;
  dnnl_stream_t stream;
  dnnl_primitive_t primitive;
  dnnl_memory_t a, b, c, bias;
} onednn_plan;

#define DNNL_TRY(call)                                                                                          \
  do {                                                                                                          \
    dnnl_status_t dnnl_st_ = (call);                                                                            \
    SYZ_REQUIRE(dnnl_st_ == dnnl_success, dnnl_st_ == dnnl_out_of_memory ? SYZ_ERR_MEMORY : SYZ_ERR_INTERNAL,    \
                "oneDNN: %s gives status %d", #call, (int)dnnl_st_);                                            \
  } while (0)

/** Without AVX-512 it multiplies by gemm:jit, where a row's bits depend on the number of rows; bfloat16 is emulated, at a sixth of the
 * float32 speed, without AVX512_BF16. Neither is wanted. */
static bool onednn_can(syz_dtype type_ab) {
  const unsigned isa = (unsigned)dnnl_get_effective_cpu_isa();
  const unsigned need = type_ab == SYZ_F32 ? (unsigned)dnnl_cpu_isa_avx512_core : (unsigned)dnnl_cpu_isa_avx512_core_bf16;
  return (isa & need) == need && syz_processor_isa() >= (type_ab == SYZ_F32 ? SYZ_ISA_AVX512 : SYZ_ISA_AVX512_BF16);
}

static void onednn_set_threads(int threads) { (void)threads; /* libgomp's, set by omp_set_num_threads */ }

static dnnl_data_type_t onednn_type(syz_dtype t) { return t == SYZ_F32 ? dnnl_f32 : dnnl_bf16; }

static void onednn_destroy(void **plan) {
  onednn_plan *p = *plan;
  if (!p) return;
  if (p->a) dnnl_memory_destroy(p->a);
  if (p->b) dnnl_memory_destroy(p->b);
  if (p->c) dnnl_memory_destroy(p->c);
  if (p->bias) dnnl_memory_destroy(p->bias);
  if (p->primitive) dnnl_primitive_destroy(p->primitive);
  if (p->stream) dnnl_stream_destroy(p->stream);
  if (p->engine) dnnl_engine_destroy(p->engine);
  syz_free(plan);
}

static syz_status onednn_create(const syz_compute *compute, const syz_gemm_shape *s, void **plan) {
  (void)compute;
  syz_status st = SYZ_OK;
  onednn_plan *p = NULL;
  dnnl_primitive_attr_t attr = NULL;
  dnnl_post_ops_t post = NULL;
  dnnl_primitive_desc_t desc = NULL;
  dnnl_memory_desc_t a, b, c, bias;
  dnnl_matmul_desc_t matmul;
  SYZ_ALLOC(p, "gemm plan", 1);

  /* Two dimensions without a batch: the 3-D form of the same product is a little slower. */
  const int nd = s->batch > 1 ? 3 : 2, o = nd - 2;
  dnnl_dims_t da = {s->stride_a ? s->batch : 1, 0, 0}, sa = {s->stride_a ? s->stride_a : 1, 0, 0};
  dnnl_dims_t db = {s->stride_b ? s->batch : 1, 0, 0}, sb = {s->stride_b ? s->stride_b : 1, 0, 0};
  dnnl_dims_t dc = {s->batch, 0, 0}, sc = {s->stride_c, 0, 0}, dbias = {1, 1, 1}, sbias = {s->n, s->n, s->n};
  da[o] = s->m, da[o + 1] = s->k, sa[o] = s->transpose_a ? 1 : s->lda, sa[o + 1] = s->transpose_a ? s->lda : 1;
  db[o] = s->k, db[o + 1] = s->n, sb[o] = s->transpose_b ? 1 : s->ldb, sb[o + 1] = s->transpose_b ? s->ldb : 1;
  dc[o] = s->m, dc[o + 1] = s->n, sc[o] = s->ldc, sc[o + 1] = 1;
  dbias[o + 1] = s->n, sbias[o + 1] = 1;
  DNNL_TRY(dnnl_memory_desc_init_by_strides(&a, nd, da, onednn_type(s->type_ab), sa));
  DNNL_TRY(dnnl_memory_desc_init_by_strides(&b, nd, db, onednn_type(s->type_ab), sb));
  DNNL_TRY(dnnl_memory_desc_init_by_strides(&c, nd, dc, onednn_type(s->type_c), sc));
  DNNL_TRY(dnnl_memory_desc_init_by_strides(&bias, nd, dbias, dnnl_f32, sbias));

  DNNL_TRY(dnnl_primitive_attr_create(&attr));
  DNNL_TRY(dnnl_post_ops_create(&post));
  if (s->accumulate) DNNL_TRY(dnnl_post_ops_append_sum(post, 1.0f));
  if (s->has_gelu) DNNL_TRY(dnnl_post_ops_append_eltwise(post, 1.0f, dnnl_eltwise_gelu_erf, 0.0f, 0.0f));
  DNNL_TRY(dnnl_primitive_attr_set_post_ops(attr, post));
  DNNL_TRY(dnnl_engine_create(&p->engine, dnnl_cpu, 0));
  DNNL_TRY(dnnl_stream_create(&p->stream, p->engine, dnnl_stream_default_flags));
  DNNL_TRY(dnnl_matmul_desc_init(&matmul, &a, &b, s->has_bias ? &bias : NULL, &c));
  DNNL_TRY(dnnl_primitive_desc_create(&desc, &matmul, attr, p->engine, NULL));
  DNNL_TRY(dnnl_primitive_create(&p->primitive, desc));
  DNNL_TRY(dnnl_memory_create(&p->a, &a, p->engine, DNNL_MEMORY_NONE));
  DNNL_TRY(dnnl_memory_create(&p->b, &b, p->engine, DNNL_MEMORY_NONE));
  DNNL_TRY(dnnl_memory_create(&p->c, &c, p->engine, DNNL_MEMORY_NONE));
  if (s->has_bias) DNNL_TRY(dnnl_memory_create(&p->bias, &bias, p->engine, DNNL_MEMORY_NONE));
  *plan = p;
  p = NULL;
cleanup:
  if (desc) dnnl_primitive_desc_destroy(desc);
  if (post) dnnl_post_ops_destroy(post);
  if (attr) dnnl_primitive_attr_destroy(attr);
  if (p) {
    void *half_made = p;
    onednn_destroy(&half_made);
  }
  return st;
}

/** A call that has no business failing once the plan exists. */
static void must(dnnl_status_t status, const char *what) {
  if (status != dnnl_success) syz_abort(SYZ_ERR_INTERNAL, __FILE__, __LINE__, "oneDNN: %s gives status %d", what, (int)status);
}

static void onednn_run(const void *plan, const void *a, const void *b, const float *bias, void *c) {
  const onednn_plan *p = plan;
  /* oneDNN's handles are not const; it writes only the destination. */
  must(dnnl_memory_set_data_handle(p->a, (void *)(uintptr_t)a), "source");
  must(dnnl_memory_set_data_handle(p->b, (void *)(uintptr_t)b), "weights");
  must(dnnl_memory_set_data_handle(p->c, c), "destination");
  if (p->bias) must(dnnl_memory_set_data_handle(p->bias, (void *)(uintptr_t)bias), "bias");
  const dnnl_exec_arg_t args[4] = {
      {DNNL_ARG_SRC, p->a}, {DNNL_ARG_WEIGHTS, p->b}, {DNNL_ARG_DST, p->c}, {DNNL_ARG_BIAS, p->bias}};
  must(dnnl_primitive_execute(p->primitive, p->stream, p->bias ? 4 : 3, args), "execute");
  must(dnnl_stream_wait(p->stream), "wait");
}

static void onednn_describe(syz_dtype type_ab, char *text, size_t n) {
  const dnnl_version_t *v = dnnl_version();
  snprintf(text, n, "oneDNN %d.%d.%d brgemm %s", v->major, v->minor, v->patch,
           type_ab == SYZ_BF16 ? "avx512_core_bf16" : "avx512_core");
}

const syz_engine_ops syz_engine_onednn = {.name = "oneDNN",
                                          .can = onednn_can,
                                          .set_threads = onednn_set_threads,
                                          .create = onednn_create,
                                          .destroy = onednn_destroy,
                                          .run = onednn_run,
                                          .describe = onednn_describe};

double syz_onednn_packed_rate(syz_dtype type, int64_t m, int64_t n, int64_t k, double seconds) {
  if (!onednn_can(type)) return 0;
  double best = 0;
  dnnl_engine_t engine = NULL;
  dnnl_stream_t stream = NULL;
  dnnl_primitive_desc_t desc = NULL;
  dnnl_primitive_t primitive = NULL;
  dnnl_memory_t memory[3] = {NULL, NULL, NULL};
  dnnl_memory_desc_t a, b, c;
  dnnl_matmul_desc_t matmul;
  const dnnl_dims_t da = {m, k}, db = {k, n}, dc = {m, n};
  const bool is_made =
      dnnl_engine_create(&engine, dnnl_cpu, 0) == dnnl_success &&
      dnnl_stream_create(&stream, engine, dnnl_stream_default_flags) == dnnl_success &&
      dnnl_memory_desc_init_by_tag(&a, 2, da, onednn_type(type), dnnl_ab) == dnnl_success &&
      dnnl_memory_desc_init_by_tag(&b, 2, db, onednn_type(type), dnnl_format_tag_any) == dnnl_success &&
      dnnl_memory_desc_init_by_tag(&c, 2, dc, dnnl_f32, dnnl_ab) == dnnl_success &&
      dnnl_matmul_desc_init(&matmul, &a, &b, NULL, &c) == dnnl_success &&
      dnnl_primitive_desc_create(&desc, &matmul, NULL, engine, NULL) == dnnl_success &&
      dnnl_primitive_create(&primitive, desc) == dnnl_success &&
      dnnl_memory_create(&memory[0], &a, engine, DNNL_MEMORY_ALLOCATE) == dnnl_success &&
      dnnl_memory_create(&memory[1], dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0), engine, DNNL_MEMORY_ALLOCATE) ==
          dnnl_success &&
      dnnl_memory_create(&memory[2], &c, engine, DNNL_MEMORY_ALLOCATE) == dnnl_success;
  for (int i = 0; is_made && i < 2; i++) { /* the order of the packed weights does not matter here */
    const dnnl_memory_desc_t *md;
    void *bytes;
    if (dnnl_memory_get_memory_desc(memory[i], &md) == dnnl_success && dnnl_memory_get_data_handle(memory[i], &bytes) == dnnl_success)
      syz_fill_ordinary(bytes, dnnl_memory_desc_get_size(md));
  }
  const dnnl_exec_arg_t args[3] = {{DNNL_ARG_SRC, memory[0]}, {DNNL_ARG_WEIGHTS, memory[1]}, {DNNL_ARG_DST, memory[2]}};
  const double start = syz_thread_seconds();
  for (double t = start; is_made && t < start + seconds;) {
    if (dnnl_primitive_execute(primitive, stream, 3, args) != dnnl_success || dnnl_stream_wait(stream) != dnnl_success) break;
    const double end = syz_thread_seconds();
    best = fmax(best, 2.0 * (double)m * (double)n * (double)k / (end - t));
    t = end;
  }
  for (int i = 0; i < 3; i++)
    if (memory[i]) dnnl_memory_destroy(memory[i]);
  if (primitive) dnnl_primitive_destroy(primitive);
  if (desc) dnnl_primitive_desc_destroy(desc);
  if (stream) dnnl_stream_destroy(stream);
  if (engine) dnnl_engine_destroy(engine);
  return best;
}
