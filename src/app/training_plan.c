/* SPDX-License-Identifier: BSD-3-Clause */
/** Printed at the start of a training run: sizes of model and data, planned memory, and in a dry run the largest batch
 * that fits. */
#include <inttypes.h>
#include <math.h>

#include "compute.h"
#include "plan_file.h"

#define GIB 1073741824.0

static void tell_run(const syz_training *t)
{
  const int64_t n = syz_shardset_size(t->train), G = t->loop.global_batch;
  double parameters = 0, trained = 0;
  for (syz_part part = 0; part < SYZ_PARTS; part++) {
    parameters += syz_work_elements(t->model, part);
    trained += syz_work_trained(t->model, part, t->loop.trains_backbones);
  }
  syz_compute_tell(t->compute);
  if (t->grid.towers == SYZ_TOWERS_APART)
    syz_info("towers apart: %d ranks with the image tower, %d with the spectrum tower; rank 0 holds %.1f M parameters, "
             "trains %.1f M",
             t->grid.image_ranks, t->grid.spectrum_ranks, parameters / 1e6, trained / 1e6);
  else
    syz_info("%.1f M parameters, %.1f M of them trained", parameters / 1e6, trained / 1e6);
  syz_info("%" PRId64 " objects, global batch %" PRId64 ": %.1f steps per epoch, %" PRId64 " steps are %.1f epochs", n,
           G, (double)n / (double)G, t->loop.steps, (double)t->loop.steps * (double)G / (double)(n > 0 ? n : 1));
}

/* Collective; agreed. */
static syz_status layout_of(const syz_training *t, syz_layout *out)
{
  syz_status st = SYZ_OK;
  syz_comm *node = NULL;
  const int64_t started = syz_comm_size(t->app->world), planned = syz_input_int(t->in, "plan.ranks"),
                wish = syz_input_int(t->in, "plan.ranks_per_node");
  SYZ_TRY(syz_comm_split_node(t->app->world, &node));
  int64_t most = syz_comm_size(node);
  syz_allreduce_i64(t->app->world, &most, 1, SYZ_MAX);
  out->world = planned > 0 && t->app->is_dry_run ? planned : started;
  /* Towers apart keep their proportion. */
  out->ranks = (int)fmax(1, floor((double)out->world * syz_comm_size(t->grid.data) / (double)started));
  out->node = (int)(wish > 0 && t->app->is_dry_run ? wish : most);
  if (out->node > out->world) out->node = (int)out->world;
  out->sharers = (int)syz_input_int(t->in, "parallel.ranks_per_node");
  if (out->sharers == 0 || out->sharers > out->node) out->sharers = out->node;
cleanup:
  syz_comm_destroy(&node);
  return st;
}

static void tell_items(const syz_plan *p, const syz_layout *l)
{
  syz_info("%-38s %12s", "memory per rank", "GiB");
  for (int i = 0; i < p->n; i++)
    syz_info("  %-36s %12.3f%s", p->item[i].name, (double)p->item[i].bytes / GIB,
             p->item[i].is_of_node ? "  once per node" : "");
  syz_info("  %-36s %12.3f", "per rank, without memory shared by its node", (double)syz_plan_rank_bytes(p) / GIB);
  syz_info("  per node of %-6d ranks %24.3f", l->node, (double)syz_plan_node_bytes(p, l->node) / GIB);
}

static syz_status make_plan(const syz_training *t, const syz_planner *planner, const syz_layout *l, int64_t batch,
                            syz_plan *out)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(planner->plan(planner->context, batch, l->ranks, out));
  const int nodes = (l->ranks + l->sharers - 1) / l->sharers;
  syz_plan_add(out, "gradients between nodes",
               syz_gradients_travel_bytes(syz_model_size(t->model), l->ranks, nodes, t->loop.reduction));
  out->sharers = l->sharers;
cleanup:
  return st;
}

/* The largest multiple of the ranks that fits, by doubling and then bisection. A batch counts as too large when its
 * layers can't be made. */
static void tell_largest(const syz_training *t, const syz_planner *planner, const syz_layout *l)
{
  const double given = syz_input_real(t->in, "plan.memory_gib");
  const double room = given > 0 ? given * GIB : (double)(syz_memory_available() + syz_memory_get().live_bytes);
  int64_t fits = 0, fails = 0;
  for (int64_t share = 1; share <= (INT64_C(1) << 40) && (fails == 0 || fails - fits > 1);
       share = fails ? (fits + fails) / 2 : 2 * fits) {
    syz_plan plan;
    const bool is_small = share * l->world <= 1048576; /* the most that train.global_batch may be */
    if (is_small && make_plan(t, planner, l, share * l->world, &plan) == SYZ_OK &&
        (double)syz_plan_node_bytes(&plan, l->node) <= room)
      fits = share;
    else
      fails = share;
  }
  if (fits > 0)
    syz_info("largest train.global_batch in %.1f GiB per node: %" PRId64 " (%" PRId64 " per rank; %" PRId64
             " ranks, %d per node)",
             room / GIB, fits * l->world, fits, l->world, l->node);
  else
    syz_warn("not one object per rank fits into %.1f GiB per node of %d ranks: use fewer ranks per node with more "
             "threads, or "
             "train.recompute",
             room / GIB, l->node);
}

syz_status syz_training_tell(const syz_training *t, const syz_planner *planner, syz_plan *out)
{
  syz_status st = SYZ_OK;
  syz_layout l = {0};
  tell_run(t);
  SYZ_TRY(layout_of(t, &l));
  SYZ_TRY_ALL(t->app->world, make_plan(t, planner, &l, t->loop.global_batch, out));
  if (t->app->is_dry_run) tell_items(out, &l);
  syz_info("needs about %.2f GiB per rank, %.2f GiB per node of %d ranks",
           (double)(syz_plan_rank_bytes(out) + syz_plan_shared_bytes(out)) / GIB,
           (double)syz_plan_node_bytes(out, l.node) / GIB, l.node);
  if (t->app->is_dry_run && syz_comm_rank(t->app->world) == 0) tell_largest(t, planner, &l);
  if (t->app->is_dry_run)
    SYZ_TRY_ALL(t->app->world, syz_comm_rank(t->app->world) == 0 ? syz_plan_file_write(t, planner, out, &l) : SYZ_OK);
cleanup:
  return st;
}

syz_status syz_training_tell_peak(const syz_training *t, const syz_plan *planned)
{
  syz_status st = SYZ_OK;
  syz_comm *node = NULL;
  double peak = (double)syz_memory_resident_peak(), together = (double)syz_memory_noted();
  SYZ_TRY(syz_comm_split_node(t->app->world, &node));
  syz_allreduce_f64(node, &together, 1, SYZ_SUM);
  syz_allreduce_f64(t->app->world, &together, 1, SYZ_MAX);
  syz_allreduce_f64(t->app->world, &peak, 1, SYZ_MAX);
  int64_t most = syz_comm_size(node);
  syz_allreduce_i64(t->app->world, &most, 1, SYZ_MAX);
  syz_info("peak memory: %.2f GiB per rank (%.2f GiB planned), %.2f GiB per node (%.2f GiB planned)", peak / GIB,
           (double)(syz_plan_rank_bytes(planned) + syz_plan_shared_bytes(planned)) / GIB, together / GIB,
           (double)syz_plan_node_bytes(planned, (int)most) / GIB);
cleanup:
  syz_comm_destroy(&node);
  return st;
}
