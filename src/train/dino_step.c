/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * DINOv2 (Oquab et al. 2023, arXiv:2304.07193; recipes.md section 5): a student learns to say of every crop of an image what its teacher, a moving
 * average of it, says of the global crops.
 *
 * A step on a rank with n objects, G global and L local crops each:
 *   teacher  global crops, nothing masked or dropped -> class tokens and the tokens of patches that the student will not see -> projections
 *   student  all crops, global ones with block-wise masks -> class tokens of all and tokens of masked patches -> projections
 *   loss     rows of the student against rows of the teacher over the prototypes; KoLeo on the class tokens of each global crop
 *
 * Chosen tokens are put together as [class tokens of global crop 0 of all objects, of crop 1, ..., of local crops, masked patches]: then the sets
 * that a head projects, and those of KoLeo, are stretches without gaps. Weights of rows, with B the global batch and
 * pairs = G (G - 1) + max(L G, 1):
 *   DINO  1 / (B pairs): mean over the batch of each pair of crops. A global crop is never held against itself.
 *   iBOT  1 / (masked patches of its crop * G B): the published 1 / masked of a mean over crops, times 1/2, times the 2 global crops at once.
 * The published code forms KoLeo and, with uneven batches, these means for each process; here all are of the global batch.
 *
 * Terms are reported without their weights; loss = dino_weight (dino_global + dino_local) + ibot_weight ibot + koleo_weight koleo.
 */
#include "dino.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "gradients.h"

/* Both networks into their engine's form. */
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

/* Masks of this rank's global crops. */
static void draw_masks(dino *d, int64_t step)
{
  const dino_sizes *z = &d->sizes;
  d->masked = 0;
  for (int64_t i = 0; i < d->n * z->crops; i++) {
    uint8_t *mask = d->mask + i * z->patches;
    d->masked += syz_block_mask(&z->masks, d->options.seed, step, z->first * z->crops + i, mask);
  }
  SYZ_ASSERT(d->masked <= z->most_masked);
}

/* Rows of the last forward pass of `c` that the loss is of, in the order of the stream, and where each is put. */
static int64_t choose_rows(dino *d, const syz_crops *c, bool is_student)
{
  const dino_sizes *z = &d->sizes;
  const int64_t extra = 1 + syz_model_get_config(d->student)->image.registers, locals = is_student ? z->locals : 0;
  int64_t rows = 0, patch = d->n * (z->crops + locals);
  for (int64_t i = 0; i < d->n * z->crops; i++) {
    const uint8_t *mask = d->mask + i * z->patches;
    d->row[rows] = syz_crops_row(c, DINO_GLOBAL, i, 0);
    d->place[rows++] = i % z->crops * d->n + i / z->crops;
    for (int64_t p = 0; p < z->patches; p++) {
      if (!mask[p]) continue;
      d->row[rows] = syz_crops_row(c, DINO_GLOBAL, i, extra + p);
      d->place[rows++] = patch++;
    }
  }
  for (int64_t i = 0; i < d->n * locals; i++) {
    d->row[rows] = syz_crops_row(c, DINO_LOCAL, i, 0);
    d->place[rows++] = d->n * z->crops + i;
  }
  return rows;
}

/* The chosen tokens, put together in d->token. */
static void take_tokens(dino *d, syz_crops *c, bool is_student)
{
  const int64_t rows = choose_rows(d, c, is_student), width = d->sizes.width;
  syz_crops_rows(c, rows, d->row, d->chosen);
  for (int64_t i = 0; i < rows; i++) memcpy(d->token + d->place[i] * width, d->chosen + i * width, (size_t)width * sizeof(float));
}

/* Each head's rows: all of them, or class tokens and masked patches apart. */
static void share_rows(dino *d)
{
  const dino_sizes *z = &d->sizes;
  const int64_t taught = d->n * z->crops, seen = d->n * (z->crops + z->locals), bottleneck = syz_model_get_config(d->student)->dino.bottleneck;
  for (int h = 0; h < z->heads; h++) {
    dino_head *q = &d->head[h];
    syz_distillation_batch *b = &q->batch;
    q->first_student = h ? seen : 0;
    q->first_teacher = h ? taught : 0;
    b->n_student = z->heads == 1 ? seen + d->masked : h ? d->masked : seen;
    b->n_teacher[0] = h ? d->masked : taught;
    b->n_teacher[1] = z->heads == 1 ? d->masked : 0;
    b->z_student = d->z + q->first_student * bottleneck;
    b->z_teacher = d->z_teacher + q->first_teacher * bottleneck;
    b->target = d->target + q->first_student * SYZ_TARGETS_PER_ROW;
    b->row_weight = d->row_weight + q->first_student;
    b->term = d->term + q->first_student;
  }
}

static int64_t *begin_row(dino *d, int64_t row, dino_term term, double weight)
{
  int64_t *target = d->target + row * SYZ_TARGETS_PER_ROW;
  for (int i = 0; i < SYZ_TARGETS_PER_ROW; i++) target[i] = -1;
  d->row_weight[row] = (float)weight;
  d->term[row] = (int)term;
  return target;
}

/* What each of the student's rows is held against, and its weight. */
static void make_targets(dino *d)
{
  const dino_sizes *z = &d->sizes;
  const syz_dino_options *o = &d->options;
  const int64_t G = z->crops, L = z->locals, n = d->n;
  const double B = (double)o->global_batch, pairs = (double)(G * (G - 1) + (L * G > 1 ? L * G : 1));
  for (int64_t c = 0; c < G; c++)
    for (int64_t i = 0; i < n; i++) {
      int64_t *target = begin_row(d, c * n + i, TERM_GLOBAL, o->dino_weight / (B * pairs));
      for (int64_t t = 0; t < G; t++)
        if (t != c) *target++ = t * n + i;
    }
  for (int64_t k = 0; k < n * L; k++) {
    int64_t *target = begin_row(d, n * G + k, TERM_LOCAL, o->dino_weight / (B * pairs));
    for (int64_t t = 0; t < G; t++) target[t] = t * n + k / L;
  }
  int64_t row = n * (G + L), taught = z->heads == 1 ? n * G : 0; /* a head of their own counts its teacher's rows from 0 */
  for (int64_t i = 0; i < n * G; i++) {
    const uint8_t *mask = d->mask + i * z->patches;
    int64_t masked = 0;
    for (int64_t p = 0; p < z->patches; p++) masked += mask[p];
    for (int64_t p = 0; p < masked; p++) begin_row(d, row++, TERM_PATCH, o->ibot_weight / ((double)masked * (double)G * B))[0] = taught++;
  }
}

static void project(dino *d, bool is_student)
{
  for (int h = 0; h < d->sizes.heads; h++) {
    dino_head *q = &d->head[h];
    const syz_distillation_batch *b = &q->batch;
    const int64_t width = d->sizes.width, bottleneck = syz_model_get_config(d->student)->dino.bottleneck;
    if (is_student)
      syz_projection_forward(q->student, b->n_student, d->token + q->first_student * width, d->z + q->first_student * bottleneck);
    else
      syz_projection_forward(q->teacher, b->n_teacher[0] + b->n_teacher[1], d->token + q->first_teacher * width,
                             d->z_teacher + q->first_teacher * bottleneck);
  }
}

static void run_teacher(dino *d)
{
  syz_crops_input input = {0};
  input.count[DINO_GLOBAL] = d->n * d->sizes.crops;
  input.planes[DINO_GLOBAL] = d->data.crop[DINO_GLOBAL];
  syz_timing_begin(d->timing, "teacher");
  syz_crops_forward(d->taught, &input);
  take_tokens(d, d->taught, false);
  project(d, false);
  syz_timing_end(d->timing);
}

static void run_student(dino *d, int64_t step)
{
  const dino_sizes *z = &d->sizes;
  syz_crops_input input = {.seed = d->options.seed, .step = (uint64_t)step};
  const int64_t count[SYZ_CROP_GROUPS] = {z->crops, z->locals};
  for (int g = 0; g < SYZ_CROP_GROUPS; g++) {
    input.count[g] = d->n * count[g];
    input.planes[g] = d->data.crop[g];
    input.first_crop[g] = z->first * count[g];
  }
  input.mask[DINO_GLOBAL] = d->mask;
  syz_timing_begin(d->timing, "forward");
  syz_crops_forward(d->seen, &input);
  take_tokens(d, d->seen, true);
  if (d->n > 0 && syz_fault("dino_token")) d->token[0] = NAN;
  project(d, true);
  syz_timing_end(d->timing);
}

static double over(double sum, double weight) { return weight > 0 ? sum / weight : 0; }

/* The losses of the global batch. Collective. */
static void form_losses(dino *d, int64_t step, syz_step_result *out)
{
  const syz_dino_options *o = &d->options;
  syz_distillation_loss loss[DINO_HEADS];
  double koleo = 0, spread = 0, weighted[DINO_TERMS] = {0};
  for (int h = 0; h < d->sizes.heads; h++) {
    d->head[h].batch.teacher_temperature = syz_schedule_ramp(step, o->teacher_temperature_start, o->teacher_temperature, o->teacher_warmup_steps);
    syz_distillation_forward(d->head[h].loss, &d->head[h].batch, &loss[h]);
    for (int t = TERM_GLOBAL; t <= TERM_PATCH; t++) weighted[t] += loss[h].term[t];
  }
  for (int64_t c = 0; c < d->sizes.crops; c++) {
    double one, wide;
    syz_koleo_forward(d->koleo[c], d->token + c * d->sizes.count * d->sizes.width, d->sizes.width, &one, &wide);
    koleo += one;
    spread += wide / (double)d->sizes.crops;
  }
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
  /* Without data this rank still takes part in the losses, which all ranks then give up. */
  d->n = st == SYZ_OK ? d->sizes.count : 0;
  draw_masks(d, step);
  make_targets(d);
  share_rows(d);
  syz_timing_end(d->timing);
  run_teacher(d);
  run_student(d, step);
  syz_timing_begin(d->timing, "loss");
  form_losses(d, step, out);
  syz_timing_end(d->timing);
  if (isfinite(out->loss)) dino_watch_step(&d->watch, &d->options, syz_model_get_config(d->student)->dino.prototypes, step, out->term);
  return st;
}

/* --------------------------------------------------------------- backward */

syz_status dino_backward(void *self, int64_t step, syz_gradients *g, double *scalar_gradient)
{
  dino *d = self;
  const int64_t width = d->sizes.width, bottleneck = syz_model_get_config(d->student)->dino.bottleneck, n = d->n;
  const int64_t rows = n * (d->sizes.crops + d->sizes.locals) + d->masked;
  float *block = syz_gradients_block(g), *dtoken = d->token, *dchosen = d->chosen;
  (void)step, (void)scalar_gradient;
  for (int h = 0; h < d->sizes.heads; h++) {
    dino_head *q = &d->head[h];
    float *dz = d->dz + q->first_student * bottleneck;
    int64_t first, count;
    syz_timing_begin(d->timing, "loss");
    syz_distillation_backward(q->loss, &q->batch, dz, block + syz_projection_prototypes(d->student, q->part));
    syz_distillation_update(q->loss);
    syz_timing_end(d->timing);
    syz_timing_begin(d->timing, "backward");
    syz_projection_backward(q->student, q->batch.n_student, dz, block, dtoken + q->first_student * width);
    syz_model_range(d->student, q->part, &first, &count);
    syz_gradients_ready(g, first, count);
    syz_timing_end(d->timing);
  }
  syz_timing_begin(d->timing, "backward");
  for (int64_t c = 0; c < d->sizes.crops; c++) syz_koleo_backward(d->koleo[c], d->options.koleo_weight, dtoken + c * n * width, width);
  for (int64_t i = 0; i < rows; i++) memcpy(dchosen + i * width, dtoken + d->place[i] * width, (size_t)width * sizeof(float));
  syz_crops_backward(d->seen, dchosen, block, syz_gradients_ready, g);
  syz_timing_end(d->timing);
  return SYZ_OK;
}

void dino_updated(void *self, int64_t step)
{
  dino *d = self;
  if (step < 0) return; /* begin packs what was read */
  const double momentum = syz_schedule_cosine(step, d->options.momentum, d->options.momentum_end, d->options.steps);
  syz_timing_begin(d->timing, "teacher follows");
  dino_follow(syz_model_weights(d->teacher), syz_model_weights(d->student), momentum, syz_model_size(d->student), d->threads);
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

/* Objects of this rank one of whose tokens, or the teacher's projections, are not finite. */
static suspects find_suspects(const dino *d, int64_t step)
{
  suspects s = {0};
  const dino_sizes *z = &d->sizes;
  const syz_object *table = syz_shardset_objects(d->shards);
  const int64_t width = z->width, bottleneck = syz_model_get_config(d->student)->dino.bottleneck;
  for (int64_t i = 0; i < d->n; i++) {
    bool is_finite = true;
    for (int64_t c = 0; c < z->crops; c++)
      is_finite = is_finite && is_row_finite(d->token + (c * d->n + i) * width, width) &&
                  is_row_finite(d->z_teacher + (c * d->n + i) * bottleneck, bottleneck);
    for (int64_t l = 0; l < z->locals; l++) is_finite = is_finite && is_row_finite(d->token + (z->crops * d->n + i * z->locals + l) * width, width);
    if (is_finite) continue;
    if (s.n < TOLD) s.object_id[s.n] = table[d->object[syz_sampler_index(&d->sampler, step, z->first + i)]].object_id;
    s.n++;
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
          at += (size_t)snprintf(text + at, room - at, "%sthe class token of object %" PRId64 " is not finite", at ? ", " : "",
                                 all[r].object_id[i < TOLD ? i : TOLD - 1]);
    if (n > TOLD && at < room) snprintf(text + at, room - at, ", and of %" PRId64 " more", n - TOLD);
    if (n == 0) snprintf(text, room, "class tokens and the teacher's projections are finite: look at the prototypes and the temperatures");
  }
  syz_free(&all);
}
