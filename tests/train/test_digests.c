/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Digests: each bit that changes in weights, moments, gradients, scalars, arrays of the objective and frozen weights is
 * found where it is looked for, by the rank whose it is, and named; after an update by the optimiser nothing is found,
 * and the update is that of a run without digests, bit for bit; a copy of weights on another node that differs is found
 * there alone; values that are not finite are told by name.
 */
#include <stdlib.h>

#include "check.h"
#include "digests.h"
#include "optimiser.h"

static const syz_model_config small = {
    .image =
        {.dim = 32, .depth = 2, .heads = 2, .patch = 24, .size = 144, .tokens = SYZ_TOKENS_PATCHES, .layerscale = 0.1},
    .spectrum = {.dim = 32, .depth = 2, .heads = 2, .section = 200, .overlap = 100, .max_tokens = 100},
    .embedding = {.dim = 32, .heads = 4, .dropout = 0.1}};

enum { ARRAY = 4096 * 5 };

typedef struct setting {
  syz_comm *world;
  syz_grid grid;
  syz_nodes *nodes;
  syz_model *model;
  parts parts;
  scalars scalars;
  syz_objective objective;
  digests *digests;
  float *array, *gradients;
} setting;

static void flip(float *x, int bit)
{
  uint32_t bits;
  memcpy(&bits, x, sizeof bits);
  bits ^= UINT32_C(1) << bit;
  memcpy(x, &bits, sizeof bits);
}

static void open_setting(setting *s, syz_comm *world, const syz_compute *compute, int per_node, bool backbones)
{
  *s = (setting){.world = world, .scalars = {.n = 1, .value = {2.5}}};
  CHECK_OK(syz_grid_create(world, SYZ_TOWERS_TOGETHER, 1, 1, &s->grid));
  CHECK_OK(syz_model_create(&small, true, true, compute, &s->model));
  CHECK_OK(syz_nodes_create(s->grid.data, per_node, &s->nodes));
  CHECK_OK(syz_model_share_weights(s->model, s->nodes));
  syz_model_initialise(s->model, 3);
  s->array = calloc(ARRAY, sizeof *s->array);
  s->gradients = calloc((size_t)syz_model_size(s->model), sizeof *s->gradients);
  s->objective = (syz_objective){.n_arrays = 1, .array = {{.name = "teacher", .x = s->array, .count = ARRAY}}};
  CHECK_OK(parts_create(&s->grid, s->model, backbones, NULL, 2 * PART_UNIT, &s->parts));
  CHECK_OK(digests_create(&s->parts, s->model, &s->objective, &s->scalars, 1, &s->digests));
}

static void close_setting(setting *s)
{
  digests_destroy(&s->digests);
  parts_destroy(&s->parts);
  syz_barrier(s->world);
  syz_model_destroy(&s->model);
  syz_nodes_destroy(&s->nodes);
  syz_grid_destroy(&s->grid);
  free(s->array);
  free(s->gradients);
}

/* What this rank found, which is then forgotten. */
static bool finds(setting *s, digest_damage damage, const char *what)
{
  const bool found = digests_found(s->digests) == damage && strstr(digests_text(s->digests), what);
  if (!found)
    fprintf(stderr, "found %d, \"%s\"; expected %d, \"%s\"\n", (int)digests_found(s->digests), digests_text(s->digests),
            (int)damage, what);
  digests_renew(s->digests);
  return found;
}

static void memory(setting *s)
{
  static const char *const name[DIGEST_ARRAYS] = {"the weights of ", "the first moments of ", "the second moments of "};
  digests *d = s->digests;
  const int64_t n = s->parts.n_stretches;
  for (int64_t i = 0; i<n; i += n> 8 ? n / 8 : 1)
    for (int k = 0; k < DIGEST_ARRAYS; k++)
      for (int bit = 0; bit < 32; bit += 5) {
        const int64_t count = s->parts.stretch[i].count, places[] = {0, count / 2, count - 1};
        float *x = digests_arrays(d, i)[k] + places[bit % 3];
        flip(x, bit);
        digests_check_all(d);
        flip(x, bit);
        CHECK(finds(s, DIGEST_DAMAGED, name[k]));
      }
  digests_check_all(d);
  CHECK(finds(s, DIGEST_SOUND, ""));
  s->scalars.moment1[0] = 1e-300;
  digests_check_all(d);
  CHECK(finds(s, DIGEST_DAMAGED, "a scalar"));
  flip(&s->array[ARRAY - 1], 3);
  digests_check_all(d);
  CHECK(finds(s, DIGEST_DAMAGED, "teacher"));
}

/* A step with and without digests. */
static void update(setting *s)
{
  const syz_adamw rule = {.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.1};
  const double scale[SYZ_CLIP_GROUPS] = {0.5, 1, 1, 1};
  const int64_t size = syz_model_size(s->model);
  float *weights = syz_model_weights(s->model), *kept = malloc((size_t)size * sizeof *kept);
  double group[SYZ_CLIP_GROUPS], other[SYZ_CLIP_GROUPS];
  for (int64_t i = 0; i < size; i++) s->gradients[i] = (float)(i * 7919 % 1000 - 500) * 1e-3f;
  for (int with = 0; with < 2; with++) {
    syz_barrier(s->world);
    syz_model_initialise(s->model, 3);
    syz_barrier(s->world);
    for (int i = 0; i < PARTS; i++) {
      const part *p = &s->parts.part[i];
      if (!p->moment1) continue;
      memset(p->moment1, 0, (size_t)p->own_count * sizeof(float));
      memset(p->moment2, 0, (size_t)p->own_count * sizeof(float));
    }
    digests_renew(s->digests);
    syz_barrier(s->world);
    s->parts.digests = with ? s->digests : NULL;
    for (int step = 1; step < 4; step++) {
      const double norm = optimiser_norm(&s->parts, s->gradients, &s->scalars, 0, 1, with ? group : other);
      CHECK(isfinite(norm));
      optimiser_update(&s->parts, &rule, step, scale, weights, s->gradients, &s->scalars, 1);
      digests_note_scalars(s->digests);
      syz_barrier(s->world);
    }
    if (!with) memcpy(kept, weights, (size_t)size * sizeof *kept);
  }
  CHECK(memcmp(kept, weights, (size_t)size * sizeof *kept) == 0 && group[0] == other[0]);
  digests_check_all(s->digests);
  digests_compare(s->digests);
  CHECK(finds(s, DIGEST_SOUND, ""));
  /* Found when the optimiser comes back to it: a gradient after the norm, a moment. */
  if (s->parts.n_stretches > 0) {
    const int64_t last = s->parts.n_stretches - 1;
    float *last_gradient = &s->gradients[s->parts.stretch[last].first];
    flip(last_gradient, 3);
    s->parts.digests = s->digests;
    digests_update(s->digests, 0, s->parts.n_stretches, &rule, 4, 1, s->gradients);
    flip(last_gradient, 3);
    CHECK(finds(s, DIGEST_DAMAGED, "the summed gradient of "));
    flip(digests_arrays(s->digests, last)[DIGEST_MOMENT2], 1);
  }
  syz_barrier(s->world);
  optimiser_update(&s->parts, &rule, 4, scale, weights, s->gradients, &s->scalars, 1);
  CHECK(s->parts.n_stretches == 0 || finds(s, DIGEST_DAMAGED, "the second moments of "));
  syz_barrier(s->world);
  s->parts.digests = NULL;
  digests_renew(s->digests);
  free(kept);
}

/* Rank 0 changes the first trained weight of its node, whosever it is. */
static void nodes(setting *s, bool backbones)
{
  float *weights = syz_model_weights(s->model) + s->parts.segment[0].first;
  for (int kind = 0; kind < (backbones ? 1 : 2); kind++) {
    int64_t first, count;
    syz_model_range(s->model, SYZ_PART_IMAGE_BACKBONE, &first, &count);
    float *x = kind ? syz_model_weights(s->model) + first : weights;
    syz_barrier(s->world);
    if (syz_comm_rank(s->world) == 0) flip(x, 7);
    syz_barrier(s->world);
    digests_compare(s->digests);
    syz_barrier(s->world);
    if (syz_comm_rank(s->world) == 0) flip(x, 7);
    syz_barrier(s->world);
    const bool is_there = s->nodes->mine == 0;
    if (kind == 0) CHECK(finds(s, is_there ? DIGEST_DAMAGED : DIGEST_SOUND, is_there ? "this node's memory" : ""));
    if (kind == 1) {
      const bool is_alone =
          s->nodes->n == 1 && syz_comm_rank(s->world) != 0; /* rank 0's share has it, and no other node differs */
      CHECK(finds(s, is_alone ? DIGEST_SOUND : DIGEST_FROZEN, is_alone ? "" : "image_backbone is frozen"));
    }
  }
  if (syz_comm_size(s->world) == 1) return;
  s->scalars.value[0] += syz_comm_rank(s->world) == 1;
  digests_compare(s->digests);
  CHECK(finds(s, DIGEST_DAMAGED, "a scalar parameter differs between ranks"));
  s->scalars.value[0] = 2.5;
  digests_renew(s->digests);
}

static void finite(setting *s)
{
  CHECK_OK(digests_check_finite(s->digests));
  if (s->parts.n_stretches > 0) {
    float *const *x = digests_arrays(s->digests, s->parts.n_stretches - 1);
    const float worst[] = {NAN, INFINITY, -INFINITY};
    for (int k = 0; k < DIGEST_ARRAYS; k++) {
      const float kept = *x[k];
      *x[k] = worst[k];
      CHECK_ERROR(digests_check_finite(s->digests), SYZ_ERR_NUMERIC,
                  k == 0   ? "the weights of"
                  : k == 1 ? "the first moments of"
                           : "the second moments of");
      *x[k] = kept;
    }
  }
  s->array[17] = INFINITY;
  CHECK_ERROR(digests_check_finite(s->digests), SYZ_ERR_NUMERIC, "teacher");
  s->array[17] = 3e38f;
  CHECK_OK(digests_check_finite(s->digests));
  s->scalars.moment2[0] = NAN;
  CHECK_ERROR(digests_check_finite(s->digests), SYZ_ERR_NUMERIC, "a scalar");
}

int main(int argc, char **argv)
{
  syz_comm *world = NULL;
  syz_compute *compute = NULL;
  if (syz_comm_start(&argc, &argv, &world) != SYZ_OK) return 1;
  CHECK_OK(syz_compute_create(SYZ_F32, SYZ_ENGINE_REFERENCE, 1, &compute));
  for (int per_node = 0; per_node < 3; per_node++)
    for (int backbones = 0; backbones < 2; backbones++) {
      setting s;
      open_setting(&s, world, compute, per_node, backbones);
      memory(&s);
      nodes(&s, backbones);
      update(&s);
      syz_barrier(world);
      finite(&s);
      syz_barrier(world);
      close_setting(&s);
    }
  syz_compute_destroy(&compute);
  int64_t failed = CHECK_RESULT();
  syz_allreduce_i64(world, &failed, 1, SYZ_MAX);
  syz_comm_finish(&world);
  CHECK_EQ(syz_memory_get().live_blocks, 0);
  return failed || check_failures;
}
