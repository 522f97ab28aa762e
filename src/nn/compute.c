/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The compute context: chooses among the engines that processor and build have, and alone sets the thread counts of
 * OpenMP, BLIS and oneDNN.
 */
#include <omp.h>
#include <stdio.h>

#include "kernel.h"

static const syz_engine_ops *engine_table(syz_engine e)
{
  switch (e) {
  case SYZ_ENGINE_REFERENCE:
    return &syz_engine_reference;
  case SYZ_ENGINE_BLIS:
    return &syz_engine_blis;
  case SYZ_ENGINE_ONEDNN:
    return &syz_engine_onednn;
  case SYZ_ENGINE_NATIVE:
    return &syz_engine_native;
  case SYZ_ENGINE_AUTO:
    break;
  }
  return NULL;
}

/** The engine of the first candidate that can run here. */
static const syz_engine_ops *first_that_can(syz_dtype type)
{
  for (int i = 0; i < SYZ_CANDIDATES; i++)
    if (syz_candidate_table[i].type == type && syz_candidate_can(&syz_candidate_table[i]))
      return syz_candidate_table[i].engine;
  return NULL;
}

static void describe(syz_compute *c)
{
  const bool is_native = c->engine[c->act] == &syz_engine_native;
  syz_candidate_text(&(syz_candidate){c->act, c->engine[c->act], is_native ? c->kernel[c->act] : NULL}, c->name,
                     sizeof c->name);
  snprintf(c->text, sizeof c->text, "%s, %s, %d thread%s", c->name, c->act == SYZ_BF16 ? "bfloat16" : "float32",
           c->threads, c->threads == 1 ? "" : "s");
}

void syz_compute_use(syz_compute *c, const syz_candidate *x)
{
  c->engine[x->type] = x->engine;
  if (x->kernel) c->kernel[x->type] = x->kernel;
  describe(c);
}

void syz_compute_set_threads(int threads)
{
  omp_set_dynamic(0);
  omp_set_num_threads(threads);
  for (syz_engine e = SYZ_ENGINE_REFERENCE; e <= SYZ_ENGINE_NATIVE; e++) engine_table(e)->set_threads(threads);
}

syz_status syz_compute_create(syz_dtype act, syz_engine engine, int threads, syz_compute **out)
{
  syz_status st = SYZ_OK;
  syz_compute *c = NULL;
  *out = NULL;
  SYZ_REQUIRE(threads >= 1 && threads <= 4096, SYZ_ERR_INPUT, "compute: %d threads; 1 to 4096 are allowed", threads);
  SYZ_ALLOC(c, "compute", 1);
  SYZ_ALLOC(c->scratch, "compute", 1);
  SYZ_ALLOC(c->products, "compute", 1);
  c->threads = threads;
  c->asked = act, c->wish = engine;
  for (syz_dtype type = SYZ_F32; type <= SYZ_BF16; type++) {
    const syz_kernel *list[SYZ_KERNELS_MOST];
    if (syz_kernel_list(type, list) > 0) c->kernel[type] = list[0];
  }
  SYZ_TRY(syz_compute_reserve_products(c, (size_t)threads * SYZ_KERNEL_ROOM * sizeof(float)));

  if (engine == SYZ_ENGINE_AUTO) {
    for (syz_dtype type = SYZ_F32; type <= SYZ_BF16; type++) c->engine[type] = first_that_can(type);
  } else {
    const syz_engine_ops *chosen = engine_table(engine);
    SYZ_REQUIRE(chosen, SYZ_ERR_INPUT, "compute: no engine has the number %d", (int)engine);
    SYZ_REQUIRE(chosen->can(SYZ_F32), SYZ_ERR_INPUT,
                "compute: this build or processor has no matrix engine %s; use compute.engine: auto", chosen->name);
    c->engine[SYZ_F32] = chosen;
    if (chosen->can(SYZ_BF16)) c->engine[SYZ_BF16] = chosen;
  }
  c->act = act;
  if (act == SYZ_BF16 && !c->engine[SYZ_BF16]) {
    c->act = SYZ_F32;
    syz_warn("bfloat16 products need AVX-512 (on Arm BF16 and I8MM) and an engine that has them (asked for: %s): "
             "computing in float32 on %s",
             engine == SYZ_ENGINE_AUTO ? "auto" : engine_table(engine)->name, c->engine[SYZ_F32]->name);
  }

  syz_compute_set_threads(threads);
  describe(c);
  *out = c;
  c = NULL;
cleanup:
  syz_compute_destroy(&c);
  return st;
}

void syz_compute_destroy(syz_compute **c)
{
  if (!*c) return;
  if ((*c)->scratch) syz_free(&(*c)->scratch->bytes);
  if ((*c)->products) syz_free(&(*c)->products->bytes);
  syz_free(&(*c)->scratch);
  syz_free(&(*c)->products);
  syz_free(c);
}

syz_dtype syz_compute_act(const syz_compute *c) { return c->act; }
int syz_compute_threads(const syz_compute *c) { return c->threads; }
const char *syz_compute_describe(const syz_compute *c) { return c->text; }
const char *syz_compute_name(const syz_compute *c) { return c->name; }
void syz_compute_tell(const syz_compute *c)
{
  const char *measured = syz_compute_measured(c);
  syz_info("%s%s%s%s", syz_compute_describe(c), *measured ? " (" : "", measured, *measured ? ")" : "");
}

const char *syz_compute_measured(const syz_compute *c) { return c->measured; }
