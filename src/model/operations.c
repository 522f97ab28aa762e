/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Operations of the networks' passes, piece by piece. Plans, stated speeds and the division of ranks between towers use
 * these numbers.
 *
 * One multiply-add is two operations. Products and attention count; norms, softmax, GELU and other element-wise work,
 * padding, and what is computed again to save memory do not. A block of D multiplies each token by 12 D^2 weights (qkv
 * 3, proj 1, fc1 4, fc2 4); scores and weighted sums take 4 T D for each of T tokens.
 */
#include "model_impl.h"

static void add_blocks(int64_t tokens, int64_t dim, int64_t depth, syz_operations *out)
{
  const double t = (double)tokens, d = (double)dim;
  out->products += (double)depth * 2 * t * 12 * d * d;
  out->attention += (double)depth * 4 * t * t * d;
}

static double of_patches(const syz_image_config *c, int64_t patches)
{
  return 2 * (double)patches * 3 * (double)(c->patch * c->patch) * (double)c->dim;
}

syz_operations syz_model_operations(const syz_model_config *c, syz_modality m)
{
  const int64_t tokens = syz_model_tokens(c, m), dim = syz_model_width(c, m);
  const double t = (double)tokens, d = (double)dim, e = (double)c->embedding.dim, heads = (double)c->embedding.heads;
  const int64_t side = c->image.size / c->image.patch;
  /* One query per head over all tokens; projections in and out, and an MLP of four times the width. */
  syz_operations o = {.head = 4 * t * d * heads + 2 * (d * e + e * e + 8 * e * e)};
  if (m == SYZ_IMAGE)
    o.embedding = of_patches(&c->image, side * side);
  else
    o.embedding = 2 * t * (double)(c->spectrum.section + 2) * d;
  add_blocks(tokens, dim, syz_model_depth(c, m), &o);
  return o;
}

syz_operations syz_crops_operations(const syz_model_config *c, int64_t size)
{
  const int64_t side = size / c->image.patch, patches = side * side;
  syz_operations o = {.embedding = of_patches(&c->image, patches)};
  add_blocks(patches + 1 + c->image.registers, c->image.dim, c->image.depth, &o);
  return o;
}

double syz_model_flops(const syz_model_config *c, syz_modality m)
{
  const syz_operations o = syz_model_operations(c, m);
  return syz_operations_forward(&o);
}

double syz_operations_forward(const syz_operations *o) { return o->embedding + o->products + o->attention + o->head; }

double syz_operations_backward(const syz_operations *o)
{
  return o->embedding + 2 * (o->products + o->attention + o->head);
}

double syz_projection_flops(const syz_model_config *c)
{
  const syz_dino_config *o = &c->dino;
  double in = (double)c->image.dim, sum = 0;
  for (int64_t i = 1; i < o->layers; i++, in = (double)o->hidden) sum += 2 * in * (double)o->hidden;
  return sum + 2 * in * (double)o->bottleneck;
}
