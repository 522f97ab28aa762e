/* SPDX-License-Identifier: BSD-3-Clause */
/** Replaces gemm_onednn.c in a build without oneDNN: the engine has a name and computes nothing. */
#include <stdio.h>

#include "engine.h"

static bool none_can(syz_dtype type_ab)
{
  (void)type_ab;
  return false;
}
static void none_set_threads(int threads) { (void)threads; }
static syz_status none_create(const syz_compute *c, const syz_gemm_shape *shape, void **plan)
{
  (void)c, (void)shape, (void)plan;
  return syz_error_set(SYZ_ERR_INPUT, __FILE__, __LINE__, "this build has no oneDNN");
}
static void none_destroy(void **plan) { (void)plan; }
static void none_run(const void *plan, int64_t m, const void *a, const void *b, const float *bias, void *c)
{
  (void)plan, (void)m, (void)a, (void)b, (void)bias, (void)c;
  SYZ_ASSERT(false);
}
static void none_describe(syz_dtype type_ab, char *text, size_t n)
{
  (void)type_ab;
  snprintf(text, n, "no oneDNN");
}

const syz_engine_ops syz_engine_onednn = {.name = "oneDNN",
                                          .can = none_can,
                                          .set_threads = none_set_threads,
                                          .create = none_create,
                                          .destroy = none_destroy,
                                          .run = none_run,
                                          .describe = none_describe};
