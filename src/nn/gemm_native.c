/* SPDX-License-Identifier: BSD-3-Clause */
/** The own-kernel engine: being measured; until then it offers no type and AUTO passes it by. */
#include <stdio.h>

#include "linear_native.h"

static bool native_can(syz_dtype type_ab) {
  (void)type_ab;
  return false;
}
static void native_set_threads(int threads) { (void)threads; }
static syz_status native_create(const syz_compute *c, const syz_gemm_shape *shape, void **plan) {
  (void)c, (void)shape, (void)plan;
  return syz_error_set(SYZ_ERR_INPUT, __FILE__, __LINE__, "no own kernels");
}
static void native_destroy(void **plan) { (void)plan; }
static void native_run(const void *plan, const void *a, const void *b, const float *bias, void *c) {
  (void)plan, (void)a, (void)b, (void)bias, (void)c;
}
static void native_describe(syz_dtype type_ab, char *text, size_t n) {
  (void)type_ab;
  snprintf(text, n, "own kernels");
}
const syz_engine_ops syz_engine_native = {.name = "native", .can = native_can, .set_threads = native_set_threads,
  .create = native_create, .destroy = native_destroy, .run = native_run, .describe = native_describe};

syz_status syz_linear_native_create(const syz_compute *c, int64_t out, int64_t in, int64_t max_rows, bool trains,
                                    syz_linear_native **result) {
  (void)c, (void)out, (void)in, (void)max_rows, (void)trains, (void)result;
  return SYZ_ERR_INTERNAL;
}
void syz_linear_native_destroy(syz_linear_native **l) { (void)l; }
void syz_linear_native_pack(syz_linear_native *l, const float *weight) { (void)l, (void)weight; }
void syz_linear_native_forward(const syz_linear_native *l, int64_t rows, const void *x, syz_epilogue epilogue, const float *bias,
                               const float *scale, void *y, void *u) {
  (void)l, (void)rows, (void)x, (void)epilogue, (void)bias, (void)scale, (void)y, (void)u;
}
void syz_linear_native_backward_input(const syz_linear_native *l, int64_t rows, const void *dy, void *dx) { (void)l, (void)rows, (void)dy, (void)dx; }
void syz_linear_native_backward_weight(const syz_linear_native *l, int64_t rows, const void *dy, const void *x, float *dweight) {
  (void)l, (void)rows, (void)dy, (void)x, (void)dweight;
}
