/* SPDX-License-Identifier: BSD-3-Clause */
/** Makes a compute context from the keys compute.*. */
#include "compute.h"

#include <stdlib.h>
#include <string.h>

#include "syzygy/train.h"

/* Threads per rank: compute.threads, or OMP_NUM_THREADS, or 1. */
static int threads_of(const syz_input *in)
{
  enum { MOST = 1024 };
  int64_t threads = syz_input_int(in, "compute.threads");
  const char *environment = getenv("OMP_NUM_THREADS");
  if (threads == 0 && environment) threads = strtoll(environment, NULL, 10);
  return threads < 1 ? 1 : threads > MOST ? MOST : (int)threads;
}

syz_compute_options syz_app_compute_options(const syz_input *in)
{
  static const struct {
    const char *name;
    syz_engine engine;
  } engines[] = {{"auto", SYZ_ENGINE_AUTO},
                 {"reference", SYZ_ENGINE_REFERENCE},
                 {"native", SYZ_ENGINE_NATIVE},
                 {"blis", SYZ_ENGINE_BLIS},
                 {"onednn", SYZ_ENGINE_ONEDNN}};
  const char *wish = syz_input_text(in, "compute.engine"), *precision = syz_input_text(in, "compute.precision");
  syz_compute_options o = {.act = strcmp(precision, "float32") == 0 ? SYZ_F32 : SYZ_BF16,
                           .engine = SYZ_ENGINE_AUTO,
                           .threads = threads_of(in),
                           .wants_int8 = strcmp(precision, "int8") == 0};
  for (size_t i = 0; i < sizeof engines / sizeof *engines; i++)
    if (strcmp(engines[i].name, wish) == 0) o.engine = engines[i].engine;
  return o;
}

void syz_app_limit_instructions(const syz_input *in)
{
  const char *wish = syz_input_text(in, "compute.instructions");
  for (syz_isa isa = SYZ_ISA_AVX2; isa <= SYZ_ISA_LAST; isa++)
    if (strcmp(wish, syz_isa_name(isa)) == 0) syz_processor_limit(isa);
}

/** Warn that the run continues with another engine. */
static void tell_change(const syz_input *in, const char *earlier, const char *now)
{
  const bool is_free = strcmp(syz_input_text(in, "compute.engine"), "auto") == 0 &&
                       strcmp(syz_input_text(in, "compute.instructions"), "auto") == 0;
  if (*earlier && strcmp(earlier, now) != 0)
    syz_warn("this run was computed with %s, which %s: it continues with %s, so results will differ in their last bits",
             earlier, is_free ? "this processor or compute.precision rules out" : "the input overrides", now);
}

syz_status syz_app_start_compute(const syz_app *app, const syz_model_config *config, bool trains, syz_compute **out)
{
  syz_status st = SYZ_OK;
  char earlier[96] = "";
  const syz_compute_options options = syz_app_compute_options(app->input);
  if (trains) SYZ_TRY(syz_checkpoint_engine(app->world, syz_input_text(app->input, "output.dir"), earlier));
  SYZ_TRY(syz_model_start_compute(app->world, &options, config, trains, earlier, out));
  tell_change(app->input, earlier, syz_compute_name(*out));
cleanup:
  return st;
}

syz_status syz_app_check_precision(const syz_app *app)
{
  syz_status st = SYZ_OK;
  SYZ_REQUIRE(SYZ_COMMAND_DOES(app->command, SYZ_ALLOWS_INT8) || !syz_app_compute_options(app->input).wants_int8,
              SYZ_ERR_INPUT, "compute.precision: only embed and bench can use int8; %s computes in bfloat16 or float32",
              app->command_name);
cleanup:
  return st;
}
