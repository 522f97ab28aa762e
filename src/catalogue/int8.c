/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which products of a tower run in 8-bit integers.
 *
 * A sample of the data set, evenly spaced among the objects that have the modality, is split alternately into two
 * halves: one to make the choice, the other to test it. The measure is the cosine between each object's embedding and
 * its float32 embedding.
 *
 * 1. Embed the sample in float32, and in the precision that int8 replaces; there record the largest magnitude at each
 * input of each product, which decides how outlying ranges are split between activations and weights
 * (syz_linear_quantise).
 * 2. Try all products in int8. If the worst object of the first half stays within half of the allowed loss, this is the
 * choice.
 * 3. Otherwise try each product alone in int8, on a few objects, and sort products by the loss of cosine per operation
 * saved. The fewest that must keep their precision, in this order, are found by bisection.
 * 4. Test on the other half: every object must reach the required cosine, or the command ends.
 *
 * The sample's objects are divided among the ranks, an object's embedding does not depend on the rank that computes it,
 * and all ranks decide from all embeddings: so the choice does not depend on the number of ranks.
 */
#include "int8.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME = 96, TEXT = 16384, SENSITIVE_OBJECTS = 8 };

/** Least and mean cosine of the held-out objects. */
typedef struct cosines {
  double least, mean;
  int64_t worst; /* number, within the sample, of the object with the least cosine */
} cosines;

typedef struct tower_choice {
  int64_t products, inputs, held_out;
  uint8_t *is_int8; /* [products] */
  float *most;      /* [inputs] */
  cosines to_f32, to_act, act_to_f32, about_mean;
} tower_choice;

struct syz_embed_int8 {
  tower_choice tower[SYZ_MODALITIES];
  char text[TEXT];
};

/* The sample of a tower. Object g belongs to rank g mod size. */
typedef struct sample {
  const syz_embed_int8_job *job;
  syz_modality tower;
  int rank, size;
  int64_t n, n_choose; /* objects; the choice is made on the first n_choose */
  int64_t n_mine, item, width;
  int64_t *row;                  /* [n] number in the data set */
  int64_t *mine;                 /* [n_mine] the same for this rank's objects */
  float *f32, *act, *now, *part; /* [n, E]; part [batch, E] */
  const float *input;            /* [n_mine, item], the loader's */
  syz_loader *loader;
} sample;

/* -------------------------------------------------------------- sample */

static int64_t owned_below(const sample *s, int64_t g) { return g > s->rank ? (g - s->rank - 1) / s->size + 1 : 0; }

/* Rows of the sample: number k of n is object k * count / n of those that have the modality. */
static syz_status choose_rows(sample *s, int64_t wanted)
{
  syz_status st = SYZ_OK;
  const syz_object *object = syz_shardset_objects(s->job->data);
  const int64_t size = syz_shardset_size(s->job->data);
  int64_t count = 0, seen = 0, k = 0;
  for (int64_t i = 0; i < size; i++) count += syz_object_has(&object[i], s->tower);
  s->n = count < wanted ? count : wanted;
  s->n_choose = (s->n + 1) / 2;
  SYZ_ALLOC(s->row, "sample", s->n + 1);
  for (int64_t i = 0; i < size && k < s->n; i++) {
    if (!syz_object_has(&object[i], s->tower)) continue;
    if (seen++ == k * count / s->n) {
      s->row[k % 2 ? s->n_choose + k / 2 : k / 2] = i;
      k++;
    }
  }
  SYZ_REQUIRE(s->n == 0 || s->n >= 2, SYZ_ERR_INPUT,
              "compute.precision: int8 is calibrated on one half of a sample and tested on the other: one object with "
              "%s is too few; use bfloat16",
              s->tower == SYZ_IMAGE ? "an image" : "a spectrum");
cleanup:
  return st;
}

static syz_status load_sample(sample *s)
{
  syz_status st = SYZ_OK;
  const syz_model_config *config = syz_model_get_config(s->job->model);
  const bool is_image = s->tower == SYZ_IMAGE;
  syz_batch in;
  double wait_s = 0;
  s->n_mine = owned_below(s, s->n);
  s->width = config->embedding.dim;
  s->item = syz_model_input(config, s->tower);
  SYZ_ALLOC(s->mine, "sample", s->n_mine + 1);
  SYZ_ALLOC(s->f32, "sample embeddings", s->n * s->width);
  SYZ_ALLOC(s->act, "sample embeddings", s->n * s->width);
  SYZ_ALLOC(s->now, "sample embeddings", s->n * s->width);
  SYZ_ALLOC(s->part, "sample embeddings", s->job->batch * s->width);
  for (int64_t i = 0; i < s->n_mine; i++) s->mine[i] = s->row[s->rank + i * s->size];
  if (s->n_mine == 0) goto cleanup;
  const syz_loader_config wish = {.sampler = {.n = s->n_mine, .global_batch = s->n_mine},
                                  .subset = s->mine,
                                  .count = s->n_mine,
                                  .last_step = 1,
                                  .image_size = is_image ? config->image.size : 0,
                                  .wants_flux = !is_image,
                                  .ahead = 1};
  SYZ_TRY(syz_loader_create(s->job->data, &wish, &s->loader));
  SYZ_TRY(syz_loader_next(s->loader, &in, &wait_s));
  s->input = is_image ? in.image : in.flux;
cleanup:
  return st;
}

static void sample_free(sample *s)
{
  syz_loader_destroy(&s->loader);
  syz_free(&s->row);
  syz_free(&s->mine);
  syz_free(&s->f32);
  syz_free(&s->act);
  syz_free(&s->now);
  syz_free(&s->part);
}

/* Embed objects first .. last - 1 with the tower as it is planned, into `all` [n, E] on every rank: each rank adds its
 * own rows to zeros. Collective. */
static syz_status embed_sample(sample *s, int64_t first, int64_t last, float *all)
{
  syz_status st = SYZ_OK;
  const int64_t i1 = owned_below(s, last);
  memset(all + first * s->width, 0, (size_t)((last - first) * s->width) * sizeof *all);
  for (int64_t i = owned_below(s, first); i < i1; i += s->job->batch) {
    const int64_t count = i1 - i < s->job->batch ? i1 - i : s->job->batch;
    syz_tower_forward(s->job->model, s->tower, count, s->input + i * s->item, NULL, s->part);
    for (int64_t b = 0; b < count; b++)
      memcpy(all + (s->rank + (i + b) * s->size) * s->width, s->part + b * s->width, (size_t)s->width * sizeof *all);
  }
  syz_allreduce_f32(s->job->comm, all + first * s->width, (size_t)((last - first) * s->width), SYZ_SUM);
  for (int64_t g = first; g < last; g++)
    for (int64_t e = 0; e < s->width; e++)
      SYZ_REQUIRE(isfinite(all[g * s->width + e]), SYZ_ERR_NUMERIC, "object %lld: its %s embedding is not finite",
                  (long long)syz_shardset_objects(s->job->data)[s->row[g]].object_id, syz_modality_name(s->tower));
cleanup:
  return st;
}

/* centre [E] is subtracted from both; NULL: 0. */
static double cosine(const float *x, const float *y, const double *centre, int64_t n)
{
  double xy = 0, xx = 0, yy = 0;
  for (int64_t i = 0; i < n; i++) {
    const double c = centre ? centre[i] : 0, a = (double)x[i] - c, b = (double)y[i] - c;
    xy += a * b;
    xx += a * a;
    yy += b * b;
  }
  return xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : 0;
}

static cosines compare(const sample *s, int64_t first, int64_t last, const float *x, const float *y,
                       const double *centre)
{
  cosines c = {.least = INFINITY, .worst = first};
  for (int64_t g = first; g < last; g++) {
    const double v = cosine(x + g * s->width, y + g * s->width, centre, s->width);
    c.mean += v / (double)(last - first);
    if (v < c.least) c.least = v, c.worst = g;
  }
  return c;
}

/* -------------------------------------------------------------- choice */

/* The embeddings of the whole sample in float32, with separate layers that are freed afterwards. */
static syz_status embed_in_f32(sample *s)
{
  syz_status st = SYZ_OK;
  syz_compute *plain = NULL;
  const syz_compute_options *o = &s->job->options->compute;
  SYZ_TRY_ALL(s->job->comm, syz_compute_create(SYZ_F32, o->engine, o->threads, &plain));
  syz_model_use_compute(s->job->model, plain);
  SYZ_TRY_ALL(s->job->comm, syz_tower_plan(s->job->model, s->tower, s->job->batch, SYZ_MODE_EMBED));
  SYZ_TRY(embed_sample(s, 0, s->n, s->f32));
cleanup:
  syz_model_use_compute(s->job->model, s->job->compute);
  syz_compute_destroy(&plain);
  return st;
}

/* The largest magnitude at each input, over the half on which the choice is made; and the embeddings of the whole
 * sample in the activation type. */
static syz_status embed_and_observe(sample *s, tower_choice *t)
{
  syz_status st = SYZ_OK;
  SYZ_TRY_ALL(s->job->comm, syz_tower_plan(s->job->model, s->tower, s->job->batch, SYZ_MODE_EMBED));
  syz_tower_observe(s->job->model, s->tower, t->most);
  SYZ_TRY(embed_sample(s, 0, s->n_choose, s->act));
  syz_tower_observe(s->job->model, s->tower, NULL);
  SYZ_TRY(embed_sample(s, s->n_choose, s->n, s->act));
  syz_allreduce_f32(s->job->comm, t->most, (size_t)t->inputs, SYZ_MAX);
  SYZ_TRY_ALL(s->job->comm, syz_tower_quantise(s->job->model, s->tower, t->most));
cleanup:
  return st;
}

/* Whether the first half reaches `aim` with these products. */
static syz_status try_choice(sample *s, const uint8_t *is_int8, double aim, bool *is_enough)
{
  syz_status st = SYZ_OK;
  syz_tower_use_int8(s->job->model, s->tower, is_int8);
  SYZ_TRY(embed_sample(s, 0, s->n_choose, s->now));
  *is_enough = compare(s, 0, s->n_choose, s->now, s->f32, NULL).least >= aim;
cleanup:
  return st;
}

typedef struct sensitivity {
  double value; /* loss of cosine with this product in int8, per operation saved */
  int64_t product;
} sensitivity;

static int compare_sensitivities(const void *x, const void *y)
{
  const sensitivity *a = x, *b = y;
  if (a->value != b->value) return a->value < b->value ? 1 : -1;
  return (a->product > b->product) - (a->product < b->product);
}

/* order [products], most sensitive first. */
static syz_status measure_sensitivities(sample *s, tower_choice *t, sensitivity *order)
{
  syz_status st = SYZ_OK;
  const int64_t n = s->n_choose < SENSITIVE_OBJECTS ? s->n_choose : SENSITIVE_OBJECTS;
  for (int64_t p = 0; p < t->products; p++) {
    memset(t->is_int8, 0, (size_t)t->products);
    t->is_int8[p] = 1;
    syz_tower_use_int8(s->job->model, s->tower, t->is_int8);
    SYZ_TRY(embed_sample(s, 0, n, s->now));
    order[p] = (sensitivity){
        (1 - compare(s, 0, n, s->now, s->act, NULL).mean) / syz_tower_product_flops(s->job->model, s->tower, p), p};
  }
  qsort(order, (size_t)t->products, sizeof *order, compare_sensitivities);
cleanup:
  return st;
}

static void keep_first(const tower_choice *t, const sensitivity *order, int64_t n)
{
  memset(t->is_int8, 1, (size_t)t->products);
  for (int64_t i = 0; i < n; i++) t->is_int8[order[i].product] = 0;
}

static syz_status choose_products(sample *s, tower_choice *t, double aim)
{
  syz_status st = SYZ_OK;
  bool is_enough = false;
  sensitivity *order = NULL;
  keep_first(t, NULL, 0);
  SYZ_TRY(try_choice(s, t->is_int8, aim, &is_enough));
  if (is_enough) goto cleanup;
  syz_info(
      "int8: with all products of the %s tower an object falls below a cosine of %.6g; finding the most sensitive ones",
      syz_modality_name(s->tower), aim);
  order = syz_alloc("sensitivities", (size_t)t->products, sizeof *order);
  SYZ_TRY_ALL(s->job->comm, order ? SYZ_OK : SYZ_ERR_MEMORY);
  SYZ_TRY(measure_sensitivities(s, t, order));
  int64_t fails = 0, holds = t->products; /* with none in int8 nothing is lost, or nothing can be done */
  while (holds - fails > 1) {
    const int64_t middle = fails + (holds - fails) / 2;
    keep_first(t, order, middle);
    SYZ_TRY(try_choice(s, t->is_int8, aim, &is_enough));
    if (is_enough)
      holds = middle;
    else
      fails = middle;
  }
  keep_first(t, order, holds);
cleanup:
  syz_free(&order);
  return st;
}

/* Figures of the choice, from the half that had no part in it. */
static syz_status judge_choice(sample *s, tower_choice *t, double wanted)
{
  syz_status st = SYZ_OK;
  double *centre = NULL;
  int64_t n_int8 = 0;
  centre = syz_alloc("mean embedding", (size_t)s->width, sizeof *centre);
  SYZ_TRY_ALL(s->job->comm, centre ? SYZ_OK : SYZ_ERR_MEMORY);
  for (int64_t g = 0; g < s->n; g++)
    for (int64_t e = 0; e < s->width; e++) centre[e] += (double)s->f32[g * s->width + e] / (double)s->n;
  syz_tower_use_int8(s->job->model, s->tower, t->is_int8);
  SYZ_TRY(embed_sample(s, s->n_choose, s->n, s->now));
  t->held_out = s->n - s->n_choose;
  t->to_f32 = compare(s, s->n_choose, s->n, s->now, s->f32, NULL);
  t->to_act = compare(s, s->n_choose, s->n, s->now, s->act, NULL);
  t->act_to_f32 = compare(s, s->n_choose, s->n, s->act, s->f32, NULL);
  t->about_mean = compare(s, s->n_choose, s->n, s->now, s->f32, centre);
  for (int64_t p = 0; p < t->products; p++) n_int8 += t->is_int8[p];
  SYZ_REQUIRE(t->to_f32.least >= wanted, SYZ_ERR_NUMERIC,
              "int8, %s tower: the cosine to float32 of object %lld, held out from the calibration, is %.6f; "
              "embed.calibration_cosine requires %.6g of every object (%lld of %lld products in int8). Use "
              "compute.precision: bfloat16, or more embed.calibration_objects",
              syz_modality_name(s->tower),
              (long long)syz_shardset_objects(s->job->data)[s->row[t->to_f32.worst]].object_id, t->to_f32.least, wanted,
              (long long)n_int8, (long long)t->products);
cleanup:
  syz_free(&centre);
  return st;
}

static syz_status calibrate_tower(const syz_embed_int8_job *job, syz_modality m, tower_choice *t)
{
  syz_status st = SYZ_OK;
  sample s = {.job = job, .tower = m, .rank = syz_comm_rank(job->comm), .size = syz_comm_size(job->comm)};
  const double wanted = job->options->calibration_cosine;
  memset(t->is_int8, 1, (size_t)t->products);
  SYZ_TRY_ALL(job->comm, choose_rows(&s, job->options->calibration_objects));
  if (s.n == 0) goto cleanup; /* no object has this modality */
  SYZ_TRY_ALL(job->comm, load_sample(&s));
  SYZ_TRY(embed_in_f32(&s));
  SYZ_TRY(embed_and_observe(&s, t));
  SYZ_TRY(choose_products(&s, t,
                          1 - (1 - wanted) / 2)); /* half of the allowed loss is left as a margin for other objects */
  SYZ_TRY(judge_choice(&s, t, wanted));
cleanup:
  sample_free(&s);
  return st;
}

/* ---------------------------------------------------- remembering, telling */

/* Size of the stored choice: for each tower the choice, the largest inputs, the figures, one after another. */
static size_t packed_bytes(const syz_embed_int8 *q)
{
  size_t bytes = 0;
  for (int m = 0; m < SYZ_MODALITIES; m++)
    bytes += (size_t)q->tower[m].products + (size_t)q->tower[m].inputs * sizeof(float) + 4 * sizeof(cosines) +
             sizeof(int64_t);
  return bytes;
}

static void copy_packed(syz_embed_int8 *q, unsigned char *bytes, bool is_out)
{
#define MOVE(what, n) (is_out ? memcpy(bytes, what, n) : memcpy(what, bytes, n), bytes += (n))
  for (int m = 0; m < SYZ_MODALITIES; m++) {
    tower_choice *t = &q->tower[m];
    if (t->products) MOVE(t->is_int8, (size_t)t->products);
    if (t->inputs) MOVE(t->most, (size_t)t->inputs * sizeof(float));
    MOVE(&t->to_f32, sizeof t->to_f32);
    MOVE(&t->to_act, sizeof t->to_act);
    MOVE(&t->act_to_f32, sizeof t->act_to_f32);
    MOVE(&t->about_mean, sizeof t->about_mean);
    MOVE(&t->held_out, sizeof t->held_out);
  }
#undef MOVE
}

__attribute__((format(printf, 2, 3))) static void add_text(syz_embed_int8 *q, const char *format, ...)
{
  const size_t used = strlen(q->text);
  va_list list;
  va_start(list, format);
  vsnprintf(q->text + used, TEXT - used, format, list);
  va_end(list);
}

static void describe_tower(syz_embed_int8 *q, const syz_model *model, syz_modality m, const char *act)
{
  const tower_choice *t = &q->tower[m];
  char name[NAME];
  double all = 0, done = 0;
  int64_t n_int8 = 0;
  for (int64_t p = 0; p < t->products; p++) {
    const double flops = syz_tower_product_flops(model, m, p);
    all += flops;
    done += t->is_int8[p] ? flops : 0;
    n_int8 += t->is_int8[p];
  }
  add_text(q, "%s%s tower: %lld of %lld products in int8, %.1f %% of their operations", *q->text ? "\n" : "",
           syz_modality_name(m), (long long)n_int8, (long long)t->products, 100 * done / all);
  const char *before = "; in ";
  for (int64_t p = 0; p < t->products; p++) {
    if (t->is_int8[p]) continue;
    if (*before == ';')
      add_text(q, "%s%s: ", before, act);
    else
      add_text(q, "%s", before);
    add_text(q, "%s", syz_tower_product_name(model, m, p, name, sizeof name));
    before = ", ";
  }
  if (t->held_out == 0) return;
  add_text(q,
           "; %lld held-out objects: cosine to float32 least %.6f, mean %.6f (%s alone: %.6f, %.6f; about the sample's "
           "mean: %.6f, %.6f); to %s %.6f, %.6f",
           (long long)t->held_out, t->to_f32.least, t->to_f32.mean, act, t->act_to_f32.least, t->act_to_f32.mean,
           t->about_mean.least, t->about_mean.mean, act, t->to_act.least, t->to_act.mean);
}

static void describe(syz_embed_int8 *q, const syz_embed_int8_job *job)
{
  const char *act = syz_compute_act(job->compute) == SYZ_BF16 ? "bfloat16" : "float32";
  for (syz_modality m = SYZ_IMAGE; m < SYZ_MODALITIES; m++)
    if (job->has_tower[m]) describe_tower(q, job->model, m, act);
}

static syz_status make_room(const syz_embed_int8_job *job, syz_embed_int8 **out, unsigned char **packed)
{
  syz_status st = SYZ_OK;
  syz_embed_int8 *q = NULL;
  SYZ_ALLOC(q, "int8 choice", 1);
  *out = q;
  for (syz_modality m = SYZ_IMAGE; m < SYZ_MODALITIES; m++) {
    tower_choice *t = &q->tower[m];
    if (!job->has_tower[m]) continue;
    t->products = syz_tower_products(job->model, m);
    for (int64_t p = 0; p < t->products; p++) t->inputs += syz_tower_product_inputs(job->model, m, p);
    SYZ_ALLOC(t->is_int8, "int8 choice", t->products);
    SYZ_ALLOC(t->most, "int8 choice", t->inputs);
  }
  SYZ_ALLOC(*packed, "int8 choice", packed_bytes(q));
cleanup:
  return st;
}

syz_status syz_embed_int8_make(const syz_embed_int8_job *job, syz_embed_part *part, syz_embed_int8 **out)
{
  syz_status st = SYZ_OK;
  syz_embed_int8 *q = NULL;
  unsigned char *packed = NULL;
  bool is_there = false;
  *out = NULL;
  SYZ_TRY_ALL(job->comm, make_room(job, &q, &packed));
  SYZ_TRY(syz_embed_part_recall(part, packed, packed_bytes(q), &is_there));
  if (is_there) {
    copy_packed(q, packed, false);
  } else {
    for (syz_modality m = SYZ_IMAGE; m < SYZ_MODALITIES; m++)
      if (job->has_tower[m]) SYZ_TRY(calibrate_tower(job, m, &q->tower[m]));
    copy_packed(q, packed, true);
    SYZ_TRY(syz_embed_part_remember(part, packed, packed_bytes(q)));
  }
  describe(q, job);
  syz_info("int8%s: %s", is_there ? ", as chosen by an earlier run" : "", q->text);
  *out = q;
  q = NULL;
cleanup:
  syz_model_use_compute(job->model, job->compute); /* drop all plans */
  syz_free(&packed);
  syz_embed_int8_destroy(&q);
  return st;
}

void syz_embed_int8_destroy(syz_embed_int8 **q)
{
  if (!*q) return;
  for (int m = 0; m < SYZ_MODALITIES; m++) {
    syz_free(&(*q)->tower[m].is_int8);
    syz_free(&(*q)->tower[m].most);
  }
  syz_free(q);
}

syz_status syz_embed_int8_apply(const syz_embed_int8 *q, syz_model *m, syz_modality tower)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(syz_tower_quantise(m, tower, q->tower[tower].most));
  syz_tower_use_int8(m, tower, q->tower[tower].is_int8);
  syz_tower_settle(m, tower);
cleanup:
  return st;
}

const char *syz_embed_int8_text(const syz_embed_int8 *q) { return q->text; }
