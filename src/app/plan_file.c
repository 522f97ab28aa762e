/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * plan.json: memory, operations and messages of a run, by item, for programs that read it (tools/predict).
 *
 * `plan` is for the number of ranks that the dry run plans. `shares` has one plan per possible share of the global
 * batch, made for the fewest ranks with that share; its items of `all ranks` scale as one over the number of ranks. So
 * one file serves every number of ranks. parallel.tensor and train.recompute are those of the input, and bytes are for
 * the type that this processor computes in (computes_in). The folder is not locked, so a run in it is not disturbed.
 * With parallel.towers: apart the plan covers the tower of rank 0 alone, and tools/predict refuses it.
 */
#include "plan_file.h"

#include <cjson/cJSON.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "syzygy/files.h"
#include "syzygy/json.h"

static const struct {
  const char *name, *unit;
} units[] = {
    {"bytes",
     "bytes of memory. of: rank: per rank; node: once per node; all ranks: per rank, and half as many on twice "
     "the ranks. In calls: what each rank contributes to a sum, or holds after a gather"},
    {"forward, backward, again", "mean operations per object and step; a multiply-add counts as two; again: what is "
                                 "recomputed to save memory"},
    {"stochastic_depth.groups.operations", "operations per crop and branch"},
    {"masks.operations", "operations per masked patch"},
    {"objects_per_rank, passes, group_calls", "counts per step, on the rank with the largest share"},
    {"operations_beside_gradients", "the part of these in the last pass, which overlaps with the sums of gradients"},
    {"count", "calls per step"},
    {"elements, trained, weights, teacher", "numbers of parameters; in buckets, of those whose gradients travel "
                                            "together"},
    {"file_bytes, group_bytes", "bytes per object: read from files; sent to the tensor group"},
    {"slice_bytes", "bytes per rank for each other node; half as many on twice the ranks"}};

static void put_units(cJSON *to, bool *is_whole)
{
  for (size_t i = 0; i < sizeof units / sizeof *units; i++)
    syz_plan_put_text(to, units[i].name, units[i].unit, is_whole);
}

/* Elements by part of the model; `trained` of them get gradients. */
static void put_parameters(cJSON *list, const syz_training *t, bool *is_whole)
{
  for (syz_part part = 0; part < SYZ_PARTS; part++) {
    const double elements = syz_work_elements(t->model, part);
    if (elements == 0) continue;
    cJSON *item = syz_plan_put_item(list, is_whole);
    syz_plan_put_text(item, "part", syz_part_name(part), is_whole);
    syz_plan_put(item, "elements", elements, is_whole);
    syz_plan_put(item, "trained", syz_work_trained(t->model, part, t->loop.trains_backbones), is_whole);
  }
}

/* Bucket sizes grow with the number of ranks: list each size with the largest number of ranks that uses it. */
static void put_buckets(cJSON *list, int64_t most, bool *is_whole)
{
  for (int64_t ranks = 1; ranks <= most; ranks++) {
    const int64_t elements = syz_gradients_bucket_elements((int)ranks);
    if (ranks < most && syz_gradients_bucket_elements((int)ranks + 1) == elements) continue;
    cJSON *item = syz_plan_put_item(list, is_whole);
    syz_plan_put(item, "most_ranks", (double)ranks, is_whole);
    syz_plan_put(item, "elements", (double)elements, is_whole);
  }
}

static void put_run(cJSON *root, const syz_training *t, const syz_plan *plan, const syz_layout *l, bool *is_whole)
{
  char utc[32];
  syz_clock_utc(utc);
  syz_plan_put_text(root, "syzygy_format", "plan", is_whole);
  syz_plan_put(root, "format_version", 1, is_whole);
  syz_plan_put_text(root, "created_by", syz_app_created_by(), is_whole);
  syz_plan_put_text(root, "written", utc, is_whole);
  syz_plan_put_text(root, "command", t->app->command_name, is_whole);
  syz_plan_put_text(root, "input", syz_app_input_yaml(t->app), is_whole);
  put_units(cJSON_AddObjectToObject(root, "units"), is_whole);
  syz_plan_put(root, "ranks", (double)l->world, is_whole);
  syz_plan_put(root, "ranks_per_node", l->node, is_whole);
  syz_plan_put(root, "tensor", syz_model_tensor_ranks(t->model), is_whole);
  syz_plan_put(root, "recompute", (double)syz_model_recomputed(t->model), is_whole);
  syz_plan_put(root, "objects", (double)syz_shardset_size(t->train), is_whole);
  syz_plan_put(root, "global_batch", (double)t->loop.global_batch, is_whole);
  syz_plan_put(root, "steps", (double)t->loop.steps, is_whole);
  syz_plan_put(root, "checkpoint_interval_s", t->loop.checkpoint_interval_s, is_whole);
  syz_plan_put_text(root, "reduction", t->loop.reduction == SYZ_REDUCE_BF16 ? "bfloat16" : "float32", is_whole);
  syz_plan_put_text(root, "computes_in", syz_compute_act(t->compute) == SYZ_BF16 ? "bfloat16" : "float32", is_whole);
  syz_plan_put(root, "rank_bytes", (double)syz_plan_rank_bytes(plan), is_whole);
  syz_plan_put(root, "node_bytes", (double)syz_plan_node_bytes(plan, l->node), is_whole);
  put_parameters(cJSON_AddArrayToObject(root, "parameters"), t, is_whole);
  put_buckets(cJSON_AddArrayToObject(root, "buckets"), t->loop.global_batch, is_whole);
}

/* A plan, with the memory of gradients sent between nodes: under a name, or as the next item of a list.
 * SYZ_ERR_MEMORY. */
static syz_status put_plan(cJSON *to, const char *name, const syz_training *t, const syz_plan *plan, int ranks,
                           bool *is_whole)
{
  syz_status st = SYZ_OK;
  cJSON *item = syz_plan_json(plan, ranks);
  SYZ_REQUIRE(item, SYZ_ERR_MEMORY, "no memory for the plan");
  syz_plan_put(item, "slice_bytes",
               (double)syz_gradients_travel_bytes(syz_model_size(t->model), ranks, 2, t->loop.reduction), is_whole);
  *is_whole = (name ? cJSON_AddItemToObject(to, name, item) : cJSON_AddItemToArray(to, item)) && *is_whole;
cleanup:
  return st;
}

/* A share for which the layers can't be made is left out, and so are ranks that don't divide the leaves. */
static syz_status put_shares(cJSON *list, const syz_training *t, const syz_planner *planner, bool *is_whole)
{
  syz_status st = SYZ_OK;
  const int64_t G = t->loop.global_batch, leaves = t->loop.leaves;
  int64_t share = 0;
  for (int64_t ranks = 1; share != 1; ranks = (G + share - 2) / (share > 1 ? share - 1 : 1)) {
    syz_plan plan;
    share = (G + ranks - 1) / ranks;
    if ((leaves > 0 && leaves % ranks != 0) || planner->plan(planner->context, G, (int)ranks, &plan) != SYZ_OK)
      continue;
    SYZ_TRY(put_plan(list, NULL, t, &plan, (int)ranks, is_whole));
  }
cleanup:
  return st;
}

syz_status syz_plan_file_write(const syz_training *t, const syz_planner *planner, const syz_plan *plan,
                               const syz_layout *l)
{
  syz_status st = SYZ_OK;
  const char *folder = syz_input_text(t->in, "output.dir");
  cJSON *root = cJSON_CreateObject();
  bool is_whole = true;
  put_run(root, t, plan, l, &is_whole);
  SYZ_TRY(put_plan(root, "plan", t, plan, l->ranks, &is_whole));
  SYZ_TRY(put_shares(cJSON_AddArrayToObject(root, "shares"), t, planner, &is_whole));
  SYZ_REQUIRE(is_whole, SYZ_ERR_MEMORY, "no memory for the plan");
  SYZ_TRY(syz_make_folder(folder));
  SYZ_TRY(syz_json_write(folder, "plan.json", root));
  syz_info("the plan is in %s/plan.json", folder);
cleanup:
  cJSON_Delete(root);
  return st;
}
