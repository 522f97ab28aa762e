/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Initial weights, as the published programs draw them; every number is a function of (seed, parameter name, element).
 *
 * Image backbone (DINOv2, Oquab et al. 2023, arXiv:2304.07193, vision_transformer.py): linear weights and positions
 * normal with std 0.02 (its truncation at +-2 is 100 sigma away), class token and registers normal with std 1e-6, mask
 * token and biases 0, the patch convolution PyTorch's default, LayerScale its configured value. Projection heads
 * (dino_head.py there): linear weights normal with std 0.02, biases 0, prototypes PyTorch's default of a linear layer,
 * their gains 1. Spectrum backbone (README.md "Initial weights"): embeddings truncated normal with std 1/sqrt(dim),
 * linear layers 1/sqrt(2 fan_in depth), `head` as with depth 1/2, each cut at 3 std, biases 0. Heads: PyTorch's
 * MultiheadAttention (Glorot uniform) and Linear (uniform up to 1/sqrt(fan_in), biases too), query standard normal.
 * LayerNorm 1 and 0 everywhere.
 */
#include <math.h>
#include <string.h>

#include "model_impl.h"

static bool ends_with(const char *name, const char *end)
{
  size_t n = strlen(name), m = strlen(end);
  return n >= m && strcmp(name + n - m, end) == 0;
}

static syz_random stream_of(const syz_parameter *p, uint64_t seed, uint64_t attempt)
{
  return syz_random_make(seed, SYZ_RANDOM_INIT, attempt, syz_checksum(p->name, strlen(p->name), 0));
}

/* cut: in units of std, 0 for none. A value outside the cut is drawn again from the stream of the next attempt, at the
 * same element. */
static void fill_normal(const syz_parameter *p, float *w, uint64_t seed, double std, float cut)
{
  syz_random r = stream_of(p, seed, 0);
  syz_random_fill_normal(&r, w, (size_t)p->size);
  for (int64_t i = 0; i < p->size; i++) {
    for (uint64_t attempt = 1; cut > 0 && fabsf(w[i]) > cut; attempt++) {
      syz_random again = stream_of(p, seed, attempt);
      w[i] = (float)syz_random_normal(&again, (uint32_t)i);
    }
    w[i] *= (float)std;
  }
}

static void fill_uniform(const syz_parameter *p, float *w, uint64_t seed, double bound)
{
  syz_random r = stream_of(p, seed, 0);
  uint32_t word[4];
  for (int64_t i = 0; i < p->size; i++) {
    if (i % 4 == 0) syz_random_block(&r, (uint32_t)(i / 4), word);
    w[i] = (float)(bound * (((double)word[i % 4] + 0.5) * 0x1p-31 - 1.0));
  }
}

static void fill_constant(const syz_parameter *p, float *w, float value)
{
  for (int64_t i = 0; i < p->size; i++) w[i] = value;
}

static double sqrt_of(int64_t n) { return sqrt((double)n); }

static void fill_head(const syz_model_config *c, const syz_parameter *p, float *w, uint64_t seed)
{
  const int64_t e = c->embedding.dim;
  if (ends_with(p->name, "query"))
    fill_normal(p, w, seed, 1.0, 0);
  else if (ends_with(p->name, "in_proj_weight"))
    fill_uniform(p, w, seed, sqrt(6.0 / (double)(p->shape[0] + p->shape[1])));
  else if (ends_with(p->name, "_proj_weight"))
    fill_uniform(p, w, seed, sqrt(6.0 / (double)(p->shape[0] + p->shape[1])));
  else if (ends_with(p->name, "in_proj_bias") || ends_with(p->name, "out_proj.bias"))
    fill_constant(p, w, 0.0f);
  else if (ends_with(p->name, "layernorm.weight"))
    fill_constant(p, w, 1.0f);
  else if (ends_with(p->name, "layernorm.bias"))
    fill_constant(p, w, 0.0f);
  else if (ends_with(p->name, "decoder.bias"))
    fill_uniform(p, w, seed, 1 / sqrt_of(4 * e));
  else if (ends_with(p->name, "encoder.bias"))
    fill_uniform(p, w, seed, 1 / sqrt_of(e));
  else
    fill_uniform(p, w, seed, 1 / sqrt_of(p->shape[1])); /* out_proj.weight, mlp.*.weight */
}

static void fill_image(const syz_image_config *c, const syz_parameter *p, float *w, uint64_t seed)
{
  const int64_t patch_width = 3 * c->patch * c->patch;
  if (ends_with(p->name, "cls_token") || ends_with(p->name, "register_tokens"))
    fill_normal(p, w, seed, 1e-6, 0);
  else if (ends_with(p->name, "pos_embed"))
    fill_normal(p, w, seed, 0.02, 0);
  else if (ends_with(p->name, "mask_token"))
    fill_constant(p, w, 0.0f);
  else if (strstr(p->name, "patch_embed.proj."))
    fill_uniform(p, w, seed, 1 / sqrt_of(patch_width));
  else if (ends_with(p->name, "gamma"))
    fill_constant(p, w, (float)c->layerscale);
  else if (p->ndim == 2)
    fill_normal(p, w, seed, 0.02, 0);
  else
    fill_constant(p, w,
                  ends_with(p->name, "norm.weight") || ends_with(p->name, "norm1.weight") ||
                          ends_with(p->name, "norm2.weight")
                      ? 1.0f
                      : 0.0f);
}

static void fill_spectrum(const syz_spectrum_config *c, const syz_parameter *p, float *w, uint64_t seed)
{
  const float cut = 3.0f;
  if (p->ndim == 2) {
    double std;
    if (strstr(p->name, "_embed."))
      std = 1 / sqrt_of(c->dim);
    else if (ends_with(p->name, "backbone.head.weight"))
      std = 1 / sqrt_of(p->shape[1]);
    else
      std = 1 / sqrt(2.0 * (double)p->shape[1] * (double)c->depth);
    fill_normal(p, w, seed, std, cut);
  } else {
    fill_constant(p, w, strstr(p->name, "layernorm") && ends_with(p->name, ".weight") ? 1.0f : 0.0f);
  }
}

static void fill_projection(const syz_parameter *p, float *w, uint64_t seed)
{
  if (ends_with(p->name, "last_layer.weight_v"))
    fill_uniform(p, w, seed, 1 / sqrt_of(p->shape[1]));
  else if (ends_with(p->name, "last_layer.weight_g"))
    fill_constant(p, w, 1.0f);
  else if (p->ndim == 2)
    fill_normal(p, w, seed, 0.02, 0);
  else
    fill_constant(p, w, 0.0f);
}

void syz_model_initialise(syz_model *m, uint64_t seed)
{
  syz_model_settle(m);
  for (int i = 0; i < m->n_parameters; i++) {
    if (!model_writes(m, i)) continue;
    const syz_parameter *p = &m->parameter[i];
    float *w = m->weights + p->offset;
    switch (p->part) {
    case SYZ_PART_IMAGE_BACKBONE:
      fill_image(&m->config.image, p, w, seed);
      break;
    case SYZ_PART_SPECTRUM_BACKBONE:
      fill_spectrum(&m->config.spectrum, p, w, seed);
      break;
    case SYZ_PART_IMAGE_HEAD:
    case SYZ_PART_SPECTRUM_HEAD:
      fill_head(&m->config, p, w, seed);
      break;
    case SYZ_PART_DINO_HEAD:
    case SYZ_PART_IBOT_HEAD:
      fill_projection(p, w, seed);
      break;
    case SYZ_PARTS:
      break;
    }
  }
  syz_model_settle(m);
  syz_model_pack(m, false);
}
