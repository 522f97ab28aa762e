/* SPDX-License-Identifier: BSD-3-Clause */
/** The work of a step, item by item. The objectives list it beside their plans of memory, from the same sizes. */
#include "syzygy/plan.h"

double syz_work_useful(const syz_work *w)
{
  double sum = 0;
  for (int i = 0; i < w->n; i++)
    if (!w->item[i].is_of_batch) sum += w->item[i].forward + w->item[i].backward;
  return sum;
}

double syz_work_elements(const syz_model *model, syz_part part)
{
  int n;
  double sum = 0;
  const syz_parameter *p = syz_model_parameters(model, &n);
  for (int i = 0; i < n; i++)
    if (p[i].part == part) sum += (double)p[i].size;
  return sum;
}

double syz_work_trained(const syz_model *model, syz_part part, bool trains_backbones)
{
  int n;
  double sum = 0;
  const syz_parameter *p = syz_model_parameters(model, &n);
  for (int i = 0; i < n; i++)
    if (p[i].part == part && syz_parameter_trains(&p[i], trains_backbones)) sum += (double)p[i].size;
  return sum;
}

static void add_call(syz_work *w, const syz_call *call)
{
  SYZ_ASSERT(w->n_calls < SYZ_WORK_CALLS);
  w->call[w->n_calls++] = *call;
}

void syz_work_begin(syz_work *w, const syz_passes *p, const syz_model *model, bool trains_backbones)
{
  *w = (syz_work){.objects = p->count, .passes = p->n};
  for (syz_part part = 0; part < SYZ_PARTS; part++) w->trained += syz_work_trained(model, part, trains_backbones);
  /* Flags, the gradient norm, and the flag of a step to be computed again: src/train/step.c, src/train/optimiser.c. */
  add_call(w, &(syz_call){"agreement and gradient norm", false, 64, 3});
}

void syz_work_add(syz_work *w, const char *name, syz_rate rate, double forward, double backward, double again)
{
  if (forward + backward + again <= 0) return;
  SYZ_ASSERT(w->n < SYZ_WORK_ITEMS);
  w->item[w->n++] =
      (syz_work_item){.name = name, .rate = rate, .forward = forward, .backward = backward, .again = again};
}

void syz_work_add_loss(syz_work *w, const char *name, syz_rate rate, const syz_loss_work *l, double times,
                       bool is_of_batch)
{
  const int before = w->n;
  syz_work_add(w, name, rate, times * l->forward, times * l->backward, times * l->again);
  if (w->n > before) w->item[before].is_of_batch = is_of_batch;
  for (int i = 0; i < l->n; i++) {
    syz_call call = l->call[i];
    call.count *= times;
    add_call(w, &call);
  }
}

double syz_work_recomputed(const syz_model *model, int64_t depth)
{
  const int64_t n = syz_model_recomputed(model);
  return (double)(n < depth ? n : depth) / (double)depth;
}

void syz_work_add_group(syz_work *w, const syz_model *model, syz_modality tower, double rows, double forwards)
{
  enum { CALLS_OF_BLOCK = 8 }; /* gather and reduce-scatter of two branches, forward and backward */
  const syz_model_config *c = syz_model_get_config(model);
  const int64_t dim = syz_model_width(c, tower), depth = syz_model_depth(c, tower);
  const int ranks = syz_model_tensor_ranks(model);
  const syz_dtype act = syz_compute_act(syz_model_get_compute(model));
  w->depth = depth > w->depth ? depth : w->depth;
  if (ranks == 1) return;
  w->group_bytes += (double)depth * rows * syz_block_exchange_bytes(dim, ranks, act, forwards);
  w->group_calls += CALLS_OF_BLOCK * depth * w->passes;
}
