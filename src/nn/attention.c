/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Multi-head self-attention: picks a kernel for this processor, hands (sample, head) pairs to threads, and widens
 * bfloat16 for float32 kernels where there is no bfloat16 unit. The method is in attention_core.h.
 *
 * Each head is computed alone, so results do not depend on batch size, position in the batch or threads.
 */
#include "attention.h"
#include "kernel.h"

#include <omp.h>

struct syz_attention {
  const attention_kernel *kernel;
  syz_dtype act;
  int threads;
  int64_t max_batch, tokens, heads, dim;
  int64_t in, row; /**< elements between tokens of qkv and dqkv; of out and dout */
  bool trains;
  size_t kernel_bytes, thread_bytes; /**< of scratch: the kernel's part, and the whole of one thread */
  unsigned char *scratch;
};

/* Fastest first. */
const attention_kernel *const syz_attention_table[] = {
#ifdef __x86_64__
    &syz_attention_amx,
    &syz_attention_avx512_bf16,
    &syz_attention_avx512,
    &syz_attention_avx2,
#else
    &syz_attention_neon_bf16,
    &syz_attention_neon,
#endif
};
const int syz_attention_kernels = (int)(sizeof syz_attention_table / sizeof *syz_attention_table);

const attention_kernel *syz_attention_kernel(syz_dtype act)
{
  for (int i = 0; i < syz_attention_kernels; i++) {
    const attention_kernel *kernel = syz_attention_table[i];
    if ((kernel->type == act || kernel->type == SYZ_F32) && kernel->is_supported()) return kernel;
  }
  return NULL; /* not reached: the last kernel of the table runs everywhere */
}

/** The attention kernel with the same instructions as the context's product kernels: measurements choose the latter,
 * and the same instructions are fastest for both. */
static const attention_kernel *kernel_beside(const syz_compute *c)
{
#ifdef __x86_64__
  const syz_kernel *products = c->kernel[c->act];
  if (products == &syz_kernel_bf16_wide || products == &syz_kernel_f32) return &syz_attention_avx512;
  if (products == &syz_kernel_bf16) return &syz_attention_avx512_bf16;
#endif
  return syz_attention_kernel(c->act);
}

/* Heads widened to float32, after the kernel's scratch: q, k, v, out, and for the backward pass dout, dq, dk, dv. */
enum { WIDE_FORWARD = 4, WIDE_BACKWARD = 8 };

/** Scratch of the whole object in bytes; false when absurd sizes would overflow a size_t. */
static bool plan_scratch(syz_attention *a)
{
  const int64_t limit = (int64_t)1 << 24;
  if (a->tokens > limit || a->dim > limit || a->heads > limit || a->tokens * a->dim > (int64_t)1 << 40) return false;
  a->kernel_bytes = (a->kernel->scratch_bytes(a->tokens, a->dim, a->trains) + 63) / 64 * 64;
  size_t wide = a->kernel->type == a->act ? 0 : (size_t)(a->trains ? WIDE_BACKWARD : WIDE_FORWARD);
  /* 4096 + 64: threads must not share a page's worth of cache sets at the same offsets. */
  a->thread_bytes = a->kernel_bytes + (wide * (size_t)(a->tokens * a->dim) * sizeof(float) + 63) / 64 * 64 + 4160;
  return true;
}

syz_status syz_attention_create_for(syz_dtype act, int threads, const attention_kernel *kernel, int64_t max_batch,
                                    int64_t tokens, int64_t heads, int64_t head_dim, bool trains, syz_attention **out)
{
  syz_status st = SYZ_OK;
  syz_attention *a = NULL;
  *out = NULL;
  SYZ_REQUIRE(max_batch >= 1 && tokens >= 1 && heads >= 1 && head_dim >= 1, SYZ_ERR_INTERNAL,
              "attention over batch %lld, %lld tokens, %lld heads of %lld: each must be at least 1",
              (long long)max_batch, (long long)tokens, (long long)heads, (long long)head_dim);
  SYZ_ALLOC(a, "attention", 1);
  *a = (syz_attention){.kernel = kernel,
                       .act = act,
                       .threads = threads,
                       .max_batch = max_batch,
                       .tokens = tokens,
                       .heads = heads,
                       .dim = head_dim,
                       .in = 3 * heads * head_dim,
                       .row = heads * head_dim,
                       .trains = trains};
  SYZ_REQUIRE(plan_scratch(a), SYZ_ERR_MEMORY, "attention over %lld tokens, %lld heads of %lld is too large",
              (long long)tokens, (long long)heads, (long long)head_dim);
  SYZ_ALLOC(a->scratch, "attention scratch", (size_t)a->threads * a->thread_bytes);
  *out = a;
  a = NULL;
cleanup:
  syz_attention_destroy(&a);
  return st;
}

syz_status syz_attention_create(const syz_compute *c, int64_t max_batch, int64_t tokens, int64_t heads,
                                int64_t head_dim, bool trains, syz_attention **out)
{
  return syz_attention_create_for(c->act, c->threads, kernel_beside(c), max_batch, tokens, heads, head_dim, trains,
                                  out);
}

void syz_attention_set_rows(syz_attention *a, int64_t in, int64_t row) { a->in = in, a->row = row; }

void syz_attention_destroy(syz_attention **a)
{
  if (!a || !*a) return;
  syz_free(&(*a)->scratch);
  syz_free(a);
}

static void widen(float *y, const void *x, int64_t stride, int64_t rows, int64_t dim)
{
  const syz_bf16 *from = x;
  for (int64_t r = 0; r < rows; r++)
    for (int64_t d = 0; d < dim; d++) y[r * dim + d] = syz_bf16_to_f32(from[r * stride + d]);
}

static void narrow(void *y, int64_t stride, const float *x, int64_t rows, int64_t dim)
{
  syz_bf16 *to = y;
  for (int64_t r = 0; r < rows; r++)
    for (int64_t d = 0; d < dim; d++) to[r * stride + d] = syz_bf16_from_f32(x[r * dim + d]);
}

/** Runs a float32 kernel on a head stored in bfloat16. */
static void run_widened(const syz_attention *a, const attention_head *h, bool is_backward, void *scratch)
{
  const int64_t T = a->tokens, D = a->dim, n = T * D;
  float *q = (float *)(void *)((unsigned char *)scratch + a->kernel_bytes), *k = q + n, *v = k + n, *out = v + n;
  attention_head wide = {.tokens = T, .dim = D, .q = q, .k = k, .v = v, .in = D, .out = out, .row = D, .lse = h->lse};
  widen(q, h->q, h->in, T, D);
  widen(k, h->k, h->in, T, D);
  widen(v, h->v, h->in, T, D);
  if (!is_backward) {
    a->kernel->forward(&wide, scratch);
    narrow(h->out, h->row, out, T, D);
    return;
  }
  float *dout = out + n;
  wide.dout = dout, wide.dq = dout + n, wide.dk = dout + 2 * n, wide.dv = dout + 3 * n;
  widen(out, h->out, h->row, T, D);
  widen(dout, h->dout, h->row, T, D);
  a->kernel->backward(&wide, scratch);
  narrow(h->dq, h->in, wide.dq, T, D);
  narrow(h->dk, h->in, wide.dk, T, D);
  narrow(h->dv, h->in, wide.dv, T, D);
}

/** The element at which head `index` begins in an array whose tokens are `row` elements apart. */
static int64_t head_at(const syz_attention *a, int64_t index, int64_t row)
{
  return index / a->heads * a->tokens * row + index % a->heads * a->dim;
}

/** has_next: head index + 1 exists; usually the same thread runs it next. */
static void run_head(const syz_attention *a, int64_t index, bool has_next, const void *dout, const void *qkv,
                     const void *out, const float *lse, void *dqkv)
{
  const int64_t size = (int64_t)syz_dtype_size(a->act), width = a->heads * a->dim;
  const int64_t at_in = head_at(a, index, a->in) * size, at_row = head_at(a, index, a->row) * size;
  const unsigned char *in = (const unsigned char *)qkv + at_in;
  /* One struct serves both passes: out and lse are written by the first and only read by the second. */
  attention_head h = {.tokens = a->tokens,
                      .dim = a->dim,
                      .q = in,
                      .k = in + width * size,
                      .v = in + 2 * width * size,
                      .in = a->in,
                      .out = (unsigned char *)(uintptr_t)out + at_row,
                      .row = a->row,
                      .lse = lse ? (float *)(uintptr_t)lse + index * a->tokens : NULL};
  if (has_next) h.next = (const unsigned char *)qkv + head_at(a, index + 1, a->in) * size;
  if (dqkv) {
    unsigned char *grad = (unsigned char *)dqkv + at_in;
    h.dout = (const unsigned char *)dout + at_row;
    h.dq = grad, h.dk = grad + width * size, h.dv = grad + 2 * width * size;
    if (has_next) h.next_dout = (const unsigned char *)dout + head_at(a, index + 1, a->row) * size;
  }
  void *scratch = a->scratch + (size_t)omp_get_thread_num() * a->thread_bytes;
  if (a->kernel->type != a->act)
    run_widened(a, &h, dqkv != NULL, scratch);
  else if (dqkv)
    a->kernel->backward(&h, scratch);
  else
    a->kernel->forward(&h, scratch);
}

/* For the profile: operations of `products` products T x T x Dh per head (without the scores that the backward pass
 * computes again), and bytes of `arrays` arrays [T, N, Dh]. */
static double attention_flops(const syz_attention *a, int64_t batch, int products)
{
  return 2.0 * products * (double)(batch * a->heads * a->tokens) * (double)(a->tokens * a->dim);
}
static double attention_bytes(const syz_attention *a, int64_t batch, int arrays)
{
  return (double)arrays * (double)(batch * a->heads * a->tokens * a->dim) * (double)syz_dtype_size(a->act);
}

void syz_attention_forward(const syz_attention *a, int64_t batch, const void *qkv, void *out, float *lse)
{
  SYZ_ASSERT(batch >= 0 && batch <= a->max_batch);
  const double start = syz_profile_begin();
#pragma omp parallel for schedule(static) num_threads(a->threads) if (a->threads > 1)
  for (int64_t i = 0; i < batch * a->heads; i++) run_head(a, i, i + 1 < batch * a->heads, NULL, qkv, out, lse, NULL);
  syz_profile_end(start, SYZ_PROFILE_ATTENTION, "attention forward", a->tokens, a->dim, attention_flops(a, batch, 2),
                  attention_bytes(a, batch, 4));
}

void syz_attention_backward(const syz_attention *a, int64_t batch, const void *dout, const void *qkv, const void *out,
                            const float *lse, void *dqkv)
{
  SYZ_ASSERT(batch >= 0 && batch <= a->max_batch && a->trains && lse);
  const double start = syz_profile_begin();
#pragma omp parallel for schedule(static) num_threads(a->threads) if (a->threads > 1)
  for (int64_t i = 0; i < batch * a->heads; i++) run_head(a, i, i + 1 < batch * a->heads, dout, qkv, out, lse, dqkv);
  syz_profile_end(start, SYZ_PROFILE_ATTENTION, "attention backward", a->tokens, a->dim, attention_flops(a, batch, 4),
                  attention_bytes(a, batch, 8));
}
