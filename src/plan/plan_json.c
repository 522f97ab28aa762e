/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * A plan as JSON: memory and a step's work, for plan.json of a dry run and for bench.json. Operations are those of one
 * object in one step; one multiply-add counts as two.
 */
#include <cjson/cJSON.h>

#include "syzygy/plan.h"

static const char *const rate_name[SYZ_RATES] = {[SYZ_RATE_DINO] = "dino",
                                                 [SYZ_RATE_IMAGE] = "image",
                                                 [SYZ_RATE_SPECTRUM] = "spectrum",
                                                 [SYZ_RATE_LOSS] = "loss",
                                                 [SYZ_RATE_F32] = "float32"};

void syz_plan_put(cJSON *to, const char *name, double x, bool *is_whole)
{
  *is_whole = cJSON_AddNumberToObject(to, name, x) && *is_whole;
}

void syz_plan_put_text(cJSON *to, const char *name, const char *text, bool *is_whole)
{
  *is_whole = cJSON_AddStringToObject(to, name, text) && *is_whole;
}

cJSON *syz_plan_put_item(cJSON *list, bool *is_whole)
{
  cJSON *item = cJSON_CreateObject();
  if (cJSON_AddItemToArray(list, item)) return item;
  cJSON_Delete(item);
  *is_whole = false;
  return NULL;
}

/* The next object of a list, with its name. */
static cJSON *put_named(cJSON *list, const char *name, bool *is_whole)
{
  cJSON *item = syz_plan_put_item(list, is_whole);
  syz_plan_put_text(item, "item", name, is_whole);
  return item;
}

static void put_memory(cJSON *list, const syz_plan *p, bool *is_whole)
{
  for (int i = 0; i < p->n; i++) {
    const syz_plan_item *m = &p->item[i];
    cJSON *item = put_named(list, m->name, is_whole);
    syz_plan_put(item, "bytes", (double)m->bytes, is_whole);
    syz_plan_put_text(item, "of", m->is_of_node ? "node" : m->is_shared_out ? "all ranks" : "rank", is_whole);
  }
}

static void put_operations(cJSON *list, const syz_work *w, bool *is_whole)
{
  for (int i = 0; i < w->n; i++) {
    const syz_work_item *o = &w->item[i];
    cJSON *item = put_named(list, o->name, is_whole);
    syz_plan_put_text(item, "rate", rate_name[o->rate], is_whole);
    syz_plan_put(item, "forward", o->forward, is_whole);
    syz_plan_put(item, "backward", o->backward, is_whole);
    syz_plan_put(item, "again", o->again, is_whole);
    *is_whole = cJSON_AddBoolToObject(item, "grows_with_batch", o->is_of_batch) && *is_whole;
  }
}

static void put_calls(cJSON *list, const syz_work *w, bool *is_whole)
{
  for (int i = 0; i < w->n_calls; i++) {
    cJSON *item = put_named(list, w->call[i].name, is_whole);
    syz_plan_put_text(item, "kind", w->call[i].is_gather ? "gather" : "sum", is_whole);
    syz_plan_put(item, "bytes", w->call[i].bytes, is_whole);
    syz_plan_put(item, "count", w->call[i].count, is_whole);
  }
}

static void put_drop(cJSON *to, const syz_work *w, bool *is_whole)
{
  syz_plan_put(to, "kept", w->drop.kept, is_whole);
  syz_plan_put(to, "branches", (double)w->drop.branches, is_whole);
  cJSON *list = cJSON_AddArrayToObject(to, "groups");
  for (int g = 0; g < w->drop.n; g++) {
    cJSON *item = syz_plan_put_item(list, is_whole);
    syz_plan_put(item, "crops", w->drop.group[g].crops, is_whole);
    syz_plan_put(item, "operations", w->drop.group[g].operations, is_whole);
  }
}

static void put_masks(cJSON *to, const syz_work *w, bool *is_whole)
{
  syz_plan_put(to, "crops", w->masks.crops, is_whole);
  syz_plan_put(to, "probability", w->masks.probability, is_whole);
  syz_plan_put(to, "ratio_min", w->masks.ratio_min, is_whole);
  syz_plan_put(to, "ratio_max", w->masks.ratio_max, is_whole);
  syz_plan_put(to, "patches", w->masks.patches, is_whole);
  syz_plan_put(to, "operations", w->masks.operations, is_whole);
}

static void put_work(cJSON *to, const syz_work *w, bool *is_whole)
{
  syz_plan_put(to, "objects_per_rank", (double)w->objects, is_whole);
  syz_plan_put(to, "passes", (double)w->passes, is_whole);
  put_operations(cJSON_AddArrayToObject(to, "operations"), w, is_whole);
  syz_plan_put(to, "operations_beside_gradients", w->beside, is_whole);
  put_calls(cJSON_AddArrayToObject(to, "calls"), w, is_whole);
  cJSON *weights = cJSON_AddObjectToObject(to, "weights");
  for (int r = 0; r < SYZ_RATES; r++)
    if (w->weights[r] > 0) syz_plan_put(weights, rate_name[r], w->weights[r], is_whole);
  syz_plan_put(to, "trained", w->trained, is_whole);
  syz_plan_put(to, "teacher", w->teacher, is_whole);
  syz_plan_put(to, "depth", (double)w->depth, is_whole);
  syz_plan_put(to, "file_bytes", w->file_bytes, is_whole);
  syz_plan_put(to, "group_bytes", w->group_bytes, is_whole);
  syz_plan_put(to, "group_calls", (double)w->group_calls, is_whole);
  if (w->drop.n == 0) return;
  put_drop(cJSON_AddObjectToObject(to, "stochastic_depth"), w, is_whole);
  put_masks(cJSON_AddObjectToObject(to, "masks"), w, is_whole);
}

cJSON *syz_plan_json(const syz_plan *p, int ranks)
{
  bool is_whole = true;
  cJSON *root = cJSON_CreateObject();
  syz_plan_put(root, "ranks", ranks, &is_whole);
  put_memory(cJSON_AddArrayToObject(root, "memory"), p, &is_whole);
  put_work(root, &p->work, &is_whole);
  if (is_whole) return root;
  cJSON_Delete(root);
  return NULL;
}
