/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * DINOv2 (Oquab et al. 2023, arXiv:2304.07193; src/model/README.md "DINOv2 pretraining"): a student learns to predict
 * from every crop of an image the output of its teacher, a moving average of the student, for the global crops.
 *
 * A step on a rank with n objects, G global and L local crops each:
 *   teacher  global crops, nothing masked or dropped -> class tokens, and tokens of the patches that are masked for
 *            the student -> projections
 *   student  all crops, global ones with block-wise masks -> class tokens of all, and tokens of masked patches
 *            -> projections
 *   loss     rows of the student against rows of the teacher over the prototypes; KoLeo on the class tokens of
 *            each global crop
 *
 * Objects are processed in passes of at most train.micro_batch. The losses need the tokens of all passes, which are
 * kept (dino_rows.c). Activations are kept only for the last pass; the others run forward again before their backward
 * pass (as in align.c). The heads up to the bottleneck run pass by pass, the prototypes on all rows at once.
 *
 * The published code computes KoLeo and, with uneven batches, these means per process; here all are over the global
 * batch.
 *
 * Terms are reported without their weights; loss = dino_weight (dino_global + dino_local) + ibot_weight ibot +
 * koleo_weight koleo.
 */
#include "dino.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Packs the weights of both networks. */
void dino_pack(dino *d)
{
  syz_crops_pack(d->seen);
  syz_crops_pack(d->taught);
  for (int h = 0; h < d->sizes.heads; h++) {
    syz_projection_pack(d->head[h].student);
    syz_projection_pack(d->head[h].teacher);
  }
}

/* ---------------------------------------------------------------- forward */

/* Crops of a pass; `step` for stochastic depth. */
static syz_crops_input input_of(const dino *d, const dino_pass *p, int64_t step, bool is_student)
{
  const dino_sizes *z = &d->sizes;
  const int64_t count[SYZ_CROP_GROUPS] = {z->crops, is_student ? z->locals : 0};
  syz_crops_input input = {.seed = d->options.seed, .step = (uint64_t)step};
  for (int g = 0; g < SYZ_CROP_GROUPS; g++) {
    const int64_t side = d->options.crops.size[g];
    input.count[g] = p->n * count[g];
    input.first_crop[g] = (z->first + p->at) * count[g];
    if (d->data.crop[g]) input.planes[g] = d->data.crop[g] + p->at * count[g] * 3 * side * side;
  }
  if (is_student) input.mask[DINO_GLOBAL] = d->mask + p->at * z->crops * z->patches;
  return input;
}

/* Collects the chosen tokens of a pass's crops in d->chosen; returns their number. */
static int64_t run_pass(dino *d, syz_crops *c, const dino_pass *p, int64_t step)
{
  const bool is_student = c == d->seen;
  const syz_crops_input input = input_of(d, p, step, is_student);
  syz_crops_forward(c, &input);
  const int64_t rows = dino_choose_rows(d, p, c, is_student);
  syz_crops_rows(c, rows, d->row, d->chosen);
  return rows;
}

static void put_together(dino *d, int64_t rows)
{
  const int64_t width = d->sizes.width;
  for (int64_t i = 0; i < rows; i++)
    memcpy(d->token + d->place[i] * width, d->chosen + i * width, (size_t)width * sizeof(float));
}

static int64_t bottleneck_of(const dino *d) { return syz_model_get_config(d->student)->dino.bottleneck; }

static void run_teacher(dino *d)
{
  const int64_t width = d->sizes.width, bottleneck = bottleneck_of(d);
  syz_timing_begin(d->timing, "teacher");
  for (int64_t k = 0; k < d->n_passes; k++) {
    const dino_pass *p = &d->pass[k];
    const int64_t classes = p->n * d->sizes.crops;
    put_together(d, run_pass(d, d->taught, p, 0));
    syz_projection_forward(d->head[0].teacher, classes, d->token, d->z_teacher + p->taught * bottleneck);
    syz_projection_forward(d->head[d->sizes.heads - 1].teacher, p->masked, d->token + classes * width,
                           d->z_teacher + p->taught_patches * bottleneck);
  }
  syz_timing_end(d->timing);
}

static void project(dino *d, const dino_pass *p)
{
  for (int h = 0; h < d->sizes.heads; h++) {
    int64_t first;
    const int64_t rows = dino_rows_of_head(d, h, p, &first);
    syz_projection_forward(d->head[h].student, rows, d->token + first * d->sizes.width,
                           d->z + first * bottleneck_of(d));
  }
}

static void run_student(dino *d, int64_t step)
{
  syz_timing_begin(d->timing, "forward");
  for (int64_t k = 0; k < d->n_passes; k++) {
    put_together(d, run_pass(d, d->seen, &d->pass[k], step));
    if (k == 0 && d->n > 0 && syz_fault("dino_token")) d->token[0] = NAN;
    project(d, &d->pass[k]);
  }
  syz_timing_end(d->timing);
}

/* The class token of global crop c of an object of a pass. */
static float *class_token(const dino *d, const dino_pass *p, int64_t c, int64_t object)
{
  return d->token + (p->seen + c * p->n + object) * d->sizes.width;
}

/* The place of this token among the rows of KoLeo. */
static float *koleo_row(const dino *d, const dino_pass *p, int64_t c, int64_t object)
{
  return d->koleo_rows + (c * d->sizes.count + p->at + object) * d->sizes.width;
}

static void form_koleo(dino *d, double *koleo, double *spread)
{
  const int64_t width = d->sizes.width;
  for (int64_t c = 0; c < d->sizes.crops; c++) {
    double one, wide;
    for (int64_t k = 0; k < d->n_passes; k++)
      for (int64_t i = 0; i < d->pass[k].n; i++)
        memcpy(koleo_row(d, &d->pass[k], c, i), class_token(d, &d->pass[k], c, i), (size_t)width * sizeof(float));
    syz_koleo_forward(d->koleo[c], d->koleo_rows + c * d->sizes.count * width, width, &one, &wide);
    *koleo += one;
    *spread += wide / (double)d->sizes.crops;
  }
}

static double over(double sum, double weight) { return weight > 0 ? sum / weight : 0; }

/* The losses of the global batch. Collective. */
static void form_losses(dino *d, int64_t step, syz_step_result *out)
{
  const syz_dino_options *o = &d->options;
  syz_distillation_loss loss[DINO_HEADS];
  double koleo = 0, spread = 0, weighted[DINO_TERMS] = {0};
  for (int h = 0; h < d->sizes.heads; h++) {
    d->head[h].batch.teacher_temperature =
        syz_schedule_ramp(step, o->teacher_temperature_start, o->teacher_temperature, o->teacher_warmup_steps);
    syz_distillation_forward(d->head[h].loss, &d->head[h].batch, &loss[h]);
    for (int t = TERM_GLOBAL; t <= TERM_PATCH; t++) weighted[t] += loss[h].term[t];
  }
  form_koleo(d, &koleo, &spread);
  const int patch_set = d->sizes.heads == 1; /* of the last head */
  const syz_distillation_loss *patches = &loss[d->sizes.heads - 1];
  out->loss = weighted[TERM_GLOBAL] + weighted[TERM_LOCAL] + weighted[TERM_PATCH] + o->koleo_weight * koleo;
  out->term[TERM_GLOBAL] = over(weighted[TERM_GLOBAL], o->dino_weight);
  out->term[TERM_LOCAL] = over(weighted[TERM_LOCAL], o->dino_weight);
  out->term[TERM_PATCH] = over(weighted[TERM_PATCH], o->ibot_weight);
  out->term[TERM_KOLEO] = koleo;
  out->term[TERM_ENTROPY] = loss[0].target_entropy[0];
  out->term[TERM_MEAN_ENTROPY] = loss[0].mean_entropy[0];
  out->term[TERM_ENTROPY_PATCH] = patches->target_entropy[patch_set];
  out->term[TERM_MEAN_ENTROPY_PATCH] = patches->mean_entropy[patch_set];
  out->term[TERM_SPREAD] = spread;
  out->term[TERM_TEMPERATURE] = d->head[0].batch.teacher_temperature;
  out->term[TERM_MOMENTUM] = syz_schedule_cosine(step, o->momentum, o->momentum_end, o->steps);
}

syz_status dino_forward(void *self, int64_t step, const double *scalar, syz_step_result *out)
{
  dino *d = self;
  (void)scalar;
  syz_timing_begin(d->timing, "data");
  const syz_status st = syz_loader_next(d->loader, &d->data, &out->wait_s);
  /* A rank without data still takes part in the losses, which all ranks then discard. */
  d->n = st == SYZ_OK ? d->sizes.count : 0;
  dino_lay_out_rows(d, step);
  syz_timing_end(d->timing);
  run_teacher(d);
  run_student(d, step);
  for (int h = 0; h < d->sizes.heads; h++) {
    const syz_distillation_batch *b = &d->head[h].batch;
    out->digest = syz_checksum(b->z_student, (size_t)(b->n_student * bottleneck_of(d)) * sizeof(float), out->digest);
  }
  syz_timing_begin(d->timing, "loss");
  form_losses(d, step, out);
  syz_timing_end(d->timing);
  if (isfinite(out->loss))
    dino_watch_step(&d->watch, &d->options, syz_model_get_config(d->student)->dino.prototypes, step, out->term);
  return st;
}

/* --------------------------------------------------------------- backward */

/* Gradients of the losses by projections and prototypes, and KoLeo's part. The prototypes' gradient of all leaves is in
 * the first leaf's block; the blocks of the other leaves hold zeros there. */
static void leave_losses(dino *d, syz_gradients *g)
{
  const int64_t width = d->sizes.width;
  for (int h = 0; h < d->sizes.heads; h++) {
    dino_head *q = &d->head[h];
    float *dprototypes = syz_gradients_block(g) + syz_projection_prototypes(d->student, q->part);
    syz_distillation_backward(q->loss, &q->batch, d->dz + q->first_student * bottleneck_of(d), dprototypes);
  }
  memset(d->koleo_rows, 0, (size_t)(d->sizes.crops * d->sizes.count * width) * sizeof *d->koleo_rows);
  for (int64_t c = 0; c < d->sizes.crops; c++)
    syz_koleo_backward(d->koleo[c], d->options.koleo_weight, d->koleo_rows + c * d->sizes.count * width, width);
}

/* From the projections of a pass to its tokens, which are overwritten by their gradients. */
static void leave_heads(dino *d, const dino_pass *p, bool is_final, syz_gradients *g)
{
  const int64_t width = d->sizes.width;
  for (int h = 0; h < d->sizes.heads; h++) {
    int64_t first, count;
    const int64_t rows = dino_rows_of_head(d, h, p, &first);
    syz_projection_backward(d->head[h].student, rows, d->dz + first * bottleneck_of(d), syz_gradients_block(g),
                            d->token + first * width);
    syz_model_range(d->student, d->head[h].part, &first, &count);
    if (is_final) syz_gradients_ready(g, first, count);
  }
  for (int64_t c = 0; c < d->sizes.crops; c++)
    for (int64_t i = 0; i < p->n; i++) {
      float *to = class_token(d, p, c, i);
      const float *from = koleo_row(d, p, c, i);
      for (int64_t j = 0; j < width; j++) to[j] += from[j];
    }
}

syz_status dino_backward(void *self, int64_t step, syz_gradients *g, double *scalar_gradient)
{
  dino *d = self;
  const int64_t width = d->sizes.width;
  (void)scalar_gradient;
  syz_timing_begin(d->timing, "loss");
  leave_losses(d, g);
  syz_timing_end(d->timing);
  syz_timing_begin(d->timing, "backward");
  for (int64_t k = d->n_passes - 1; k >= 0; k--) {
    const dino_pass *p = &d->pass[k];
    if (k < d->n_passes - 1) {
      run_pass(d, d->seen, p, step);
      project(d, p);
    }
    leave_heads(d, p, k == 0, g);
    const int64_t rows = p->n * (d->sizes.crops + d->sizes.locals) + p->masked;
    for (int64_t i = 0; i < rows; i++)
      memcpy(d->chosen + i * width, d->token + d->place[i] * width, (size_t)width * sizeof(float));
    syz_crops_backward(d->seen, d->chosen, syz_gradients_block(g), k == 0 ? syz_gradients_ready : NULL, g);
    if (syz_passes_begins_leaf(&d->sizes.passes, k)) syz_gradients_leaf(g);
  }
  syz_timing_end(d->timing);
  return SYZ_OK;
}

void dino_updated(void *self, int64_t step)
{
  dino *d = self;
  if (step < 0) return; /* before the first step, `begin` packs the weights */
  const double momentum = syz_schedule_cosine(step, d->options.momentum, d->options.momentum_end, d->options.steps);
  syz_timing_begin(d->timing, "teacher follows");
  for (int h = 0; h < d->sizes.heads; h++)
    syz_distillation_update(d->head[h].loss); /* here and not in the backward pass, which may run twice */
  int64_t first, count;                       /* the ranks of a node share one teacher */
  syz_model_own_stretch(d->teacher, &first, &count);
  dino_follow(syz_model_weights(d->teacher) + first, syz_model_weights(d->student) + first, momentum, count,
              d->threads);
  syz_model_settle(d->teacher);
  syz_timing_end(d->timing);
  syz_timing_begin(d->timing, "packing");
  dino_pack(d);
  syz_timing_end(d->timing);
}

/* --------------------------------------------------------------- describe */

static bool is_row_finite(const float *x, int64_t n)
{
  float sum = 0;
  for (int64_t i = 0; i < n; i++) sum += x[i] * 0;
  return sum == 0;
}

enum { TOLD = 4 };
typedef struct suspects {
  int64_t n, object_id[TOLD];
} suspects;

/* Objects of this rank for which a token or a projection of the teacher is not finite. */
static suspects find_suspects(const dino *d, int64_t step)
{
  suspects s = {0};
  const dino_sizes *z = &d->sizes;
  const syz_object *table = syz_shardset_objects(d->shards);
  for (int64_t k = 0; k < d->n_passes; k++) {
    const dino_pass *p = &d->pass[k];
    for (int64_t i = 0; i < p->n; i++) {
      bool is_finite = true;
      for (int64_t c = 0; c < z->crops; c++)
        is_finite = is_finite && is_row_finite(class_token(d, p, c, i), z->width) &&
                    is_row_finite(d->z_teacher + (p->taught + c * p->n + i) * bottleneck_of(d), bottleneck_of(d));
      for (int64_t l = 0; l < z->locals; l++)
        is_finite = is_finite && is_row_finite(class_token(d, p, z->crops, i * z->locals + l), z->width);
      if (is_finite) continue;
      if (s.n < TOLD)
        s.object_id[s.n] = table[d->object[syz_sampler_index(&d->sampler, step, z->first + p->at + i)]].object_id;
      s.n++;
    }
  }
  return s;
}

void dino_describe(void *self, int64_t step, char *text, size_t room)
{
  dino *d = self;
  const int size = syz_comm_size(d->world);
  const suspects mine = find_suspects(d, step);
  suspects *all = syz_alloc("suspects", (size_t)size, sizeof *all);
  size_t at = 0;
  int64_t n = 0;
  text[0] = '\0';
  if (syz_agree(d->world, all ? SYZ_OK : SYZ_ERR_MEMORY) == SYZ_OK) {
    syz_allgather(d->world, &mine, all, sizeof mine);
    for (int r = 0; r < size; r++)
      for (int64_t i = 0; i < all[r].n; i++)
        if (n++ < TOLD && at < room)
          at += (size_t)snprintf(text + at, room - at, "%sthe class token of object %" PRId64 " is not finite",
                                 at ? ", " : "", all[r].object_id[i < TOLD ? i : TOLD - 1]);
    if (n > TOLD && at < room) snprintf(text + at, room - at, ", and of %" PRId64 " more", n - TOLD);
    if (n == 0)
      snprintf(text, room,
               "class tokens and the teacher's projections are finite: look at the prototypes and the temperatures");
  }
  syz_free(&all);
}
