/* SPDX-License-Identifier: BSD-3-Clause */
/** The products of a tower in 8-bit integers: their number, their names, and how each is switched. */
#include <stdio.h>

#include "model_impl.h"

int64_t syz_tower_products(const syz_model *m, syz_modality modality)
{
  return m->tower[modality].depth * SYZ_BLOCK_PRODUCTS;
}

/* Outputs and inputs of a product. */
static void shape_of(const tower *t, syz_block_product which, int64_t *out, int64_t *in)
{
  const int64_t d = t->dim;
  *out = which == SYZ_BLOCK_QKV ? 3 * d : which == SYZ_BLOCK_FC1 ? 4 * d : d;
  *in = which == SYZ_BLOCK_FC2 ? 4 * d : d;
}

int64_t syz_tower_product_inputs(const syz_model *m, syz_modality modality, int64_t p)
{
  int64_t out, in;
  shape_of(&m->tower[modality], (syz_block_product)(p % SYZ_BLOCK_PRODUCTS), &out, &in);
  return in;
}

double syz_tower_product_flops(const syz_model *m, syz_modality modality, int64_t p)
{
  int64_t out, in;
  shape_of(&m->tower[modality], (syz_block_product)(p % SYZ_BLOCK_PRODUCTS), &out, &in);
  return 2.0 * (double)out * (double)in;
}

const char *syz_tower_product_name(const syz_model *m, syz_modality modality, int64_t p, char *text, size_t n)
{
  static const char *const name[SYZ_MODALITIES][SYZ_BLOCK_PRODUCTS] = {
      {"attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"},
      {"attention.attention", "attention.projection", "mlp.encoder", "mlp.decoder"}};
  SYZ_ASSERT(p >= 0 && p < syz_tower_products(m, modality));
  snprintf(text, n, "blocks.%lld.%s", (long long)(p / SYZ_BLOCK_PRODUCTS), name[modality][p % SYZ_BLOCK_PRODUCTS]);
  return text;
}

static syz_linear *product_of(const tower *t, int64_t p)
{
  SYZ_ASSERT(t->is_planned && t->mode == SYZ_MODE_EMBED);
  return syz_block_linear(t->blocks.block[p / SYZ_BLOCK_PRODUCTS], (syz_block_product)(p % SYZ_BLOCK_PRODUCTS));
}

void syz_tower_observe(syz_model *m, syz_modality modality, float *most)
{
  for (int64_t p = 0; p < syz_tower_products(m, modality); p++) {
    syz_linear_observe(product_of(&m->tower[modality], p), most);
    if (most) most += syz_tower_product_inputs(m, modality, p);
  }
}

syz_status syz_tower_quantise(syz_model *m, syz_modality modality, const float *most)
{
  syz_status st = SYZ_OK;
  const tower *t = &m->tower[modality];
  for (int64_t p = 0; p < syz_tower_products(m, modality); p++) {
    const syz_block_parameters w = block_at(&t->backbone.block[p / SYZ_BLOCK_PRODUCTS], m->weights);
    const float *const weight[SYZ_BLOCK_PRODUCTS] = {w.qkv_weight, w.proj_weight, w.fc1_weight, w.fc2_weight};
    SYZ_TRY(syz_linear_quantise(product_of(t, p), weight[p % SYZ_BLOCK_PRODUCTS], most));
    if (most) most += syz_tower_product_inputs(m, modality, p);
  }
cleanup:
  return st;
}

void syz_tower_use_int8(syz_model *m, syz_modality modality, const uint8_t *is_int8)
{
  for (int64_t p = 0; p < syz_tower_products(m, modality); p++)
    syz_linear_use_int8(product_of(&m->tower[modality], p), is_int8[p]);
}

void syz_tower_settle(syz_model *m, syz_modality modality)
{
  for (int64_t p = 0; p < syz_tower_products(m, modality); p++) syz_linear_settle(product_of(&m->tower[modality], p));
}

void syz_model_use_compute(syz_model *m, const syz_compute *compute)
{
  for (int i = 0; i < SYZ_MODALITIES; i++) tower_unplan(&m->tower[i]);
  m->compute = compute;
}
