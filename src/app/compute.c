/* SPDX-License-Identifier: BSD-3-Clause */
/** From the keys compute.* to a compute context. */
#include "compute.h"

#include <stdlib.h>
#include <string.h>

int syz_app_threads(const syz_input *in)
{
  enum { MOST = 1024 };
  int64_t threads = syz_input_int(in, "compute.threads");
  const char *environment = getenv("OMP_NUM_THREADS");
  if (threads == 0 && environment) threads = strtoll(environment, NULL, 10);
  return threads < 1 ? 1 : threads > MOST ? MOST : (int)threads;
}

syz_status syz_app_make_compute(const syz_input *in, syz_compute **out)
{
  static const struct {
    const char *name;
    syz_engine engine;
  } engines[] = {{"auto", SYZ_ENGINE_AUTO}, {"reference", SYZ_ENGINE_REFERENCE}, {"native", SYZ_ENGINE_NATIVE}, {"blis", SYZ_ENGINE_BLIS}, {"onednn", SYZ_ENGINE_ONEDNN}};
  syz_engine engine = SYZ_ENGINE_AUTO;
  const char *wish = syz_input_text(in, "compute.engine");
  for (size_t i = 0; i < sizeof engines / sizeof *engines; i++)
    if (strcmp(engines[i].name, wish) == 0) engine = engines[i].engine;
  syz_dtype act = strcmp(syz_input_text(in, "compute.precision"), "bfloat16") == 0 ? SYZ_BF16 : SYZ_F32;
  return syz_compute_create(act, engine, syz_app_threads(in), out);
}
