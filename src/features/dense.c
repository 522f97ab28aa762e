/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Linear heads on frozen patch features: the kind of structure in a patch (softmax regression), its brightness and its
 * distance from the galaxy (ridge). A linear head can only use what the features already contain, so its scores measure
 * the backbone. Training features are freed before the held-out ones are computed, so only one of the two sets is in
 * memory.
 */
#include <math.h>
#include <string.h>

#include "dense.h"

/* Weights of the classes of rows as scikit-learn balances them: rows / (classes x rows of the class). */
static void balance(syz_comm *c, const syz_truth *t, double *weight)
{
  int64_t count[SYZ_SEGMENTS] = {0}, total = 0, classes = 0;
  for (int64_t i = 0; i < t->n * t->cells; i++) count[t->label[i]]++;
  syz_allreduce_i64(c, count, SYZ_SEGMENTS, SYZ_SUM);
  for (int k = 0; k < SYZ_SEGMENTS; k++) {
    total += count[k];
    classes += count[k] > 0;
  }
  for (int k = 0; k < SYZ_SEGMENTS; k++) weight[k] = count[k] ? (double)total / (double)(classes * count[k]) : 0;
}

typedef struct heads {
  syz_linear_head *segment, *number;
} heads;

static void heads_free(heads *h)
{
  syz_linear_head_destroy(&h->segment);
  syz_linear_head_destroy(&h->number);
}

static syz_status fit_heads(const syz_run *run, const syz_frozen *net, syz_shardset *train, const syz_dense_options *o,
                            bool has_radius, heads *h, syz_dense_result *r)
{
  syz_status st = SYZ_OK;
  syz_comm *c = run->world;
  syz_patches *p = NULL;
  syz_truth t = {.n = 0};
  double weight[SYZ_SEGMENTS];
  syz_timing_begin(run->timing, "features");
  st = syz_patches_create(c, net->compute, net->model, train, o->train_objects, net->options->batch,
                          "training features", &p);
  syz_timing_end(run->timing);
  SYZ_TRY(st);
  r->train_objects = p->objects;
  SYZ_TRY(syz_truth_read(c, train, p, net->config.image.size, has_radius, &t));
  memcpy(weight, o->class_weight, sizeof weight);
  if (o->is_balanced) balance(c, &t, weight);
  const syz_softmax_options softmax = {.classes = SYZ_SEGMENTS,
                                       .class_weight = weight,
                                       .l2 = o->l2,
                                       .iterations = o->iterations,
                                       .tolerance = o->tolerance};
  syz_timing_begin(run->timing, "segmentation");
  st = syz_softmax_fit(c, &p->rows, t.label, &softmax, &h->segment, &r->fit);
  syz_timing_end(run->timing);
  SYZ_TRY(st);
  if (!r->fit.has_converged)
    syz_warn("segmentation: the gradient is %.2g after %lld iterations, above the tolerance of %.2g (probe.iterations, "
             "probe.tolerance)",
             r->fit.gradient, (long long)r->fit.iterations, o->tolerance);
  syz_timing_begin(run->timing, "regression");
  st = syz_ridge_fit(c, &p->rows, t.targets, t.target, o->ridge, &h->number);
  syz_timing_end(run->timing);
  SYZ_TRY(st);
cleanup:
  syz_truth_free(&t);
  syz_patches_destroy(&p);
  return st;
}

void syz_dense_pixels(const float *logit, int64_t side, int64_t size, uint8_t *pixel)
{
  const double step = (double)side / (double)size;
  for (int64_t y = 0; y < size; y++) {
    const double v = fmin(fmax(((double)y + 0.5) * step - 0.5, 0), (double)(side - 1));
    const int64_t y0 = (int64_t)v, y1 = y0 + 1 < side ? y0 + 1 : y0;
    for (int64_t x = 0; x < size; x++) {
      const double u = fmin(fmax(((double)x + 0.5) * step - 0.5, 0), (double)(side - 1));
      const int64_t x0 = (int64_t)u, x1 = x0 + 1 < side ? x0 + 1 : x0;
      const double b = v - (double)y0, a = u - (double)x0;
      double best = -INFINITY;
      for (int k = 0; k < SYZ_SEGMENTS; k++) {
        const double z = (1 - b) * ((1 - a) * (double)logit[(y0 * side + x0) * SYZ_SEGMENTS + k] +
                                    a * (double)logit[(y0 * side + x1) * SYZ_SEGMENTS + k]) +
                         b * ((1 - a) * (double)logit[(y1 * side + x0) * SYZ_SEGMENTS + k] +
                              a * (double)logit[(y1 * side + x1) * SYZ_SEGMENTS + k]);
        if (z > best) {
          best = z;
          pixel[y * size + x] = (uint8_t)k;
        }
      }
    }
  }
}

static int best_class(const float *logit)
{
  int best = 0;
  for (int k = 1; k < SYZ_SEGMENTS; k++)
    if (logit[k] > logit[best]) best = k;
  return best;
}

/* Tables of truth against prediction, over patches and over pixels of all ranks. */
static void count_classes(syz_comm *c, syz_dense_result *r, uint8_t *pixel)
{
  int64_t count[2][SYZ_SEGMENTS * SYZ_SEGMENTS] = {{0}};
  const int64_t size = r->truth.size;
  for (int64_t i = 0; i < r->n * r->cells; i++)
    count[0][r->truth.label[i] * SYZ_SEGMENTS + best_class(r->logit + i * SYZ_SEGMENTS)]++;
  for (int64_t i = 0; i < r->n; i++) {
    syz_dense_pixels(r->logit + i * r->cells * SYZ_SEGMENTS, r->side, size, pixel);
    for (int64_t k = 0; k < size * size; k++) count[1][r->truth.pixel[i * size * size + k] * SYZ_SEGMENTS + pixel[k]]++;
  }
  syz_allreduce_i64(c, count[0], sizeof count / sizeof count[0][0], SYZ_SUM);
  syz_class_score(count[0], SYZ_SEGMENTS, &r->patch);
  syz_class_score(count[1], SYZ_SEGMENTS, &r->pixel);
}

static syz_status allocate(const syz_patches *p, syz_dense_result *r)
{
  syz_status st = SYZ_OK;
  SYZ_ALLOC(r->number, "held-out objects", r->n + 1);
  SYZ_ALLOC(r->logit, "logits", r->n * r->cells * SYZ_SEGMENTS + 1);
  SYZ_ALLOC(r->prediction, "predictions", r->n * r->cells * r->targets + 1);
  for (int64_t i = 0; i < r->n; i++) r->number[i] = p->number[p->first + i];
cleanup:
  return st;
}

static syz_status apply_heads(const syz_run *run, const syz_frozen *net, syz_shardset *test, const syz_dense_options *o,
                              bool has_radius, const heads *h, syz_dense_result *r)
{
  syz_status st = SYZ_OK;
  syz_comm *c = run->world;
  syz_patches *p = NULL;
  float *row = NULL;
  uint8_t *pixel = NULL;
  syz_timing_begin(run->timing, "features");
  st = syz_patches_create(c, net->compute, net->model, test, o->test_objects, net->options->batch, "held-out features",
                          &p);
  syz_timing_end(run->timing);
  SYZ_TRY(st);
  SYZ_TRY(syz_truth_read(c, test, p, net->config.image.size, has_radius, &r->truth));
  r->objects = p->objects;
  r->first = p->first;
  r->n = p->n;
  r->side = p->side;
  r->cells = p->side * p->side;
  r->targets = r->truth.targets;
  row = syz_alloc("patch features", (size_t)(r->cells * p->width), sizeof *row);
  pixel = syz_alloc("segments", (size_t)(r->truth.size * r->truth.size), 1);
  SYZ_TRY_ALL(c, row && pixel ? allocate(p, r) : SYZ_ERR_MEMORY);
  for (int64_t i = 0; i < r->n; i++) {
    p->rows.read(p->rows.context, i * r->cells, r->cells, row);
    syz_linear_head_apply(h->segment, r->cells, row, r->logit + i * r->cells * SYZ_SEGMENTS);
    syz_linear_head_apply(h->number, r->cells, row, r->prediction + i * r->cells * r->targets);
  }
  for (int64_t i = 0; i < r->n * r->cells * SYZ_SEGMENTS; i++)
    r->logit[i] = fmaxf(r->logit[i], -1e30f); /* a class without training patches: finite, so that 0 times it is 0 */
  count_classes(c, r, pixel);
  syz_r_squared_over_ranks(c, r->n * r->cells, r->targets, r->truth.target, r->prediction, r->r2);
cleanup:
  syz_patches_destroy(&p);
  syz_free(&row);
  syz_free(&pixel);
  return st;
}

static void log_result(const syz_dense_result *r)
{
  syz_info("%s features, %lld training and %lld held-out objects: mean IoU %.4f of patches (%.4f of pixels), accuracy "
           "%.4f (always the most common class: %.4f)",
           r->weights, (long long)r->train_objects, (long long)r->objects, r->patch.mean_iou, r->pixel.mean_iou,
           r->patch.accuracy, r->patch.majority);
  for (int k = 0; k < SYZ_SEGMENTS; k++)
    if (!isnan(r->patch.iou[k]) || !isnan(r->pixel.iou[k]))
      syz_info("  %-12s IoU %.4f of patches, %.4f of pixels", syz_segment_name[k], r->patch.iou[k], r->pixel.iou[k]);
  for (int t = 0; t < r->targets; t++) syz_info("  %-18s R2 %.4f", syz_truth_name[t], r->r2[t]);
}

syz_status syz_dense_run(const syz_run *run, const syz_frozen *net, syz_shardset *train, syz_shardset *test,
                         const syz_dense_options *options, const char *weights, syz_dense_result *out)
{
  syz_status st = SYZ_OK;
  heads h = {NULL, NULL};
  const bool has_radius =
      syz_shardset_has_label(train, "half_light_radius") && syz_shardset_has_label(test, "half_light_radius");
  *out = (syz_dense_result){.weights = weights};
  if (!has_radius) syz_info("no label/half_light_radius in the data: distances are left out");
  SYZ_TRY(fit_heads(run, net, train, options, has_radius, &h, out));
  SYZ_TRY(apply_heads(run, net, test, options, has_radius, &h, out));
  log_result(out);
cleanup:
  heads_free(&h);
  return st;
}

void syz_dense_free(syz_dense_result *r)
{
  syz_truth_free(&r->truth);
  syz_free(&r->number);
  syz_free(&r->logit);
  syz_free(&r->prediction);
}
