/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Projection head of DINO or iBOT (DINOv2's dino_head.py): linear layers with GELU between them, then L2 normalisation.
 * The prototypes after it belong to the loss (src/loss), which computes their 65,536 scores in tiles.
 *
 * The inputs of the products and the argument of each GELU are kept in the activation type, the bottleneck and its norm
 * in float32.
 */
#include <string.h>

#include "model_impl.h"

static const float norm_eps = 1e-12f; /* dino_head.py, float32 */

struct syz_projection {
  const syz_model *m;
  projection_layout layout;
  int64_t layers, max_rows, width[PROJECTION_LAYERS + 1]; /* of the input, after each layer */
  bool trains;
  syz_linear *linear[PROJECTION_LAYERS];
  size_t packed_bytes;
  syz_arena arena;
  void *x[PROJECTION_LAYERS]; /* [rows, width[i]] act: input of layer i */
  void *u[PROJECTION_LAYERS]; /* [rows, width[i + 1]] act: its output before GELU, when it trains; not for the last
                                 layer */
  void *d[2];                 /* [rows, widest] act: gradients of a layer's output and input */
  float *last;        /* [rows, bottleneck] before normalisation; when it trains, its gradient in the backward pass */
  float *unit, *norm; /* [rows, bottleneck], [rows]: the result, when it trains */
};

static syz_status describe(const syz_model *m, syz_part part, int64_t max_rows, bool trains, syz_projection *p)
{
  syz_status st = SYZ_OK;
  const syz_dino_config *c = &m->config.dino;
  SYZ_REQUIRE((part == SYZ_PART_DINO_HEAD || part == SYZ_PART_IBOT_HEAD) && m->layout.part[part].count > 0,
              SYZ_ERR_INTERNAL, "this model has no projection head %s", syz_part_name(part));
  p->m = m;
  p->layout = m->layout.projection[part == SYZ_PART_IBOT_HEAD];
  p->layers = c->layers;
  p->max_rows = max_rows > 0 ? max_rows : 1; /* a rank without objects */
  p->trains = trains;
  p->width[0] = m->config.image.dim;
  for (int64_t i = 0; i < p->layers; i++) p->width[i + 1] = i == p->layers - 1 ? c->bottleneck : c->hidden;
  const size_t before = syz_memory_get().live_bytes;
  for (int64_t i = 0; i < p->layers; i++)
    SYZ_TRY(syz_linear_create(m->compute, p->width[i + 1], p->width[i], p->max_rows, trains, &p->linear[i]));
  p->packed_bytes = syz_memory_get().live_bytes - before;
cleanup:
  return st;
}

static void drop_layers(syz_projection *p)
{
  for (int i = 0; i < PROJECTION_LAYERS; i++) syz_linear_destroy(&p->linear[i]);
}

static void lay_out(syz_projection *p, syz_arena *a)
{
  const size_t rows = (size_t)p->max_rows, act = syz_dtype_size(syz_compute_act(p->m->compute));
  int64_t widest = 0;
  for (int64_t i = 0; i <= p->layers; i++) widest = p->width[i] > widest ? p->width[i] : widest;
  for (int64_t i = 0; i < p->layers; i++) {
    p->x[i] = syz_arena_take(a, rows * (size_t)p->width[i], act);
    if (p->trains && i < p->layers - 1) p->u[i] = syz_arena_take(a, rows * (size_t)p->width[i + 1], act);
  }
  p->last = syz_arena_take(a, rows * (size_t)p->width[p->layers], sizeof(float));
  p->norm = syz_arena_take(a, rows, sizeof(float));
  if (!p->trains) return;
  p->unit = syz_arena_take(a, rows * (size_t)p->width[p->layers], sizeof(float));
  for (int i = 0; i < 2; i++) p->d[i] = syz_arena_take(a, rows * (size_t)widest, act);
}

syz_status syz_projection_create(const syz_model *m, syz_part part, int64_t max_rows, bool trains, syz_projection **out)
{
  syz_status st = SYZ_OK;
  syz_projection *p = NULL;
  *out = NULL;
  SYZ_ALLOC(p, "projection head", 1);
  SYZ_TRY(describe(m, part, max_rows, trains, p));
  lay_out(p, &p->arena);
  p->arena.size = p->arena.used;
  SYZ_ALLOC(p->arena.base, "projection head activations", p->arena.size);
  p->arena.used = 0;
  lay_out(p, &p->arena);
  syz_projection_pack(p);
  *out = p;
  p = NULL;
cleanup:
  syz_projection_destroy(&p);
  return st;
}

void syz_projection_destroy(syz_projection **p)
{
  if (!*p) return;
  drop_layers(*p);
  syz_free(&(*p)->arena.base);
  syz_free(p);
}

size_t syz_projection_bytes(const syz_model *m, syz_part part, int64_t max_rows, bool trains)
{
  syz_projection p = {.layers = 0};
  size_t bytes = 0;
  if (describe(m, part, max_rows, trains, &p) == SYZ_OK) {
    lay_out(&p, &p.arena);
    bytes = p.packed_bytes + p.arena.used;
  }
  drop_layers(&p);
  return bytes;
}

void syz_projection_pack(syz_projection *p)
{
  for (int64_t i = 0; i < p->layers; i++)
    syz_linear_pack(p->linear[i], p->m->weights + p->layout.weight[i], p->m->weights + p->layout.bias[i], NULL);
}

void syz_projection_forward(syz_projection *p, int64_t rows, const float *x, float *z)
{
  SYZ_ASSERT(rows >= 0 && rows <= p->max_rows);
  if (rows == 0) return;
  const int64_t last = p->layers - 1, bottleneck = p->width[p->layers];
  syz_convert_to_act(syz_compute_act(p->m->compute), p->x[0], x, rows * p->width[0]);
  for (int64_t i = 0; i < last; i++)
    syz_linear_forward(p->linear[i], rows, p->x[i], SYZ_EPILOGUE_GELU, p->x[i + 1], p->u[i]);
  syz_linear_forward(p->linear[last], rows, p->x[last], SYZ_EPILOGUE_F32, p->last, NULL);
  syz_l2norm_forward(z, p->norm, p->last, norm_eps, rows, bottleneck);
  if (p->trains) memcpy(p->unit, z, (size_t)(rows * bottleneck) * sizeof *z);
}

void syz_projection_backward(syz_projection *p, int64_t rows, const float *dz, float *gradients, float *dx)
{
  SYZ_ASSERT(p->trains && rows >= 0 && rows <= p->max_rows);
  if (rows == 0) return;
  const syz_dtype act = syz_compute_act(p->m->compute);
  const int64_t last = p->layers - 1, bottleneck = p->width[p->layers];
  syz_l2norm_backward(p->last, dz, p->unit, p->norm, norm_eps, rows, bottleneck);
  void *dy = p->d[0], *dx_act = p->d[1];
  syz_convert_to_act(act, dy, p->last, rows * bottleneck);
  for (int64_t i = last; i >= 0; i--) {
    syz_linear_backward_weight(p->linear[i], rows, dy, p->x[i], gradients + p->layout.weight[i],
                               gradients + p->layout.bias[i]);
    syz_linear_backward_input(p->linear[i], rows, dy, dx_act);
    if (i > 0) syz_gelu_backward(act, dx_act, dx_act, p->u[i - 1], rows * p->width[i]);
    void *swap = dy;
    dy = dx_act;
    dx_act = swap;
  }
  syz_convert_to_f32(act, dx, dy, rows * p->width[0]);
}

int64_t syz_projection_prototypes(const syz_model *m, syz_part part)
{
  SYZ_ASSERT((part == SYZ_PART_DINO_HEAD || part == SYZ_PART_IBOT_HEAD) && m->layout.part[part].count > 0);
  return m->layout.projection[part == SYZ_PART_IBOT_HEAD].prototypes;
}
