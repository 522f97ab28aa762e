/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Objects are evenly spaced through a set, so that a few represent all of it, and are divided among the ranks in
 * contiguous parts. An object's features do not depend on its batch, so the result does not depend on the number of
 * ranks.
 */
#include "patches.h"

#include <string.h>

int64_t syz_choose_images(const syz_shardset *data, int64_t wanted, int64_t *list)
{
  const syz_object *object = syz_shardset_objects(data);
  const int64_t size = syz_shardset_size(data);
  int64_t n = 0, chosen = 0, number = 0;
  for (int64_t i = 0; i < size; i++) n += syz_object_has(&object[i], SYZ_IMAGE);
  const int64_t count = n < wanted ? n : wanted;
  for (int64_t i = 0; i < size && chosen < count; i++) {
    if (!syz_object_has(&object[i], SYZ_IMAGE)) continue;
    if (number++ == (2 * chosen + 1) * n / (2 * count)) list[chosen++] = i;
  }
  return count;
}

syz_status syz_features_run(syz_model *m, const syz_compute *compute, syz_shardset *data, int64_t batch, int64_t n,
                            const int64_t *list, const char *what, syz_features_use *use, void *context)
{
  syz_status st = SYZ_OK;
  const syz_image_config *image = &syz_model_get_config(m)->image;
  const int64_t steps = (n + batch - 1) / batch, tokens = syz_model_tokens(syz_model_get_config(m), SYZ_IMAGE);
  syz_loader *loader = NULL;
  int64_t *padded = NULL;
  void *token = NULL;
  syz_progress progress;
  if (n == 0) return SYZ_OK;
  SYZ_ALLOC(padded, "objects", steps * batch);
  for (int64_t i = 0; i < steps * batch; i++) padded[i] = list[i < n ? i : n - 1];
  token = syz_alloc("tokens", (size_t)(batch * tokens * image->dim), syz_dtype_size(syz_compute_act(compute)));
  SYZ_REQUIRE(token, SYZ_ERR_MEMORY, "no memory for the tokens of %lld images", (long long)batch);
  const syz_loader_config config = {.sampler = {.n = steps * batch, .global_batch = batch},
                                    .subset = padded,
                                    .count = batch,
                                    .last_step = steps,
                                    .image_size = image->size,
                                    .ahead = 2};
  SYZ_TRY(syz_loader_create(data, &config, &loader));
  if (what) syz_progress_begin(&progress, what, "images", 0, n); /* of rank 0, which prints */
  for (int64_t step = 0; step < steps; step++) {
    const int64_t at = step * batch, count = n - at < batch ? n - at : batch;
    syz_batch b;
    SYZ_TRY(syz_loader_next(loader, &b, NULL));
    syz_tower_backbone(m, SYZ_IMAGE, count, b.image, token);
    use(context, at, count, token, b.image);
    if (what) syz_progress_tell(&progress, at + count, NULL);
  }
  if (what) syz_progress_end(&progress, n);
cleanup:
  syz_loader_destroy(&loader);
  syz_free(&padded);
  syz_free(&token);
  return st;
}

/* ---------------------------------------------------------------- patches */

typedef struct keeper {
  syz_patches *p;
  int64_t extra; /* tokens in front of the patches */
} keeper;

/* Copy the patch tokens of a batch to their place, without class token and registers. */
static void keep_patches(void *context, int64_t at, int64_t n, const void *tokens, const float *planes)
{
  const keeper *k = context;
  syz_patches *p = k->p;
  const size_t row = (size_t)p->width * syz_dtype_size(p->array.type), patches = (size_t)(p->side * p->side),
               extra = (size_t)k->extra;
  (void)planes;
  for (size_t i = 0; i < (size_t)n; i++)
    memcpy((unsigned char *)p->token + ((size_t)at + i) * patches * row,
           (const unsigned char *)tokens + (i * (patches + extra) + extra) * row, patches * row);
}

/* Check that each node has the memory that its ranks need; all ranks return the same. */
static syz_status check_memory(syz_comm *c, size_t bytes, const char *what)
{
  syz_status st = SYZ_OK;
  syz_comm *node = NULL;
  double sum = (double)bytes;
  SYZ_TRY(syz_comm_split_node(c, &node));
  syz_allreduce_f64(node, &sum, 1, SYZ_SUM);
  const double there = (double)syz_memory_available();
  SYZ_TRY_ALL(c, sum <= there ? SYZ_OK
                              : syz_error_set(SYZ_ERR_MEMORY, __FILE__, __LINE__,
                                              "%s: the %d ranks of a node need %.2f GiB together, %.2f GiB are free: "
                                              "use fewer objects or more nodes",
                                              what, syz_comm_size(node), sum / 1073741824.0, there / 1073741824.0));
cleanup:
  syz_comm_destroy(&node);
  return st;
}

syz_status syz_patches_create(syz_comm *c, const syz_compute *compute, syz_model *m, syz_shardset *data, int64_t wanted,
                              int64_t batch, const char *what, syz_patches **out)
{
  syz_status st = SYZ_OK;
  const syz_model_config *config = syz_model_get_config(m);
  const int64_t size = syz_shardset_size(data), room = wanted < size ? wanted : size;
  syz_patches *p = syz_alloc("patches", 1, sizeof *p);
  *out = NULL;
  if (p) p->number = syz_alloc("objects", (size_t)room, sizeof *p->number);
  SYZ_TRY_ALL(c, p && p->number ? SYZ_OK : SYZ_ERR_MEMORY);
  p->objects = syz_choose_images(data, room, p->number);
  SYZ_REQUIRE(p->objects > 0, SYZ_ERR_DATA, "%s: no object of the data set has an image", what);
  syz_share(p->objects, syz_comm_size(c), syz_comm_rank(c), &p->first, &p->n);
  p->side = config->image.size / config->image.patch;
  p->width = config->image.dim;
  p->array = (syz_array_rows){.type = syz_compute_act(compute), .width = p->width};
  if (batch > p->n) batch = p->n > 0 ? p->n : 1;
  const size_t items = (size_t)(p->n * p->side * p->side * p->width), bytes = items * syz_dtype_size(p->array.type);
  SYZ_TRY(check_memory(c, bytes + syz_tower_plan_bytes(m, SYZ_IMAGE, batch, SYZ_MODE_EMBED), what));
  p->token = syz_alloc("patch features", items + 1, syz_dtype_size(p->array.type));
  SYZ_TRY_ALL(c, p->token ? syz_tower_plan(m, SYZ_IMAGE, batch, SYZ_MODE_EMBED) : SYZ_ERR_MEMORY);
  p->array.x = p->token;
  p->rows = (syz_rows){p->n * p->side * p->side, p->width, &p->array, syz_array_rows_read};
  keeper k = {p, syz_model_tokens(config, SYZ_IMAGE) - p->side * p->side};
  SYZ_TRY_ALL(c, syz_features_run(m, compute, data, batch, p->n, p->number + p->first, what, keep_patches, &k));
  *out = p;
  p = NULL;
cleanup:
  syz_patches_destroy(&p);
  return st;
}

void syz_patches_destroy(syz_patches **pp)
{
  syz_patches *p = *pp;
  if (!p) return;
  syz_free(&p->number);
  syz_free(&p->token);
  syz_free(pp);
}
